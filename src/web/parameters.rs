//! Query parameters and path ids: checked strictly, every error names the parameter.

use std::str::FromStr;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use super::error::{ApiError, ApiResult};
use crate::messages::code::ErrorCode;

/// A query parameter an endpoint takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    /// As written in the query.
    pub(crate) name: &'static str,
    /// JSON type: `string`, `integer` or `boolean`.
    pub(crate) kind: &'static str,
    /// For the API description.
    pub(crate) description: &'static str,
}

/// The query's pairs.
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::new(ErrorCode::InvalidParameter, error.body_text()))?;
        Ok(Self(pairs.0))
    }
}

impl Parameters {
    /// Refuses names the endpoint does not take and names given twice.
    pub(crate) fn only(self, allowed: &[Parameter]) -> ApiResult<Self> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if !allowed.iter().any(|parameter| parameter.name == name) {
                let names: Vec<_> = allowed.iter().map(|parameter| parameter.name).collect();
                return Err(invalid(name, format!("unknown parameter; this path takes: {}", names.join(", "))));
            }
            if self.0[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(invalid(name, "given twice"));
            }
        }
        Ok(self)
    }

    /// The value, unless absent or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The value as an owned text.
    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// The value as a number from `low` to `high`.
    pub(crate) fn number(&self, name: &str, default: usize, low: usize, high: usize) -> ApiResult<usize> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => usize::from_str(text)
                .ok()
                .filter(|number| (low..=high).contains(number))
                .ok_or_else(|| invalid(name, format!("{text:?} is not a whole number from {low} to {high}"))),
        }
    }

    /// The value as `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> ApiResult<Option<bool>> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => Err(invalid(name, format!("{text:?} is neither true nor false"))),
        }
    }

    /// The value as a time: RFC 3339, or a date that means its start in UTC.
    pub(crate) fn time(&self, name: &str) -> ApiResult<Option<DateTime<Utc>>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // A `+` of an offset that was not percent-encoded arrives as a space.
        let repaired = if text.len() > 19 { text.replace(' ', "+") } else { text.to_owned() };
        let time = DateTime::parse_from_rfc3339(&repaired).map(|time| time.to_utc()).ok();
        let time = time.or_else(|| NaiveDate::from_str(text).ok().map(|date| date.and_time(NaiveTime::MIN).and_utc()));
        time.map(Some).ok_or_else(|| {
            ApiError::field(
                ErrorCode::InvalidTime,
                name,
                format!("{text:?} is not RFC 3339, such as 2026-01-31T09:30:00Z"),
            )
        })
    }
}

/// A parameter that must be there is not.
pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::field(ErrorCode::MissingField, name, format!("{name} is missing"))
}

/// A parameter's value is wrong.
pub(crate) fn invalid(name: &str, message: impl Into<String>) -> ApiError {
    ApiError::field(ErrorCode::InvalidParameter, name, message)
}

/// Longest id taken in a path, in bytes.
const MAX_ID_BYTES: usize = 512;

/// The one id of a path, percent-decoded.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error: PathRejection| ApiError::new(ErrorCode::InvalidParameter, error.body_text()))?;
        if id.len() > MAX_ID_BYTES {
            return Err(ApiError::new(ErrorCode::InvalidId, format!("an id has at most {MAX_ID_BYTES} bytes")));
        }
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters(
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        )
    }

    const TAKEN: &[Parameter] = &[Parameter { name: "limit", kind: "integer", description: "" }];

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let field = |query: &str| parameters(query).only(TAKEN).err().and_then(|error| error.rejection().field.clone());
        assert_eq!(field("limt=1").as_deref(), Some("limt"));
        assert_eq!(field("limit=1&limit=2").as_deref(), Some("limit"));
        assert_eq!(field("limit=1"), None);
    }

    #[test]
    fn times_are_read_with_an_unencoded_offset_and_as_dates() {
        let seconds =
            |text: &str| parameters(&format!("since={text}")).time("since").ok().flatten().map(|time| time.timestamp());
        assert_eq!(seconds("1970-01-01T01:00:00 01:00"), Some(0));
        assert_eq!(seconds("1970-01-02"), Some(86_400));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(parameters("limit=0").number("limit", 5, 1, 9).is_err());
        assert!(parameters("limit=-1").number("limit", 5, 1, 9).is_err());
        assert_eq!(parameters("limit=9").number("limit", 5, 1, 9).ok(), Some(9));
        assert_eq!(parameters("limit=").number("limit", 5, 1, 9).ok(), Some(5));
    }
}
