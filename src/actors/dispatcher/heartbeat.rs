//! Signs of life for every job this process works on, with the progress they made.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::jobs::{Cause, Jobs};
use crate::stores::jobs::{Beat, Held};

/// How often it is looked whether a job made progress.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Signs of life within one lease.
const BEATS_PER_LEASE: u32 = 4;

/// The task; ends with this.
pub(super) struct Heart(JoinHandle<()>);

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Beats until dropped.
pub(super) fn start(jobs: Arc<Jobs>) -> Heart {
    let rhythm = jobs.config().lease() / BEATS_PER_LEASE;
    Heart(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LOOK_EVERY.min(rhythm));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            ticks.tick().await;
            let due = last.elapsed() >= rhythm.saturating_sub(LOOK_EVERY / 2);
            if (due || jobs.running().iter().any(|job| job.has_news())) && beat(&jobs).await {
                last = Instant::now();
            }
        }
    }))
}

/// Tells the queue that this process lives and how far its jobs are; false if the queue did not answer.
pub(super) async fn beat(jobs: &Jobs) -> bool {
    let running = jobs.running();
    if running.is_empty() {
        return true;
    }
    let beats: Vec<Beat> =
        running.iter().map(|job| Beat { lease: job.lease.clone(), progress: job.take_news() }).collect();
    let told: Vec<bool> = beats.iter().map(|beat| beat.progress.is_some()).collect();
    match jobs.queue().beat(beats, jobs.config().lease()).await {
        Ok(answers) => {
            for (job, held) in running.iter().zip(answers) {
                match held {
                    Held::Yes => {}
                    Held::Cancelled => job.stop(Cause::CalledOff),
                    Held::Lost => {
                        // a job that has just ended holds no lease either; its driver knows
                        if !job.has_ended() {
                            tracing::warn!(job = %job.lease.id, kind = %job.lease.kind, "lease is lost, the handler is stopped");
                            job.stop(Cause::Lost);
                        }
                    }
                }
            }
            true
        }
        Err(error) => {
            for (job, _) in running.iter().zip(told).filter(|(_, told)| *told) {
                job.keep_news();
            }
            tracing::debug!(%error, "signs of life did not reach the job queue");
            false
        }
    }
}
