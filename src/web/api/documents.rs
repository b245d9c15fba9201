//! Documents with their verdicts: one, or a page.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::view::DocumentView;
use crate::messages::analysis::VerdictLabel;
use crate::messages::code::ErrorCode;
use crate::stores::documents::DocumentFilter;
use crate::web::app::AppState;
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::{Id, Parameters, invalid};
use crate::web::routes::DOCUMENT_FILTERS;

/// Items in a page unless asked otherwise.
const DEFAULT_LIMIT: usize = 50;
/// Items in a page at most.
const MAX_LIMIT: usize = 1000;

/// `GET /v1/documents/{id}`
pub(crate) async fn show(State(app): State<AppState>, Id(id): Id) -> ApiResult<Json<DocumentView>> {
    let stored = app.query(app.api.documents.get(&id)).await?;
    stored.map(|stored| Json(stored.into())).ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, format!("no document {id:?} has a verdict; see /v1/explain for its way"))
    })
}

/// `GET /v1/documents`
pub(crate) async fn list(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let filter = filter_of(&parameters.only(DOCUMENT_FILTERS)?)?;
    let page = app.query(app.api.documents.list(filter)).await?;
    let items: Vec<DocumentView> = page.items.into_iter().map(Into::into).collect();
    Ok(Json(page_of(&items, page.next_cursor)))
}

fn filter_of(parameters: &Parameters) -> ApiResult<DocumentFilter> {
    let verdict = match parameters.text("verdict") {
        None => None,
        Some("stored") => Some(VerdictLabel::Stored),
        Some("duplicate") => Some(VerdictLabel::Duplicate),
        Some("dead") => return Err(invalid("verdict", "dead records have no document; see /v1/dead-letters")),
        Some(other) => return Err(invalid("verdict", format!("{other:?} is neither stored nor duplicate"))),
    };
    Ok(DocumentFilter {
        verdict,
        source: parameters.owned("source"),
        symbol: symbol(parameters),
        since: parameters.time("since")?,
        limit: parameters.number("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)?,
        cursor: parameters.owned("cursor"),
    })
}

/// The symbol as the stores keep it: upper case.
pub(crate) fn symbol(parameters: &Parameters) -> Option<String> {
    parameters.text("symbol").map(str::to_uppercase)
}

/// One page's shape, the same for every listing.
pub(crate) fn page_of(items: &impl serde::Serialize, next_cursor: Option<String>) -> Value {
    let mut page = json!({ "items": items });
    if let Some(cursor) = next_cursor {
        page["next_cursor"] = Value::String(cursor);
    }
    page
}
