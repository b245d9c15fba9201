//! `POST /v1/documents` and `POST /v1/bars`: records in, answered after the log's acknowledgement.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use crate::kafka::log::LogError;
use crate::messages::bar;
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::correlation::{CorrelationId, MAX_CORRELATION_BYTES};
use crate::messages::record::{CORRELATION_HEADER, Header, NewRecord};
use crate::telemetry::events::IntakeRefused;
use crate::web::app::{App, AppState};
use crate::web::body::{self, Received};
use crate::web::error::{ApiError, ApiResult};
use crate::web::items::{self, Items};
use crate::web::media::BodyKind;

/// Records in one call of the log: one acknowledgement for many, yet a bound on what one call holds.
const RECORDS_PER_APPEND: usize = 500;
/// Bodies up to this size are checked where they are; larger ones on the blocking pool.
const INLINE_BYTES: usize = 32 * 1024;
/// W3C trace context: passed on as it is.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// A record the log has.
#[derive(Debug, Serialize)]
struct Accepted {
    index: usize,
    id: String,
    correlation_id: String,
}

/// A record that was not taken, and why.
#[derive(Debug, Serialize)]
struct Rejected {
    index: usize,
    code: ErrorCode,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// The answer: what was taken and what was not.
#[derive(Debug, Default, Serialize)]
struct Receipt {
    accepted: Vec<Accepted>,
    rejected: Vec<Rejected>,
    /// Why the log did not take some of the valid records; decides the status when it took none.
    #[serde(skip)]
    log_error: Option<ApiError>,
}

impl Receipt {
    fn reject(&mut self, index: usize, rejection: Rejection) {
        let Rejection { code, field, message } = rejection;
        self.rejected.push(Rejected { index, code, message, field });
    }
}

/// A valid record, ready for the log.
struct Checked {
    index: usize,
    name: Name,
    correlation_id: CorrelationId,
    value: Bytes,
}

/// What a record is called.
struct Name {
    /// Told to the sender.
    id: String,
    /// Chooses the partition.
    key: Bytes,
}

/// Checks one record as its source will.
type Check = Arc<dyn Fn(&[u8]) -> Result<Name, Rejection> + Send + Sync>;

/// One kind of record and where it goes.
struct Intake {
    topic: Arc<str>,
    check: Check,
    /// In words, for errors.
    plural: &'static str,
}

/// `POST /v1/documents`
pub(crate) async fn post(
    State(app): State<AppState>,
    correlation_id: Extension<CorrelationId>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let decode = app.api.decode.clone();
    let check: Check = Arc::new(move |bytes| {
        let id = decode(bytes)?.id;
        Ok(Name { id: id.to_string(), key: Bytes::copy_from_slice(id.as_bytes()) })
    });
    let intake = Intake { topic: app.api.documents_topic.clone(), check, plural: "documents" };
    intake.take(&app, correlation_id, &headers, body).await
}

/// `POST /v1/bars`
pub(crate) async fn post_bars(
    State(app): State<AppState>,
    correlation_id: Extension<CorrelationId>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let check: Check = Arc::new(|bytes| {
        let bar = bar::decode(bytes)?;
        Ok(Name { id: bar.id(), key: Bytes::copy_from_slice(bar.symbol.as_bytes()) })
    });
    let intake = Intake { topic: app.api.bars_topic.clone(), check, plural: "bars" };
    intake.take(&app, correlation_id, &headers, body).await
}

impl Intake {
    /// Takes one object, an array or lines.
    async fn take(
        self,
        app: &App,
        Extension(correlation_id): Extension<CorrelationId>,
        headers: &HeaderMap,
        body: Body,
    ) -> ApiResult<Response> {
        let kind = BodyKind::of(headers)?;
        let _place = app.admit()?;
        refuse_over_backlog(app).await?;
        let received = body::read(app, headers, body).await?;
        let (checked, mut receipt) = check(app, &self, &received, kind, correlation_id).await?;
        append(app, &self, checked, &trace_headers(headers), &mut receipt).await;
        answer(receipt, self.plural)
    }
}

async fn refuse_over_backlog(app: &App) -> ApiResult<()> {
    let limit = app.api.http.max_backlog_records;
    if limit == 0 {
        return Ok(());
    }
    let backlog = app.api.operations.measure_backlog().await.unwrap_or_else(|| app.api.operations.backlog());
    if backlog < limit {
        return Ok(());
    }
    let reason = format!("{backlog} records wait to be processed (http.max_backlog_records is {limit})");
    let retry_after = Duration::from_secs(app.api.http.retry_after_seconds);
    IntakeRefused { intake: "http", code: ErrorCode::Overloaded, reason: &reason, retry_after }.emit();
    Err(app.overloaded(reason))
}

async fn check(
    app: &App,
    intake: &Intake,
    received: &Received,
    kind: BodyKind,
    correlation_id: CorrelationId,
) -> ApiResult<(Vec<Checked>, Receipt)> {
    let (check, plural) = (intake.check.clone(), intake.plural);
    let max = app.api.http.max_batch;
    let bytes = received.bytes.clone();
    let work = move || -> ApiResult<(Vec<Checked>, Receipt)> {
        let items = items::split(&bytes, kind, max, plural)?;
        Ok(check_items(&check, items, &correlation_id))
    };
    if received.bytes.len() <= INLINE_BYTES {
        return work();
    }
    let crashed = |_| ApiError::new(ErrorCode::Internal, format!("checking the {plural} crashed"));
    tokio::task::spawn_blocking(work).await.map_err(crashed)?
}

fn check_items(check: &Check, items: Items, request: &CorrelationId) -> (Vec<Checked>, Receipt) {
    let Items { items, single } = items;
    let mut checked = Vec::with_capacity(items.len());
    let mut receipt = Receipt::default();
    for (index, value) in items.into_iter().enumerate() {
        match check(&value) {
            Ok(name) => {
                let correlation_id = if single { request.clone() } else { item_correlation(request, index) };
                checked.push(Checked { index, name, correlation_id, value });
            }
            Err(rejection) => receipt.reject(index, rejection),
        }
    }
    (checked, receipt)
}

/// The id of one record of a list: the request's id, `-` and the index; a random one where that would be too long.
fn item_correlation(request: &CorrelationId, index: usize) -> CorrelationId {
    let text = format!("{request}-{index}");
    debug_assert!(request.as_str().len() <= MAX_CORRELATION_BYTES);
    CorrelationId::parse(&text).unwrap_or_else(CorrelationId::random)
}

fn trace_headers(headers: &HeaderMap) -> Vec<Header> {
    let passed =
        |name: &str| headers.get(name).map(|value| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes())));
    TRACE_HEADERS.iter().filter_map(|name| passed(name)).collect()
}

