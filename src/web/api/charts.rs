//! Charts of backtests and sweeps, as pictures.

use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::backtests::not_there;
use crate::backtest::chart::{equity_chart, heatmap};
use crate::backtest::result::Equity;
use crate::backtest::sweep::Surface;
use crate::messages::backtest::{CURVE, RunKind, StoredRun};
use crate::messages::code::ErrorCode;
use crate::web::app::AppState;
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::Id;

/// The picture needs nothing from anywhere and runs nothing.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// `GET /v1/backtests/{id}/chart.svg`: equity and drawdown of a backtest, the heat map of a sweep.
pub(crate) async fn show(State(app): State<AppState>, Id(id): Id) -> ApiResult<Response> {
    let Some(run) = app.query(app.api.runs.run(&id)).await? else { return Err(not_there(&app, &id).await) };
    let crashed = |error| ApiError::new(ErrorCode::Internal, format!("the chart was not drawn: {error}"));
    let drawn = tokio::task::spawn_blocking(move || drawn(run)).await.map_err(crashed)?;
    let svg = drawn.map_err(|lacking| ApiError::new(ErrorCode::NotFound, lacking))?;
    let headers = [(CONTENT_TYPE, "image/svg+xml"), (CONTENT_SECURITY_POLICY, POLICY)];
    Ok((headers, svg).into_response())
}

/// The picture, or why there is none.
fn drawn(mut run: StoredRun) -> Result<String, &'static str> {
    match run.kind {
        RunKind::Backtest => {
            let equity: Option<Equity> = part(&mut run, CURVE).or_else(|| part(&mut run, "equity"));
            let equity = equity.ok_or("this backtest was kept without its equity: run it again")?;
            Ok(equity_chart(&equity, &title(&run)))
        }
        RunKind::Sweep => {
            let surface: Option<Surface> = part(&mut run, "surface");
            Ok(heatmap(&surface.ok_or("this sweep kept no surface: name one in its request")?))
        }
    }
}

fn part<T: DeserializeOwned>(run: &mut StoredRun, name: &str) -> Option<T> {
    run.result.get_mut(name).and_then(|part| serde_json::from_value(part.take()).ok())
}

/// What was traded by what.
fn title(run: &StoredRun) -> String {
    let words = [run.symbol.as_deref(), run.interval.as_deref(), Some(run.strategy.as_str())];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
