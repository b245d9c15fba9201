//! The bundled sample feed: invented headlines with copies, other languages and bad records, fed as a producer would.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::messages::record::NewRecord;

use super::services::Services;

/// One record a line, bad ones included.
const FEED: &str = include_str!("../../assets/sample_feed.ndjson");
/// Records appended at once.
const CHUNK: usize = 20;
/// How often a chunk is tried while the log is away.
const ATTEMPTS: u32 = 50;

/// Appends the feed. Feeding it again gives the same ids, so nothing is stored twice.
pub async fn feed(services: Services) {
    let records: Vec<NewRecord> = FEED
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| NewRecord {
            topic: Arc::clone(&services.documents_topic),
            partition: None,
            timestamp_ms: None,
            key: None,
            value: Bytes::from_static(line.as_bytes()),
            headers: Vec::new(),
        })
        .collect();
    let count = records.len();
    for chunk in records.chunks(CHUNK) {
        if !append(&services, chunk).await {
            return;
        }
    }
    tracing::info!(records = count, "sample feed is in the log");
}

async fn append(services: &Services, chunk: &[NewRecord]) -> bool {
    let mut wait = Duration::from_millis(50);
    for _ in 0..ATTEMPTS {
        match services.log.append(chunk.to_vec()).await {
            Ok(_) => return true,
            Err(error) if error.is_retriable() => {
                tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
                wait = (wait * 2).min(Duration::from_secs(2));
            }
            Err(error) => {
                tracing::warn!(%error, "sample feed can't be appended");
                return false;
            }
        }
    }
    tracing::warn!("sample feed given up, the log is away");
    false
}
