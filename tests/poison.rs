//! One bad message hurts only itself.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/virtual_time.rs"]
mod virtual_time;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use proptest::prelude::*;
use tidemill::messages::code::ErrorCode;
use tidemill::supervisors::{
    Actor, BatchPolicy, ChildSpec, ChildStatus, Context, Death, Fault, Intensity, MessageCounts, RootExit,
    SupervisorSpec, mailbox, start,
};
use virtual_time::{here, in_virtual_time};

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poison {
    No,
    Panic,
    PanicAfterWait,
    Hang,
    Broken,
    Reject,
}

#[derive(Default)]
struct Record {
    done: Mutex<Vec<usize>>,
    dead: Mutex<Vec<(usize, Death)>>,
    calls: AtomicU32,
    /// Virtual time of each call.
    times: Mutex<Vec<tokio::time::Instant>>,
}

/// Suffers from each message as the message says.
struct Taster(Arc<Record>);

impl Actor for Taster {
    type Message = (usize, Poison);

    async fn handle(&mut self, batch: Vec<Self::Message>, _ctx: &Context<Self::Message>) -> Result<(), Fault> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        self.0.times.lock().push(tokio::time::Instant::now());
        for (_, poison) in &batch {
            match poison {
                Poison::No => {}
                Poison::Panic => panic!("tasted poison"),
                Poison::PanicAfterWait => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    panic!("tasted poison slowly");
                }
                Poison::Hang => std::future::pending().await,
                Poison::Broken => return Err(Fault::broken("tasted poison")),
                Poison::Reject => return Err(Fault::reject(ErrorCode::EncodingFailed, "tastes bad")),
            }
        }
        self.0.done.lock().extend(batch.iter().map(|(id, _)| *id));
        Ok(())
    }
}

/// Runs the messages through a [`Taster`] with these batches.
fn taste(poisons: &[Poison], batch: usize) -> (Arc<Record>, ChildStatus) {
    let record = Arc::new(Record::default());
    let (for_actor, for_hook, result) = (record.clone(), record.clone(), record.clone());
    let status = in_virtual_time(async move {
        let (to, inbox) = mailbox("taster", poisons.len().max(1));
        let child = ChildSpec::actor("taster", inbox, move || Taster(for_actor.clone()))
            .batch(BatchPolicy::of(batch))
            .stuck_after(Duration::from_secs(1))
            .drain(Duration::from_mins(10))
            .on_dead(move |(id, _), death| {
                let record = for_hook.clone();
                async move {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    record.dead.lock().push((id, death));
                }
                .boxed()
            });
        let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
        for message in poisons.iter().copied().enumerate() {
            to.send(message).await.unwrap();
        }
        while to.depth() > 0 && tree.snapshot().escalations == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(tree.stop().await.is_clean());
        tree.child_status("taster").unwrap()
    });
    (result, status)
}

/// All good but these.
fn good_but(length: usize, bad: &[(usize, Poison)]) -> Vec<Poison> {
    let mut poisons = vec![Poison::No; length];
    for (index, poison) in bad {
        poisons[*index] = *poison;
    }
    poisons
}

const ATTEMPTS: u32 = 3;

#[test]
fn poison_is_dead_lettered_after_its_attempts_with_its_history() {
    let poisons = good_but(20, &[(13, Poison::Panic)]);
    let (record, status) = taste(&poisons, 1);
    assert_eq!(*record.done.lock(), (0..20).filter(|id| *id != 13).collect::<Vec<_>>(), "the rest, in order");
    let history = (1..=ATTEMPTS).map(|attempt| format!("attempt {attempt}: panicked: tasted poison")).collect();
    let death = Death {
        stage: "taster".into(),
        code: ErrorCode::Panicked,
        reason: "tasted poison".to_owned(),
        attempts: ATTEMPTS,
        history,
    };
    assert_eq!(*record.dead.lock(), [(13, death)]);
    assert_eq!(status.restarts.panicked, u64::from(ATTEMPTS));
    assert_eq!(status.mailbox.unwrap().messages, MessageCounts { received: 20, done: 19, dead: 1, dropped: 0 });
}

#[test]
fn failing_batch_is_bisected_down_to_the_culprit() {
    let poisons = good_but(64, &[(37, Poison::PanicAfterWait)]);
    let (record, status) = taste(&poisons, 64);
    assert_eq!(*record.done.lock(), (0..64).filter(|id| *id != 37).collect::<Vec<_>>());
    assert_eq!(record.dead.lock().len(), 1);
    assert_eq!(record.dead.lock()[0].0, 37);
    // 64, 32, 16, 8, 4, 2 and 1 messages fail once each; the other halves succeed once each.
    assert_eq!(status.restarts.panicked, 7);
    assert_eq!(record.calls.load(Ordering::Relaxed), 7 + 6);
}

