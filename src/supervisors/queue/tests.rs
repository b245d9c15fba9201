//! The queue against a model: whatever is done in whatever order, permits and messages add up.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::task::Waker;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::supervisors::fault::{Exit, ExitReason};

#[derive(Debug, Clone)]
enum Op {
    Send,
    /// A sender begins to wait, if there is no room.
    Wait,
    /// The waiting sender of this index is polled: it pushes if it was granted room.
    Poll(usize),
    /// The waiting sender of this index goes away.
    Cancel(usize),
    Capacity(usize),
    Take(usize),
    Finish(usize, usize),
    Postpone(usize),
    Reject(usize),
    Crash(usize),
    Restart(usize),
}

const WORKERS: usize = 3;

fn op() -> impl Strategy<Value = Op> {
    let worker = 0..WORKERS;
    prop_oneof![
        6 => Just(Op::Send),
        4 => Just(Op::Wait),
        4 => (0_usize..8).prop_map(Op::Poll),
        2 => (0_usize..8).prop_map(Op::Cancel),
        1 => (1_usize..10).prop_map(Op::Capacity),
        6 => worker.clone().prop_map(Op::Take),
        5 => (worker.clone(), 0_usize..5).prop_map(|(worker, count)| Op::Finish(worker, count)),
        1 => worker.clone().prop_map(Op::Postpone),
        1 => worker.clone().prop_map(Op::Reject),
        2 => worker.clone().prop_map(Op::Crash),
        2 => worker.prop_map(Op::Restart),
    ]
}

struct Model {
    queue: Queue<u64>,
    waiting: Vec<Arc<Waiter>>,
    tokens: Vec<Token>,
    next: u64,
    /// Messages accepted and not yet finished.
    open: BTreeSet<u64>,
    incarnation: u64,
}

impl Model {
    fn new(capacity: usize, batch: usize) -> Self {
        let mut queue = Queue::new("model".into(), capacity, Arc::default());
        queue.batch = BatchPolicy::of(batch);
        let tokens: Vec<Token> = (0..WORKERS).map(|worker| Token { worker, incarnation: 1 }).collect();
        for token in &tokens {
            queue.attach(*token);
        }
        let (waiting, open) = (Vec::new(), BTreeSet::new());
        Self { queue, waiting, tokens, next: 0, open, incarnation: 1 }
    }

    fn push(&mut self, after: &mut After<u64>) {
        self.next += 1;
        self.open.insert(self.next);
        self.queue.push(self.next, Instant::now(), after);
    }

    fn apply(&mut self, op: &Op) {
        let mut after = After::default();
        let before = self.queue.used;
        match *op {
            Op::Send => {
                if self.queue.admit() {
                    self.push(&mut after);
                }
            }
            Op::Wait => {
                if self.queue.used >= self.queue.capacity {
                    self.waiting.push(self.queue.wait());
                }
            }
            Op::Poll(index) => {
                if self.waiting.get(index).is_some_and(|waiter| waiter.answer() == Some(true)) {
                    self.waiting.remove(index);
                    self.push(&mut after);
                }
            }
            Op::Cancel(index) => {
                if index < self.waiting.len() {
                    let waiter = self.waiting.remove(index);
                    self.queue.forget(&waiter, &mut after);
                }
            }
            Op::Capacity(capacity) => {
                self.queue.capacity = capacity;
                self.queue.grant(&mut after);
            }
            Op::Take(worker) => self.take(worker, &mut after),
            Op::Finish(worker, count) => {
                self.queue.finish(self.tokens[worker], Some(count), Outcome::Done, &mut after);
            }
            Op::Postpone(worker) => self.queue.postpone(self.tokens[worker], "away", &mut after),
            Op::Reject(worker) => self.queue.reject(self.tokens[worker], ErrorCode::Internal, "bad", &mut after),
            Op::Crash(worker) => {
                let exit = Exit::new(ExitReason::Panicked, "crash");
                self.queue.recover(self.tokens[worker], &exit, 3, &mut after);
            }
            Op::Restart(worker) => {
                self.queue.recover(self.tokens[worker], &Exit::new(ExitReason::Killed, "restart"), 3, &mut after);
                self.incarnation += 1;
                self.tokens[worker].incarnation = self.incarnation;
                self.queue.attach(self.tokens[worker]);
            }
        }
        for envelope in after.dropped() {
            assert!(self.open.remove(&envelope.message), "message {} left twice", envelope.message);
        }
        assert!(self.queue.used <= self.queue.capacity.max(before), "room was given that was not there");
        self.check();
    }

