//! The connection to Qdrant: a thread of its own, deadlines, retries, errors in our words, metrics.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use qdrant_client::qdrant::{PointsOperationResponse, UpdateStatus};
use qdrant_client::{Qdrant, QdrantError};
use tokio::runtime::Runtime;

use crate::config::qdrant::QdrantConfig;
use crate::stores::documents::StoreError;
use crate::telemetry::metrics::store_operation;

/// Label of this store in metrics.
const STORE: &str = "qdrant";
/// How long a health check may take.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest bound of the wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The server is away or has a problem of its own; the same call may succeed later.
    #[error("{0}")]
    Away(String),
    /// It refuses the key, or what the key may do.
    #[error("{0}")]
    Denied(String),
    /// There is no such collection.
    #[error("{0}")]
    Gone(String),
    /// There is one already.
    #[error("{0}")]
    Exists(String),
    /// It refuses the data.
    #[error("{0}")]
    Refused(String),
}

impl CallError {
    fn of(error: &QdrantError, url: &str) -> Self {
        let (number, message) = match error {
            QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. } => {
                (status.code() as i32, status.message())
            }
            other => return Self::Refused(format!("qdrant: {other}")),
        };
        // as gRPC numbers them
        match number {
            3 | 11 | 12 => Self::Refused(format!("qdrant refuses the request: {message}")),
            5 if message.contains("ollection") => Self::Gone(format!("qdrant at {url}: {message}")),
            6 => Self::Exists(message.to_owned()),
            7 | 16 => Self::Denied(format!("qdrant at {url} refuses the api key or what it may do: {message}")),
            _ => Self::Away(format!("qdrant at {url}: {}", first_line(message))),
        }
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::Away(_) | Self::Gone(_) => "unavailable",
            Self::Denied(_) => "denied",
            Self::Exists(_) | Self::Refused(_) => "refused",
        }
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error {
            CallError::Away(_) | CallError::Denied(_) | CallError::Gone(_) | CallError::Exists(_) => {
                Self::Unavailable(message)
            }
            CallError::Refused(_) => Self::Refused(message),
        }
    }
}

/// Transport errors tell their whole chain; the first words are what went wrong.
fn first_line(message: &str) -> &str {
    let end = message.char_indices().nth(300).map_or(message.len(), |(at, _)| at);
    message[..end].lines().next().unwrap_or_default()
}

/// Handle on the server.
pub(super) struct Connection {
    client: Qdrant,
    url: String,
    attempt_timeout: Duration,
    retries: u32,
    retry_base: Duration,
    /// A thread of its own: an actor that blocks its thread must not stall everybody's calls. Taken at the end.
    runtime: Option<Runtime>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // plain dropping would wait, which is not allowed on an async thread
            runtime.shutdown_background();
        }
    }
}

/// Ends a task that nobody waits for any more.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Prepares the connection; the first call makes it.
    pub(super) fn new(config: &QdrantConfig) -> Result<Self, StoreError> {
        // fails if one is installed already, which then is the one to use
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tidemill-qdrant")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Unavailable(format!("no thread for qdrant: {error}")))?;
        let mut builder = Qdrant::from_url(&config.url)
            .connect_timeout(config.connect_timeout())
            .timeout(config.request_timeout())
            .keep_alive_while_idle()
            .skip_compatibility_check();
        builder.set_pool_size(config.connections);
        if let Some(key) = &config.api_key {
            builder.set_api_key(key.expose());
        }
        let client = builder.build().map_err(|error| StoreError::InvalidQuery(format!("qdrant.url: {error}")))?;
        Ok(Self {
            client,
            url: config.url.clone(),
            attempt_timeout: config.connect_timeout() + config.request_timeout(),
            retries: config.retries,
            retry_base: Duration::from_millis(config.retry_base_ms),
            runtime: Some(runtime),
        })
    }

    /// The server's version.
    pub(super) async fn version(&self) -> Result<String, CallError> {
        self.once("version", |client| Box::pin(async move { client.health_check().await })).await.map(|it| it.version)
    }

    /// Calls, and tries again what may pass. What is called must not mind being done twice.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl Fn(Qdrant) -> BoxFuture<'static, Result<T, QdrantError>> + Send + Sync,
    ) -> Result<T, CallError> {
        let mut failures = 0;
        loop {
            match self.attempt(operation, &call).await {
                Err(CallError::Away(_)) if failures < self.retries => {
                    tokio::time::sleep(self.backoff(failures)).await;
                    failures += 1;
                }
                result => return result,
            }
        }
    }

    /// As [`Connection::ask`] for a change, which must be applied when this resolves.
    pub(super) async fn update(
        &self,
        operation: &'static str,
        call: impl Fn(Qdrant) -> BoxFuture<'static, Result<PointsOperationResponse, QdrantError>> + Send + Sync,
    ) -> Result<(), CallError> {
        let answer = self.ask(operation, call).await?;
        match answer.result.map(|result| result.status()) {
            Some(UpdateStatus::Completed) => Ok(()),
            status => Err(CallError::Away(format!("qdrant at {} did not apply the change yet: {status:?}", self.url))),
        }
    }

    /// Calls once.
    pub(super) async fn once<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl Fn(Qdrant) -> BoxFuture<'static, Result<T, QdrantError>> + Send + Sync,
    ) -> Result<T, CallError> {
        self.attempt(operation, &call).await
    }

    async fn attempt<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: &(impl Fn(Qdrant) -> BoxFuture<'static, Result<T, QdrantError>> + Send + Sync),
    ) -> Result<T, CallError> {
        let Some(runtime) = &self.runtime else { return Err(CallError::Away("qdrant: closed".to_owned())) };
        let started = Instant::now();
        let task = runtime.spawn(tokio::time::timeout(self.attempt_timeout, call(self.client.clone())));
        let _ends = AbortOnDrop(task.abort_handle());
        let result = match task.await {
            Ok(Ok(answer)) => answer.map_err(|error| CallError::of(&error, &self.url)),
            Ok(Err(_)) => {
                let seconds = self.attempt_timeout.as_secs_f32();
                Err(CallError::Away(format!("qdrant at {} did not answer in {seconds} s", self.url)))
            }
            Err(error) => Err(CallError::Away(format!("qdrant: the call was cut off: {error}"))),
        };
        let outcome = result.as_ref().err().map_or("ok", CallError::outcome);
        store_operation(STORE, operation, outcome, started.elapsed());
        result
    }

    /// Random between zero and a bound that doubles.
    fn backoff(&self, failures: u32) -> Duration {
        let bound = self.retry_base.saturating_mul(2_u32.saturating_pow(failures)).min(MAX_BACKOFF);
        bound.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn waits_grow_up_to_their_bound() {
        let connection = Connection::new(&QdrantConfig::default()).unwrap();
        for (failures, bound) in [(0, 50), (1, 100), (4, 800), (30, 2000)] {
            for _ in 0..50 {
                assert!(connection.backoff(failures) <= Duration::from_millis(bound));
            }
        }
    }

    #[tokio::test]
    async fn server_that_is_not_there_is_away_and_named() {
        let url = "http://127.0.0.1:1".to_owned();
        let config = QdrantConfig { url, retries: 1, retry_base_ms: 1, ..QdrantConfig::default() };
        let error = Connection::new(&config).unwrap().version().await.unwrap_err();
        assert!(matches!(&error, CallError::Away(reason) if reason.contains("127.0.0.1:1")), "{error:?}");
    }
}
