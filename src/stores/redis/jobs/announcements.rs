//! Word of new jobs and of calls to end, from every daemon to every daemon, over a channel of Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::stores::jobs::{Wake, Wakes};
use crate::stores::redis::Redis;

/// How long subscribing, and an answer to a sign of life, may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a silent channel is asked for a sign of life.
const SIGN_EVERY: Duration = Duration::from_secs(2);
/// Longest wait before the channel is listened to again.
const MAX_PAUSE_MS: u64 = 2000;

/// The listener; ends with this.
pub(super) struct Announcements {
    wakes: Wakes,
    heard: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Announcements {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Announcements {
    /// Listens until dropped, again and again when the connection is lost.
    pub(super) fn listen(redis: &Redis, channel: String) -> Self {
        let (wakes, heard) = (Wakes::default(), Arc::new(AtomicBool::new(false)));
        let (told, is_heard) = (wakes.clone(), Arc::clone(&heard));
        let listening = redis.clone();
        let task = redis.spawn(async move {
            let mut failures = 0_u32;
            loop {
                match hear(&listening, &channel, &told, &is_heard).await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        tracing::debug!(error, "word of jobs is not heard");
                        failures = failures.saturating_add(1);
                    }
                }
                is_heard.store(false, Ordering::Release);
                let most = (50_u64 << failures.min(6)).min(MAX_PAUSE_MS);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=most))).await;
            }
        });
        Self { wakes, heard, task }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Wake> {
        self.wakes.subscribe()
    }

    pub(super) fn are_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }
}

/// Listens on a connection of its own until that is lost.
async fn hear(redis: &Redis, channel: &str, wakes: &Wakes, heard: &AtomicBool) -> Result<(), String> {
    let late = |_| "no answer in time".to_owned();
    let connected = tokio::time::timeout(PATIENCE, redis.pubsub()).await.map_err(late)?;
    let (mut sink, mut stream) = connected.map_err(|error| error.to_string())?.split();
    let subscribed = tokio::time::timeout(PATIENCE, sink.subscribe(channel)).await.map_err(late)?;
    subscribed.map_err(|error| error.to_string())?;
    heard.store(true, Ordering::Release);
    let mut signs = tokio::time::interval(SIGN_EVERY);
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(message) = message else { return Ok(()) };
                let text: String = message.get_payload().map_err(|error| error.to_string())?;
                match text.split_once(':') {
                    Some(("work", kind)) => wakes.tell(Wake::Work(kind.into())),
                    Some(("cancel", id)) => wakes.tell(Wake::Cancel(id.into())),
                    Some(_) | None => {}
                }
            }
            _ = signs.tick() => {
                let sign = tokio::time::timeout(PATIENCE, sink.ping::<redis::Value>()).await.map_err(late)?;
                sign.map_err(|error| error.to_string())?;
            }
        }
    }
}
