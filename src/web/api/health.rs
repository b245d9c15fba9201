//! Health, readiness, metrics and the API's own description.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::web::app::AppState;
use crate::web::openapi;
use crate::web::state::Node;

/// How long the counts may keep a health check waiting.
const COUNTS_TIMEOUT: Duration = Duration::from_millis(500);

/// `GET /health`: 200 when ready, else 503; both with the whole state.
pub(crate) async fn health(State(app): State<AppState>) -> (StatusCode, Json<Value>) {
    let readiness = app.api.operations.readiness();
    let measured = tokio::time::timeout(COUNTS_TIMEOUT, app.api.operations.measure_backlog()).await;
    let backlog = measured.ok().flatten();
    let counts = tokio::time::timeout(COUNTS_TIMEOUT, app.api.documents.counts()).await.ok().and_then(Result::ok);
    let status = match (readiness.stopping, readiness.ready) {
        (true, _) => "stopping",
        (false, true) => "ok",
        (false, false) => "degraded",
    };
    let body = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "dependencies": readiness.dependencies,
        "backlog_records": backlog,
        "counts": counts,
        "vectors": app.api.node.worker.then(|| app.api.vectors.len()),
        "embedding": app.api.encoder.info(),
        "node": node(&app.api.node),
    });
    (code(readiness.ready && !readiness.stopping), Json(body))
}

/// The node's roles, and what an API node knows of its workers. Workers that are away do not make it unready: it takes
/// documents and answers queries without them.
fn node(node: &Node) -> Value {
    let roles = [(node.api, "api"), (node.worker, "worker")];
    let roles: Vec<&str> = roles.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    json!({ "roles": roles, "workers": node.workers.as_ref().map(|workers| workers.view()) })
}

/// `GET /health/live`: 200 as long as the process answers.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// `GET /health/ready`: 200 when work can be taken and finished.
pub(crate) async fn ready(State(app): State<AppState>) -> (StatusCode, Json<Value>) {
    let readiness = app.api.operations.readiness();
    (code(readiness.ready && !readiness.stopping), Json(json!(readiness)))
}

fn code(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// `GET /metrics`
pub(crate) async fn metrics(State(app): State<AppState>) -> Response {
    let content_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, app.api.operations.metrics_text()).into_response()
}

/// `GET /openapi.json`
pub(crate) async fn description(State(app): State<AppState>) -> Json<Value> {
    Json(openapi::document(app.api.faults_enabled))
}
