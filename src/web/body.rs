//! Reads bodies: bounded in size, in time and in the bytes of all requests together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::app::App;
use super::error::{ApiError, ApiResult};
use crate::messages::code::ErrorCode;

/// Room made before the first byte comes; a claimed length alone never takes memory.
const FIRST_CAPACITY: usize = 64 * 1024;

/// A whole body and its share of the budget, given back when dropped.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads the whole body.
pub(crate) async fn read(app: &App, headers: &HeaderMap, body: Body) -> ApiResult<Received> {
    refuse_encodings(headers)?;
    let limit = app.api.http.max_body_bytes;
    let claimed = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if claimed.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    if claimed.is_some_and(|length| length > app.body_bytes.available_permits()) {
        return Err(budget_spent(app));
    }
    let seconds = app.api.http.body_timeout_seconds;
    match tokio::time::timeout(Duration::from_secs(seconds), collect(app, body, limit, claimed)).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::new(
            ErrorCode::Timeout,
            format!(
                "the body did not come to its end within {seconds} s \
                (http.body_timeout_seconds)"
            ),
        )),
    }
}

/// Reads the whole body as JSON of this shape, whatever its content type says of the character set.
pub(crate) async fn read_json<T: DeserializeOwned>(app: &App, headers: &HeaderMap, body: Body) -> ApiResult<T> {
    let kind = super::media::BodyKind::of(headers)?;
    if kind == super::media::BodyKind::Lines {
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, "this path takes application/json only"));
    }
    let received = read(app, headers, body).await?;
    std::str::from_utf8(&received.bytes).map_err(|error| {
        ApiError::new(ErrorCode::InvalidUtf8, format!("invalid UTF-8 at byte {}", error.valid_up_to()))
    })?;
    let mut reader = serde_json::Deserializer::from_slice(&received.bytes);
    let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|error| of_json(&error))?;
    reader.end().map_err(|error| ApiError::new(ErrorCode::InvalidJson, error.to_string()))?;
    Ok(value)
}

fn of_json(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let inner = error.inner();
    let path = error.path().to_string();
    let message = inner.to_string();
    let code = match inner.classify() {
        serde_json::error::Category::Data if message.starts_with("missing field") => ErrorCode::MissingField,
        serde_json::error::Category::Data => ErrorCode::WrongType,
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof | serde_json::error::Category::Io => {
            ErrorCode::InvalidJson
        }
    };
    if path == "." { ApiError::new(code, message) } else { ApiError::field(code, path, message) }
}

async fn collect(app: &App, body: Body, limit: usize, claimed: Option<usize>) -> ApiResult<Received> {
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::with_capacity(claimed.unwrap_or(FIRST_CAPACITY).min(FIRST_CAPACITY));
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ApiError::new(ErrorCode::InvalidJson, "the body ended early or is malformed"))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        let count = u32::try_from(chunk.len()).map_err(|_| too_large(limit))?;
        let permit = Arc::clone(&app.body_bytes).try_acquire_many_owned(count).map_err(|_| budget_spent(app))?;
        match &mut share {
            Some(held) => held.merge(permit),
            None => share = Some(permit),
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Received { bytes: bytes.freeze(), _share: share })
}

fn refuse_encodings(headers: &HeaderMap) -> ApiResult<()> {
    match headers.get(CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => Err(ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "content-encoding is not supported; send the body plain",
        )),
        _ => Ok(()),
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::TooLarge, format!("the body is over {limit} bytes (http.max_body_bytes)"))
}

fn budget_spent(app: &App) -> ApiError {
    app.overloaded(format!(
        "{} bytes of bodies are at work already (http.max_inflight_body_bytes)",
        app.api.http.max_inflight_body_bytes
    ))
}
