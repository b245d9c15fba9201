//! Content types of bodies with documents.

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, ORIGIN};

use super::error::{ApiError, ApiResult};
use crate::messages::code::ErrorCode;

/// How documents stand in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// One object or one array.
    Json,
    /// One JSON value a line.
    Lines,
    /// No content type was given: an array, one object, or lines.
    Unsaid,
}

impl BodyKind {
    /// What the content type says.
    pub(crate) fn of(headers: &HeaderMap) -> ApiResult<Self> {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Self::Unsaid) };
        let text = value.to_str().unwrap_or_default();
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let charset = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
            .map(|(_, charset)| charset.trim().trim_matches('"').to_ascii_lowercase());
        if let Some(charset) = charset.filter(|charset| !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii")) {
            let message = format!("charset {charset} is not supported; send UTF-8");
            return Err(ApiError::new(ErrorCode::UnsupportedMediaType, message));
        }
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/json-lines" => Ok(Self::Lines),
            other if other.starts_with("application/") && other.ends_with("+json") => Ok(Self::Json),
            // what `curl -d` says unasked; a form in a browser is told by the headers only browsers send
            "application/x-www-form-urlencoded" if !from_browser(headers) => Ok(Self::Unsaid),
            other => {
                let message =
                    format!("content type {other:?} is not taken; send application/json or application/x-ndjson");
                Err(ApiError::new(ErrorCode::UnsupportedMediaType, message))
            }
        }
    }
}

fn from_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn kind_of(content_type: &'static str) -> Option<BodyKind> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        BodyKind::of(&headers).ok()
    }

    #[test]
    fn content_types_are_told_apart() {
        assert_eq!(kind_of("application/json; charset=UTF-8"), Some(BodyKind::Json));
        assert_eq!(kind_of("application/x-ndjson"), Some(BodyKind::Lines));
        assert_eq!(kind_of("application/vnd.news+json"), Some(BodyKind::Json));
        assert_eq!(kind_of("application/json; charset=latin1"), None);
        assert_eq!(kind_of("application/x-www-form-urlencoded"), Some(BodyKind::Unsaid), "curl -d");
        assert_eq!(kind_of("multipart/form-data"), None);
        assert_eq!(BodyKind::of(&HeaderMap::new()).ok(), Some(BodyKind::Unsaid));
    }
}
