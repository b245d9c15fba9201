//! A double of an S3 service: objects in memory, one bucket, one key, and a limit of bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

/// The bucket.
pub const BUCKET: &str = "backups";
/// The id of the key that may use it.
pub const KEY: &str = "AKIDEXAMPLE";

#[derive(Clone)]
struct Held {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    /// Bytes of all objects.
    room: usize,
}

/// Starts it; its address. It ends with the runtime.
pub async fn start(room: usize) -> String {
    let service = Router::new()
        .route("/{bucket}", axum::routing::any(bucket))
        .route("/{bucket}/{*key}", axum::routing::any(object))
        .with_state(Held { objects: Arc::default(), room });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, service).await });
    format!("http://{address}")
}

fn error(status: StatusCode, code: &str) -> Response {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>");
    (status, text).into_response()
}

fn refused(headers: &HeaderMap, bucket: &str) -> Option<Response> {
    let signed = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !signed.contains(&format!("Credential={KEY}/")) {
        return Some(error(StatusCode::FORBIDDEN, "InvalidAccessKeyId"));
    }
    (bucket != BUCKET).then(|| error(StatusCode::NOT_FOUND, "NoSuchBucket"))
}

/// Listing, and deletion of several.
async fn bucket(
    State(held): State<Held>,
    Path(bucket): Path<String>,
    (method, RawQuery(query)): (Method, RawQuery),
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = refused(&headers, &bucket) {
        return refusal;
    }
    let mut objects = held.objects.lock();
    if method == Method::POST {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        let deleted: Vec<String> = keys
            .map(|key| {
                objects.remove(key);
                format!("<Deleted><Key>{key}</Key></Deleted>")
            })
            .collect();
        return format!("<DeleteResult>{}</DeleteResult>", deleted.concat()).into_response();
    }
    let query = query.unwrap_or_default();
    let prefix = query.split('&').find_map(|word| word.strip_prefix("prefix=")).unwrap_or_default();
    let prefix = prefix.replace("%2F", "/");
    let contents: Vec<String> = objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(key, object)| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <Size>{}</Size><ETag>\"e\"</ETag></Contents>",
                object.len()
            )
        })
        .collect();
    let contents = contents.concat();
    format!("<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>")
        .into_response()
}

/// One object.
async fn object(
    State(held): State<Held>,
    Path((bucket, key)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = refused(&headers, &bucket) {
        return refusal;
    }
    let mut objects = held.objects.lock();
    if method == Method::PUT {
        let used: usize = objects.values().map(Bytes::len).sum();
        if used + body.len() > held.room {
            return error(StatusCode::INSUFFICIENT_STORAGE, "QuotaExceeded");
        }
        objects.insert(key, body);
        return [("etag", "\"e\"")].into_response();
    }
    if method == Method::DELETE {
        objects.remove(&key);
        return StatusCode::NO_CONTENT.into_response();
    }
    match objects.get(&key) {
        Some(found) => {
            let headers = [("etag", "\"e\""), ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")];
            (headers, found.clone()).into_response()
        }
        None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
    }
}
