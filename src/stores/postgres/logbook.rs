//! Log lines and events on their way to the schema `logging`: queued, written in batches, dropped rather than waited for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use tokio::sync::{broadcast, mpsc};
use tokio_postgres::types::{ToSql, Type};

use super::array::{Array, Int8, Text, Time, Verbatim};
use super::columns::whole_micros;
use super::error::Failure;
use super::partitions::Partitions;
use super::pool::{Lease, Pools};
use super::sql::{escape, escape_option, json};
use crate::messages::event::{Event, EventBus, EventKind};
use crate::stores::documents::StoreError;
use crate::telemetry::metrics::logbook_dropped;
use crate::telemetry::tap::{LogLine, LogTap};

/// Most lines or events of one batch.
const BATCH: usize = 1000;
/// How long the first of a batch waits for others.
const LINGER: Duration = Duration::from_millis(500);
/// How long a batch may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts to write a batch, with a pause of [`PAUSE`] in between; then it is dropped.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);
/// Pause between two looks at the bus: short enough that its 4096 events last for 200,000 a second.
const CARRY_EVERY: Duration = Duration::from_millis(20);

const LINES: &str = "INSERT INTO logging.log_entries (at, level, target, message, correlation_id, fields, daemon)
    SELECT at, level, target, message, correlation_id, fields::json, $7
    FROM unnest($1, $2, $3, $4, $5, $6) AS t (at, level, target, message, correlation_id, fields)";
const EVENTS: &str = "INSERT INTO logging.events (at, kind, document_id, correlation_id, sequence, body, daemon)
    SELECT at, kind, document_id, correlation_id, sequence, body::json, $7
    FROM unnest($1, $2, $3, $4, $5, $6) AS t (at, kind, document_id, correlation_id, sequence, body)";

/// The queues' ends.
pub(super) struct Logbook {
    lines: mpsc::Receiver<LogLine>,
    events: mpsc::Receiver<Arc<Event>>,
    partitions: Partitions,
    /// Host and process id.
    daemon: String,
}

impl Logbook {
    /// Attaches to the running log and to the bus; the second part carries events from the bus to the queue.
    pub(super) fn attach(
        tap: &LogTap,
        bus: &EventBus,
        capacity: usize,
        verdicts: bool,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (line_queue, lines) = mpsc::channel(capacity);
        tap.attach(line_queue);
        let (event_queue, events) = mpsc::channel(capacity);
        let (_, watch) = bus.subscribe(None);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let daemon = format!("{}/{}", host.trim(), std::process::id());
        (Self { lines, events, partitions: Partitions::default(), daemon }, carry(watch, event_queue, verdicts))
    }

    /// Writes for ever.
    pub(super) async fn keep(mut self, pools: Arc<Pools>) {
        let (mut lines, mut events) = (Vec::new(), Vec::new());
        let mut open = (true, true);
        while open.0 || open.1 {
            tokio::select! {
                got = self.lines.recv_many(&mut lines, BATCH), if open.0 => open.0 = got > 0,
                got = self.events.recv_many(&mut events, BATCH), if open.1 => open.1 = got > 0,
            }
            self.gather(&mut lines, &mut events).await;
            self.write(&pools, &lines, &events).await;
            lines.clear();
            events.clear();
        }
    }

    /// Waits a moment for more.
    async fn gather(&mut self, lines: &mut Vec<LogLine>, events: &mut Vec<Arc<Event>>) {
        let full = tokio::time::sleep(LINGER);
        tokio::pin!(full);
        while lines.len() < BATCH && events.len() < BATCH {
            tokio::select! {
                () = &mut full => return,
                1.. = self.lines.recv_many(lines, BATCH) => {}
                1.. = self.events.recv_many(events, BATCH) => {}
                else => return,
            }
        }
    }

