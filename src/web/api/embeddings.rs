//! `POST /v1/embeddings`, in `OpenAI`'s shape so that its clients work.
//!
//! Any model name is taken, since clients insist on theirs; the answer names the encoder that did the work.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine;
use serde::Deserialize;
use serde_json::{Value, json};

use super::analyze::check_texts;
use super::search::of_model;
use crate::messages::code::ErrorCode;
use crate::models::{Encoded, Encoder};
use crate::web::app::AppState;
use crate::web::compute::Abandoned;
use crate::web::error::{ApiError, ApiResult};
use crate::web::{body, cached};

/// Texts per encoder call: small, so that an abandoned request ends soon.
const TEXTS_PER_CALL: usize = 32;

/// The request.
#[derive(Deserialize)]
pub(crate) struct EmbeddingsRequest {
    input: Value,
    #[serde(default)]
    encoding_format: Format,
    dimensions: Option<usize>,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A JSON array of numbers.
    #[default]
    Float,
    /// Base64 of little-endian 32-bit floats.
    Base64,
}

/// One vector per input, in order.
pub(crate) async fn embeddings(State(app): State<AppState>, headers: HeaderMap, body: Body) -> ApiResult<Json<Value>> {
    let _place = app.admit()?;
    let request: EmbeddingsRequest = body::read_json(&app, &headers, body).await?;
    let texts = texts_of(request.input)?;
    check_texts(&app, "input", &texts)?;
    let info = app.api.encoder.info();
    if let Some(asked) = request.dimensions.filter(|&asked| asked != info.dimension) {
        let message = format!("{} has {} dimensions, not {asked}", info.model, info.dimension);
        return Err(ApiError::field(ErrorCode::InvalidParameter, "dimensions", message));
    }
    let results = cached::embeddings(&app, texts).await?;
    let tokens: u64 = results.iter().map(|encoded| u64::from(encoded.tokens)).sum();
    let data: Vec<Value> = results
        .iter()
        .enumerate()
        .map(|(index, encoded)| {
            json!({ "object": "embedding", "index": index, "embedding": written(&encoded.vector, request.encoding_format) })
        })
        .collect();
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "model": info.model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}

fn texts_of(input: Value) -> ApiResult<Vec<String>> {
    let wrong = |field: String, message: &str| Err(ApiError::field(ErrorCode::WrongType, field, message));
    match input {
        Value::String(text) => Ok(vec![text]),
        Value::Array(items) => {
            let mut texts = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                match item {
                    Value::String(text) => texts.push(text),
                    _ => return wrong(format!("input[{index}]"), "must be a string; token ids are not taken"),
                }
            }
            Ok(texts)
        }
        _ => wrong("input".to_owned(), "must be a string or an array of strings"),
    }
}

/// Encodes texts in small calls, until nobody waits any more.
pub(crate) fn encode(encoder: &dyn Encoder, texts: &[String], abandoned: &Abandoned) -> ApiResult<Vec<Encoded>> {
    let mut results = Vec::with_capacity(texts.len());
    for chunk in texts.chunks(TEXTS_PER_CALL) {
        if abandoned.is_set() {
            return Err(ApiError::new(ErrorCode::Timeout, "nobody waits for the answer any more"));
        }
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        results.extend(encoder.encode(&chunk).map_err(|error| of_model(&error))?);
    }
    Ok(results)
}

fn written(vector: &[f32], format: Format) -> Value {
    match format {
        Format::Float => json!(vector),
        Format::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
    }
}
