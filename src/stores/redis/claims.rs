//! Claims shared by all daemons of an installation: every daemon keeps the whole duplicate memory and feeds it from one
//! log in Redis.
//!
//! The memory is a function of the order of sightings alone, so daemons that apply the same log say the same. A claim is
//! appended to the log first and judged when it is applied, after everything that stands before it: of two copies in
//! flight anywhere the one that stands first is fresh, the other finds it. One round trip serves a whole batch, and the
//! server only appends and reads; what it holds is the last `dedup.capacity` sightings, for those who join.
//!
//! What is not a sighting (settled, withdrawn, redirected) takes effect here at once and goes to the log before the next
//! sighting, in the order it happened. If the log is lost, each daemon still has its memory: it publishes again what it
//! claimed lately and judges nothing until the others had time to do the same.

mod log;
mod operation;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::log::{Append, ClaimLog, Entry, Step};
use self::operation::{Operation, begin, read, write_sight};
use super::connection::Redis;
use crate::config::dedup::DedupConfig;
use crate::messages::pipeline::Sighting;
use crate::messages::record::Position;
use crate::stores::claims::{Claim, Claims};
use crate::stores::documents::StoreError;
use crate::text::near_duplicates::{DuplicateMemory, Standing};

/// How often a daemon without claims of its own reads those of others and tells what it has to tell.
const SYNC_EVERY: Duration = Duration::from_millis(250);
/// Shortest time between two such rounds.
const SYNC_AT_MOST_EVERY: Duration = Duration::from_millis(20);
/// How long what is durable counts as claimed lately.
const LATELY: Duration = Duration::from_mins(1);
/// Most claims remembered as lately made.
const MOST_LATE: usize = 200_000;
/// Claims published again at once, after a loss.
const PUBLISH_CHUNK: usize = 2000;
/// Sightings the log keeps at least: a daemon that reads more slowly would take what it missed for lost.
const LEAST_KEPT: usize = 100_000;
/// An unused log goes after the window, but not before this.
const LEAST_UNUSED_MS: i64 = 3_600_000;

/// The claims. Reading and telling in the background ends when it is dropped.
pub struct SharedClaims {
    inner: Arc<Inner>,
}

struct Inner {
    log: ClaimLog,
    memory: Mutex<DuplicateMemory>,
    /// What has to be told, in order.
    outbox: Mutex<Vec<Operation>>,
    /// Wakes the background round.
    told: Notify,
    /// One step on the log at a time.
    turn: tokio::sync::Mutex<Turn>,
    /// Whether the log could be read when last tried.
    in_step: AtomicBool,
    /// Capacity and window as they are now.
    config: Mutex<DedupConfig>,
    /// How long to wait for the others after a loss.
    grace: Duration,
}

/// Where this daemon stands in the log.
struct Turn {
    /// Id of the last entry applied; empty before the first.
    last: String,
    /// Whether the log was read to its end once.
    joined: bool,
    /// Taken from the outbox, not known to be in the log.
    untold: Vec<Operation>,
    /// An entry that may have been appended although no answer came.
    doubt: Option<Doubt>,
    /// No claims are judged before this time.
    judge_from: Option<Instant>,
    /// Own claims, oldest first.
    lately: VecDeque<(Instant, Arc<str>, Position)>,
}

/// Tells an entry, and how much of what is to be told it holds.
struct Doubt {
    number: u64,
    told: usize,
}

impl SharedClaims {
    /// Begins with what this memory holds, and reads the log as soon as the server answers.
    #[must_use]
    pub fn new(redis: &Redis, memory: DuplicateMemory, config: &DedupConfig) -> Self {
        let inner = Arc::new(Inner {
            log: ClaimLog::new(redis.clone()),
            memory: Mutex::new(memory),
            outbox: Mutex::default(),
            told: Notify::new(),
            turn: tokio::sync::Mutex::new(Turn {
                last: String::new(),
                joined: false,
                untold: Vec::new(),
                doubt: None,
                judge_from: None,
                lately: VecDeque::new(),
            }),
            in_step: AtomicBool::new(false),
            config: Mutex::new(config.clone()),
            // a daemon that was cut off, too, has looked twice by then
            grace: redis.longest_backoff() + 4 * SYNC_EVERY,
        });
        redis.background(keep_in_step(Arc::downgrade(&inner)));
        Self { inner }
    }

    fn tell(&self, operation: Operation) {
        self.inner.outbox.lock().push(operation);
        self.inner.told.notify_one();
    }
}

