//! Errors of the API: one shape for everything that goes wrong, the framework's own refusals included.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::state::OperationError;
use crate::jobs::SubmitError;
use crate::kafka::log::LogError;
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::correlation::CorrelationId;
use crate::stores::documents::StoreError;
use crate::stores::jobs::JobError;

/// A request that failed. It becomes a body in [`ApiError::render`], where the correlation id is known.
#[derive(Debug, Clone)]
pub(crate) struct ApiError(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    status: StatusCode,
    rejection: Rejection,
    retry_after_seconds: Option<u64>,
    /// Fields beside `error` in the body.
    beside: Map<String, Value>,
}

/// Result of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Rejection::new(code, message).into()
    }

    pub(crate) fn field(code: ErrorCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Rejection::field(code, field, message).into()
    }

    /// Refused for now: come back after this many seconds.
    pub(crate) fn overloaded(message: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self::new(ErrorCode::Overloaded, message).with_retry_after(retry_after_seconds)
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        self.changed(|inner| inner.status = status)
    }

    pub(crate) fn with_retry_after(self, seconds: u64) -> Self {
        self.changed(|inner| inner.retry_after_seconds = Some(seconds))
    }

    pub(crate) fn with_beside(self, beside: Map<String, Value>) -> Self {
        self.changed(|inner| inner.beside = beside)
    }

    fn changed(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(crate) fn rejection(&self) -> &Rejection {
        &self.0.rejection
    }

    /// What the log's error means to a client.
    pub(crate) fn of_log(error: &LogError, retry_after_seconds: u64) -> Self {
        match error {
            LogError::Full(_) => Self::overloaded(error.to_string(), retry_after_seconds),
            LogError::Unavailable(_) => {
                Self::new(ErrorCode::Unavailable, error.to_string()).with_retry_after(retry_after_seconds)
            }
            LogError::TooLarge { .. } => Self::new(ErrorCode::TooLarge, error.to_string()),
            LogError::UnknownTopic(_) | LogError::UnknownPartition { .. } | LogError::Failed(_) => {
                Self::new(ErrorCode::Internal, error.to_string())
            }
        }
    }

    /// The body and headers a client sees.
    pub(crate) fn render(&self, correlation_id: &CorrelationId) -> (Body, Vec<(axum::http::HeaderName, HeaderValue)>) {
        let Rejection { code, field, message } = &self.0.rejection;
        let mut error = json!({ "code": code, "message": message, "correlation_id": correlation_id.as_str() });
        if let Some(field) = field {
            error["field"] = json!(field);
        }
        let mut body = self.0.beside.clone();
        body.insert("error".to_owned(), error);
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.push((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        (Body::from(Value::Object(body).to_string()), headers)
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let status = status_of(rejection.code);
        Self(Arc::new(Inner { status, rejection, retry_after_seconds: None, beside: Map::new() }))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::new(ErrorCode::Unavailable, error.to_string()).with_retry_after(1),
            StoreError::Refused(_) | StoreError::Damaged(_) => Self::new(ErrorCode::Internal, error.to_string()),
            StoreError::InvalidQuery(message) => Self::new(ErrorCode::InvalidParameter, message),
        }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Unavailable(_) => Self::new(ErrorCode::Unavailable, error.to_string()).with_retry_after(1),
            JobError::Full { .. } => Self::overloaded(error.to_string(), 1),
            JobError::NotFound(_) => Self::new(ErrorCode::NotFound, error.to_string()),
            JobError::Conflict(message) => Self::new(ErrorCode::Conflict, message),
            JobError::LeaseLost(_) => Self::new(ErrorCode::Conflict, error.to_string()),
            JobError::InvalidQuery(message) => Self::new(ErrorCode::InvalidParameter, message),
            JobError::Refused(_) | JobError::Damaged(_) => Self::new(ErrorCode::Internal, error.to_string()),
        }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejection) => rejection.into(),
            SubmitError::Queue(error) => error.into(),
        }
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::NotFound(_) => Self::new(ErrorCode::NotFound, error.to_string()),
            OperationError::Refused(message) => {
                Self::new(ErrorCode::InvalidParameter, message).with_status(StatusCode::UNPROCESSABLE_ENTITY)
            }
            OperationError::Unavailable(message) => Self::new(ErrorCode::Unavailable, message).with_retry_after(1),
        }
    }
}

/// Answers that may come before the request's body was read.
const REFUSED_UNREAD: [StatusCode; 7] = [
    StatusCode::MISDIRECTED_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::TOO_MANY_REQUESTS,
];

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        let status = self.status();
        *response.status_mut() = status;
        if REFUSED_UNREAD.contains(&status) {
            // the body may not have been read: a client must not send its next request behind the rest of it
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The status a code has unless a handler says otherwise.
fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidUtf8
        | ErrorCode::InvalidJson
        | ErrorCode::MissingField
        | ErrorCode::WrongType
        | ErrorCode::EmptyText
        | ErrorCode::InvalidSource
        | ErrorCode::InvalidId
        | ErrorCode::InvalidTime
        | ErrorCode::TooManySymbols
        | ErrorCode::TooDeep
        | ErrorCode::InvalidUrl
        | ErrorCode::InvalidParameter
        | ErrorCode::InvalidBar
        | ErrorCode::InvalidBacktest
        | ErrorCode::EncodingFailed => StatusCode::BAD_REQUEST,
        ErrorCode::TooLarge | ErrorCode::TooManyItems => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::UnsupportedMethod => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Timeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::Unavailable | ErrorCode::ModelMissing | ErrorCode::FaultInjected | ErrorCode::NoWorker => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::NotThisNode => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::Panicked
        | ErrorCode::Unresponsive
        | ErrorCode::OriginalDead
        | ErrorCode::Internal
        | ErrorCode::RetriesExhausted => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
