//! The dispatcher: handlers, failures, panics, time limits, calls to end, drain, leases. In real time, but short.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill::actors::dispatcher::dispatch;
use tidemill::actors::drill;
use tidemill::config::jobs::JobsConfig;
use tidemill::jobs::{JobFailure, Jobs, Registry};
use tidemill::messages::event::EventBus;
use tidemill::messages::job::{Job, JobState, NewJob};
use tidemill::stores::jobs::{Clock, JobQueue};
use tidemill::supervisors::Fault;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fixture::sqlite;

/// Longest any test waits.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Short waits, so that tests are.
pub fn config() -> JobsConfig {
    JobsConfig {
        lease_seconds: 1,
        backoff_min_ms: 1,
        backoff_max_ms: 20,
        cancel_grace_seconds: 1,
        drain_seconds: 1,
        workers: 4,
        ..JobsConfig::default()
    }
}

/// A queue in a file, by the real clock.
pub fn queue(config: &JobsConfig) -> (Arc<dyn JobQueue>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.sqlite3");
    let store = tidemill::config::store::StoreConfig::default();
    let queue = tidemill::stores::sqlite::jobs::SqliteJobs::open(&path, &store, config.rules(), Clock::System).unwrap();
    (Arc::new(queue), directory)
}

/// A dispatcher at work.
pub struct Running {
    pub jobs: Arc<Jobs>,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), Fault>>,
}

impl Running {
    pub fn start(queue: Arc<dyn JobQueue>, registry: Registry, config: JobsConfig) -> Self {
        let jobs = Arc::new(Jobs::new(queue, registry, config, Arc::new(EventBus::new(100))));
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let task = tokio::spawn(dispatch(jobs.clone(), async move { stopping.cancelled().await }));
        Self { jobs, stop, task }
    }

    pub async fn submit(&self, kind: &str, payload: Value) -> Arc<str> {
        self.submit_with(NewJob::new(kind, payload)).await
    }

    pub async fn submit_with(&self, job: NewJob) -> Arc<str> {
        self.jobs.submit(job).await.unwrap().job.id
    }

    /// Waits until the job is as wanted.
    pub async fn until(&self, id: &str, wanted: impl Fn(&Job) -> bool) -> Job {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let looking = async {
            loop {
                tick.tick().await;
                if let Ok(Some(job)) = self.jobs.queue().get(id).await
                    && wanted(&job)
                {
                    return job;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(job) => job,
            Err(tokio::time::error::Elapsed { .. }) => panic!("it stays {:?}", self.jobs.queue().get(id).await),
        }
    }

    pub async fn until_state(&self, id: &str, state: JobState) -> Job {
        self.until(id, |job| job.state == state).await
    }

    pub async fn drained(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

fn drills() -> Registry {
    Registry::default().register("drill", "pretends", drill::run)
}

#[tokio::test]
async fn job_runs_and_its_result_is_kept() {
    let (queue, _directory) = queue(&config());
    let running = Running::start(queue, drills(), config());
    let id = running.submit("drill", json!({})).await;
    let job = running.until_state(&id, JobState::Succeeded).await;
    assert_eq!((job.result, job.attempts), (Some(json!({ "attempt": 1 })), 1));
    assert_eq!(job.worker, None);
    running.drained().await;
}

#[tokio::test]
async fn failing_and_panicking_attempts_are_retried_then_dead() {
    let (queue, _directory) = queue(&config());
    let running = Running::start(queue, drills(), config());
    let mends = running.submit("drill", json!({ "fail_attempts": 2 })).await;
    let panics = running.submit("drill", json!({ "fail_attempts": 9, "panic": true })).await;
    let fatal = running.submit("drill", json!({ "fail_attempts": 9, "fatal": true })).await;
    assert_eq!(running.until_state(&mends, JobState::Succeeded).await.attempts, 3);
    let dead = running.until_state(&panics, JobState::Dead).await;
    assert_eq!(dead.errors.len(), 3);
    assert!(dead.errors[0].error.contains("panicked: attempt 1 fails as asked"), "{:?}", dead.errors);
    assert_eq!(running.until_state(&fatal, JobState::Dead).await.attempts, 1);
    running.drained().await;
}

#[tokio::test]
async fn long_job_outlives_its_lease_many_times_and_shows_progress() {
    let (queue, _directory) = queue(&config());
    let running = Running::start(queue, drills(), config());
    let id = running.submit("drill", json!({ "seconds": 3.5 })).await;
    let half = running.until(&id, |job| job.progress > 0.3).await;
    assert!(half.message.is_some_and(|message| message.contains("pretended")));
    let job = running.until_state(&id, JobState::Succeeded).await;
    assert_eq!((job.attempts, job.errors.len()), (1, 0));
    running.drained().await;
}

#[tokio::test]
async fn busy_handlers_do_not_hold_up_the_heartbeat() {
    let (queue, _directory) = queue(&config());
    let registry = Registry::default().register("block", "keeps its thread", async |(): (), _| {
        // stands for a handler that computes where it should not
        std::thread::park_timeout(Duration::from_millis(2500));
        Ok(Value::Null)
    });
    let running = Running::start(queue, registry, JobsConfig { threads: 1, ..config() });
    let id = running.submit_with(NewJob::new("block", Value::Null)).await;
    let other = running.submit_with(NewJob::new("block", Value::Null)).await;
    for id in [id, other] {
        assert_eq!(running.until_state(&id, JobState::Succeeded).await.attempts, 1);
    }
    running.drained().await;
}

#[tokio::test]
async fn job_called_off_while_it_runs_ends_soon() {
    let (queue, _directory) = queue(&config());
    let running = Running::start(queue, drills(), config());
    let id = running.submit("drill", json!({ "seconds": 60 })).await;
    let stubborn = running.submit("drill", json!({ "seconds": 60, "stubborn": true })).await;
    for id in [&id, &stubborn] {
        running.until_state(id, JobState::Running).await;
        running.jobs.cancel(id).await.unwrap();
    }
    for id in [&id, &stubborn] {
        assert_eq!(running.until_state(id, JobState::Cancelled).await.attempts, 1);
    }
    running.drained().await;
}

#[tokio::test]
async fn attempt_over_its_time_is_stopped_and_counts_as_failed() {
    let (queue, _directory) = queue(&config());
    let running = Running::start(queue, drills(), JobsConfig { timeout_seconds: 1, attempts: 1, ..config() });
    let id = running.submit_with(NewJob { max_attempts: 1, ..NewJob::new("drill", json!({ "seconds": 60 })) }).await;
    let dead = running.until_state(&id, JobState::Dead).await;
    assert!(dead.reason.is_some_and(|reason| reason.contains("longer than 1 s")));
    running.drained().await;
}

#[tokio::test]
async fn stopping_gives_running_jobs_back() {
    let (queue, _directory) = queue(&config());
    let running = Running::start(queue.clone(), drills(), config());
    let polite = running.submit("drill", json!({ "seconds": 60 })).await;
    let stubborn = running.submit("drill", json!({ "seconds": 60, "stubborn": true })).await;
    let quick = running.submit("drill", json!({ "seconds": 0.4, "stubborn": true })).await;
    for id in [&polite, &stubborn, &quick] {
        running.until_state(id, JobState::Running).await;
    }
    running.drained().await;
    for id in [&polite, &stubborn] {
        let job = queue.get(id).await.unwrap().unwrap();
        assert_eq!((job.state, job.attempts, job.errors.len()), (JobState::Queued, 0, 0), "given back, uncounted");
    }
    let job = queue.get(&quick).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Succeeded, "what can end in time does");
    let next = Running::start(queue, drills(), config());
    next.until_state(&polite, JobState::Running).await;
    next.drained().await;
}

#[tokio::test]
async fn workers_of_a_kind_are_bounded() {
    let (queue, _directory) = queue(&config());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let registry = Registry::default().register("count", "counts", move |(): (), _| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(30)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Value::Null)
        }
    });
    let running = Running::start(queue, registry, JobsConfig { workers: 3, ..config() });
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(running.submit_with(NewJob::new("count", Value::Null)).await);
    }
    for id in &ids {
        running.until_state(id, JobState::Succeeded).await;
    }
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    running.drained().await;
}