/// Appends in chunks; the first chunk that fails ends it, and what the log has not acknowledged is rejected.
async fn append(app: &App, intake: &Intake, checked: Vec<Checked>, trace: &[Header], receipt: &mut Receipt) {
    let mut rest = checked.into_iter().peekable();
    while rest.peek().is_some() {
        let chunk: Vec<Checked> = rest.by_ref().take(RECORDS_PER_APPEND).collect();
        let records = chunk.iter().map(|checked| record(&intake.topic, checked, trace)).collect();
        match append_chunk(app, records).await {
            Ok(()) => receipt.accepted.extend(chunk.into_iter().map(|checked| Accepted {
                index: checked.index,
                id: checked.name.id,
                correlation_id: checked.correlation_id.to_string(),
            })),
            Err(error) => {
                for checked in chunk.into_iter().chain(rest.by_ref()) {
                    receipt.reject(checked.index, error.rejection().clone());
                }
                receipt.log_error = Some(error);
            }
        }
    }
    receipt.rejected.sort_by_key(|rejected| rejected.index);
}

fn record(topic: &Arc<str>, checked: &Checked, trace: &[Header]) -> NewRecord {
    let correlation = Bytes::copy_from_slice(checked.correlation_id.as_str().as_bytes());
    let mut headers = vec![(CORRELATION_HEADER.to_owned(), correlation)];
    headers.extend_from_slice(trace);
    NewRecord {
        topic: Arc::clone(topic),
        partition: None,
        timestamp_ms: None,
        key: Some(checked.name.key.clone()),
        value: checked.value.clone(),
        headers,
    }
}

async fn append_chunk(app: &App, records: Vec<NewRecord>) -> ApiResult<()> {
    let http = &app.api.http;
    let seconds = http.append_timeout_seconds;
    match tokio::time::timeout(Duration::from_secs(seconds), app.api.log.append(records)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            if matches!(error, LogError::Failed(_) | LogError::UnknownTopic(_) | LogError::UnknownPartition { .. }) {
                tracing::error!(%error, "log refused records");
            }
            Err(ApiError::of_log(&error, http.retry_after_seconds))
        }
        Err(_) => {
            let message = format!(
                "the log did not acknowledge in {seconds} s (http.append_timeout_seconds); sending again is safe"
            );
            Err(ApiError::new(ErrorCode::Unavailable, message).with_retry_after(http.retry_after_seconds))
        }
    }
}

/// 202 if the log has at least one record; else the log's own status, or 400 when every record is invalid.
fn answer(mut receipt: Receipt, plural: &str) -> ApiResult<Response> {
    if !receipt.accepted.is_empty() {
        return Ok((StatusCode::ACCEPTED, Json(receipt)).into_response());
    }
    let error = match (receipt.log_error.take(), receipt.rejected.as_slice()) {
        (Some(error), _) => error,
        (None, []) => ApiError::new(ErrorCode::InvalidJson, format!("the body has no {plural}")),
        (None, [only]) => rejected_error(only, only.message.clone()),
        (None, [first, rest @ ..]) => {
            let message = format!("all {} {plural} are invalid; the first: {}", rest.len() + 1, first.message);
            rejected_error(first, message).with_status(StatusCode::BAD_REQUEST)
        }
    };
    match serde_json::to_value(&receipt) {
        Ok(serde_json::Value::Object(beside)) => Err(error.with_beside(beside)),
        Ok(_) | Err(_) => Err(error),
    }
}

fn rejected_error(rejected: &Rejected, message: String) -> ApiError {
    ApiError::from(Rejection { code: rejected.code, field: rejected.field.clone(), message })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn items_get_ids_of_their_own_even_under_the_longest_request_id() {
        let short = CorrelationId::parse("abc").unwrap();
        assert_eq!(item_correlation(&short, 7).as_str(), "abc-7");
        let long = CorrelationId::parse(&"x".repeat(MAX_CORRELATION_BYTES)).unwrap();
        assert_ne!(item_correlation(&long, 0), item_correlation(&long, 1));
    }
}
