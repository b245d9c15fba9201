//! Fault injection for chaos tests; the routes exist only with `[faults] enabled`.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::messages::code::ErrorCode;
use crate::web::app::{App, AppState};
use crate::web::body;
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::Id;
use crate::web::state::InjectedFault;

/// Longest fault taken, in seconds.
const MAX_SECONDS: f64 = 600.0;

/// How long a service shall be away.
#[derive(Deserialize)]
struct Outage {
    seconds: f64,
}

/// `POST /v1/faults/actors/{name}`
pub(crate) async fn actor(
    State(app): State<AppState>,
    Id(name): Id,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let fault: InjectedFault = body::read_json(&app, &headers, body).await?;
    match fault {
        InjectedFault::Hang { seconds } | InjectedFault::HangAsync { seconds } => {
            duration(seconds)?;
        }
        InjectedFault::Panic | InjectedFault::Kill => {}
    }
    app.api.operations.inject(&name, fault)?;
    tracing::warn!(actor = name, ?fault, "fault injected over http");
    Ok((StatusCode::ACCEPTED, Json(json!({ "injected": fault, "actor": name }))))
}

/// `POST /v1/faults/store`
pub(crate) async fn store(
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let duration = outage(&app, &headers, body).await?;
    app.api.operations.fail_store(duration);
    Ok(failing("store", duration))
}

/// `POST /v1/faults/log`
pub(crate) async fn log(
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let duration = outage(&app, &headers, body).await?;
    app.api.operations.fail_log(duration);
    Ok(failing("log", duration))
}

async fn outage(app: &App, headers: &HeaderMap, body: Body) -> ApiResult<Duration> {
    let Outage { seconds } = body::read_json(app, headers, body).await?;
    duration(seconds)
}

fn duration(seconds: f64) -> ApiResult<Duration> {
    if (0.0..=MAX_SECONDS).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(ApiError::field(ErrorCode::InvalidParameter, "seconds", format!("{seconds} is not from 0 to {MAX_SECONDS}")))
}

fn failing(what: &str, duration: Duration) -> (StatusCode, Json<Value>) {
    tracing::warn!(what, ?duration, "outage injected over http");
    (StatusCode::ACCEPTED, Json(json!({ "failing": what, "seconds": duration.as_secs_f64() })))
}
