//! Repositories to learn: submitting, what the worker does, what became of the last ones. They are jobs of the kind
//! `graph` like any other, shown here in the words of who submits repositories.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::jobs::{in_time, new_job, within};
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::correlation::CorrelationId;
use crate::messages::job::{Job, JobState, NewJob};
use crate::stores::jobs::{JobError, JobFilter};
use crate::web::app::{App, AppState};
use crate::web::body;
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::{Id, Parameters};
use crate::web::routes::INGESTION_HISTORY;

/// The kind of job that learns a repository.
pub(crate) const KIND: &str = "graph";
/// Most jobs of the history.
const HISTORY: usize = 100;
/// Jobs read at once.
const PAGE: usize = 1000;

/// The request.
#[derive(Deserialize)]
struct IngestRequest {
    repo_url: String,
    /// What means nothing here is kept with the job.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// `POST /api/v1/ingestion/ingest`
pub(crate) async fn ingest(
    State(app): State<AppState>,
    Extension(correlation_id): Extension<CorrelationId>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let _place = app.admit()?;
    let request: IngestRequest = body::read_json(&app, &headers, body).await?;
    submit(&app, &request.repo_url, request.unknown, &correlation_id).await
}

/// `POST /api/v1/ingestion/ingest/{repo_url}`
pub(crate) async fn ingest_path(
    State(app): State<AppState>,
    Extension(correlation_id): Extension<CorrelationId>,
    Id(repo_url): Id,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let _place = app.admit()?;
    submit(&app, &repo_url, Map::new(), &correlation_id).await
}

/// Puts a repository in the queue; one that waits or is learned already is the same job.
async fn submit(
    app: &App,
    repo_url: &str,
    metadata: Map<String, Value>,
    correlation_id: &CorrelationId,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let refused = |said| Rejection::field(ErrorCode::InvalidUrl, "repo_url", said);
    let repo_url = (app.api.graphs.check_url)(repo_url).map_err(refused)?;
    let job = NewJob {
        ttl_ms: Some(app.api.graphs.job_ttl_ms),
        key: Some(repo_url.clone()),
        metadata,
        ..new_job(app, KIND, json!({ "repo_url": repo_url }), correlation_id)
    };
    let answer = async {
        let done = app.api.jobs.submit(job).await.map_err(ApiError::from)?;
        let waiting = waiting(app).await?;
        let place = waiting.iter().position(|job| job.id == done.job.id);
        Ok::<_, ApiError>(json!({
            "job_id": done.job.id,
            "repo_url": repo_url,
            // 0: a worker has it already
            "queue_position": place.map_or(0, |ahead| ahead + 1),
            "queue_size": waiting.len(),
            "existing": done.existing,
            "correlation_id": done.job.correlation_id,
        }))
    };
    Ok((StatusCode::ACCEPTED, Json(within(app, answer).await??)))
}

/// The jobs that wait, in the order in which they will start.
async fn waiting(app: &App) -> Result<Vec<Job>, JobError> {
    let mut jobs = of_state(app, JobState::Queued).await?;
    jobs.extend(of_state(app, JobState::Delayed).await?);
    let rules = app.api.jobs.config().rules();
    jobs.sort_by_key(|job| (rules.rank(job.run_at.timestamp_millis(), job.priority), job.created_at));
    Ok(jobs)
}

async fn of_state(app: &App, state: JobState) -> Result<Vec<Job>, JobError> {
    let filter = JobFilter { state: Some(state), kind: Some(KIND.to_owned()), limit: PAGE, cursor: None };
    Ok(app.api.jobs.queue().list(filter).await?.items)
}

/// `GET /api/v1/ingestion/worker/status`
pub(crate) async fn status(State(app): State<AppState>) -> ApiResult<Json<Value>> {
    let looked = async { Ok((of_state(&app, JobState::Running).await?, waiting(&app).await?.len())) };
    let (running, pending) = match in_time(&app, looked).await {
        Ok(looked) => looked,
        // a worker that gets no jobs is none
        Err(error) => return Ok(Json(json!({ "status": "Offline", "reason": error.rejection().message }))),
    };
    let limits = app.api.jobs.limits(KIND);
    let mut answer = json!({ "pending": pending, "capacity": limits.capacity, "workers": limits.workers });
    if let Some(job) = running.first() {
        answer["status"] = json!(format!("Training Graph on {}", url_of(job)));
        answer["running"] = running.iter().map(shown_running).collect();
    } else if let Some(reason) = why_offline(&app).await {
        answer["status"] = json!("Offline");
        answer["reason"] = json!(reason);
    } else {
        answer["status"] = json!("Idle");
    }
    Ok(Json(answer))
}

/// Why no repository would be learned now.
async fn why_offline(app: &App) -> Option<String> {
    let has_handler = app.api.jobs.registry().get(KIND).is_some();
    if !has_handler {
        return Some("this daemon learns no repositories".to_owned());
    }
    if app.api.operations.readiness().stopping {
        return Some("the daemon is stopping".to_owned());
    }
    if !app.api.node.worker {
        return match &app.api.node.workers {
            None => Some("this node is no worker, and none that shares its queue is at work now".to_owned()),
            Some(workers) => why_nobody_works(workers.check().await),
        };
    }
    let workers = app.api.jobs.limits(KIND).workers;
    (workers == 0).then(|| "it has no workers for this (jobs.kinds.graph.workers)".to_owned())
}

/// Why none of the workers of an API node takes work, where none does.
fn why_nobody_works(answers: Vec<(String, Result<String, String>)>) -> Option<String> {
    let mut reasons = Vec::with_capacity(answers.len());
    for (name, answer) in answers {
        reasons.push(format!("{name}: {}", answer.err()?));
    }
    Some(format!("no worker takes work ({})", reasons.join("; ")))
}

fn shown_running(job: &Job) -> Value {
    json!({
        "job_id": job.id,
        "repo_url": url_of(job),
        "attempt": job.attempts,
        "progress": job.progress,
        "message": job.message,
        "started_at": job.started_at,
        "worker": job.worker,
    })
}

fn url_of(job: &Job) -> &str {
    job.payload["repo_url"].as_str().unwrap_or_default()
}

/// `GET /api/v1/ingestion/jobs/history`
pub(crate) async fn history(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(INGESTION_HISTORY)?;
    let limit = parameters.number("limit", HISTORY, 1, HISTORY)?;
    let finished = in_time(&app, finished(&app, limit)).await?;
    Ok(Json(json!({ "items": finished.iter().map(shown_finished).collect::<Vec<_>>() })))
}

/// The jobs that ended last, newest first.
async fn finished(app: &App, limit: usize) -> Result<Vec<Job>, JobError> {
    let mut finished = Vec::new();
    for state in JobState::ALL.into_iter().filter(|state| state.is_finished()) {
        finished.extend(of_state(app, state).await?);
    }
    finished.sort_by(|left, right| right.finished_at.cmp(&left.finished_at).then_with(|| right.id.cmp(&left.id)));
    finished.truncate(limit);
    Ok(finished)
}

fn shown_finished(job: &Job) -> Value {
    let seconds = job.started_at.zip(job.finished_at).map(|(from, to)| (to - from).as_seconds_f64());
    json!({
        "job_id": job.id,
        "repo_url": url_of(job),
        "state": job.state,
        "reason": job.reason,
        "attempts": job.attempts,
        "errors": job.errors,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "seconds": seconds,
        "correlation_id": job.correlation_id,
        "metrics": job.result,
    })
}
