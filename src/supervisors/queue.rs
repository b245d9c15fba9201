//! The state behind a mailbox: queue, messages in flight, capacity, who waits for what. Plain data under one lock;
//! nothing here calls user code except a message's `clone` and `weight`, and no message is dropped under the lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::batch::BatchPolicy;
use super::envelope::{Doom, Envelope};
use super::fault::{Death, Exit};
use super::histogram::Histogram;
use crate::messages::code::ErrorCode;

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const CLOSED: u8 = 2;

/// A sender that waits for room.
#[derive(Default)]
pub(super) struct Waiter {
    state: AtomicU8,
    pub waker: AtomicWaker,
}

impl Waiter {
    /// `Some(true)` once there is room for it, `Some(false)` once the mailbox is closed.
    pub fn answer(&self) -> Option<bool> {
        match self.state.load(Ordering::Acquire) {
            WAITING => None,
            state => Some(state == GRANTED),
        }
    }
}

/// One worker's place at the mailbox.
struct Slot<M> {
    /// The incarnation that may use it; calls of any other are ignored.
    incarnation: u64,
    /// Messages handed out and not finished, in mailbox order.
    in_flight: VecDeque<Envelope<M>>,
    /// When they were handed out.
    taken: Option<Instant>,
    /// Set while the worker waits for messages.
    waker: Option<Waker>,
}

/// Which worker asks, and which incarnation of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub worker: usize,
    pub incarnation: u64,
}

/// What a worker gets.
pub(super) enum Taken<M> {
    /// Copies of the messages now in flight.
    Batch(Vec<M>),
    /// A copy of a message to be dead-lettered.
    Doomed(M, Death),
    /// Nothing, and the mailbox is being worked off: the worker is done.
    Drained,
    /// The worker was replaced and gets nothing more.
    Fenced,
}

/// The answer to a worker that asks for messages.
pub(super) enum Step<M> {
    Taken(Taken<M>),
    /// Nothing yet; the waker is kept.
    Empty,
    /// There are messages that wait for company until then; the waker is kept.
    Until(Instant),
}

/// Messages by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct MessageCounts {
    /// Accepted into the mailbox.
    pub received: u64,
    /// Handled.
    pub done: u64,
    /// Given up and handed to the dead-letter hook.
    pub dead: u64,
    /// Given up without a hook that took them, or left in a mailbox closed for good.
    pub dropped: u64,
}

/// What became of the messages in flight when their worker ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Recovery {
    /// How many went back to the front of the queue.
    pub returned: usize,
    /// Crashes put down to a message that is now given up.
    pub explained: u32,
}

/// How messages leave.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Done,
    Dead,
    Dropped,
}

/// Things to be done after the lock is let go.
pub(super) struct After<M> {
    pub wake: Vec<Waker>,
    pub granted: Vec<Arc<Waiter>>,
    /// The first message to drop: mostly there is just one, and it needs no allocation.
    first: Option<Envelope<M>>,
    /// Further messages to drop.
    rest: Vec<Envelope<M>>,
}

impl<M> Default for After<M> {
    fn default() -> Self {
        Self { wake: Vec::new(), granted: Vec::new(), first: None, rest: Vec::new() }
    }
}

impl<M> After<M> {
    fn drop_later(&mut self, envelopes: impl Iterator<Item = Envelope<M>>) {
        self.rest.reserve(envelopes.size_hint().0.saturating_sub(1));
        for envelope in envelopes {
            if self.first.is_none() {
                self.first = Some(envelope);
            } else {
                self.rest.push(envelope);
            }
        }
    }

    /// Messages to drop.
    pub fn dropped(&self) -> impl Iterator<Item = &Envelope<M>> {
        self.first.iter().chain(&self.rest)
    }

    /// Wakes and drops.
    pub fn run(self) {
        for waker in self.wake {
            waker.wake();
        }
        for waiter in self.granted {
            waiter.waker.wake();
        }
        for envelope in self.first.into_iter().chain(self.rest) {
            super::fault::quietly(|| drop(envelope));
        }
    }
}

