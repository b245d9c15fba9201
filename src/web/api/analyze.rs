//! `POST /v1/analyze`: sentiment, category and entities of texts; nothing is stored.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::messages::code::ErrorCode;
use crate::stores::cache::CacheKind;
use crate::web::app::{App, AppState};
use crate::web::error::{ApiError, ApiResult};
use crate::web::{body, cached};

/// The request.
#[derive(Deserialize)]
pub(crate) struct AnalyzeRequest {
    texts: Vec<String>,
}

/// One result per text, in order.
pub(crate) async fn analyze(State(app): State<AppState>, headers: HeaderMap, body: Body) -> ApiResult<Json<Value>> {
    let _place = app.admit()?;
    let request: AnalyzeRequest = body::read_json(&app, &headers, body).await?;
    check_texts(&app, "texts", &request.texts)?;
    let analyze = app.api.analyze.clone();
    let judge = (app.api.judge)();
    let form = (|bytes: &[u8]| serde_json::from_slice(bytes).ok(), |opinion: &Value| opinion.to_string().into_bytes());
    let of = (CacheKind::Quality, judge.as_str());
    let results = cached::by_text(&app, of, request.texts, form, move |texts, _| Ok(analyze(texts)?)).await?;
    Ok(Json(json!({ "results": results })))
}

/// Refuses no texts, too many, and any without visible characters.
pub(crate) fn check_texts(app: &App, field: &str, texts: &[String]) -> ApiResult<()> {
    let max = app.api.http.max_texts;
    if texts.is_empty() {
        return Err(ApiError::field(ErrorCode::MissingField, field, "at least one text is needed"));
    }
    if texts.len() > max {
        let message = format!("{} texts in one request; at most {max} (http.max_texts)", texts.len());
        return Err(ApiError::field(ErrorCode::TooManyItems, field, message));
    }
    match texts.iter().position(|text| text.trim().is_empty()) {
        Some(index) => Err(ApiError::field(ErrorCode::EmptyText, format!("{field}[{index}]"), "the text is empty")),
        None => Ok(()),
    }
}