    async fn write(&mut self, pools: &Pools, lines: &[LogLine], events: &[Arc<Event>]) {
        let mut attempt = 1;
        loop {
            let result = tokio::time::timeout(TIMEOUT, self.write_once(pools, lines, events)).await;
            let error = match result {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure.into_store(pools.logging.address()),
                Err(_) => StoreError::Unavailable(format!("no answer within {} s", TIMEOUT.as_secs())),
            };
            if attempt == ATTEMPTS || !error.is_retriable() {
                tracing::warn!(%error, lines = lines.len(), events = events.len(), "log entries are not kept");
                logbook_dropped("line", lines.len() as u64);
                logbook_dropped("event", events.len() as u64);
                return;
            }
            attempt += 1;
            tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    async fn write_once(&mut self, pools: &Pools, lines: &[LogLine], events: &[Arc<Event>]) -> Result<(), Failure> {
        let days: Vec<NaiveDate> = lines
            .iter()
            .map(|line| line.at)
            .chain(events.iter().map(|event| event.at))
            .map(|at| at.date_naive())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let lease = pools.logging.lease().await?;
        let done = async {
            self.partitions.ensure(&lease, days).await?;
            insert_lines(&lease, lines, &self.daemon).await?;
            insert_events(&lease, events, &self.daemon).await
        };
        match done.await {
            Ok(()) => {
                lease.finish();
                Ok(())
            }
            Err(failure) => {
                // a partition may have been dropped by hand
                self.partitions = Partitions::default();
                lease.settle(&failure).await;
                Err(failure)
            }
        }
    }
}

/// Carries events from the bus, which forgets those of a slow watcher, to the queue, which drops the newest.
async fn carry(mut watch: broadcast::Receiver<Arc<Event>>, queue: mpsc::Sender<Arc<Event>>, verdicts: bool) {
    loop {
        match watch.recv().await {
            Ok(event) => {
                enqueue(&queue, event, verdicts);
                while let Ok(event) = watch.try_recv() {
                    enqueue(&queue, event, verdicts);
                }
                // a wake-up for each event would cost more than the event
                tokio::time::sleep(CARRY_EVERY).await;
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => logbook_dropped("event", missed),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn enqueue(queue: &mpsc::Sender<Arc<Event>>, event: Arc<Event>, verdicts: bool) {
    let kept = match &event.kind {
        EventKind::Metrics { .. } => false,
        EventKind::Verdict { .. } => verdicts,
        _ => true,
    };
    if kept && let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(event) {
        logbook_dropped("event", 1);
    }
}

async fn insert_lines(lease: &Lease, lines: &[LogLine], daemon: &str) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    let at: Vec<DateTime<Utc>> = lines.iter().map(|line| whole_micros(line.at)).collect();
    let level: Vec<&str> = lines.iter().map(|line| line.level).collect();
    let target: Vec<&str> = lines.iter().map(|line| line.target.as_str()).collect();
    let message: Vec<_> = lines.iter().map(|line| escape(&line.message)).collect();
    let correlation: Vec<_> = lines.iter().map(|line| escape_option(line.correlation_id.as_ref())).collect();
    let fields = lines.iter().map(|line| json(&line.fields)).collect::<Result<Vec<_>, _>>()?;
    let types = [
        Type::TIMESTAMPTZ_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT,
    ];
    let values: [&(dyn ToSql + Sync); 7] = [&at, &level, &target, &message, &correlation, &fields, &daemon];
    lease.session().query(LINES, &types, &values).await?;
    Ok(())
}

async fn insert_events(lease: &Lease, events: &[Arc<Event>], daemon: &str) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let rows = events.len();
    let (mut at, mut sequence) = (Array::<Time>::with_rows(rows), Array::<Int8>::with_rows(rows));
    let (mut kind, mut body) = (Array::<Verbatim>::with_rows(rows), Array::<Verbatim>::with_rows(rows));
    let (mut document, mut correlation) = (Array::<Text>::with_rows(rows), Array::<Text>::with_rows(rows));
    for event in events {
        let (document_id, correlation_id) = ids(&event.kind);
        at.push(&event.at);
        kind.push(event.kind.name());
        document.push_option(document_id);
        correlation.push_option(correlation_id);
        sequence.push(&event.sequence.cast_signed());
        body.push_json(&event.kind)?;
    }
    let types = [
        Type::TIMESTAMPTZ_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT,
    ];
    let values: [&(dyn ToSql + Sync); 7] = [&at, &kind, &document, &correlation, &sequence, &body, &daemon];
    lease.session().query(EVENTS, &types, &values).await?;
    Ok(())
}

fn ids(kind: &EventKind) -> (Option<&str>, Option<&str>) {
    match kind {
        EventKind::Verdict { document_id, correlation_id, .. } => (Some(document_id), Some(correlation_id.as_str())),
        EventKind::DeadLetter { document_id, correlation_id, .. } => (document_id.as_deref(), Some(correlation_id)),
        _ => (None, None),
    }
}
