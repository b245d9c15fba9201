//! Fresh queues of each backend, with a clock set by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;
use tidemill::config::redis::RedisConfig;
use tidemill::config::store::StoreConfig;
use tidemill::messages::job::{Job, NewJob};
use tidemill::stores::jobs::{Claim, Clock, End, JobError, JobQueue, Lease, QueueRules};
use tidemill::stores::redis::Redis;
use tidemill::stores::redis::jobs::RedisJobs;
use tidemill::stores::sqlite::jobs::SqliteJobs;

use crate::redis::{Server, programs, skipped, targets};

/// The time a test begins at, milliseconds since the Unix epoch.
pub const START: i64 = 1_800_000_000_000;
/// The lease most tests take.
pub const LEASE: Duration = Duration::from_secs(30);
/// Enough room for every test that is not about room.
pub const ROOM: u64 = 1000;
/// The kind of most jobs.
pub const KIND: &str = "work";

/// Small numbers, so that tests reach them.
pub const RULES: QueueRules =
    QueueRules { aging: Duration::from_mins(1), keep_finished: 3, keep_dead: 2, keep_for: Duration::from_hours(1) };

type Open = Box<dyn Fn(QueueRules, Clock) -> Arc<dyn JobQueue> + Send + Sync>;

/// A queue of its own for one test.
pub struct Fresh {
    pub queue: Arc<dyn JobQueue>,
    pub clock: Arc<AtomicI64>,
    open: Open,
    /// The server or directory, for as long as the queue is used.
    keep: Box<dyn std::any::Any + Send + Sync>,
}

impl Fresh {
    pub fn new(open: Open, keep: Box<dyn std::any::Any + Send + Sync>, rules: QueueRules) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        Self { queue: open(rules, Clock::Manual(clock.clone())), clock, open, keep }
    }

    /// The same queue, opened by another process as it were.
    pub fn reopened(self) -> Self {
        let Self { queue, clock, open, keep } = self;
        drop(queue);
        Self { queue: open(RULES, Clock::Manual(clock.clone())), clock, open, keep }
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.clock.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub fn pass_seconds(&self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    pub async fn add(&self, job: NewJob) -> Job {
        self.queue.enqueue(job, ROOM).await.unwrap().job
    }

    pub async fn claim(&self, worker: &str) -> Claim {
        self.queue.claim(KIND, worker, LEASE).await.unwrap()
    }

    /// The job that is first in line.
    pub async fn take(&self) -> (Job, Lease) {
        self.claim("w1").await.taken.unwrap()
    }

    /// Ids in the order they are handed out.
    pub async fn take_all(&self) -> Vec<Arc<str>> {
        let mut taken = Vec::new();
        while let Some((job, _)) = self.claim("w1").await.taken {
            taken.push(job.id);
        }
        taken
    }

    pub async fn end(&self, lease: &Lease, end: End) -> Result<Job, JobError> {
        self.queue.finish(lease.clone(), end).await
    }

    pub async fn get(&self, id: &str) -> Job {
        self.queue.get(id).await.unwrap().unwrap()
    }
}

/// A job with nothing special.
pub fn job() -> NewJob {
    NewJob::new(KIND, json!({ "n": 1 }))
}

pub fn with_priority(priority: u8) -> NewJob {
    NewJob { priority, ..job() }
}

pub fn failed(error: &str, retry_seconds: Option<u64>) -> End {
    End::Failed { error: error.to_owned(), retry: retry_seconds.map(Duration::from_secs) }
}

pub fn sqlite(rules: QueueRules) -> Fresh {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.sqlite3");
    let open = move |rules, clock| -> Arc<dyn JobQueue> {
        Arc::new(SqliteJobs::open(&path, &StoreConfig::default(), rules, clock).unwrap())
    };
    Fresh::new(Box::new(open), Box::new(directory), rules)
}

/// A connection to a server, with keys that no other test has.
pub fn connect(url: &str) -> Redis {
    let key_prefix = format!("test-{:08x}", fastrand::u32(..));
    Redis::open(&RedisConfig { url: url.to_owned(), key_prefix, ..RedisConfig::default() }).unwrap()
}

pub fn redis_at(url: &str, keep: Option<Server>, rules: QueueRules) -> Fresh {
    let redis = connect(url);
    let open = move |rules, clock| -> Arc<dyn JobQueue> { Arc::new(RedisJobs::new(redis.clone(), rules, clock)) };
    Fresh::new(Box::new(open), Box::new(keep), rules)
}

/// Runs a case on `SQLite`.
pub async fn on_sqlite<R: Future<Output = ()>>(case: impl Fn(Fresh) -> R) {
    case(sqlite(RULES)).await;
}

/// Runs a case on every Redis there is.
pub async fn on_redis<R: Future<Output = ()>>(test: &str, case: impl Fn(Fresh) -> R) {
    for target in targets(test) {
        println!("{test} on {}", target.name);
        case(redis_at(&target.url, target.server, RULES)).await;
    }
}

/// A private server that keeps nothing over a restart, which is quicker; `None` says that the test is skipped.
pub fn quick_redis(test: &str) -> Option<Server> {
    match programs() {
        Ok(mut found) => found.pop().map(|program| Server::start_forgetful(&program)),
        Err(why) => {
            skipped(test, &why);
            None
        }
    }
}