/// The state under the lock.
pub(super) struct Queue<M> {
    /// The mailbox's name, as dead letters tell it.
    name: Arc<str>,
    queued: VecDeque<Envelope<M>>,
    slots: Vec<Slot<M>>,
    /// Time from sending to the first attempt.
    waits: Arc<Histogram>,
    /// Permits in use: queued, in flight, or granted to a sender that has not pushed yet. At most `capacity`, unless
    /// the capacity was lowered meanwhile.
    used: usize,
    pub capacity: usize,
    /// Senders that wait for room, first come first. Empty while there is room.
    waiters: VecDeque<Arc<Waiter>>,
    pub closed: bool,
    /// Batches no longer wait for company, and an empty queue means the end.
    pub draining: bool,
    pub batch: BatchPolicy,
    pub weigh: fn(&M) -> u64,
    last_group: u64,
    pub counts: MessageCounts,
}

impl<M> Queue<M> {
    pub fn new(name: Arc<str>, capacity: usize, waits: Arc<Histogram>) -> Self {
        Self {
            name,
            waits,
            queued: VecDeque::new(),
            slots: Vec::new(),
            used: 0,
            capacity: capacity.max(1),
            waiters: VecDeque::new(),
            closed: false,
            draining: false,
            batch: BatchPolicy::default(),
            weigh: |_| 1,
            last_group: 0,
            counts: MessageCounts::default(),
        }
    }

    /// Queued and in flight.
    pub fn depth(&self) -> usize {
        self.queued.len() + self.slots.iter().map(|slot| slot.in_flight.len()).sum::<usize>()
    }