impl Claims for SharedClaims {
    fn claim(&self, claims: Vec<Claim>) -> BoxFuture<'_, Result<Vec<Sighting>, StoreError>> {
        async move {
            let mut turn = self.inner.turn.lock().await;
            self.inner.ready_to_judge(&mut turn).await.map_err(no_fault_of_documents)?;
            self.inner.exchange(&mut turn, &claims).await.map_err(no_fault_of_documents)
        }
        .boxed()
    }

    fn settle(&self, id: &Arc<str>, origin: &Position, root: Option<&Arc<str>>) {
        self.inner.memory.lock().settle(id, origin, root);
        self.tell(Operation::Settle { id: Arc::clone(id), origin: origin.clone(), root: root.cloned() });
    }

    fn forget(&self, id: &Arc<str>, origin: &Position) {
        self.inner.memory.lock().forget(id, origin);
        self.tell(Operation::Forget { id: Arc::clone(id), origin: origin.clone() });
    }

    fn redirect(&self, id: &Arc<str>, origin: &Position, root: &Arc<str>) {
        self.inner.memory.lock().redirect(id, origin, root);
        self.tell(Operation::Redirect { id: Arc::clone(id), origin: origin.clone(), root: Arc::clone(root) });
    }

    fn root(&self, id: &Arc<str>) -> Arc<str> {
        self.inner.memory.lock().root(id)
    }

    fn expel(&self, id: &Arc<str>) {
        let Some(origin) = self.inner.memory.lock().origin(id) else { return };
        self.forget(id, &origin);
    }

    fn standing(&self, id: &str) -> Standing {
        self.inner.memory.lock().standing(id)
    }

    fn reconfigure(&self, config: &DedupConfig) {
        *self.inner.config.lock() = config.clone();
        self.inner.memory.lock().reconfigure(config);
    }

    fn len(&self) -> usize {
        self.inner.memory.lock().len()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Reads what others claimed and tells what is to be told, until nobody holds the claims any more.
async fn keep_in_step(claims: Weak<Inner>) {
    loop {
        let Some(inner) = claims.upgrade() else { return };
        let done = inner.round().await;
        if let (Err(error), true) = (&done, inner.in_step.swap(done.is_ok(), Ordering::Relaxed)) {
            tracing::warn!(%error, "claims of other daemons can't be read");
        }
        if done.is_ok() {
            let _ = tokio::time::timeout(SYNC_EVERY, inner.told.notified()).await;
        }
        // not held any longer, so that dropping the claims ends this
        drop(inner);
        tokio::time::sleep(if done.is_ok() { SYNC_AT_MOST_EVERY } else { SYNC_EVERY }).await;
    }
}

impl Inner {
    async fn round(&self) -> Result<(), StoreError> {
        let mut turn = self.turn.lock().await;
        self.exchange(&mut turn, &[]).await.map(|_| ())
    }

    /// Joins first, and waits out the time that others need after a loss.
    async fn ready_to_judge(&self, turn: &mut Turn) -> Result<(), StoreError> {
        if !turn.joined {
            self.exchange(turn, &[]).await?;
        }
        match turn.judge_from {
            Some(from) if Instant::now() < from => Err(StoreError::Unavailable(
                "the log of claims was lost; the other daemons are given time to publish theirs again".to_owned(),
            )),
            _ => {
                turn.judge_from = None;
                Ok(())
            }
        }
    }

    /// Applies everything in the log, appends what is to be told and these claims, and judges them.
    async fn exchange(&self, turn: &mut Turn, claims: &[Claim]) -> Result<Vec<Sighting>, StoreError> {
        if turn.doubt.is_some() || !turn.joined {
            self.catch_up(turn).await?;
        }
        turn.untold.append(&mut self.outbox.lock());
        while turn.untold.len() > PUBLISH_CHUNK {
            self.append(turn, PUBLISH_CHUNK, &[]).await?;
        }
        let told = turn.untold.len();
        self.append(turn, told, claims).await
    }

    /// Appends the first `told` of what is to be told, and these claims behind them; judges these.
    async fn append(&self, turn: &mut Turn, told: usize, claims: &[Claim]) -> Result<Vec<Sighting>, StoreError> {
        let mut batch = begin();
        let telling = &turn.untold[..told];
        telling.iter().for_each(|operation| operation.write(&mut batch));
        claims.iter().for_each(|claim| write_sight(claim, &mut batch));
        let again = telling.iter().filter(|operation| matches!(operation, Operation::Sight(_))).count();
        let number = fastrand::u64(1..=u64::MAX >> 1);
        let append = Append { batch: &batch, sightings: (claims.len() + again) as u64, number };
        let append = Some(append).filter(|_| !operation::is_empty(&batch));
        loop {
            // noted before, since a call that is cut off can't
            turn.doubt = append.map(|append| Doubt { number: append.number, told });
            let step = self.log.step(&turn.last, append, self.keep()).await?;
            turn.doubt = None;
            match step {
                Step::Lost => return Err(self.log_was_lost(turn)),
                Step::More(entries) => self.apply(turn, &entries)?,
                Step::Read(entries) => {
                    self.apply(turn, &entries)?;
                    return Ok(Vec::new());
                }
                Step::Appended(entries, id) => {
                    self.apply(turn, &entries)?;
                    return Ok(self.judge(turn, (id, told), claims));
                }
            }
        }
    }

    /// Reads to the end without appending; after that it is known whether the entry in doubt is there.
    async fn catch_up(&self, turn: &mut Turn) -> Result<(), StoreError> {
        loop {
            match self.log.step(&turn.last, None, self.keep()).await? {
                Step::Lost => return Err(self.log_was_lost(turn)),
                Step::More(entries) => self.apply(turn, &entries)?,
                Step::Read(entries) | Step::Appended(entries, _) => {
                    self.apply(turn, &entries)?;
                    break;
                }
            }
        }
        turn.doubt = None;
        if !turn.joined {
            turn.joined = true;
            // an empty log is a new installation, or one whose daemons have yet to publish again
            turn.judge_from = turn.judge_from.or(turn.last.is_empty().then(|| Instant::now() + self.grace));
            tracing::info!(documents = self.memory.lock().len(), "claims are shared over redis");
        }
        Ok(())
    }

    /// Applies entries of others, and own ones that no answer came for.
    fn apply(&self, turn: &mut Turn, entries: &[Entry]) -> Result<(), StoreError> {
        for entry in entries {
            let operations = read(&entry.batch).map_err(|error| {
                StoreError::Damaged(format!("log of claims in redis at {}: {error}", self.log.redis().address()))
            })?;
            // the memory is let go of between entries, so that nobody waits long for it
            let mut memory = self.memory.lock();
            operations.into_iter().for_each(|operation| apply(&mut memory, operation));
            drop(memory);
            turn.last.clone_from(&entry.id);
            if let Some(doubt) = &turn.doubt
                && entry.id.ends_with(&format!("-{}", doubt.number))
            {
                turn.untold.drain(..doubt.told);
                turn.doubt = None;
            }
        }
        Ok(())
    }

    /// The own entry stands in the log: applies it.
    fn judge(&self, turn: &mut Turn, (id, told): (String, usize), claims: &[Claim]) -> Vec<Sighting> {
        let now = Instant::now();
        let mut memory = self.memory.lock();
        turn.untold.drain(..told).for_each(|operation| apply(&mut memory, operation));
        let sightings = claims
            .iter()
            .map(|claim| memory.sight(&claim.id, &claim.fingerprint, &claim.origin, claim.timestamp_ms))
            .collect();
        while let Some((made, id, origin)) = turn.lately.front() {
            let open = memory.known(id, origin).is_some_and(|known| !known.durable);
            if turn.lately.len() <= MOST_LATE && (open || now.duration_since(*made) < LATELY) {
                break;
            }
            turn.lately.pop_front();
        }
        turn.lately.extend(claims.iter().map(|claim| (now, Arc::clone(&claim.id), claim.origin.clone())));
        turn.last = id;
        sightings
    }

    /// Reads the log anew from its start, publishes again what was claimed here lately, and gives the others time to.
    fn log_was_lost(&self, turn: &mut Turn) -> StoreError {
        tracing::warn!(
            address = self.log.redis().address(),
            claims = turn.lately.len(),
            "the log of claims was lost, claims made lately are published again"
        );
        let memory = self.memory.lock();
        let mut again = Vec::new();
        for (_, id, origin) in &turn.lately {
            let Some(known) = memory.known(id, origin) else { continue };
            again.push(Operation::Sight(Claim {
                id: Arc::clone(id),
                fingerprint: known.fingerprint,
                origin: origin.clone(),
                timestamp_ms: known.timestamp_ms,
            }));
            if known.durable {
                again.push(Operation::Settle { id: Arc::clone(id), origin: origin.clone(), root: known.root });
            }
        }
        drop(memory);
        again.append(&mut turn.untold);
        turn.untold = again;
        turn.last.clear();
        turn.joined = false;
        turn.doubt = None;
        turn.judge_from = Some(Instant::now() + self.grace);
        StoreError::Unavailable("the log of claims was lost".to_owned())
    }

    fn keep(&self) -> (usize, i64) {
        let config = self.config.lock();
        (config.capacity.max(LEAST_KEPT), config.window_ms().max(LEAST_UNUSED_MS))
    }
}

/// Whatever is wrong with the server or the log is waited for: a document must never die of it.
fn no_fault_of_documents(error: StoreError) -> StoreError {
    if error.is_retriable() { error } else { StoreError::Unavailable(error.to_string()) }
}

fn apply(memory: &mut DuplicateMemory, operation: Operation) {
    match operation {
        Operation::Sight(claim) => {
            memory.sight(&claim.id, &claim.fingerprint, &claim.origin, claim.timestamp_ms);
        }
        Operation::Settle { id, origin, root } => memory.settle(&id, &origin, root.as_ref()),
        Operation::Forget { id, origin } => memory.forget(&id, &origin),
        Operation::Redirect { id, origin, root } => memory.redirect(&id, &origin, &root),
    }
}
