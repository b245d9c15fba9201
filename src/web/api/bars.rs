//! Bars and signals, page by page.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::documents::page_of;
use crate::messages::bar;
use crate::stores::bars::{BarFilter, MAX_BARS};
use crate::stores::signals::{MAX_SIGNALS, SignalFilter};
use crate::web::app::AppState;
use crate::web::error::ApiResult;
use crate::web::parameters::{Parameters, invalid, missing};
use crate::web::routes::{BAR_FILTERS, SIGNAL_FILTERS};

/// Items in a page unless asked otherwise.
const DEFAULT_LIMIT: usize = 1000;

/// `GET /v1/bars`
pub(crate) async fn list(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(BAR_FILTERS)?;
    let interval = parameters.text("interval").ok_or_else(|| missing("interval"))?;
    let filter = BarFilter {
        symbol: symbol(&parameters)?,
        interval: bar::interval(interval).map_err(|rejection| invalid("interval", rejection.message))?,
        from: parameters.time("from")?,
        to: parameters.time("to")?,
        limit: parameters.number("limit", DEFAULT_LIMIT, 1, MAX_BARS)?,
        cursor: parameters.owned("cursor"),
    };
    let page = app.query(app.api.bars.bars(filter)).await?;
    Ok(Json(page_of(&page.items, page.next_cursor)))
}

/// `GET /v1/signals`
pub(crate) async fn signals(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(SIGNAL_FILTERS)?;
    let filter = SignalFilter {
        symbol: symbol(&parameters)?,
        from: parameters.time("from")?,
        to: parameters.time("to")?,
        limit: parameters.number("limit", DEFAULT_LIMIT, 1, MAX_SIGNALS)?,
        cursor: parameters.owned("cursor"),
    };
    let page = app.query(app.api.signals.signals(filter)).await?;
    Ok(Json(page_of(&page.items, page.next_cursor)))
}

fn symbol(parameters: &Parameters) -> ApiResult<String> {
    let text = parameters.text("symbol").ok_or_else(|| missing("symbol"))?;
    bar::symbol(text).map_err(|rejection| invalid("symbol", rejection.message))
}
