//! Random histories against a model so simple that it can be read: a list of jobs, looked through from the start.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use tidemill::messages::job::{JobState, NewJob};
use tidemill::stores::jobs::{Beat, End, Held, JobError, Lease, QueueRules};

use crate::fixture::{Fresh, KIND, START, failed, job, quick_redis, redis_at, sqlite};

/// Long enough that nothing is forgotten.
const RULES: QueueRules = QueueRules {
    aging: Duration::from_secs(10),
    keep_finished: 1000,
    keep_dead: 1000,
    keep_for: Duration::from_secs(1_000_000),
};
const AGING_MS: i64 = 10_000;
const LEASE_MS: i64 = 20_000;
const LEASE_TIME: Duration = Duration::from_secs(20);
/// Jobs that may wait.
const CAPACITY: usize = 6;

/// One step of a history; numbers choose among the jobs and leases there are.
#[derive(Debug, Clone)]
enum Step {
    Add { priority: u8, delay: i64, ttl: Option<i64>, key: Option<u8>, max_attempts: u32 },
    Pass(i64),
    Claim,
    Beat(usize),
    Succeed(usize),
    Fail(usize, Option<u64>),
    GiveBack(usize),
    EndCancelled(usize),
    Cancel(usize),
    Replay(usize),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..1000_usize;
    let delay = prop_oneof![3 => Just(0), 1 => 1..30_000_i64];
    let ttl = proptest::option::weighted(0.3, 1..40_000_i64);
    let key = proptest::option::weighted(0.4, 0..3_u8);
    prop_oneof![
        6 => (0..10_u8, delay, ttl, key, 1..4_u32)
            .prop_map(|(priority, delay, ttl, key, max_attempts)| Step::Add { priority, delay, ttl, key, max_attempts }),
        4 => prop_oneof![1..5_000_i64, Just(LEASE_MS), 1..60_000_i64].prop_map(Step::Pass),
        6 => Just(Step::Claim),
        2 => any.clone().prop_map(Step::Beat),
        3 => any.clone().prop_map(Step::Succeed),
        3 => (any.clone(), proptest::option::weighted(0.8, 0..20_u64)).prop_map(|(at, wait)| Step::Fail(at, wait)),
        1 => any.clone().prop_map(Step::GiveBack),
        1 => any.clone().prop_map(Step::EndCancelled),
        2 => any.clone().prop_map(Step::Cancel),
        2 => any.prop_map(Step::Replay),
        1 => Just(Step::Sweep),
    ]
}

#[derive(Debug, Clone)]
struct Modelled {
    id: String,
    state: JobState,
    priority: i64,
    key: Option<u8>,
    run_at: i64,
    ttl: Option<i64>,
    expires: Option<i64>,
    attempts: u32,
    max_attempts: u32,
    lease_ends: i64,
    fence: u64,
    called_off: bool,
    errors: usize,
    replays: u32,
}

impl Modelled {
    fn waits(&self) -> bool {
        matches!(self.state, JobState::Queued | JobState::Delayed)
    }

    fn line_up(&mut self, now: i64) {
        self.state = if self.run_at > now { JobState::Delayed } else { JobState::Queued };
    }

    fn attempt_failed(&mut self, now: i64, run_at: Option<i64>) {
        self.errors += 1;
        if self.called_off {
            self.state = JobState::Cancelled;
        } else if self.attempts >= self.max_attempts {
            self.state = JobState::Dead;
        } else {
            self.run_at = run_at.unwrap_or(self.run_at);
            self.line_up(now);
        }
    }
}

/// What should be true.
struct Model {
    now: i64,
    jobs: Vec<Modelled>,
    /// Every lease ever given.
    leases: Vec<Lease>,
}

impl Model {
    fn advance(&mut self) {
        let now = self.now;
        for job in &mut self.jobs {
            if job.waits() && job.expires.is_some_and(|at| at <= now) {
                job.state = JobState::Skipped;
                job.expires = None;
            }
            if job.state == JobState::Running && job.lease_ends <= now {
                job.attempt_failed(now, None);
            }
            if job.state == JobState::Delayed && job.run_at <= now {
                job.state = JobState::Queued;
            }
        }
    }

    fn first(&self) -> Option<usize> {
        let queued = self.jobs.iter().enumerate().filter(|(_, job)| job.state == JobState::Queued);
        queued.min_by_key(|(index, job)| (job.run_at - job.priority * AGING_MS, *index)).map(|(index, _)| index)
    }

    fn waiting(&self) -> usize {
        self.jobs.iter().filter(|job| job.waits()).count()
    }

