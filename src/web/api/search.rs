//! `GET /v1/search`: documents nearest in meaning.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};

use super::documents::symbol;
use super::view::DocumentView;
use crate::messages::code::ErrorCode;
use crate::stores::vectors::{Neighbor, VectorFilter, VectorQuery};
use crate::web::app::{App, AppState};
use crate::web::cached;
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::{Parameters, invalid};
use crate::web::routes::SEARCH_PARAMETERS;

const DEFAULT_K: usize = 10;
const MAX_K: usize = 200;
/// Longest query in bytes; the encoder reads only the first 256 tokens anyway.
const MAX_QUERY_BYTES: usize = 8192;

/// A document and how near it is.
#[derive(Serialize)]
struct Hit {
    similarity: f32,
    #[serde(flatten)]
    document: DocumentView,
}

/// Embeds `q` and answers the `k` nearest stored documents, best first.
pub(crate) async fn search(State(app): State<AppState>, parameters: Parameters) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(SEARCH_PARAMETERS)?;
    let query = parameters.text("q").map(str::trim).unwrap_or_default().to_owned();
    if query.is_empty() {
        return Err(ApiError::field(ErrorCode::MissingField, "q", "q needs text to search for"));
    }
    if query.len() > MAX_QUERY_BYTES {
        return Err(invalid("q", format!("over {MAX_QUERY_BYTES} bytes")));
    }
    let k = parameters.number("k", DEFAULT_K, 1, MAX_K)?;
    let filter = VectorFilter {
        since_ms: parameters.time("since")?.map(|time| time.timestamp_millis()),
        source: parameters.owned("source"),
        symbol: symbol(&parameters),
        ..VectorFilter::default()
    };
    let _place = app.admit()?;
    let model = &app.api.encoder.info().model;
    let question = json!([query, k, filter.since_ms, filter.source, filter.symbol]).to_string();
    let name = cached::name(model, &question);
    let (kept, generation) = app.api.cache.get_search(&name).await;
    if let Some(answer) = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Ok(Json(answer));
    }
    let neighbors = nearest(&app, query.clone(), k, filter).await?;
    let hits = hits(&app, neighbors).await?;
    let answer = json!({ "query": query, "k": k, "model": model, "results": hits });
    if let Some(generation) = generation {
        app.api.cache.put_search(&name, generation, answer.to_string().as_bytes()).await;
    }
    Ok(Json(answer))
}

async fn nearest(app: &App, query: String, k: usize, filter: VectorFilter) -> ApiResult<Vec<Neighbor>> {
    let mut embedded = cached::embeddings(app, vec![query]).await?;
    let embedding = embedded.pop().ok_or_else(|| ApiError::new(ErrorCode::Internal, "the encoder gave no vector"))?;
    let vector = embedding.vector.into();
    app.query(app.api.vectors.nearest(VectorQuery { vector, k, filter })).await
}

async fn hits(app: &App, neighbors: Vec<Neighbor>) -> ApiResult<Vec<Hit>> {
    let ids: Vec<_> = neighbors.iter().map(|neighbor| neighbor.id.clone()).collect();
    let documents = app.query(app.api.documents.get_many(&ids)).await?;
    let similarity =
        |id: &str| neighbors.iter().find(|neighbor| &*neighbor.id == id).map(|neighbor| neighbor.similarity);
    let hits = documents
        .into_iter()
        .filter_map(|stored| Some(Hit { similarity: similarity(&stored.document.id)?, document: stored.into() }));
    Ok(hits.collect())
}

/// What a model's error means to a client.
pub(crate) fn of_model(error: &crate::models::ModelError) -> ApiError {
    use crate::models::ModelError;
    let code = match error {
        ModelError::Missing { .. } | ModelError::Damaged { .. } | ModelError::Weights { .. } => ErrorCode::ModelMissing,
        ModelError::Elsewhere | ModelError::NoEncoder => ErrorCode::NoWorker,
        ModelError::Encoding(_) => ErrorCode::EncodingFailed,
    };
    ApiError::new(code, error.to_string())
}
