//! The workers of an API node: where it sends what needs a model. Only addresses of the configuration are ever called.

mod rotation;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::Url;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::rotation::Rotation;
use crate::config::http::HttpConfig;
use crate::config::node::NodeConfig;
use crate::config::secret::Secret;
use crate::telemetry::metrics;

/// Marks a request that a node passed on, so that none goes in circles.
pub(crate) const PASSED_ON: &str = "tm-passed-on";
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest wait for a worker's answer to a check.
const CHECK: Duration = Duration::from_secs(5);
/// Workers tried for one request.
const MOST_TRIES: usize = 3;
/// Headers of a worker's answer that go on to the client.
const ANSWER_HEADERS: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_LENGTH, RETRY_AFTER];

/// Why the workers can't be called.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// An address makes no sense.
    #[error("node.worker_urls: {0:?} is no address")]
    Url(String),
    /// The client can't be made.
    #[error("node.worker_urls: no client can be made: {0}")]
    Client(reqwest::Error),
}

/// The workers an API node knows.
pub struct Workers {
    http: reqwest::Client,
    all: Vec<Worker>,
    rotation: Rotation,
    /// Requests that may still begin.
    places: Arc<Semaphore>,
    token: Option<Secret>,
    /// Time all tries of a request have together.
    time: Duration,
}

/// One of them.
struct Worker {
    base: Url,
    /// `host:port`, for metrics, logs and health.
    name: Arc<str>,
}

/// What is asked of a worker.
pub(crate) struct Question {
    pub(crate) method: Method,
    /// Path and query, as the client sent them.
    pub(crate) path: String,
    /// Headers that go along.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
pub(crate) enum NoAnswer {
    /// Too many requests are at workers already.
    Full,
    /// No worker that is in gave an answer; come back after this long.
    Away {
        /// In words, without addresses.
        reason: String,
        /// When to try again.
        wait: Duration,
    },
}

/// How one try ended.
enum Try {
    Answered(Box<reqwest::Response>),
    /// It is there and works, but not now.
    Busy(Box<reqwest::Response>),
    Failed(String),
}

impl Workers {
    /// The workers the configuration names; `None` if it names none.
    ///
    /// # Errors
    /// If an address makes no sense or TLS can't be set up.
    pub fn new(config: &NodeConfig, http: &HttpConfig) -> Result<Option<Self>, WorkersError> {
        if config.worker_urls.is_empty() {
            return Ok(None);
        }
        crate::tls::install_provider();
        let workers = config.worker_urls.iter().map(|url| Worker::new(url)).collect::<Result<Vec<_>, _>>()?;
        let time = Duration::from_secs(config.worker_timeout_seconds);
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(config.worker_requests)
            .build()
            .map_err(WorkersError::Client)?;
        Ok(Some(Self {
            http: client,
            rotation: Rotation::new(
                workers.len(),
                config.worker_failures,
                Duration::from_secs(config.worker_out_seconds),
            ),
            all: workers,
            places: Arc::new(Semaphore::new(config.worker_requests)),
            token: config.worker_token.clone().or_else(|| http.token.clone()),
            time,
        }))
    }

    /// What is known of each, for health.
    pub(crate) fn view(&self) -> Vec<Value> {
        let now = Instant::now();
        let view = |(at, worker): (usize, &Worker)| {
            let state = if self.rotation.is_in(at, now) { "in" } else { "out" };
            json!({ "worker": &*worker.name, "state": state, "failures": self.rotation.failures(at) })
        };
        self.all.iter().enumerate().map(view).collect()
    }

    /// Asks each whether it takes work; names as in metrics, prefixed with `worker `.
    pub async fn check(&self) -> Vec<(String, Result<String, String>)> {
        let asked = self.all.iter().map(async |worker| {
            let answer = match worker.base.join("/health/ready") {
                Ok(url) => {
                    self.http.get(url).timeout(CHECK).send().await.map_err(|error| in_full(&error.without_url()))
                }
                Err(error) => Err(error.to_string()),
            };
            let answer = answer.and_then(|answer| match answer.status() {
                StatusCode::OK => Ok("takes work".to_owned()),
                status => Err(format!("answers {status}")),
            });
            (format!("worker {}", worker.name), answer)
        });
        futures_util::future::join_all(asked).await
    }

