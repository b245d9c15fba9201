//! Backtests and sweeps: run, list, show, and the rows of sweeps.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::documents::page_of;
use super::jobs::{in_time, new_job, within};
use crate::backtest::BacktestRequest;
use crate::backtest::sweep::SweepRequest;
use crate::messages::backtest::{RunKind, StoredRun};
use crate::messages::bar;
use crate::messages::code::ErrorCode;
use crate::messages::correlation::CorrelationId;
use crate::messages::job::Job;
use crate::stores::backtests::RunFilter;
use crate::web::app::{App, AppState};
use crate::web::body;
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::{Id, Parameters, invalid};
use crate::web::routes::{BACKTEST_PARAMETERS, RUN_FILTERS, SWEEP_ROW_PARAMETERS};
use crate::web::state::RunError;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;
const DEFAULT_ROWS: usize = 100;

/// `POST /v1/backtests`: 200 with the result, or 202 with the job that a large one became.
pub(crate) async fn run(
    State(app): State<AppState>,
    Extension(correlation_id): Extension<CorrelationId>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let waits = parameters.only(BACKTEST_PARAMETERS)?.flag("wait")?.unwrap_or(true);
    let _place = app.admit()?;
    let request: BacktestRequest = body::read_json(&app, &headers, body).await?;
    if waits {
        let seconds = app.api.http.compute_timeout_seconds;
        let answer = app.api.backtests.run_now(request.clone(), &correlation_id);
        let answered = tokio::time::timeout(Duration::from_secs(seconds), answer).await;
        let late = |_| app.overloaded("the simulator is busy with other requests; with wait=false it becomes a job");
        if let Some(run) = answered.map_err(late)?? {
            return Ok((StatusCode::OK, Json(run.shown())));
        }
    }
    let job = submit(&app, "backtest", json!(request), &correlation_id).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "job_id": job.id, "id": job.id, "state": job.state }))))
}

/// `POST /v1/sweeps`: always a job.
pub(crate) async fn sweep(
    State(app): State<AppState>,
    Extension(correlation_id): Extension<CorrelationId>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let _place = app.admit()?;
    let request: SweepRequest = body::read_json(&app, &headers, body).await?;
    let sets = app.api.backtests.check_sweep(&request)?;
    let job = submit(&app, "sweep", json!(request), &correlation_id).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "job_id": job.id, "id": job.id, "state": job.state, "sets": sets }))))
}

async fn submit(app: &App, kind: &str, payload: Value, correlation_id: &CorrelationId) -> ApiResult<Job> {
    Ok(within(app, app.api.jobs.submit(new_job(app, kind, payload, correlation_id))).await??.job)
}

/// `GET /v1/backtests`
pub(crate) async fn list(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(RUN_FILTERS)?;
    let kind = match parameters.text("kind") {
        None => None,
        Some(text) => Some(
            RunKind::parse(text).ok_or_else(|| invalid("kind", format!("{text:?} is neither backtest nor sweep")))?,
        ),
    };
    let symbol = parameters.text("symbol").map(bar::symbol).transpose();
    let filter = RunFilter {
        kind,
        symbol: symbol.map_err(|rejection| invalid("symbol", rejection.message))?,
        strategy: parameters.owned("strategy"),
        limit: parameters.number("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)?,
        cursor: parameters.owned("cursor"),
    };
    let page = app.query(app.api.runs.runs(filter)).await?;
    let items: Vec<Value> = page.items.iter().map(summary).collect();
    Ok(Json(page_of(&items, page.next_cursor)))
}

/// `GET /v1/backtests/{id}`
pub(crate) async fn show(State(app): State<AppState>, Id(id): Id) -> ApiResult<Json<Value>> {
    let Some(run) = app.query(app.api.runs.run(&id)).await? else { return Err(not_there(&app, &id).await) };
    let mut whole = run.shown();
    whole["request"] = run.request;
    Ok(Json(whole))
}

/// `GET /v1/sweeps/{id}`: its rows, best first where the best were kept.
pub(crate) async fn rows(State(app): State<AppState>, Id(id): Id, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(SWEEP_ROW_PARAMETERS)?;
    let limit = parameters.number("limit", DEFAULT_ROWS, 1, MAX_LIMIT)?;
    let cursor = parameters.text("cursor");
    let from = cursor.map_or(Ok(0), str::parse::<u64>);
    let from = from.ok().filter(|from| *from <= i64::MAX.cast_unsigned());
    let from = from.ok_or_else(|| invalid("cursor", "is not one this listing gave"))?;
    let mut rows = app.query(app.api.runs.sweep_rows(&id, from, limit + 1)).await?;
    if rows.is_empty() && cursor.is_none() && app.query(app.api.runs.run(&id)).await?.is_none() {
        return Err(not_there(&app, &id).await);
    }
    let next = rows.get(limit).map(|row| row.position.to_string());
    rows.truncate(limit);
    Ok(Json(page_of(&rows, next)))
}

/// Why there is no result by this id: its job may still be under way.
pub(super) async fn not_there(app: &App, id: &str) -> ApiError {
    let job = in_time(app, app.api.jobs.queue().get(id)).await.ok().flatten();
    let said = match job {
        Some(job) => format!("no result {id:?} yet: its job is {}, see /v1/jobs/{id}", job.state),
        None => format!("there is no backtest or sweep {id:?}"),
    };
    ApiError::new(ErrorCode::NotFound, said)
}

/// A line of a listing.
fn summary(run: &StoredRun) -> Value {
    let mut summary = json!(run.figures);
    summary["id"] = json!(run.id);
    summary["portfolio_id"] = json!(run.portfolio_id);
    summary["kind"] = json!(run.kind);
    summary["created_at"] = json!(run.created_at);
    summary["correlation_id"] = json!(run.correlation_id);
    summary["symbol"] = json!(run.symbol);
    summary["interval"] = json!(run.interval);
    summary["strategy"] = json!(run.strategy);
    summary
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Rejected(rejection) => rejection.into(),
            RunError::Store(error) => error.into(),
            RunError::Log(error) => Self::of_log(&error, 1),
            RunError::Stopped => Self::new(ErrorCode::Unavailable, "the daemon stops").with_retry_after(1),
            RunError::Failed(said) => Self::new(ErrorCode::Internal, said),
        }
    }
}
