//! `GET /v1/stream`: live events as server-sent events.
//!
//! Each watcher reads from the bounded bus; one that falls behind is told how much it missed and dropped, and one whose
//! connection takes nothing is cut by the write deadline. `Last-Event-ID` resumes from the kept history.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::messages::event::{Event, EventKind};
use crate::web::app::{App, AppState};
use crate::web::error::ApiResult;
use crate::web::parameters::{Parameters, invalid};
use crate::web::routes::STREAM_PARAMETERS;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const COUNTS_TIMEOUT: Duration = Duration::from_secs(1);
const TYPES: [&str; 6] = ["verdict", "dead_letter", "actor_restarted", "config_reloaded", "job", "metrics"];

/// One client.
struct Watcher {
    receiver: Receiver<Arc<Event>>,
    /// Events to send before those of the receiver.
    first: VecDeque<Arc<Event>>,
    /// Only these kinds; empty for all.
    types: Vec<String>,
    stopping: CancellationToken,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// Streams until the client goes, falls behind, or the daemon stops.
pub(crate) async fn stream(
    State(app): State<AppState>,
    headers: HeaderMap,
    parameters: Parameters,
) -> ApiResult<Response> {
    let types = wanted(&parameters.only(STREAM_PARAMETERS)?)?;
    let place = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        app.overloaded(format!("{} watchers are here already (http.stream_clients)", app.api.http.stream_clients))
    })?;
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (missed, receiver) = app.api.events.subscribe(after);
    let mut first = VecDeque::from(missed);
    let now = Event {
        sequence: after.unwrap_or_else(|| app.api.events.last_sequence()),
        at: chrono::Utc::now(),
        kind: snapshot(&app).await,
    };
    first.push_front(Arc::new(now));
    let stopping = app.api.stopping.clone();
    let watcher = Watcher { receiver, first, types, stopping, ended: false, _place: place };
    let headers = [("x-accel-buffering", "no")];
    Ok((headers, Sse::new(messages(watcher)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response())
}

fn wanted(parameters: &Parameters) -> ApiResult<Vec<String>> {
    let Some(text) = parameters.text("types") else { return Ok(Vec::new()) };
    let types: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    match types.iter().find(|name| !TYPES.contains(&name.as_str())) {
        Some(unknown) => Err(invalid("types", format!("{unknown:?} is none of {}", TYPES.join(", ")))),
        None => Ok(types),
    }
}

fn messages(watcher: Watcher) -> impl Stream<Item = Result<Message, Infallible>> {
    stream::unfold(watcher, |mut watcher| async move {
        let message = watcher.next().await?;
        Some((Ok(message), watcher))
    })
}

impl Watcher {
    async fn next(&mut self) -> Option<Message> {
        while !self.ended {
            let event = if let Some(event) = self.first.pop_front() {
                Ok(event)
            } else {
                tokio::select! {
                    () = self.stopping.cancelled() => return None,
                    event = self.receiver.recv() => event,
                }
            };
            match event {
                Ok(event) if self.types.is_empty() || self.types.iter().any(|name| name == event.kind.name()) => {
                    return Some(message(&event));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    self.ended = true;
                    return Some(Message::default().event("dropped").data(json!({ "missed": missed }).to_string()));
                }
                Err(RecvError::Closed) => self.ended = true,
            }
        }
        None
    }
}

fn message(event: &Event) -> Message {
    let message = Message::default().event(event.kind.name()).id(event.sequence.to_string());
    // Every event is made of plain fields, so that writing it as JSON can't fail.
    message.data(serde_json::to_string(event).unwrap_or_default())
}

/// The state of everything at this moment.
pub(crate) async fn snapshot(app: &App) -> EventKind {
    let counts = tokio::time::timeout(COUNTS_TIMEOUT, app.api.documents.counts()).await.ok().and_then(Result::ok);
    let readiness = app.api.operations.readiness();
    let snapshot: Value = json!({
        "actors": app.api.operations.actors(),
        "backlog_records": app.api.operations.backlog(),
        "counts": counts,
        "vectors": app.api.vectors.len(),
        "ready": readiness.ready,
        "stopping": readiness.stopping,
        "dependencies": readiness.dependencies,
    });
    EventKind::Metrics { snapshot }
}

/// Publishes a snapshot at every interval while someone watches; ends when the daemon stops.
pub(crate) async fn publish_snapshots(app: Arc<App>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(app.api.http.stream_snapshot_ms));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.api.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if app.streams.available_permits() < app.api.http.stream_clients {
            let event = snapshot(&app).await;
            app.api.events.publish(event);
        }
    }
}