#[tokio::test]
async fn delayed_job_starts_within_a_tenth_of_a_second_of_its_time() {
    let (queue, _directory) = queue(&config());
    let running = Running::start(queue, drills(), JobsConfig { poll_ms: 60_000, ..config() });
    let run_at = chrono::Utc::now() + chrono::Duration::milliseconds(700);
    let id = running.submit_with(NewJob { run_at: Some(run_at), ..NewJob::new("drill", json!({})) }).await;
    let job = running.until_state(&id, JobState::Succeeded).await;
    let late = (job.started_at.unwrap() - job.run_at).num_milliseconds();
    assert!((0..500).contains(&late), "{late} ms late on a busy machine");
    running.drained().await;
}

#[tokio::test]
async fn handler_of_a_lost_lease_is_stopped_and_counts_for_nothing() {
    // another daemon, as it were, by a clock that runs ahead
    let fresh = sqlite(config().rules());
    let registry = Registry::default().register("slow", "waits", async |(): (), ctx: tidemill::jobs::JobContext| {
        ctx.stopping().await;
        Err(JobFailure::Stopped)
    });
    let running = Running::start(fresh.queue.clone(), registry, config());
    let id = running.submit_with(NewJob { max_attempts: 9, ..NewJob::new("slow", Value::Null) }).await;
    running.until_state(&id, JobState::Running).await;
    fresh.pass(Duration::from_secs(5));
    let taken = running.jobs.queue().claim("slow", "other", Duration::from_mins(10)).await.unwrap().taken;
    if let Some((_, lease)) = taken {
        running.until(&id, |_| running.jobs.running().is_empty()).await;
        let job = running.jobs.queue().get(&id).await.unwrap().unwrap();
        assert_eq!((job.state, job.worker.as_deref()), (JobState::Running, Some("other")));
        let done = tidemill::stores::jobs::End::Succeeded(Value::Null);
        assert_eq!(running.jobs.queue().finish(lease, done).await.unwrap().state, JobState::Succeeded);
    } else {
        panic!("the heartbeat should not have come between: time stands still");
    }
    running.drained().await;
}

#[tokio::test]
async fn dispatcher_that_crashed_leaves_its_jobs_to_the_next() {
    let (queue, _directory) = queue(&config());
    let running = Running::start(queue, drills(), JobsConfig { lease_seconds: 600, ..config() });
    let id = running.submit("drill", json!({ "seconds": 1 })).await;
    running.until_state(&id, JobState::Running).await;
    running.task.abort();
    let _ = running.task.await;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let jobs = running.jobs.clone();
    let task = tokio::spawn(dispatch(jobs.clone(), async move { stopping.cancelled().await }));
    let next = Running { jobs, stop, task };
    let job = next.until_state(&id, JobState::Succeeded).await;
    assert_eq!(job.attempts, 2, "long before its lease ends");
    assert!(job.errors[0].error.contains("restarted"), "{:?}", job.errors);
    next.drained().await;
}
