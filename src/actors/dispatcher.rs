//! The dispatcher: claims jobs of every kind this daemon has workers for, runs their handlers on threads of their own,
//! keeps their leases alive and tells the queue how they ended.
//!
//! Signs of life go out from a task beside the loop, so that neither a slow queue nor a busy handler holds them up.

mod driver;
mod heartbeat;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::jobs::{Cause, JobContext, Jobs, RunningJob};
use crate::messages::job::{Job, JobChange};
use crate::stores::jobs::{End, JobError, Lease, Passed, Wake};
use crate::supervisors::{Backoff, Fault, ServiceContext};
use crate::telemetry::metrics;

use self::driver::{Driver, Handlers};
use super::services::Services;

/// How often the queue is asked while announcements of other processes don't come through.
const DEAF_POLL: Duration = Duration::from_millis(50);
/// How often the depth of the queues is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// Shortest wait for something that is due in time.
const SHORTEST: Duration = Duration::from_millis(1);
/// Waits while the queue is away.
const AWAY: Backoff =
    Backoff { min: Duration::from_millis(50), max: Duration::from_secs(2), healthy_after: Duration::from_secs(30) };
/// Time for the look that is going on when the daemon is told to stop.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// Time beyond the drain for telling the queue how jobs ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long a dispatcher of these settings may take to stop.
#[must_use]
pub fn drain_time(config: &crate::config::jobs::JobsConfig) -> Duration {
    Duration::from_secs(config.drain_seconds) + LAST_WORDS + Duration::from_secs(5)
}

/// Runs until asked to stop; then gives back what does not end in time.
///
/// # Errors
/// If the handlers' threads can't be had.
pub async fn run(services: Services, ctx: ServiceContext) -> Result<(), Fault> {
    dispatch(Arc::clone(&services.jobs), async move { ctx.stopping().await }).await
}

/// As [`run`], until `stopping` resolves.
///
/// # Errors
/// If the handlers' threads can't be had.
pub async fn dispatch(jobs: Arc<Jobs>, stopping: impl Future<Output = ()>) -> Result<(), Fault> {
    let handlers = Handlers::new(jobs.config().threads)
        .map_err(|error| Fault::broken(format!("no threads for handlers of jobs: {error}")))?;
    let mut wakes = jobs.queue().subscribe();
    let mut dispatcher = Dispatcher {
        looks: jobs.registry().names().map(|name| (Arc::from(name), Instant::now())).collect(),
        drivers: JoinSet::new(),
        _heart: heartbeat::start(Arc::clone(&jobs)),
        handlers,
        failures: 0,
        jobs,
    };
    dispatcher.let_go_of_left().await;
    let mut measure = tokio::time::interval(MEASURE_EVERY);
    let mut stopping = std::pin::pin!(stopping);
    loop {
        let look = dispatcher.look();
        let wait = {
            let mut look = std::pin::pin!(look);
            tokio::select! {
                biased;
                () = &mut stopping => {
                    // a claim cut off would leave its job to nobody
                    let _ = tokio::time::timeout(LAST_LOOK, look).await;
                    break;
                }
                wait = &mut look => wait,
            }
        };
        tokio::select! {
            biased;
            () = &mut stopping => break,
            wake = wakes.recv() => dispatcher.wake(wake),
            Some(ended) = dispatcher.drivers.join_next() => dispatcher.ended(ended.ok()),
            _ = measure.tick() => dispatcher.measure().await,
            () = tokio::time::sleep(wait) => {}
        }
    }
    dispatcher.drain().await;
    Ok(())
}

struct Dispatcher {
    jobs: Arc<Jobs>,
    handlers: Handlers,
    /// One per job at work; each ends with its kind.
    drivers: JoinSet<Arc<str>>,
    /// When to ask for jobs of each kind next.
    looks: HashMap<Arc<str>, Instant>,
    /// Calls in a row that the queue did not answer.
    failures: u32,
    _heart: heartbeat::Heart,
}

impl Dispatcher {
    /// A dispatcher that crashed took its handlers with it: their jobs are tried again at once, or when their leases end
    /// if the queue does not answer.
    async fn let_go_of_left(&self) {
        for job in self.jobs.take_left() {
            job.stop(Cause::Lost);
            let error = "the dispatcher was restarted".to_owned();
            let end = End::Failed { error, retry: Some(Duration::ZERO) };
            match self.jobs.queue().finish(job.lease.clone(), end).await {
                Ok(job) => self.jobs.tell(&JobChange::of(&job)),
                Err(error) => tracing::warn!(job = %job.lease.id, %error, "job waits for the end of its lease"),
            }
        }
    }

