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
/// How often, and how many times, is looked whether the feed is processed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const PATIENCE_LOOKS: u32 = 480;
/// How often a chunk is tried while the log is away.
const ATTEMPTS: u32 = 50;

/// Appends the feed to an empty log and says when all of it has its verdict.
pub async fn feed(services: Services) {
    let topics = [services.documents_topic.to_string()];
    let group = services.live.config.load().kafka.group.clone();
    match services.log.lag(&group, &topics).await {
        Ok(partitions) if partitions.iter().all(|partition| partition.end == 0) => {}
        Ok(_) => return tracing::info!("the log has records already, the sample is not fed again"),
        Err(error) => return tracing::warn!(%error, "sample feed can't be appended"),
    }
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
    for _ in 0..PATIENCE_LOOKS {
        tokio::time::sleep(LOOK_EVERY).await;
        if services.log.lag(&group, &topics).await.is_ok_and(|lag| lag.iter().all(|one| one.records() == 0)) {
            return announce(&services);
        }
    }
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

/// Once more where to look, below the warnings of the feed's bad records.
fn announce(services: &Services) {
    if let Ok(address) = services.sockets.http_address() {
        tracing::info!(console = %format!("http://{address}/"), "sample feed is processed, have a look");
    }
}