    fn holder(&self, key: Option<u8>) -> Option<usize> {
        self.jobs.iter().position(|job| key.is_some() && job.key == key && !job.state.is_finished())
    }

    /// The job of a lease, if the lease still is one.
    fn held(&mut self, lease: &Lease) -> Option<&mut Modelled> {
        self.jobs
            .iter_mut()
            .find(|job| *job.id == *lease.id && job.state == JobState::Running && job.fence == lease.fence)
    }
}

fn ms(at: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_millis(at).unwrap()
}

/// Does a step to both and compares the answers.
async fn both(step: &Step, model: &mut Model, fresh: &Fresh) {
    match step {
        Step::Add { .. } => add(step, model, fresh).await,
        Step::Pass(time) => {
            model.now += time;
            fresh.pass(Duration::from_millis(time.unsigned_abs()));
        }
        Step::Claim => claim(model, fresh).await,
        Step::Beat(at) => beat(model, fresh, *at).await,
        Step::Succeed(at) => {
            finish(model, fresh, *at, End::Succeeded(Value::Null), |job, _| job.state = JobState::Succeeded).await;
        }
        Step::Fail(at, wait) => {
            finish(model, fresh, *at, failed("no", *wait), |job, now| {
                if let Some(wait) = wait {
                    job.attempt_failed(now, Some(now + i64::try_from(*wait).unwrap() * 1000));
                } else {
                    job.errors += 1;
                    job.state = if job.called_off { JobState::Cancelled } else { JobState::Dead };
                }
            })
            .await;
        }
        Step::GiveBack(at) => {
            finish(model, fresh, *at, End::GivenBack, |job, now| {
                if job.called_off {
                    job.state = JobState::Cancelled;
                } else {
                    job.attempts -= 1;
                    job.line_up(now);
                }
            })
            .await;
        }
        Step::EndCancelled(at) => {
            finish(model, fresh, *at, End::Cancelled, |job, _| job.state = JobState::Cancelled).await;
        }
        Step::Cancel(at) => cancel(model, fresh, *at).await,
        Step::Replay(at) => replay(model, fresh, *at).await,
        Step::Sweep => {
            fresh.queue.sweep(KIND).await.unwrap();
            model.advance();
        }
    }
}

async fn add(step: &Step, model: &mut Model, fresh: &Fresh) {
    let Step::Add { priority, delay, ttl, key, max_attempts } = step else { return };
    let new = NewJob {
        priority: *priority,
        run_at: (*delay > 0).then(|| ms(model.now + delay)),
        ttl_ms: *ttl,
        key: key.map(|key| key.to_string()),
        max_attempts: *max_attempts,
        ..job()
    };
    let answer = fresh.queue.enqueue(new.clone(), CAPACITY as u64).await;
    if let Some(holder) = model.holder(*key) {
        let answer = answer.unwrap();
        assert_eq!((answer.existing, &*answer.job.id), (true, model.jobs[holder].id.as_str()));
        return;
    }
    if model.waiting() >= CAPACITY {
        assert_eq!(answer, Err(JobError::Full { kind: KIND.into(), capacity: CAPACITY as u64 }));
        return;
    }
    assert!(!answer.unwrap().existing);
    let mut added = Modelled {
        id: new.id.to_string(),
        state: JobState::Queued,
        priority: i64::from(*priority),
        key: *key,
        run_at: model.now + delay,
        ttl: *ttl,
        expires: ttl.map(|ttl| model.now + delay + ttl),
        attempts: 0,
        max_attempts: *max_attempts,
        lease_ends: 0,
        fence: 0,
        called_off: false,
        errors: 0,
        replays: 0,
    };
    added.line_up(model.now);
    model.jobs.push(added);
}

async fn claim(model: &mut Model, fresh: &Fresh) {
    let taken = fresh.queue.claim(KIND, "w", LEASE_TIME).await.unwrap().taken;
    model.advance();
    let first = model.first();
    let expected = first.map(|index| model.jobs[index].id.as_str());
    assert_eq!(taken.as_ref().map(|(job, _)| &*job.id), expected, "first in line");
    if let (Some((_, lease)), Some(index)) = (taken, first) {
        let job = &mut model.jobs[index];
        job.state = JobState::Running;
        job.attempts += 1;
        job.fence += 1;
        job.expires = None;
        job.lease_ends = model.now + LEASE_MS;
        assert_eq!(lease.fence, job.fence);
        model.leases.push(lease);
    }
}