    /// Starts what can be started; how long nothing is to be done if no word comes.
    async fn look(&mut self) -> Duration {
        let now = Instant::now();
        let due: Vec<Arc<str>> =
            self.looks.iter().filter(|(_, at)| **at <= now).map(|(kind, _)| Arc::clone(kind)).collect();
        for kind in due {
            match self.fill(&kind).await {
                Ok(wait) => {
                    if std::mem::take(&mut self.failures) > 0 {
                        tracing::info!("job queue answers again");
                    }
                    self.looks.insert(kind, Instant::now() + wait);
                }
                Err(error) => return self.away(&error).await,
            }
        }
        let next = self.looks.values().min().copied();
        next.map_or(MEASURE_EVERY, |next| next.saturating_duration_since(Instant::now()).max(SHORTEST))
    }

    /// The queue did not answer: waits, and holds on to the leases before time takes them.
    async fn away(&mut self, error: &JobError) -> Duration {
        if self.failures == 0 {
            tracing::warn!(%error, "job queue is away, waiting");
        }
        self.failures = self.failures.saturating_add(1);
        heartbeat::beat(&self.jobs).await;
        AWAY.delay(self.failures).max(SHORTEST)
    }

    /// Claims jobs of a kind for its free workers; how long until the next look.
    async fn fill(&mut self, kind: &Arc<str>) -> Result<Duration, JobError> {
        let limits = self.jobs.limits(kind);
        let queue = Arc::clone(self.jobs.queue());
        if self.failures > 0 {
            // leases that ran out while the queue was away are still ours, unless somebody looks first
            heartbeat::beat(&self.jobs).await;
        }
        while self.jobs.busy(kind) < limits.workers {
            let claim = queue.claim(kind, self.jobs.worker(), self.jobs.config().lease()).await?;
            self.tell(&claim.passed);
            match claim.taken {
                Some((job, lease)) => self.start(&job, lease),
                None => return Ok(self.until_next(&claim.passed)),
            }
        }
        let passed = queue.sweep(kind).await?;
        self.tell(&passed);
        Ok(self.until_next(&passed))
    }

    fn tell(&self, passed: &Passed) {
        for change in &passed.changed {
            self.jobs.tell(change);
        }
    }

    fn until_next(&self, passed: &Passed) -> Duration {
        let poll = Duration::from_millis(self.jobs.config().poll_ms);
        let poll = if self.jobs.queue().hears_others() { poll } else { poll.min(DEAF_POLL) };
        let due = passed.next_ms.map(|at| Duration::from_millis(u64::try_from(at - passed.now_ms).unwrap_or(0)));
        due.map_or(poll, |due| due.min(poll)).max(SHORTEST)
    }

    fn start(&mut self, job: &Job, lease: Lease) {
        metrics::job_started(&job.kind, (Utc::now() - job.run_at).to_std().unwrap_or_default());
        self.jobs.tell(&JobChange::of(job));
        let running = RunningJob::new(job, lease);
        self.jobs.begin(Arc::clone(&running));
        let Some(kind) = self.jobs.registry().get(&job.kind) else { return };
        let work = kind.run(&job.payload, JobContext::new(Arc::clone(&running)));
        let handle = self.handlers.spawn(work);
        let driver = Driver { jobs: Arc::clone(&self.jobs), running, limits: self.jobs.limits(&job.kind) };
        self.drivers.spawn(driver.drive(handle));
    }

    fn wake(&mut self, wake: Result<Wake, RecvError>) {
        match wake {
            Ok(Wake::Work(kind)) => {
                if let Some(at) = self.looks.get_mut(&kind) {
                    *at = Instant::now();
                }
            }
            Ok(Wake::Cancel(id)) => self.jobs.stop(&id, Cause::CalledOff),
            // some were missed, calls to end among them: the heartbeat brings those
            Err(RecvError::Lagged(_)) => self.look_at_all(),
            Err(RecvError::Closed) => {}
        }
    }

    fn look_at_all(&mut self) {
        let now = Instant::now();
        self.looks.values_mut().for_each(|at| *at = now);
    }

    /// A worker is free: its kind is looked at again.
    fn ended(&mut self, kind: Option<Arc<str>>) {
        match kind {
            Some(kind) => {
                self.looks.insert(kind, Instant::now());
            }
            None => self.look_at_all(),
        }
    }

    async fn measure(&self) {
        let Ok(depths) = self.jobs.queue().depths().await else { return };
        for name in self.jobs.registry().names() {
            let depth = depths.iter().find(|depth| depth.kind == name);
            metrics::job_queue_depth(name, depth.map_or(0, |depth| depth.queued + depth.delayed));
        }
    }

    /// Tells every handler to end, waits, and leaves the rest to be given back by its driver.
    async fn drain(mut self) {
        let running = self.jobs.running();
        if !running.is_empty() {
            tracing::info!(jobs = running.len(), "jobs are told to end");
        }
        for job in running {
            job.stop(Cause::Draining);
        }
        let limit = Duration::from_secs(self.jobs.config().drain_seconds) + LAST_WORDS;
        let all = async { while self.drivers.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(jobs = self.drivers.len(), "jobs are left to others when their leases end");
        }
    }
}
