//! The last events in the file, so that the history goes on where it was when the process starts again.
//!
//! Events are copied from the bus's own history now and then, and only as many as it keeps: a burst costs no more than
//! that, whatever its size. What a `kill -9` loses is what happened since the last copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::SqliteStore;
use super::verdicts::json;
use crate::messages::event::{Event, EventBus};
use crate::stores::documents::StoreError;

/// How often new events are copied.
const EVERY: Duration = Duration::from_secs(1);

/// Which events are in the file.
pub(super) struct Kept {
    bus: Arc<EventBus>,
    /// Number of the newest one.
    written: AtomicU64,
}

impl SqliteStore {
    /// Fills the bus with the events of the processes before and keeps its events from now on, until the store closes.
    ///
    /// # Errors
    /// If the file can't be read.
    pub async fn keep_events(self: &Arc<Self>, bus: &Arc<EventBus>) -> Result<(), StoreError> {
        let limit = bus.capacity();
        let known = self.workers.read(move |connection| last(connection, limit)).await?;
        bus.resume(known);
        let kept = Arc::new(Kept { bus: Arc::clone(bus), written: AtomicU64::new(bus.last_sequence()) });
        *self.events.lock() = Some(Arc::clone(&kept));
        let store = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut interval = tokio::time::interval(EVERY);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                let Some(store) = store.upgrade() else { return };
                if store.events.lock().is_none() {
                    return; // closed
                }
                if let Err(error) = store.copy_events(&kept).await {
                    tracing::warn!(%error, "events can't be kept, tried again later");
                }
            }
        });
        Ok(())
    }

    /// Copies what is new on the bus.
    pub(super) async fn copy_events(&self, kept: &Kept) -> Result<(), StoreError> {
        let written = kept.written.load(Ordering::Acquire);
        let capacity = kept.bus.capacity();
        let mut fresh = kept.bus.history(capacity);
        fresh.retain(|event| event.sequence > written);
        let Some(newest) = fresh.last().map(|event| event.sequence) else { return Ok(()) };
        let oldest = newest.saturating_sub(capacity as u64);
        self.workers.write(fresh.len(), move |connection| write(connection, &fresh, oldest)).await?;
        kept.written.fetch_max(newest, Ordering::AcqRel);
        Ok(())
    }

    /// Copies the last events before the file closes, where that can be waited for.
    pub(super) fn finish_events(&self) {
        let Some(kept) = self.events.lock().take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && let Err(error) = runtime.block_on(self.copy_events(&kept))
        {
            tracing::warn!(%error, "the last events can't be kept");
        }
    }
}

fn write(connection: &Connection, events: &[Arc<Event>], oldest: u64) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO logging_events (sequence, at_us, kind, body) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for event in events {
        insert.execute(params![
            event.sequence.cast_signed(),
            event.at.timestamp_micros(),
            event.kind.name(),
            json(event)?
        ])?;
    }
    connection.prepare_cached("DELETE FROM logging_events WHERE sequence <= ?1")?.execute([oldest.cast_signed()])?;
    Ok(())
}

/// The last events, oldest first. One that a newer program wrote and this one can't read is left out.
fn last(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Event>> {
    let mut events: Vec<Event> = Vec::new();
    let mut statement = connection.prepare_cached("SELECT body FROM logging_events ORDER BY sequence DESC LIMIT ?1")?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let body: String = row.get(0)?;
        events.extend(serde_json::from_str::<Event>(&body).ok());
    }
    events.reverse();
    Ok(events)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::store::StoreConfig;
    use crate::messages::event::EventKind;
    use crate::stores::documents::DocumentStore as _;

    fn happened(outcome: &str) -> EventKind {
        EventKind::ConfigReloaded { outcome: outcome.to_owned() }
    }

    async fn opened(path: &std::path::Path, history: usize) -> (Arc<SqliteStore>, Arc<EventBus>) {
        let store = Arc::new(SqliteStore::open(path, &StoreConfig::default()).unwrap());
        let bus = Arc::new(EventBus::new(history));
        store.keep_events(&bus).await.unwrap();
        (store, bus)
    }

    async fn close(store: Arc<SqliteStore>) {
        tokio::task::spawn_blocking(move || store.close()).await.unwrap();
    }

    #[tokio::test]
    async fn history_goes_on_after_a_restart_with_its_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite3");
        let (store, bus) = opened(&path, 10).await;
        bus.publish(happened("a"));
        bus.publish(happened("b"));
        let before = bus.history(10);
        close(store).await;
        let (store, bus) = opened(&path, 10).await;
        assert_eq!(bus.history(10), before);
        bus.publish(happened("c"));
        assert_eq!(bus.last_sequence(), 3);
        let (missed, _) = bus.subscribe(Some(1));
        assert_eq!(missed.iter().map(|event| event.sequence).collect::<Vec<_>>(), [2, 3]);
        close(store).await;
    }

    #[tokio::test]
    async fn file_keeps_no_more_than_the_bus() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite3");
        let (store, bus) = opened(&path, 3).await;
        for number in 0..9 {
            bus.publish(happened(&number.to_string()));
        }
        close(store).await;
        let connection = Connection::open(&path).unwrap();
        let (count, first): (i64, i64) = connection
            .query_row("SELECT count(*), min(sequence) FROM logging_events", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!((count, first), (3, 7));
    }
}