    /// Asks one worker after the other until one answers. What is asked must be safe to ask twice.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Response, NoAnswer> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Err(NoAnswer::Full);
        };
        let deadline = Instant::now() + self.time;
        let mut tried = Vec::new();
        let mut busy = None;
        while tried.len() < MOST_TRIES {
            let Some(at) = self.rotation.pick(Instant::now(), &tried) else { break };
            tried.push(at);
            match self.attempt(at, question, deadline).await {
                Try::Answered(answer) => return Ok(respond(*answer, place)),
                Try::Busy(answer) => busy = Some(answer),
                Try::Failed(_) if Instant::now() >= deadline => break,
                Try::Failed(_) => {}
            }
        }
        match busy {
            Some(answer) => Ok(respond(*answer, place)),
            None => Err(self.nobody(tried.len())),
        }
    }

    fn nobody(&self, tried: usize) -> NoAnswer {
        let count = self.all.len();
        let reason = match tried {
            0 => format!("all {count} workers failed again and again and are left out for now"),
            _ => format!("none of the {tried} workers asked gave an answer; the log has the reasons"),
        };
        NoAnswer::Away { reason, wait: self.rotation.wait(Instant::now()) }
    }

    async fn attempt(&self, at: usize, question: &Question, deadline: Instant) -> Try {
        let worker = &self.all[at];
        let outcome = self.send(worker, question, deadline).await;
        match &outcome {
            Try::Answered(_) | Try::Busy(_) => {
                let label = if matches!(outcome, Try::Busy(_)) { "busy" } else { "answered" };
                metrics::worker_request(&worker.name, label);
                self.rotation.succeeded(at);
            }
            Try::Failed(reason) => {
                metrics::worker_request(&worker.name, "failed");
                let out = self.rotation.failed(at, Instant::now()).map(|time| time.as_secs());
                tracing::warn!(worker = %worker.name, path = question.path, reason, out_seconds = out, "worker failed");
            }
        }
        outcome
    }

    async fn send(&self, worker: &Worker, question: &Question, deadline: Instant) -> Try {
        let Ok(url) = worker.base.join(&question.path) else {
            return Try::Failed("the path can't be joined".to_owned());
        };
        if url.origin() != worker.base.origin() {
            return Try::Failed("the path leads elsewhere".to_owned());
        }
        let mut request = self
            .http
            .request(question.method.clone(), url)
            .headers(question.headers.clone())
            .header(PASSED_ON, "1")
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .body(question.body.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        match request.send().await {
            Ok(answer) => judge(answer),
            Err(error) => Try::Failed(in_full(&error.without_url())),
        }
    }
}

impl Worker {
    fn new(text: &str) -> Result<Self, WorkersError> {
        let base = Url::parse(text).map_err(|_| WorkersError::Url(text.to_owned()))?;
        let host = base.host_str().ok_or_else(|| WorkersError::Url(text.to_owned()))?;
        let name = format!("{host}:{}", base.port_or_known_default().unwrap_or_default());
        Ok(Self { name: name.into(), base })
    }
}

/// What a worker's status says of the worker: its own faults are not the client's.
fn judge(answer: reqwest::Response) -> Try {
    let status = answer.status();
    match status {
        StatusCode::TOO_MANY_REQUESTS => Try::Busy(Box::new(answer)),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Try::Failed(format!("it answers {status}"))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Try::Failed(format!("it answers {status}: node.worker_token is not its token"))
        }
        StatusCode::MISDIRECTED_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            Try::Failed(format!("it answers {status}: node.worker_urls names no worker there"))
        }
        other if other.is_redirection() => Try::Failed(format!("it answers {status}; redirects are not followed")),
        _ => Try::Answered(Box::new(answer)),
    }
}

/// The worker's answer as ours; its body passes through, and its place is taken until the end of it.
fn respond(answer: reqwest::Response, place: OwnedSemaphorePermit) -> Response {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let stream = answer.bytes_stream().map(move |chunk| {
        let _held = &place;
        chunk.inspect_err(|error| tracing::warn!(%error, "a worker's answer broke off"))
    });
    let mut response = Response::new(Body::from_stream(stream));
    *response.status_mut() = status;
    for name in ANSWER_HEADERS {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// An error with its causes.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
