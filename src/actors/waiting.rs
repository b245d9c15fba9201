//! The time before a service answers that the daemon can't start without: it is asked again and again, and who asks the
//! daemon meanwhile is told what it waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::servers::Sockets;
use crate::messages::code::ErrorCode;

/// First bound of the pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Last bound.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why opening failed, for [`patiently`].
pub trait Passing: std::fmt::Display {
    /// Whether the same attempt may succeed later.
    fn may_pass(&self) -> bool;
}

/// Tries until it succeeds, fails for good, or `limit` is over; then the last error. From the first failure on, HTTP
/// answers: alive, not ready, and why. Each pause is drawn at random below a bound that doubles.
///
/// # Errors
/// The last attempt's.
pub async fn patiently<T, E: Passing>(
    sockets: &Sockets,
    service: &'static str,
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let started = Instant::now();
    let mut bound = FIRST_PAUSE;
    let mut room = None;
    loop {
        let error = match attempt().await {
            Ok(opened) => return Ok(opened),
            Err(error) if !error.may_pass() || started.elapsed() >= limit => return Err(error),
            Err(error) => error.to_string(),
        };
        let pause = bound.mul_f64(0.5 + fastrand::f64() / 2.0);
        let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(service, error, retry_ms, "waiting for a service, tried again");
        room.get_or_insert_with(|| WaitingRoom::open(sockets, service)).tell(error);
        tokio::time::sleep(pause.min(limit.saturating_sub(started.elapsed()))).await;
        bound = (bound * 2).min(LONGEST_PAUSE);
    }
}

/// Answers HTTP until it is dropped.
struct WaitingRoom {
    reason: Arc<Mutex<String>>,
    closed: CancellationToken,
}

impl WaitingRoom {
    fn open(sockets: &Sockets, service: &'static str) -> Self {
        let room = Self { reason: Arc::default(), closed: CancellationToken::new() };
        let reason = Arc::clone(&room.reason);
        let status = move || {
            let reason = reason.lock().clone();
            async move { not_ready(service, &reason) }
        };
        let reason = Arc::clone(&room.reason);
        let refuse = move || {
            let reason = reason.lock().clone();
            async move { refused(service, &reason) }
        };
        let router = Router::new()
            .route("/health", get(status.clone()))
            .route("/health/ready", get(status))
            .route("/health/live", get(async || Json(json!({ "status": "alive" }))))
            .fallback(refuse);
        let closed = room.closed.clone();
        match sockets.adopt_http() {
            Ok(listener) => {
                let served = axum::serve(listener, router).with_graceful_shutdown(closed.clone().cancelled_owned());
                // a client that keeps its connection open does not keep the room open
                actix_rt::spawn(async move {
                    tokio::select! {
                        _ = served => {}
                        () = async { closed.cancelled().await; tokio::time::sleep(FIRST_PAUSE).await } => {}
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "http is silent while the daemon waits"),
        }
        room
    }

    fn tell(&self, reason: String) {
        *self.reason.lock() = reason;
    }
}

impl Drop for WaitingRoom {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

fn not_ready(service: &str, reason: &str) -> Response {
    let dependency = json!({ "name": service, "healthy": false, "detail": reason });
    let body = json!({ "status": "starting", "ready": false, "stopping": false, "dependencies": [dependency] });
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], Json(body)).into_response()
}

fn refused(service: &str, reason: &str) -> Response {
    let error = json!({
        "code": ErrorCode::Unavailable.as_str(),
        "message": format!("the daemon is starting and waits for {service}: {reason}"),
    });
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], Json(json!({ "error": error }))).into_response()
}
