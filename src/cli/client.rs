//! The HTTP client of the commands that talk to a running daemon. Every call has a deadline.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::local;
use super::options::DaemonOptions;
use crate::config::Config;
use crate::config::secret::Secret;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest wait for a whole answer.
const ANSWER: Duration = Duration::from_mins(1);
/// Texts of one request.
const TEXTS: usize = 64;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("no daemon answers at {url}: {reason}; start one with: tidemill run")]
    Away {
        /// Where it was looked for.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The daemon refused or failed.
    #[error("{status}: {message} ({code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Error code, such as `TM0014`.
        code: String,
        /// In the daemon's words.
        message: String,
        /// When it may be tried again.
        retry_after: Option<Duration>,
    },
    /// It is not an address of a daemon.
    #[error("{url} is not a daemon's address: {reason}")]
    Address {
        /// As given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The answer is not what a daemon says.
    #[error("the answer of {url} makes no sense: {reason}")]
    Answer {
        /// What was asked.
        url: String,
        /// Why not.
        reason: String,
    },
}

impl ClientError {
    /// Whether the daemon, or a service it needs, is away for now.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Away { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 502..=504),
            Self::Address { .. } | Self::Answer { .. } => false,
        }
    }

    /// Whether no daemon is there at all.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

/// Talks to one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

impl Client {
    /// A client of the daemon the options name, else of the one the configuration describes.
    ///
    /// # Errors
    /// If the address makes no sense or the token's file can't be read.
    pub fn new(options: &DaemonOptions, config: &Config) -> anyhow::Result<Self> {
        let (listen, token) = local::endpoint(config)?;
        let text = options.url.clone().unwrap_or_else(|| format!("http://{}", reachable(&listen)));
        let address = |reason: String| ClientError::Address { url: text.clone(), reason };
        let base = Url::parse(&text).map_err(|error| address(error.to_string()))?;
        if base.scheme() != "http" || base.cannot_be_a_base() {
            return Err(address("give http://HOST:PORT".to_owned()).into());
        }
        let http = reqwest::Client::builder().connect_timeout(CONNECT).timeout(ANSWER).no_proxy().build()?;
        Ok(Self { http, base, token })
    }

    /// The daemon's address.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// `GET` of a path given by its segments, with query parameters.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path).query(query);
        Self::read(self.send(request).await?).await
    }

    /// `GET` of a path whose answer tells as much when it is a refusal: whether it is none, and its body.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn probe(&self, path: &[&str]) -> Result<(bool, Value), ClientError> {
        let answer = self.request(Method::GET, path).send().await;
        let answer = answer
            .map_err(|error| ClientError::Away { url: self.base.to_string(), reason: in_full(&error.without_url()) })?;
        Ok((answer.status().is_success(), Self::read(answer).await?))
    }

    /// `GET` of a path that answers with plain text.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_text(&self, path: &[&str]) -> Result<String, ClientError> {
        let answer = self.send(self.request(Method::GET, path)).await?;
        let url = answer.url().to_string();
        answer.text().await.map_err(|error| ClientError::Answer { url, reason: in_full(&error) })
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, ClientError> {
        Self::read(self.send(self.request(Method::POST, path).json(body)).await?).await
    }

    /// Asks about texts, so many in one request, and puts the answers together.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn about_texts<A: DeserializeOwned, T>(
        &self,
        path: &[&str],
        texts: &[String],
        body: impl Fn(&[String]) -> Value,
        read: impl Fn(A) -> Vec<T>,
    ) -> Result<Vec<T>, ClientError> {
        let mut found = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(TEXTS) {
            found.extend(read(self.post(path, &body(chunk)).await?));
        }
        Ok(found)
    }

    /// `POST` of newline-delimited JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post_lines<T: DeserializeOwned>(&self, path: &[&str], body: Vec<u8>) -> Result<T, ClientError> {
        let request = self.request(Method::POST, path).header("content-type", "application/x-ndjson").body(body);
        Self::read(self.send(request).await?).await
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        Self::read(self.send(self.request(Method::DELETE, path)).await?).await
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let answer = request
            .send()
            .await
            .map_err(|error| ClientError::Away { url: self.base.to_string(), reason: in_full(&error.without_url()) })?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }

    async fn read<T: DeserializeOwned>(answer: Response) -> Result<T, ClientError> {
        let url = answer.url().to_string();
        let bytes =
            answer.bytes().await.map_err(|error| ClientError::Answer { url: url.clone(), reason: in_full(&error) })?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(bytes).map_err(|error| ClientError::Answer { url, reason: error.to_string() })
    }
}

async fn refusal(answer: Response) -> ClientError {
    let status = answer.status();
    let seconds = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body: Value = answer.json().await.unwrap_or_default();
    let text = |key: &str| body["error"][key].as_str().map(str::to_owned);
    ClientError::Refused {
        status: status.as_u16(),
        code: text("code").unwrap_or_else(|| "no code".to_owned()),
        message: text("message").unwrap_or_else(|| reason_of(status)),
        retry_after: seconds.map(Duration::from_secs),
    }
}

fn reason_of(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or("refused").to_lowercase()
}

/// An error with all its causes, which reqwest hides.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An address to connect to for one that is listened on: `0.0.0.0` listens everywhere, but is nowhere.
fn reachable(listen: &str) -> String {
    match listen.parse::<std::net::SocketAddr>() {
        Ok(mut address) if address.ip().is_unspecified() => {
            let loopback = if address.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            address.set_ip(loopback);
            address.to_string()
        }
        Ok(_) | Err(_) => listen.to_owned(),
    }
}

/// Runs a command's asynchronous part to its end.
///
/// # Errors
/// The command's own, or if the runtime can't start.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_address_is_reached_on_loopback() {
        assert_eq!(reachable("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(reachable("[::]:8080"), "[::1]:8080");
        assert_eq!(reachable("10.0.0.5:80"), "10.0.0.5:80");
    }
}
