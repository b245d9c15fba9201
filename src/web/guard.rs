//! Who may come in: the host a browser speaks to, the page it speaks from, the token of a write.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::app::{App, AppState};
use super::error::{ApiError, ApiResult};
use crate::messages::code::ErrorCode;

/// Middleware: lets the request through or answers 401, 403 or 503.
pub(crate) async fn check(State(app): State<AppState>, request: Request, next: Next) -> ApiResult<Response> {
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    check_host(&app, request.headers())?;
    if writes {
        check_origin(&app, request.headers())?;
        check_token(&app, request.headers())?;
        if app.api.stopping.is_cancelled() || app.api.operations.readiness().stopping {
            return Err(ApiError::new(ErrorCode::Unavailable, "the daemon is stopping")
                .with_retry_after(app.api.http.retry_after_seconds));
        }
    }
    Ok(next.run(request).await)
}

/// A loopback daemon answers only to its own names, so that no page can reach it by a name rebound to 127.0.0.1.
fn check_host(app: &App, headers: &HeaderMap) -> ApiResult<()> {
    if !app.api.http.is_loopback() {
        return Ok(());
    }
    let Some(host) = headers.get(HOST) else { return Ok(()) };
    let name = host_name(host.to_str().unwrap_or_default());
    if is_own_name(name) || is_allowed(app, name) {
        return Ok(());
    }
    let message = format!("host {name:?} is not this daemon's; name it in http.allowed_hosts if it is");
    Err(ApiError::field(ErrorCode::Forbidden, "host", message))
}

/// A write from a browser must come from the daemon's own page.
fn check_origin(app: &App, headers: &HeaderMap) -> ApiResult<()> {
    if headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site") {
        return Err(ApiError::field(ErrorCode::Forbidden, "origin", "writes from another site's page are refused"));
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority).unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let same = !authority.is_empty() && authority.eq_ignore_ascii_case(host);
    if same || is_allowed(app, host_name(authority)) {
        return Ok(());
    }
    Err(ApiError::field(ErrorCode::Forbidden, "origin", format!("writes from pages of {origin:?} are refused")))
}

fn check_token(app: &App, headers: &HeaderMap) -> ApiResult<()> {
    let Some(token) = &app.api.token else { return Ok(()) };
    let given = headers.get(AUTHORIZATION).map(axum::http::HeaderValue::as_bytes);
    let Some(given) = given else {
        return Err(ApiError::new(ErrorCode::Unauthorized, "this needs the header authorization: Bearer TOKEN"));
    };
    let (scheme, secret) = given.split_at(given.len().min(7));
    // Digests have one length, so that the comparison tells nothing of the token's.
    let equal = Sha256::digest(secret).ct_eq(&Sha256::digest(token.expose().as_bytes()));
    if scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(equal) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::Unauthorized, "the token is wrong"))
}

/// The name in `name:port` or `[address]:port`.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_own_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower == "localhost" || lower.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

fn is_allowed(app: &App, name: &str) -> bool {
    app.api.http.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_taken_from_their_ports() {
        for (host, name) in
            [("localhost:80", "localhost"), ("[::1]:8080", "::1"), ("10.0.0.1", "10.0.0.1"), ("a.b:1", "a.b")]
        {
            assert_eq!(host_name(host), name);
        }
    }

    #[test]
    fn a_name_that_only_looks_local_is_foreign() {
        assert!(is_own_name("LOCALHOST") && is_own_name("127.0.0.1") && is_own_name("::1"));
        assert!(!is_own_name("localhost.evil.example") && !is_own_name("127.0.0.1.evil.example"));
    }
}
