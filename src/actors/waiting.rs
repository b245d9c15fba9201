//! The start waits for services that don't answer yet. Meanwhile the daemon is alive and not ready, and says what it
//! waits for, so that nobody restarts it in a loop.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::servers::Sockets;
use crate::messages::code::ErrorCode;
use crate::web::state::Dependency;

/// First and longest wait between two attempts.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often the log says that the wait goes on.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Tries until it succeeds, fails in a way that won't pass, or `patience` is over: then the last error.
///
/// # Errors
/// The attempt's own.
pub async fn patiently<T, E: Display>(
    what: &'static str,
    patience: Duration,
    sockets: &Sockets,
    may_pass: impl Fn(&E) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let started = Instant::now();
    let mut room = None;
    let mut wait = FIRST_WAIT;
    let mut said: Option<Instant> = None;
    loop {
        let error = match attempt().await {
            Ok(value) => {
                if said.is_some() {
                    let waited_seconds = started.elapsed().as_secs();
                    tracing::info!(service = what, waited_seconds, "the service answers, the start goes on");
                }
                return Ok(value);
            }
            Err(error) => error,
        };
        let pause = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
        if !may_pass(&error) || started.elapsed() + pause > patience {
            return Err(error);
        }
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            let patience_seconds = patience.as_secs();
            tracing::warn!(service = what, %error, patience_seconds, "the service does not answer, the start waits for it");
        }
        room.get_or_insert_with(|| WaitingRoom::open(sockets, what)).say(error.to_string());
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Answers HTTP while the daemon waits. Closed when dropped.
struct WaitingRoom {
    what: &'static str,
    /// What the last attempt said.
    detail: Arc<Mutex<String>>,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl WaitingRoom {
    fn open(sockets: &Sockets, what: &'static str) -> Self {
        let detail = Arc::new(Mutex::new(String::new()));
        let serving = match sockets.adopt_http() {
            Ok(listener) => {
                let router = router(what, Arc::clone(&detail));
                Some(tokio::spawn(async move {
                    if let Err(error) = axum::serve(listener, router).await {
                        tracing::warn!(%error, "http does not answer while the start waits");
                    }
                }))
            }
            Err(error) => {
                tracing::warn!(%error, "http does not answer while the start waits");
                None
            }
        };
        Self { what, detail, serving }
    }

    fn say(&self, error: String) {
        tracing::debug!(service = self.what, error, "still waiting");
        *self.detail.lock() = error;
    }
}

impl Drop for WaitingRoom {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

fn router(what: &'static str, detail: Arc<Mutex<String>>) -> Router {
    let waiting = move || {
        let missing = Dependency { name: what.to_owned(), healthy: false, detail: detail.lock().clone() };
        let body = json!({
            "status": "starting",
            "ready": false,
            "stopping": false,
            "dependencies": [missing],
        });
        std::future::ready(unavailable(body))
    };
    // a connection must not outlive the waiting room: its next request is for the daemon
    let live = || async { ([(CONNECTION, "close")], Json(json!({ "status": "alive" }))) };
    let refused = json!({
        "error": {"code": ErrorCode::Unavailable.as_str(), "message": format!("starting: waiting for {what}"), "correlation_id": null}
    });
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(waiting.clone()))
        .route("/health", get(waiting))
        .fallback(move || std::future::ready(unavailable(refused)))
}

type Unavailable = (StatusCode, [(axum::http::HeaderName, &'static str); 2], Json<Value>);

fn unavailable(body: Value) -> Unavailable {
    (StatusCode::SERVICE_UNAVAILABLE, [(CONNECTION, "close"), (RETRY_AFTER, "1")], Json(body))
}