#[test]
fn search_for_the_culprit_does_not_raise_the_backoff() {
    let poisons = good_but(256, &[(37, Poison::Panic), (40, Poison::Panic), (41, Poison::Panic)]);
    let (record, _) = taste(&poisons, 256);
    let times = record.times.lock();
    assert_eq!(record.dead.lock().len(), 3);
    let waits: Vec<u128> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    // the dead letter's own five seconds aside, no wait is longer than the first
    let longest = waits.iter().filter(|wait| **wait < 5_000).max().unwrap();
    assert!(*longest <= 11, "{waits:?}");
    assert!(waits.iter().filter(|wait| **wait >= 5_000).all(|wait| *wait <= 5_011), "{waits:?}");
}

#[test]
fn rejected_message_is_dead_lettered_without_a_restart() {
    let poisons = good_but(16, &[(3, Poison::Reject), (4, Poison::Reject)]);
    let (record, status) = taste(&poisons, 16);
    assert_eq!(*record.done.lock(), (0..16).filter(|id| ![3, 4].contains(id)).collect::<Vec<_>>());
    let dead: Vec<(usize, ErrorCode)> = record.dead.lock().iter().map(|(id, death)| (*id, death.code)).collect();
    assert_eq!(dead, [(3, ErrorCode::EncodingFailed), (4, ErrorCode::EncodingFailed)]);
    assert_eq!(status.restarts.total(), 0);
}

