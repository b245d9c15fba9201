//! What surrounds every request: correlation id, containment of panics, metrics, one log line, the shape of errors.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::error::ApiError;
use crate::messages::code::ErrorCode;
use crate::messages::correlation::CorrelationId;
use crate::messages::record::CORRELATION_HEADER;
use crate::telemetry::metrics;

/// Name of the route label for paths that are no route.
const UNMATCHED: &str = "unmatched";

/// Middleware: the outermost one. Handlers find the [`CorrelationId`] in the request's extensions.
pub(crate) async fn wrap(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let given = request.headers().get(CORRELATION_HEADER).and_then(|value| value.to_str().ok());
    let correlation_id = given.and_then(CorrelationId::parse).unwrap_or_else(CorrelationId::random);
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(correlation_id.clone());

    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = outcome.unwrap_or_else(|_| {
        tracing::error!(%correlation_id, "handler panicked");
        ApiError::new(ErrorCode::Internal, "the handler crashed on this request").into_response()
    });
    finish(&mut response, &correlation_id);

    let route = matched.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let status = response.status();
    let elapsed = started.elapsed();
    metrics::http_request(route, known_method(&method), status.as_u16(), elapsed);
    let milliseconds = elapsed.as_secs_f64() * 1000.0;
    if status.is_server_error() {
        tracing::warn!(%correlation_id, %method, route, status = status.as_u16(), milliseconds, "request failed");
    } else {
        tracing::debug!(%correlation_id, %method, route, status = status.as_u16(), milliseconds, "request answered");
    }
    response
}

/// Gives errors their body and every answer its headers.
fn finish(response: &mut Response, correlation_id: &CorrelationId) {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let (body, headers) = error.render(correlation_id);
        *response.body_mut() = body;
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().extend(headers);
    } else if is_bare_refusal(response) {
        // The framework refused by itself: keep its status, give it our shape.
        let reason = response.status().canonical_reason().unwrap_or("refused").to_ascii_lowercase();
        let (body, headers) = ApiError::new(ErrorCode::InvalidParameter, reason).render(correlation_id);
        *response.body_mut() = body;
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().extend(headers);
    }
    if let Ok(value) = HeaderValue::from_str(correlation_id.as_str()) {
        response.headers_mut().insert(HeaderName::from_static(CORRELATION_HEADER), value);
    }
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Whether this is an error that no handler of ours made: all of ours are JSON.
fn is_bare_refusal(response: &Response<Body>) -> bool {
    let ours = |value: &HeaderValue| value.as_bytes().starts_with(b"application/json");
    let json = response.headers().get(axum::http::header::CONTENT_TYPE).is_some_and(ours);
    (response.status().is_client_error() || response.status().is_server_error()) && !json
}

/// The method as a bounded label.
fn known_method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