    /// A worker takes only when it has nothing in flight, as the loop does.
    fn take(&mut self, worker: usize, after: &mut After<u64>) {
        let token = self.tokens[worker];
        if self.queue.slots[worker].in_flight.is_empty() {
            let now = Instant::now() + Duration::from_secs(1);
            let step = self.queue.take(token, now, Waker::noop(), after);
            if let Step::Taken(Taken::Doomed(..)) = step {
                self.queue.finish(token, None, Outcome::Dead, after);
            }
        }
    }

    fn check(&self) {
        let granted = self.waiting.iter().filter(|waiter| waiter.answer() == Some(true)).count();
        assert_eq!(self.queue.used, self.queue.depth() + granted, "permits are what is there and what is promised");
        assert_eq!(self.queue.depth(), self.open.len(), "nothing is lost");
        let ungranted = self.waiting.len() - granted;
        assert!(ungranted == 0 || self.queue.used >= self.queue.capacity, "nobody waits while there is room");
        let counts = self.queue.counts;
        let left = counts.received - counts.done - counts.dead - counts.dropped;
        assert_eq!(left, self.queue.depth() as u64, "received less processed is the depth");
        let queued: Vec<u64> = self.queue.queued.iter().map(|envelope| envelope.message).collect();
        let in_flight = self.queue.slots.iter().flat_map(|slot| slot.in_flight.iter().map(|envelope| envelope.message));
        let all: BTreeSet<u64> = queued.iter().copied().chain(in_flight).collect();
        assert_eq!(all, self.open, "each once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn permits_and_messages_add_up_whatever_happens(
        ops in proptest::collection::vec(op(), 1..200), capacity in 1_usize..8, batch in 1_usize..6
    ) {
        let mut model = Model::new(capacity, batch);
        for op in &ops {
            model.apply(op);
        }
    }

    #[test]
    fn one_worker_keeps_the_order_through_crashes(
        ops in proptest::collection::vec(op(), 1..200), batch in 1_usize..6
    ) {
        let mut model = Model::new(64, batch);
        let mut left = Vec::new();
        for op in ops {
            let op = match op {
                Op::Take(_) => Op::Take(0),
                Op::Finish(_, count) => Op::Finish(0, count),
                Op::Crash(_) | Op::Restart(_) => Op::Restart(0),
                Op::Reject(_) | Op::Postpone(_) => Op::Postpone(0),
                other => other,
            };
            let before = model.open.clone();
            model.apply(&op);
            left.extend(before.difference(&model.open).copied());
        }
        prop_assert!(left.is_sorted(), "{left:?}");
    }
}

#[test]
fn stale_incarnation_finishes_and_takes_nothing() {
    let mut model = Model::new(8, 4);
    for _ in 0..4 {
        model.apply(&Op::Send);
    }
    model.apply(&Op::Take(0));
    let stale = model.tokens[0];
    model.apply(&Op::Restart(0));
    let mut after = After::default();
    assert_eq!(model.queue.finish(stale, None, Outcome::Done, &mut after), 0);
    let step = model.queue.take(stale, Instant::now(), Waker::noop(), &mut after);
    assert!(matches!(step, Step::Taken(Taken::Fenced)));
    assert_eq!(model.queue.depth(), 4);
}

#[test]
fn history_stays_bounded_and_keeps_the_first_attempts() {
    let mut envelope = Envelope::new(0_u64, Instant::now());
    for attempt in 1..=1_000 {
        envelope.tried(&format!("reason {attempt}"));
    }
    envelope.trail.as_mut().unwrap().doom = Some(Doom { code: ErrorCode::Internal, reason: String::new(), crashes: 0 });
    let history = envelope.death(&"stage".into()).unwrap().history;
    assert_eq!(history.len(), 32);
    assert_eq!(history[0], "attempt 1: reason 1");
    assert_eq!(history[31], "attempt 1000: reason 1000");
}