#[test]
fn each_kind_of_crash_is_told_apart() {
    let poisons = good_but(9, &[(1, Poison::Panic), (3, Poison::Hang), (5, Poison::Broken), (7, Poison::Reject)]);
    let (record, status) = taste(&poisons, 1);
    let dead: Vec<(usize, ErrorCode)> = record.dead.lock().iter().map(|(id, death)| (*id, death.code)).collect();
    let expected = [
        (1, ErrorCode::Panicked),
        (3, ErrorCode::Unresponsive),
        (5, ErrorCode::RetriesExhausted),
        (7, ErrorCode::EncodingFailed),
    ];
    assert_eq!(dead, expected);
    let restarts = status.restarts;
    assert_eq!((restarts.panicked, restarts.unresponsive, restarts.failed, restarts.total()), (3, 3, 3, 9));
    assert_eq!(*record.done.lock(), [0, 2, 4, 6, 8]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_mix_of_poison_and_batch_size_loses_nothing_and_keeps_the_order(
        // One in four is bad, so that runs of bad ones stay under the streak that speaks against the actor.
        kinds in proptest::collection::vec(0_usize..20, 1..60), batch in 1_usize..24
    ) {
        let bad = [Poison::Panic, Poison::PanicAfterWait, Poison::Broken, Poison::Reject, Poison::Reject];
        let poisons: Vec<Poison> = kinds.iter().map(|kind| bad.get(*kind).copied().unwrap_or(Poison::No)).collect();
        let (record, status) = taste(&poisons, batch);
        let ids = |wanted: bool| -> Vec<usize> {
            (0..poisons.len()).filter(|id| (poisons[*id] == Poison::No) == wanted).collect()
        };
        prop_assert_eq!(&*record.done.lock(), &ids(true));
        let dead: Vec<usize> = record.dead.lock().iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(dead, ids(false));
        prop_assert_eq!(status.mailbox.unwrap().depth, 0);
    }
}

#[test]
fn poison_does_not_use_up_the_restart_intensity() {
    // Ten poison messages crash it thirty times within seconds, where twenty a minute are allowed.
    let bad: Vec<(usize, Poison)> = (0..10).map(|index| (index * 2, Poison::Panic)).collect();
    let (record, status) = taste(&good_but(20, &bad), 1);
    assert_eq!(record.dead.lock().len(), 10);
    assert_eq!(status.restarts.panicked, 30);
}

#[test]
fn actor_that_gives_up_one_message_after_the_other_escalates_instead_of_emptying_the_stream() {
    in_virtual_time(async {
        let record = Arc::new(Record::default());
        let for_actor = record.clone();
        let (to, inbox) = mailbox("taster", 1_000);
        let child = ChildSpec::actor("taster", inbox, move || Taster(for_actor.clone())).drain(Duration::ZERO);
        let mut options = here();
        options.max_poison_streak = 5;
        let intensity = Intensity { max_restarts: 8, window: Duration::from_mins(10) };
        let tree = start(SupervisorSpec::new("root").intensity(intensity).child(child), options).await.unwrap();
        for id in 0..1_000 {
            to.send((id, Poison::Panic)).await.unwrap();
        }
        assert!(matches!(tree.wait().await, RootExit::Escalated { .. }));
        let counts = tree.child_status("taster").unwrap().mailbox.unwrap().messages;
        assert_eq!(counts.received, 1_000);
        let given_up = 1_000 - tree.stop().await.left();
        assert!((5..10).contains(&given_up), "{given_up} of 1000 were given up");
    });
}

#[test]
fn without_a_hook_dead_messages_are_dropped_and_counted() {
    in_virtual_time(async {
        let record = Arc::new(Record::default());
        let (to, inbox) = mailbox("taster", 10);
        let for_actor = record.clone();
        let child = ChildSpec::actor("taster", inbox, move || Taster(for_actor.clone())).attempts(1);
        let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
        for message in [Poison::No, Poison::Panic, Poison::Reject, Poison::No].into_iter().enumerate() {
            to.send(message).await.unwrap();
        }
        assert!(tree.stop().await.is_clean());
        let counts = tree.child_status("taster").unwrap().mailbox.unwrap().messages;
        assert_eq!(counts, MessageCounts { received: 4, done: 2, dead: 0, dropped: 2 });
    });
}

#[test]
fn hook_that_panics_is_tried_again_and_does_not_stop_the_stream() {
    for (panics, expected) in [(1, (1, 0)), (u32::MAX, (0, 1))] {
        let (record, panicked) = (Arc::new(Record::default()), Arc::new(AtomicU32::new(0)));
        let (for_actor, done) = (record.clone(), record);
        let counts = in_virtual_time(async move {
            let (to, inbox) = mailbox("taster", 10);
            let child = ChildSpec::actor("taster", inbox, move || Taster(for_actor.clone())).on_dead(move |_, _| {
                let panicked = panicked.clone();
                async move {
                    assert!(panicked.fetch_add(1, Ordering::Relaxed) >= panics, "the hook itself is broken");
                }
                .boxed()
            });
            let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
            for message in [Poison::Reject, Poison::No].into_iter().enumerate() {
                to.send(message).await.unwrap();
            }
            assert!(tree.stop().await.is_clean());
            tree.child_status("taster").unwrap().mailbox.unwrap().messages
        });
        assert_eq!((counts.dead, counts.dropped), expected);
        assert_eq!(*done.done.lock(), [1]);
    }
}

/// A store that is away until a given number of calls.
struct Away {
    calls: Arc<AtomicU32>,
    back_after: u32,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Actor for Away {
    type Message = usize;

    async fn handle(&mut self, batch: Vec<usize>, _ctx: &Context<usize>) -> Result<(), Fault> {
        if self.calls.fetch_add(1, Ordering::Relaxed) < self.back_after {
            return Err(Fault::unavailable("connection refused"));
        }
        self.seen.lock().extend(batch);
        Ok(())
    }
}

#[test]
fn absent_dependency_is_waited_for_and_costs_no_message() {
    in_virtual_time(async {
        let (to, inbox) = mailbox("writer", 8);
        let (calls, seen) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, kept) = (calls.clone(), seen.clone());
        let child = ChildSpec::actor("writer", inbox, move || Away {
            calls: counted.clone(),
            back_after: 100,
            seen: kept.clone(),
        })
        .attempts(1)
        .unavailable_limit(Duration::from_mins(1))
        .stuck_after(Duration::from_secs(5))
        .batch(BatchPolicy::of(4));
        let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
        let started = tokio::time::Instant::now();
        for id in 0..100 {
            to.send(id).await.unwrap();
        }
        assert!(tree.stop().await.is_clean());
        assert!(started.elapsed() > Duration::from_mins(1), "it was away for minutes");
        assert_eq!(*seen.lock(), (0..100).collect::<Vec<_>>());
        let status = tree.child_status("writer").unwrap();
        assert_eq!(status.mailbox.unwrap().messages, MessageCounts { received: 100, done: 100, dead: 0, dropped: 0 });
        assert!(status.restarts.failed >= 1, "over the limit the actor is restarted");
        assert_eq!(status.restarts.failed, status.restarts.total());
    });
}