    /// When the oldest batch in flight was handed out.
    pub fn oldest_in_flight(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| slot.taken).min()
    }

    /// Permits that are free; none while senders wait, as theirs come first.
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.used)
    }

    /// Takes a permit if there is room and nobody waits.
    pub fn admit(&mut self) -> bool {
        let room = self.used < self.capacity;
        self.used += usize::from(room);
        room
    }

    /// Puts a message for which a permit was taken.
    pub fn push(&mut self, message: M, now: Instant, after: &mut After<M>) {
        self.queued.push_back(Envelope::new(message, now));
        self.counts.received += 1;
        self.wake_worker(after);
    }

    pub fn wait(&mut self) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::default());
        self.waiters.push_back(waiter.clone());
        waiter
    }

    /// A waiting sender went away: gives back its permit or its place.
    pub fn forget(&mut self, waiter: &Arc<Waiter>, after: &mut After<M>) {
        match waiter.answer() {
            Some(true) => self.release(1, after),
            Some(false) => {}
            None => {
                if let Some(position) = self.waiters.iter().position(|other| Arc::ptr_eq(other, waiter)) {
                    self.waiters.remove(position);
                }
            }
        }
    }

    /// Gives back permits and grants them to those who wait.
    pub fn release(&mut self, count: usize, after: &mut After<M>) {
        self.used -= count;
        self.grant(after);
    }

    /// Grants free permits to those who wait, in the order they came.
    pub fn grant(&mut self, after: &mut After<M>) {
        while self.used < self.capacity {
            let Some(waiter) = self.waiters.pop_front() else { return };
            waiter.state.store(GRANTED, Ordering::Release);
            self.used += 1;
            after.granted.push(waiter);
        }
    }

    /// Refuses all further messages.
    pub fn close(&mut self, after: &mut After<M>) {
        self.closed = true;
        for waiter in self.waiters.drain(..) {
            waiter.state.store(CLOSED, Ordering::Release);
            after.granted.push(waiter);
        }
    }

    /// Drops all messages not finished and fences all workers. Returns how many there were.
    pub fn clear(&mut self, after: &mut After<M>) -> usize {
        for slot in &mut self.slots {
            slot.incarnation = 0;
            slot.taken = None;
            after.wake.extend(slot.waker.take());
            after.drop_later(slot.in_flight.drain(..));
        }
        after.drop_later(self.queued.drain(..));
        let left = after.dropped().count();
        self.counts.dropped += left as u64;
        self.release(left, after);
        left
    }

    /// Gives the worker's slot to a new incarnation.
    pub fn attach(&mut self, token: Token) {
        while self.slots.len() <= token.worker {
            self.slots.push(Slot { incarnation: 0, in_flight: VecDeque::new(), taken: None, waker: None });
        }
        let slot = &mut self.slots[token.worker];
        slot.incarnation = token.incarnation;
        slot.waker = None;
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot<M>> {
        self.slots.get_mut(token.worker).filter(|slot| slot.incarnation == token.incarnation)
    }

    fn wake_worker(&mut self, after: &mut After<M>) {
        if let Some(waker) = self.slots.iter_mut().find_map(|slot| slot.waker.take()) {
            after.wake.push(waker);
        }
    }

    /// Wakes every worker that waits.
    pub fn wake_all(&mut self, after: &mut After<M>) {
        after.wake.extend(self.slots.iter_mut().filter_map(|slot| slot.waker.take()));
    }

    /// How many messages at the front make the next batch, or until when they wait for company.
    fn next_batch(&self, now: Instant) -> Result<usize, Option<Instant>> {
        let Some(first) = self.queued.front() else { return Err(None) };
        if first.is_doomed() {
            return Ok(1);
        }
        let group = first.group();
        let limit = if group == 0 { self.batch.max_messages.max(1) } else { usize::MAX };
        let (mut count, mut weight) = (0, 0_u64);
        for envelope in &self.queued {
            if count == limit || envelope.group() != group || envelope.is_doomed() {
                return Ok(count);
            }
            if group == 0 && self.batch.max_weight != u64::MAX {
                weight = weight.saturating_add((self.weigh)(&envelope.message));
                if weight >= self.batch.max_weight {
                    let fits = weight == self.batch.max_weight || count == 0;
                    return Ok(count + usize::from(fits));
                }
            }
            count += 1;
        }
        let ready = first.sent + self.batch.max_age;
        if count == limit || group != 0 || self.draining || self.batch.max_age.is_zero() || now >= ready {
            Ok(count)
        } else {
            Err(Some(ready))
        }
    }

    /// Hands `count` messages from the front to the worker.
    fn hand_out(&mut self, token: Token, count: usize, now: Instant) {
        let slot = &mut self.slots[token.worker];
        slot.in_flight.extend(self.queued.drain(..count));
        slot.taken = Some(now);
        slot.waker = None;
    }

    /// Finishes the first `count` messages in flight of this worker, or all. Stale incarnations finish nothing.
    pub fn finish(&mut self, token: Token, count: Option<usize>, outcome: Outcome, after: &mut After<M>) -> usize {
        let Some(slot) = self.slot(token) else { return 0 };
        let count = count.unwrap_or(usize::MAX).min(slot.in_flight.len());
        after.drop_later(slot.in_flight.drain(..count));
        if slot.in_flight.is_empty() {
            slot.taken = None;
        }
        let counter = match outcome {
            Outcome::Done => &mut self.counts.done,
            Outcome::Dead => &mut self.counts.dead,
            Outcome::Dropped => &mut self.counts.dropped,
        };
        *counter += count as u64;
        self.release(count, after);
        count
    }

    /// A message in flight can never succeed: dooms it if it is alone, else has the batch tried again in halves.
    pub fn reject(&mut self, token: Token, code: ErrorCode, reason: &str, after: &mut After<M>) {
        let line = format!("rejected ({code}): {reason}");
        self.fail(token, after, |envelope, alone| {
            let trail = envelope.tried(&line);
            if alone {
                trail.doom = Some(Doom { code, reason: reason.to_owned(), crashes: 0 });
            }
        });
    }

    /// Nothing is wrong with the messages in flight: they are tried again as they were.
    pub fn postpone(&mut self, token: Token, reason: &str, after: &mut After<M>) {
        let Some(slot) = self.slot(token) else { return };
        let mut returned = std::mem::take(&mut slot.in_flight);
        slot.taken = None;
        for envelope in &mut returned {
            envelope.tried(reason);
        }
        self.put_back(returned, after);
    }

    /// The worker has ended: its messages go back to the front of the queue, blamed or not, and its slot is closed to it.
    pub fn recover(&mut self, token: Token, exit: &Exit, limit: u32, after: &mut After<M>) -> Recovery {
        let Some(slot) = self.slot(token) else { return Recovery::default() };
        let returned = slot.in_flight.len();
        let explained = if let Some(code) = exit.blames {
            self.blame(token, (code, exit), limit, after)
        } else {
            self.postpone(token, &exit.to_string(), after);
            0
        };
        let slot = &mut self.slots[token.worker];
        slot.incarnation = 0;
        slot.waker = None;
        Recovery { returned, explained }
    }

    /// Notes a crash on the messages in flight; a lone one that reached the limit is doomed. Returns its crashes.
    fn blame(&mut self, token: Token, (code, exit): (ErrorCode, &Exit), limit: u32, after: &mut After<M>) -> u32 {
        let (mut explained, line) = (0, exit.to_string());
        self.fail(token, after, |envelope, alone| {
            let trail = envelope.tried(&line);
            trail.crashes = trail.crashes.saturating_add(1);
            if let Some(doom) = &mut trail.doom {
                doom.crashes += 1;
            } else if alone && trail.crashes >= limit {
                trail.doom = Some(Doom { code, reason: exit.detail.to_string(), crashes: 0 });
                explained = trail.crashes;
            }
        });
        explained
    }

    /// Puts the messages in flight back to be tried in halves, each noted by `note`, which is told whether it was alone.
    fn fail(&mut self, token: Token, after: &mut After<M>, mut note: impl FnMut(&mut Envelope<M>, bool)) {
        let Some(slot) = self.slot(token) else { return };
        let mut returned = std::mem::take(&mut slot.in_flight);
        slot.taken = None;
        let count = returned.len();
        for (index, envelope) in returned.iter_mut().enumerate() {
            note(envelope, count == 1);
            let group = self.last_group + if index < count.div_ceil(2) { 1 } else { 2 };
            if let Some(trail) = &mut envelope.trail {
                trail.group = group;
            }
        }
        self.last_group += 2;
        self.put_back(returned, after);
    }

    fn put_back(&mut self, returned: VecDeque<Envelope<M>>, after: &mut After<M>) {
        for envelope in returned.into_iter().rev() {
            self.queued.push_front(envelope);
        }
        if !self.queued.is_empty() {
            self.wake_worker(after);
        }
    }
}

