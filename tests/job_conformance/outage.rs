//! Redis killed, restarted, full and silent, under a dispatcher at work.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidemill::actors::drill;
use tidemill::config::jobs::JobsConfig;
use tidemill::config::redis::RedisConfig;
use tidemill::jobs::{Registry, SubmitError};
use tidemill::messages::job::{JobState, NewJob};
use tidemill::stores::jobs::{Clock, JobError, JobQueue};
use tidemill::stores::redis::Redis;
use tidemill::stores::redis::jobs::RedisJobs;

use crate::dispatch::{PATIENCE, Running, config};
use crate::redis::{Server, programs, skipped};

/// Every server program, each in a server of its own.
fn servers(test: &str) -> Vec<Server> {
    match programs() {
        Ok(found) => found.iter().map(|program| Server::start(program, &[])).collect(),
        Err(why) => {
            skipped(test, &why);
            Vec::new()
        }
    }
}

fn open(server: &Server) -> Arc<dyn JobQueue> {
    let redis =
        RedisConfig { url: server.url(), command_timeout_ms: 500, backoff_max_ms: 200, ..RedisConfig::default() };
    Arc::new(RedisJobs::new(Redis::open(&redis).unwrap(), config().rules(), Clock::System))
}

fn drills() -> Registry {
    Registry::default().register("drill", "pretends", drill::run)
}

#[tokio::test]
async fn redis_killed_and_restarted_while_jobs_run_loses_none_and_repeats_none() {
    for mut server in servers("outage::redis_killed_and_restarted") {
        let settings = JobsConfig { lease_seconds: 20, ..config() };
        let running = Running::start(open(&server), drills(), settings);
        let long = running.submit("drill", json!({ "seconds": 1.5 })).await;
        let later = running.submit_with(NewJob {
            run_at: Some(chrono::Utc::now() + chrono::Duration::seconds(1)),
            ..NewJob::new("drill", json!({}))
        });
        let later = later.await;
        running.until_state(&long, JobState::Running).await;
        server.kill();
        let refused = running.jobs.submit(NewJob::new("drill", json!({}))).await;
        assert!(matches!(refused, Err(SubmitError::Queue(JobError::Unavailable(_)))), "{refused:?}");
        // the job ends while nobody can be told
        tokio::time::timeout(PATIENCE, async {
            while running.jobs.running().iter().any(|job| !job.has_ended()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        server.restart();
        for id in [&long, &later] {
            let job = running.until_state(id, JobState::Succeeded).await;
            assert_eq!((job.attempts, job.errors.len()), (1, 0), "once");
        }
        let after = running.submit("drill", json!({})).await;
        running.until_state(&after, JobState::Succeeded).await;
        running.drained().await;
    }
}

#[tokio::test]
async fn redis_that_is_silent_for_less_than_a_lease_costs_no_attempt() {
    for server in servers("outage::redis_that_is_silent") {
        let running = Running::start(open(&server), drills(), JobsConfig { lease_seconds: 6, ..config() });
        let long = running.submit("drill", json!({ "seconds": 3 })).await;
        running.until_state(&long, JobState::Running).await;
        server.pause();
        let silent = running.jobs.queue().check().await;
        assert!(matches!(silent, Err(JobError::Unavailable(_))), "{silent:?}");
        server.resume();
        let job = running.until_state(&long, JobState::Succeeded).await;
        assert_eq!(job.attempts, 1);
        running.drained().await;
    }
}

#[tokio::test]
async fn redis_without_memory_takes_no_jobs_and_finishes_those_it_has() {
    for server in servers("outage::redis_without_memory") {
        let running = Running::start(open(&server), drills(), config());
        let id = running.submit("drill", json!({ "seconds": 0.5 })).await;
        running.until_state(&id, JobState::Running).await;
        server.command("CONFIG SET maxmemory 1");
        let refused = running.jobs.submit(NewJob::new("drill", json!({}))).await;
        assert!(
            matches!(&refused, Err(SubmitError::Queue(JobError::Unavailable(said))) if said.contains("OOM")),
            "{refused:?}"
        );
        running.until_state(&id, JobState::Succeeded).await;
        server.command("CONFIG SET maxmemory 0");
        let id = running.submit("drill", json!({})).await;
        running.until_state(&id, JobState::Succeeded).await;
        running.drained().await;
    }
}
