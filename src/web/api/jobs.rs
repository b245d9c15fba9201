//! Jobs: submit, list, show, call off, replay.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::documents::page_of;
use crate::messages::code::ErrorCode;
use crate::messages::correlation::CorrelationId;
use crate::messages::job::{DEFAULT_PRIORITY, JobState, NewJob};
use crate::stores::jobs::{JobError, JobFilter};
use crate::web::app::{App, AppState};
use crate::web::body;
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::{Id, Parameters, invalid};
use crate::web::routes::JOB_FILTERS;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;

/// The request.
#[derive(Deserialize)]
struct JobRequest {
    kind: String,
    #[serde(default)]
    payload: Option<Value>,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    run_at: Option<DateTime<Utc>>,
    #[serde(default)]
    ttl_seconds: Option<f64>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    max_attempts: Option<u32>,
    #[serde(default)]
    metadata: Map<String, Value>,
    /// What means nothing to the queue is kept.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// `POST /v1/jobs`
pub(crate) async fn submit(
    State(app): State<AppState>,
    Extension(correlation_id): Extension<CorrelationId>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let _place = app.admit()?;
    let request: JobRequest = body::read_json(&app, &headers, body).await?;
    let mut metadata = request.metadata;
    metadata.extend(request.unknown);
    let job = new_job(&app, &request.kind, request.payload.unwrap_or_default(), &correlation_id);
    let job = NewJob {
        priority: request.priority.unwrap_or(DEFAULT_PRIORITY),
        run_at: request.run_at,
        ttl_ms: request.ttl_seconds.map(ttl_ms).transpose()?,
        key: request.key,
        metadata,
        max_attempts: request.max_attempts.unwrap_or(job.max_attempts),
        ..job
    };
    let submitted = async { Ok::<_, ApiError>(app.api.jobs.submit(job).await?) };
    let done = within(&app, submitted).await??;
    let mut answer = json!(done.job);
    answer["existing"] = json!(done.existing);
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// A job with the attempts its kind has, and the correlation id of the request.
pub(crate) fn new_job(app: &App, kind: &str, payload: Value, correlation_id: &CorrelationId) -> NewJob {
    NewJob {
        correlation_id: correlation_id.to_string(),
        max_attempts: app.api.jobs.limits(kind).attempts,
        ..NewJob::new(kind, payload)
    }
}

fn ttl_ms(seconds: f64) -> ApiResult<i64> {
    let ms = (seconds * 1000.0).ceil();
    if ms.is_finite() && (1.0..=1e15).contains(&ms) {
        #[expect(clippy::cast_possible_truncation, reason = "it was just checked")]
        return Ok(ms as i64);
    }
    let said = format!("{seconds} is not a number of seconds over 0");
    Err(ApiError::field(ErrorCode::InvalidParameter, "ttl_seconds", said))
}

/// `GET /v1/jobs`
pub(crate) async fn list(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(JOB_FILTERS)?;
    let state = match parameters.text("state") {
        None => None,
        Some(text) => Some(JobState::parse(text).ok_or_else(|| {
            let states = JobState::ALL.map(JobState::as_str).join(", ");
            invalid("state", format!("{text:?} is none of {states}"))
        })?),
    };
    let filter = JobFilter {
        state,
        kind: parameters.owned("kind"),
        limit: parameters.number("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)?,
        cursor: parameters.owned("cursor"),
    };
    let page = in_time(&app, app.api.jobs.queue().list(filter)).await?;
    Ok(Json(page_of(&page.items, page.next_cursor)))
}

/// `GET /v1/jobs/{id}`
pub(crate) async fn show(State(app): State<AppState>, Id(id): Id) -> ApiResult<Json<Value>> {
    let job = in_time(&app, app.api.jobs.queue().get(&id)).await?;
    Ok(Json(json!(job.ok_or(JobError::NotFound(id))?)))
}

/// `DELETE /v1/jobs/{id}`
pub(crate) async fn cancel(State(app): State<AppState>, Id(id): Id) -> ApiResult<(StatusCode, Json<Value>)> {
    let job = in_time(&app, app.api.jobs.cancel(&id)).await?;
    let status = if job.state.is_finished() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(json!(job))))
}

/// `POST /v1/jobs/{id}/replay`
pub(crate) async fn replay(State(app): State<AppState>, Id(id): Id) -> ApiResult<(StatusCode, Json<Value>)> {
    let job = in_time(&app, app.api.jobs.replay(&id)).await?;
    Ok((StatusCode::ACCEPTED, Json(json!(job))))
}

/// Bounds the queue's answer in time.
pub(crate) async fn in_time<T>(app: &App, answer: impl Future<Output = Result<T, JobError>>) -> ApiResult<T> {
    Ok(within(app, answer).await??)
}

/// As [`in_time`], whatever the answer is.
pub(crate) async fn within<T>(app: &App, answer: impl Future<Output = T>) -> ApiResult<T> {
    let seconds = app.api.http.query_timeout_seconds;
    tokio::time::timeout(Duration::from_secs(seconds), answer).await.map_err(|_| {
        ApiError::new(ErrorCode::Unavailable, format!("the job queue did not answer in {seconds} s"))
            .with_retry_after(app.api.http.retry_after_seconds)
    })
}
