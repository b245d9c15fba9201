//! What an operator sees and does: actors, topology, restart, reload, status pages.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::jobs;
use crate::messages::code::ErrorCode;
use crate::messages::event::EventKind;
use crate::web::app::AppState;
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::{Id, Parameters, invalid};
use crate::web::routes::{CACHE_PARAMETERS, HISTORY_PARAMETERS, TOPOLOGY_PARAMETERS};
use crate::web::state::TopologyFormat;

const DEFAULT_HISTORY: usize = 100;
const MAX_HISTORY: usize = 10_000;
const MAX_PATTERN_BYTES: usize = 1024;

/// `GET /v1/actors`
pub(crate) async fn actors(State(app): State<AppState>) -> Json<Value> {
    Json(app.api.operations.actors())
}

/// `GET /v1/topology`
pub(crate) async fn topology(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Response> {
    let parameters = parameters.only(TOPOLOGY_PARAMETERS)?;
    let (format, content_type) = match parameters.text("format") {
        None | Some("json") => (TopologyFormat::Json, "application/json"),
        Some("mermaid") => (TopologyFormat::Mermaid, "text/vnd.mermaid; charset=utf-8"),
        Some("text") => (TopologyFormat::Text, "text/plain; charset=utf-8"),
        Some(other) => return Err(invalid("format", format!("{other:?} is not json, mermaid or text"))),
    };
    Ok(([(CONTENT_TYPE, content_type)], app.api.operations.topology(format)).into_response())
}

/// `POST /v1/actors/{name}/restart`
pub(crate) async fn restart(State(app): State<AppState>, Id(name): Id) -> ApiResult<(StatusCode, Json<Value>)> {
    app.api.operations.restart(&name)?;
    tracing::info!(actor = name, "restart asked for over http");
    Ok((StatusCode::ACCEPTED, Json(json!({ "restarting": name }))))
}

/// `POST /v1/config/reload`
pub(crate) async fn reload(State(app): State<AppState>) -> ApiResult<Json<Value>> {
    let result = app.api.operations.reload().await;
    if result.is_err() {
        app.api.events.publish(EventKind::ConfigReloaded { outcome: "refused".to_owned() });
    }
    Ok(Json(result?))
}

/// `GET /events/history`
pub(crate) async fn history(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(HISTORY_PARAMETERS)?;
    let limit = parameters.number("limit", DEFAULT_HISTORY, 1, MAX_HISTORY)?;
    Ok(Json(json!({ "events": app.api.events.history(limit) })))
}

/// `GET /cache/stats`
pub(crate) async fn cache_stats(State(app): State<AppState>) -> ApiResult<Json<Value>> {
    existing(app.api.operations.cache_stats(), "cache")
}

/// `DELETE /cache?pattern=`
pub(crate) async fn invalidate_cache(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(CACHE_PARAMETERS)?;
    let Some(pattern) = parameters.text("pattern").filter(|pattern| !pattern.is_empty()) else {
        let message = "a pattern is needed, such as search:* or *";
        return Err(ApiError::field(ErrorCode::MissingField, "pattern", message));
    };
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(invalid("pattern", format!("over {MAX_PATTERN_BYTES} bytes")));
    }
    let _place = app.admit()?;
    let count = app.query(app.api.cache.invalidate(pattern)).await?;
    tracing::info!(pattern, count, "cache entries forgotten over http");
    Ok(Json(json!({ "invalidated": count })))
}

/// `GET /workers/status`
pub(crate) async fn worker_status(State(app): State<AppState>) -> ApiResult<Json<Value>> {
    let mut status = app.api.operations.worker_status().unwrap_or_else(|| json!({}));
    status["jobs"] = jobs::in_time(&app, app.api.jobs.status()).await?;
    Ok(Json(status))
}

/// `GET /db/pool`
pub(crate) async fn pool_status(State(app): State<AppState>) -> ApiResult<Json<Value>> {
    existing(app.api.operations.pool_status(), "database pool")
}

fn existing(status: Option<Value>, what: &str) -> ApiResult<Json<Value>> {
    status.map(Json).ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("this daemon has no {what}")))
}
