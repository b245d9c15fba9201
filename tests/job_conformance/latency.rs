//! From submitting to the handler's start: p50 and p99 on each backend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tidemill::config::jobs::JobsConfig;
use tidemill::jobs::{JobContext, Registry};
use tidemill::messages::job::NewJob;
use tidemill::stores::jobs::{Clock, JobQueue};
use tidemill::stores::redis::jobs::RedisJobs;
use tokio::sync::mpsc;

use crate::dispatch::{PATIENCE, Running, config, queue};
use crate::fixture::connect;
use crate::redis::{Server, program};

/// Jobs measured.
const JOBS: usize = 200;
/// The promise for the median. The tail is printed; on a machine with other work it is the machine's.
const MEDIAN: Duration = Duration::from_millis(100);

/// Submits one after the other to `here` and measures when the handler of `there` starts.
async fn measure(name: &str, here: &Running, started: &mut mpsc::Receiver<Instant>) {
    let mut times = Vec::with_capacity(JOBS);
    for _ in 0..JOBS {
        let submitted = Instant::now();
        here.submit_with(NewJob::new("note", json!({}))).await;
        let at = tokio::time::timeout(PATIENCE, started.recv()).await.unwrap().unwrap();
        times.push(at.duration_since(submitted));
    }
    times.sort_unstable();
    let (p50, p99, most) = (times[JOBS / 2], times[JOBS * 99 / 100], times[JOBS - 1]);
    println!("job dispatch on {name}: p50 {p50:.1?}, p99 {p99:.1?}, most {most:.1?} of {JOBS}");
    assert!(p50 < MEDIAN, "{name}: {p50:?}");
}

fn noting() -> (Registry, mpsc::Receiver<Instant>) {
    let (sender, receiver) = mpsc::channel(JOBS);
    let registry =
        Registry::default().register("note", "says when it starts", move |_: serde_json::Value, _: JobContext| {
            let (sender, now) = (sender.clone(), Instant::now());
            async move {
                let _ = sender.send(now).await;
                Ok(serde_json::Value::Null)
            }
        });
    (registry, receiver)
}

/// The slow fallback must not be what makes it quick.
fn announced_only() -> JobsConfig {
    JobsConfig { poll_ms: 60_000, ..config() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_starts_a_job_within_a_tenth_of_a_second() {
    let (queue, _directory) = queue(&announced_only());
    let (registry, mut started) = noting();
    let running = Running::start(queue, registry, announced_only());
    measure("sqlite", &running, &mut started).await;
    running.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_starts_a_job_of_another_daemon_within_a_tenth_of_a_second() {
    let Some(program) = program("latency::redis") else { return };
    let server = Server::start(&program, &[]);
    let redis = connect(&server.url());
    let open = || -> Arc<dyn JobQueue> { Arc::new(RedisJobs::new(redis.clone(), config().rules(), Clock::System)) };
    // one submits and has no workers, the other works
    let (registry, _) = noting();
    let here = Running::start(open(), registry, JobsConfig { workers: 0, ..announced_only() });
    let (registry, mut started) = noting();
    let there = Running::start(open(), registry, announced_only());
    let heard = async {
        while !there.jobs.queue().hears_others() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
    measure("redis, between two daemons", &here, &mut started).await;
    here.drained().await;
    there.drained().await;
}
