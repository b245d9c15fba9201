//! Dead letters: list, show, replay, delete.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::documents::page_of;
use crate::messages::code::ErrorCode;
use crate::messages::dead_letter::StoredDeadLetter;
use crate::stores::documents::DeadLetterFilter;
use crate::web::app::{App, AppState};
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::{Id, Parameters, invalid};
use crate::web::routes::{DEAD_LETTER_FILTERS, REPLAY_FILTERS};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;
/// Dead letters fetched at a time while all are replayed.
const REPLAY_PAGE: usize = 200;
/// How long one request may replay before it answers that there is more.
const REPLAY_TIME: Duration = Duration::from_secs(25);
/// Failures listed by a replay of many; the rest are counted.
const MAX_LISTED_FAILURES: usize = 100;

/// `GET /v1/dead-letters`
pub(crate) async fn list(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(DEAD_LETTER_FILTERS)?;
    let filter = DeadLetterFilter {
        stage: parameters.owned("stage"),
        code: code(&parameters)?,
        replayed: parameters.flag("replayed")?,
        limit: parameters.number("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)?,
        cursor: parameters.owned("cursor"),
    };
    let page = app.query(app.api.documents.dead_letters(filter)).await?;
    Ok(Json(page_of(&page.items, page.next_cursor)))
}

fn code(parameters: &Parameters) -> ApiResult<Option<String>> {
    let Some(text) = parameters.text("code") else { return Ok(None) };
    let known =
        ErrorCode::parse(text).ok_or_else(|| invalid("code", format!("{text:?} is no error code such as TM0002")))?;
    Ok(Some(known.as_str().to_owned()))
}

/// `GET /v1/dead-letters/{id}`: with the original bytes.
pub(crate) async fn show(State(app): State<AppState>, Id(id): Id) -> ApiResult<Json<Value>> {
    let letter = app.query(app.api.documents.dead_letter(&id)).await?.ok_or_else(|| unknown(&id))?;
    Ok(Json(with_bytes(&letter)))
}

/// `POST /v1/dead-letters/{id}/replay`
pub(crate) async fn replay(State(app): State<AppState>, Id(id): Id) -> ApiResult<(StatusCode, Json<Value>)> {
    if replay_one(&app, &id).await? {
        Ok((StatusCode::ACCEPTED, Json(json!({ "replayed": 1, "id": id }))))
    } else {
        Err(unknown(&id))
    }
}

/// `POST /v1/dead-letters/replay`: all that were not replayed before.
pub(crate) async fn replay_all(
    State(app): State<AppState>,
    parameters: Parameters,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let parameters = parameters.only(REPLAY_FILTERS)?;
    let mut filter = DeadLetterFilter {
        stage: parameters.owned("stage"),
        code: code(&parameters)?,
        replayed: Some(false),
        limit: REPLAY_PAGE,
        cursor: None,
    };
    let _place = app.admit()?;
    let started = Instant::now();
    let (mut replayed, mut failed, mut failures) = (0_u64, 0_u64, Vec::new());
    let complete = loop {
        let page = app.query(app.api.documents.dead_letters(filter.clone())).await?;
        for letter in page.items {
            match replay_one(&app, &letter.id).await {
                Ok(true) => replayed += 1,
                // Someone deleted it meanwhile.
                Ok(false) => {}
                Err(error) => {
                    failed += 1;
                    if failures.len() < MAX_LISTED_FAILURES {
                        failures.push(json!({ "id": letter.id, "message": error.rejection().message }));
                    }
                }
            }
        }
        match page.next_cursor {
            None => break true,
            Some(_) if started.elapsed() > REPLAY_TIME => break false,
            Some(cursor) => filter.cursor = Some(cursor),
        }
    };
    let report = json!({ "replayed": replayed, "failed": failed, "failures": failures, "complete": complete });
    Ok((StatusCode::ACCEPTED, Json(report)))
}

async fn replay_one(app: &App, id: &str) -> ApiResult<bool> {
    let seconds = app.api.http.append_timeout_seconds;
    match tokio::time::timeout(Duration::from_secs(seconds), app.api.operations.replay_dead_letter(id)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ApiError::new(ErrorCode::Unavailable, format!("the log did not acknowledge in {seconds} s"))
            .with_retry_after(app.api.http.retry_after_seconds)),
    }
}

/// `DELETE /v1/dead-letters/{id}`
pub(crate) async fn delete(State(app): State<AppState>, Id(id): Id) -> ApiResult<Json<Value>> {
    match app.query(app.api.documents.purge_dead_letters(Some(&id))).await? {
        0 => Err(unknown(&id)),
        deleted => Ok(Json(json!({ "deleted": deleted }))),
    }
}

/// `DELETE /v1/dead-letters`
pub(crate) async fn delete_all(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    // A filter that is not known must not delete everything.
    parameters.only(&[])?;
    let deleted = app.query(app.api.documents.purge_dead_letters(None)).await?;
    Ok(Json(json!({ "deleted": deleted })))
}

fn unknown(id: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no dead letter {id:?}"))
}

/// The dead letter with key, value and headers, as text where they are text.
fn with_bytes(letter: &StoredDeadLetter) -> Value {
    let mut shown = json!(letter);
    shown["title"] = json!(letter.code.title());
    shown["advice"] = json!(letter.code.advice());
    shown["value_bytes"] = json!(letter.value.len());
    put_bytes(&mut shown, "value", &letter.value);
    if let Some(key) = &letter.key {
        put_bytes(&mut shown, "key", key);
    }
    let headers = letter.headers.iter().map(|(name, value)| {
        let mut header = json!({ "name": name });
        put_bytes(&mut header, "value", value);
        header
    });
    shown["headers"] = headers.collect();
    shown
}

fn put_bytes(object: &mut Value, name: &str, bytes: &[u8]) {
    object[format!("{name}_base64")] = json!(STANDARD.encode(bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        object[format!("{name}_utf8")] = json!(text);
    }
}
