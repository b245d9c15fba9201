//! What this node does not do itself: passed on to a worker, or refused with the reason.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{OriginalUri, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::Response;

use super::app::AppState;
use super::body;
use super::error::{ApiError, ApiResult};
use super::workers::{NoAnswer, PASSED_ON, Question, Workers};
use crate::messages::code::ErrorCode;
use crate::messages::correlation::CorrelationId;
use crate::messages::record::CORRELATION_HEADER;

/// Headers that go on to the worker besides the correlation id. The client's own token does not.
const PASSED_HEADERS: [HeaderName; 3] =
    [CONTENT_TYPE, HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// What this node does of the API.
#[derive(Clone)]
pub struct Node {
    /// Takes documents and answers queries.
    pub api: bool,
    /// Has the models.
    pub worker: bool,
    /// Whom it asks where it has no models itself.
    pub workers: Option<Arc<Workers>>,
}

impl Default for Node {
    /// All of it.
    fn default() -> Self {
        Self { api: true, worker: true, workers: None }
    }
}

/// Asks a worker in the client's place.
pub(crate) async fn pass_on(
    State(app): State<AppState>,
    Extension(correlation_id): Extension<CorrelationId>,
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> ApiResult<Response> {
    let (Parts { method, headers, .. }, body) = request.into_parts();
    if headers.contains_key(PASSED_ON) {
        let message =
            "another node passed this on to here, but this node has no models: its node.worker_urls must name workers";
        return Err(ApiError::new(ErrorCode::NotThisNode, message));
    }
    let Some(workers) = &app.api.node.workers else {
        let message = "this node has no models, and node.worker_urls names no worker that has";
        return Err(ApiError::new(ErrorCode::NoWorker, message).with_retry_after(app.api.http.retry_after_seconds));
    };
    let _place = app.admit()?;
    let received = body::read(&app, &headers, body).await?;
    let path = uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string);
    let question = Question { method, path, headers: passed(&headers, &correlation_id), body: received.bytes.clone() };
    workers.ask(&question).await.map_err(|refusal| match refusal {
        NoAnswer::Full => app.overloaded("too many requests are at workers already (node.worker_requests)"),
        NoAnswer::Away { reason, wait } => ApiError::new(ErrorCode::NoWorker, reason)
            .with_retry_after(wait.as_secs().max(app.api.http.retry_after_seconds)),
    })
}

fn passed(headers: &HeaderMap, correlation_id: &CorrelationId) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in PASSED_HEADERS {
        if let Some(value) = headers.get(&name) {
            passed.insert(name, value.clone());
        }
    }
    if let Ok(value) = HeaderValue::from_str(correlation_id.as_str()) {
        passed.insert(HeaderName::from_static(CORRELATION_HEADER), value);
    }
    passed
}

/// Says that an API node does this.
pub(crate) async fn refuse(OriginalUri(uri): OriginalUri, method: Method) -> ApiError {
    let message = format!(
        "this node is a worker and does not serve {method} {}; it takes no documents and answers no queries: ask an API node",
        uri.path()
    );
    ApiError::new(ErrorCode::NotThisNode, message)
}