impl<M: Clone> Queue<M> {
    /// The worker asks for its next batch.
    pub fn take(&mut self, token: Token, now: Instant, waker: &Waker, after: &mut After<M>) -> Step<M> {
        if self.slot(token).is_none() {
            return Step::Taken(Taken::Fenced);
        }
        let count = match self.next_batch(now) {
            Ok(count) => count,
            Err(None) if self.draining => return Step::Taken(Taken::Drained),
            Err(wait) => {
                self.slots[token.worker].waker = Some(waker.clone());
                return wait.map_or(Step::Empty, Step::Until);
            }
        };
        self.hand_out(token, count, now);
        if !self.queued.is_empty() {
            self.wake_worker(after);
        }
        let in_flight = &self.slots[token.worker].in_flight;
        for envelope in in_flight.iter().filter(|envelope| envelope.trail.is_none()) {
            self.waits.record(now.saturating_duration_since(envelope.sent));
        }
        if let [first] = in_flight.as_slices().0
            && let Some(death) = first.death(&self.name)
        {
            return Step::Taken(Taken::Doomed(first.message.clone(), death));
        }
        Step::Taken(Taken::Batch(in_flight.iter().map(|envelope| envelope.message.clone()).collect()))
    }

    /// How often the dead-letter hook crashed on the doomed message in flight.
    pub fn hook_crashes(&mut self, token: Token) -> u32 {
        let first = self.slot(token).and_then(|slot| slot.in_flight.front());
        first.and_then(|envelope| envelope.trail.as_ref()?.doom.as_ref()).map_or(0, |doom| doom.crashes)
    }
}

#[cfg(test)]
mod tests;