async fn beat(model: &mut Model, fresh: &Fresh, at: usize) {
    let Some(lease) = chosen(&model.leases, at) else { return };
    let beats = vec![Beat { lease: lease.clone(), progress: None }];
    let answer = fresh.queue.beat(beats, LEASE_TIME).await.unwrap();
    let until = model.now + LEASE_MS;
    let expected = model.held(&lease).map_or(Held::Lost, |job| {
        job.lease_ends = until;
        if job.called_off { Held::Cancelled } else { Held::Yes }
    });
    assert_eq!(answer, [expected]);
}

async fn cancel(model: &mut Model, fresh: &Fresh, at: usize) {
    let Some(index) = index(model.jobs.len(), at) else { return };
    let answer = fresh.queue.cancel(&model.jobs[index].id).await;
    let job = &mut model.jobs[index];
    match job.state {
        JobState::Queued | JobState::Delayed => {
            (job.state, job.expires) = (JobState::Cancelled, None);
            assert_eq!(answer.unwrap().state, JobState::Cancelled);
        }
        JobState::Running => {
            job.called_off = true;
            assert!(answer.unwrap().cancel_requested);
        }
        JobState::Succeeded | JobState::Dead | JobState::Cancelled | JobState::Skipped => {
            assert!(matches!(answer, Err(JobError::Conflict(_))));
        }
    }
}

async fn replay(model: &mut Model, fresh: &Fresh, at: usize) {
    let Some(index) = index(model.jobs.len(), at) else { return };
    let answer = fresh.queue.replay(&model.jobs[index].id, CAPACITY as u64).await;
    let (holder, waiting, now) = (model.holder(model.jobs[index].key), model.waiting(), model.now);
    let job = &mut model.jobs[index];
    if !matches!(job.state, JobState::Dead | JobState::Cancelled | JobState::Skipped) || holder.is_some() {
        assert!(matches!(answer, Err(JobError::Conflict(_))), "{answer:?}");
    } else if waiting >= CAPACITY {
        assert!(matches!(answer, Err(JobError::Full { .. })), "{answer:?}");
    } else {
        answer.unwrap();
        (job.attempts, job.called_off, job.run_at) = (0, false, now);
        job.expires = job.ttl.map(|ttl| now + ttl);
        job.replays += 1;
        job.line_up(now);
    }
}

/// Ends an attempt in both.
async fn finish(model: &mut Model, fresh: &Fresh, at: usize, end: End, change: impl Fn(&mut Modelled, i64)) {
    let Some(lease) = chosen(&model.leases, at) else { return };
    let answer = fresh.end(&lease, end).await;
    let now = model.now;
    match model.held(&lease) {
        None => assert_eq!(answer, Err(JobError::LeaseLost(lease.id))),
        Some(job) => {
            change(job, now);
            assert_eq!(answer.unwrap().state, job.state);
        }
    }
}

fn index(len: usize, at: usize) -> Option<usize> {
    (len > 0).then(|| at % len)
}

fn chosen(leases: &[Lease], at: usize) -> Option<Lease> {
    // mostly the newest: those are the ones that hold
    index(leases.len().min(4), at).map(|back| leases[leases.len() - 1 - back].clone())
}

async fn run(steps: &[Step], fresh: &Fresh) {
    let mut model = Model { now: START, jobs: Vec::new(), leases: Vec::new() };
    for step in steps {
        both(step, &mut model, fresh).await;
    }
    fresh.queue.sweep(KIND).await.unwrap();
    model.advance();
    for expected in &model.jobs {
        let found = fresh.get(&expected.id).await;
        assert_eq!(
            (found.state, found.attempts, found.replays, found.errors.len(), found.cancel_requested),
            (expected.state, expected.attempts, expected.replays, expected.errors.min(20), expected.called_off),
            "{expected:?}"
        );
        assert_eq!(found.run_at, ms(expected.run_at), "{expected:?}");
    }
    let depth = fresh.queue.depths().await.unwrap().pop();
    let waiting = depth.map_or(0, |depth| depth.queued + depth.delayed);
    assert_eq!(waiting, model.waiting() as u64);
}

fn check(cases: u32, fresh: impl Fn() -> Fresh) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..60))| {
        runtime.block_on(async { run(&steps, &fresh()).await });
    });
}

#[test]
fn sqlite_does_as_the_model() {
    check(40, || sqlite(RULES));
}

#[test]
fn redis_does_as_the_model() {
    let Some(server) = quick_redis("model::redis_does_as_the_model") else { return };
    check(100, || redis_at(&server.url(), None, RULES));
}
