//! Learned graphs: which there are, and which files lie near one.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::messages::code::ErrorCode;
use crate::stores::graphs::{Graph, Similar};
use crate::web::app::{App, AppState};
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::{Id, Parameters, invalid};
use crate::web::routes::SIMILAR_PARAMETERS;

const DEFAULT_K: usize = 10;
const MAX_K: usize = 200;
/// Longest path, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// `GET /v1/graphs`
pub(crate) async fn list(State(app): State<AppState>) -> ApiResult<Json<Value>> {
    let graphs = app.query(app.api.graphs.store.list()).await?;
    Ok(Json(json!({ "items": graphs })))
}

/// `GET /v1/graphs/{repo}/similar?file=&k=`
pub(crate) async fn similar(
    State(app): State<AppState>,
    Id(repo): Id,
    parameters: Parameters,
) -> ApiResult<Json<Value>> {
    let parameters = parameters.only(SIMILAR_PARAMETERS)?;
    let Some(file) = parameters.text("file") else {
        return Err(ApiError::field(
            ErrorCode::MissingField,
            "file",
            "file needs the path of a file of the repository",
        ));
    };
    if file.len() > MAX_PATH_BYTES {
        return Err(invalid("file", format!("over {MAX_PATH_BYTES} bytes")));
    }
    let k = parameters.number("k", DEFAULT_K, 1, MAX_K)?;
    let _place = app.admit()?;
    let repo_url = known(&app, &repo).await?;
    let graphs = &app.api.graphs.store;
    match app.query(graphs.similar(&repo_url, file, k)).await? {
        Similar::NoGraph => Err(no_graph(&repo)),
        Similar::NoFile(graph, names) => Err(no_file(&graph, file, &names)),
        Similar::Found(graph, files) => Ok(Json(json!({
            "repo_url": graph.repo_url,
            "commit": graph.commit,
            "trained_at": graph.trained_at,
            "file_path": file,
            "k": k,
            "results": files,
        }))),
    }
}

/// The URL of the graph that is meant: written as it was submitted, as it is kept, or by the end of its path where that
/// is one graph's only, such as `owner/name`.
async fn known(app: &App, repo: &str) -> ApiResult<String> {
    let graphs = app.query(app.api.graphs.store.list()).await?;
    let is_there = |url: &str| graphs.iter().any(|graph| &*graph.repo_url == url);
    if is_there(repo) {
        return Ok(repo.to_owned());
    }
    if let Some(url) = (app.api.graphs.check_url)(repo).ok().filter(|url| is_there(url)) {
        return Ok(url);
    }
    let name = bare(repo);
    let ends =
        |graph: &&Graph| bare(&graph.repo_url).strip_suffix(name).is_some_and(|before| before.ends_with(['/', ':']));
    let mut matching = graphs.iter().filter(ends);
    match (name.is_empty(), matching.next(), matching.next()) {
        (false, Some(only), None) => Ok(only.repo_url.to_string()),
        (false, Some(one), Some(other)) => {
            let said = format!("{repo:?} may be {} or {}: give the whole URL", one.repo_url, other.repo_url);
            Err(ApiError::field(ErrorCode::InvalidParameter, "repo", said))
        }
        (true, ..) | (false, None, _) => Err(no_graph(repo)),
    }
}

fn bare(url: &str) -> &str {
    let url = url.trim_matches('/');
    url.strip_suffix(".git").unwrap_or(url)
}

fn no_graph(repo: &str) -> ApiError {
    let said = format!("there is no graph of {repo:?}; see /v1/graphs, or submit it to /api/v1/ingestion/ingest");
    ApiError::field(ErrorCode::NotFound, "repo", said)
}

fn no_file(graph: &Graph, file: &str, names: &[std::sync::Arc<str>]) -> ApiError {
    let mut said = format!("the graph of {} at {} has no file {file:?}", graph.repo_url, graph.commit);
    if !names.is_empty() {
        said.push_str("; there is ");
        said.push_str(&names.join(", "));
    }
    ApiError::field(ErrorCode::NotFound, "file", said)
}
