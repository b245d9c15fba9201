//! The API's own state: the daemon's seam plus the gates that keep memory and cores bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{ApiError, ApiResult};
use super::state::ApiState;
use crate::messages::code::ErrorCode;
use crate::stores::documents::StoreError;

/// Shared by all handlers.
pub(crate) type AppState = Arc<App>;

/// The seam and the gates.
pub(crate) struct App {
    /// What the daemon gave.
    pub(crate) api: Arc<ApiState>,
    /// Bytes of bodies that may still be held.
    pub(crate) body_bytes: Arc<Semaphore>,
    /// Heavy requests that may still begin.
    requests: Arc<Semaphore>,
    /// Model calls that may still begin.
    pub(crate) compute: Arc<Semaphore>,
    /// Watchers that may still come.
    pub(crate) streams: Arc<Semaphore>,
    /// For the uptime.
    pub(crate) started: Instant,
}

impl App {
    pub(crate) fn new(api: Arc<ApiState>) -> Self {
        let http = &api.http;
        Self {
            body_bytes: Arc::new(Semaphore::new(http.max_inflight_body_bytes)),
            requests: Arc::new(Semaphore::new(http.max_inflight_requests)),
            compute: Arc::new(Semaphore::new(http.max_concurrent_compute)),
            streams: Arc::new(Semaphore::new(http.stream_clients)),
            started: Instant::now(),
            api,
        }
    }

    /// A refusal for now, with the configured `Retry-After`.
    pub(crate) fn overloaded(&self, message: impl Into<String>) -> ApiError {
        ApiError::overloaded(message, self.api.http.retry_after_seconds)
    }

    /// A place among the heavy requests, held until the answer is made.
    pub(crate) fn admit(&self) -> ApiResult<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().map_err(|_| {
            self.overloaded(format!("{} requests are at work already", self.api.http.max_inflight_requests))
        })
    }

    /// Bounds a store's answer in time.
    pub(crate) async fn query<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> ApiResult<T> {
        let seconds = self.api.http.query_timeout_seconds;
        match tokio::time::timeout(Duration::from_secs(seconds), answer).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ApiError::new(ErrorCode::Unavailable, format!("the store did not answer in {seconds} s"))
                .with_retry_after(self.api.http.retry_after_seconds)),
        }
    }
}
