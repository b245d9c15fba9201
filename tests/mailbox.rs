//! The mailbox: its bound, its order, and what becomes of sends that fail.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/virtual_time.rs"]
mod virtual_time;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use parking_lot::Mutex;
use proptest::prelude::*;
use tidemill::supervisors::{
    Actor, BatchPolicy, ChildSpec, Context, Fault, Mailbox, Options, SendError, SendTimeoutError, SupervisorSpec, Tree,
    TrySendError, mailbox, start,
};
use tokio::time::Instant;
use virtual_time::{here, in_virtual_time};

/// Notes each batch and when it came; takes its time over it.
struct Slow {
    batches: Batches,
    time: Duration,
}

/// Batches with the time they were handed out.
type Batches = Arc<Mutex<Vec<(Instant, Vec<u64>)>>>;

impl Actor for Slow {
    type Message = u64;

    /// A message's own value.
    fn weight(message: &u64) -> u64 {
        *message
    }

    async fn handle(&mut self, batch: Vec<u64>, _ctx: &Context<u64>) -> Result<(), Fault> {
        self.batches.lock().push((Instant::now(), batch));
        tokio::time::sleep(self.time).await;
        Ok(())
    }
}

/// A tree of one [`Slow`].
async fn slow(capacity: usize, time: Duration, batch: BatchPolicy, options: Options) -> (Tree, Mailbox<u64>, Batches) {
    let (to, inbox) = mailbox("slow", capacity);
    let batches = Batches::default();
    let kept = batches.clone();
    let child = ChildSpec::actor("slow", inbox, move || Slow { batches: kept.clone(), time })
        .batch(batch)
        .drain(Duration::from_hours(1));
    let tree = start(SupervisorSpec::new("root").child(child), options).await.unwrap();
    (tree, to, batches)
}

fn messages(batches: &Batches) -> Vec<u64> {
    batches.lock().iter().flat_map(|(_, batch)| batch.clone()).collect()
}

/// Hands each batch on as a whole.
struct Forwards {
    to: Mailbox<u64>,
}

impl Actor for Forwards {
    type Message = u64;

    async fn handle(&mut self, batch: Vec<u64>, ctx: &Context<u64>) -> Result<(), Fault> {
        ctx.forward(&self.to, batch.into_iter().map(|message| message * 2)).await
    }
}

#[test]
fn as_many_from_the_front_are_sent_as_there_is_room_for() {
    let (to, _inbox) = mailbox::<u64>("front", 3);
    let mut messages: VecDeque<u64> = (1..=5).collect();
    assert_eq!(to.try_send_front(&mut messages), Ok(3));
    assert_eq!((messages, to.depth(), to.room()), (VecDeque::from([4, 5]), 3, 0));
}

#[test]
fn batch_goes_on_whole_and_in_order_through_a_mailbox_smaller_than_itself() {
    in_virtual_time(async {
        let (second, inbox) = mailbox("second", 2);
        let batches = Batches::default();
        let kept = batches.clone();
        let slow =
            ChildSpec::actor("second", inbox, move || Slow { batches: kept.clone(), time: Duration::from_millis(5) });
        let (first, inbox) = mailbox("first", 16);
        let forwards = ChildSpec::actor("first", inbox, move || Forwards { to: second.clone() });
        let spec = SupervisorSpec::new("root")
            .child(slow.batch(BatchPolicy::of(2)).drain(Duration::from_hours(1)))
            .child(forwards.batch(BatchPolicy::of(16)).drain(Duration::from_hours(1)).sends_to(&["second"]));
        let tree = start(spec, here()).await.unwrap();
        for message in 1..=16 {
            first.send(message).await.unwrap();
        }
        tree.stop().await;
        assert_eq!(messages(&batches), (1..=16).map(|message| message * 2).collect::<Vec<u64>>());
        assert_eq!(first.depth(), 0);
    });
}

/// Lets everything run that can run now.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn capacity_holds_for_any_number_of_senders_and_clones() {
    const CAPACITY: usize = 16;
    const SENDERS: u64 = 100;
    const EACH: u64 = 20;
    // On real threads: every sender has a clone of its own, and the actor another thread.
    let (highest, mut seen, clean) = actix::System::new().block_on(async {
        let (tree, to, batches) = slow(CAPACITY, Duration::ZERO, BatchPolicy::of(3), Options::default()).await;
        let highest = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (to, highest) = (to.clone(), highest.clone());
                std::thread::spawn(move || {
                    for message in 0..EACH {
                        block_on(to.send(sender * EACH + message)).unwrap();
                        highest.fetch_max(to.depth(), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            tokio::task::yield_now().await;
        }
        let clean = tree.stop().await.is_clean();
        (highest.load(Ordering::Relaxed), messages(&batches), clean)
    });
    assert!(clean);
    assert!(highest <= CAPACITY, "depth reached {highest}");
    seen.sort_unstable();
    assert_eq!(seen, (0..SENDERS * EACH).collect::<Vec<_>>(), "each once");
}

/// Blocks a plain thread on a future.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn permit_is_held_until_the_work_ends() {
    in_virtual_time(async {
        let (_tree, to, batches) = slow(2, Duration::from_secs(1), BatchPolicy::of(1), here()).await;
        to.try_send(1).unwrap();
        to.try_send(2).unwrap();
        settle().await;
        assert_eq!(messages(&batches), [1], "the first is in flight");
        assert_eq!(to.depth(), 2);
        assert_eq!(to.try_send(3), Err(TrySendError::Full(3)), "a message in flight still takes room");
        tokio::time::sleep(Duration::from_millis(1_001)).await;
        to.try_send(3).unwrap();
    });
}

#[test]
fn failed_send_gives_the_message_back() {
    in_virtual_time(async {
        let (tree, to, _) = slow(1, Duration::from_secs(10), BatchPolicy::of(1), here()).await;
        to.send(1).await.unwrap();
        assert_eq!(to.try_send(2), Err(TrySendError::Full(2)));
        let patience = Duration::from_secs(1);
        assert_eq!(to.send_timeout(2, patience).await, Err(SendTimeoutError::Timeout(2)));
        let waiting = to.clone();
        let waiting = actix_rt::spawn(async move { waiting.send(3).await });
        settle().await;
        tree.stop().await;
        assert_eq!(waiting.await.unwrap(), Err(SendError(3)), "a sender that waits is told");
        assert!(to.is_closed());
        assert_eq!(to.send(4).await, Err(SendError(4)));
        assert_eq!(to.try_send(4), Err(TrySendError::Closed(4)));
        assert_eq!(to.send_timeout(4, patience).await, Err(SendTimeoutError::Closed(4)));
    });
}

#[test]
fn waiting_senders_are_served_in_the_order_they_came() {
    in_virtual_time(async {
        let (tree, to, batches) = slow(1, Duration::from_millis(1), BatchPolicy::of(1), here()).await;
        let senders: Vec<_> = (0..50)
            .map(|message| {
                let to = to.clone();
                actix_rt::spawn(async move { to.send(message).await })
            })
            .collect();
        for sent in join_all(senders).await {
            sent.unwrap().unwrap();
        }
        tree.stop().await;
        assert_eq!(messages(&batches), (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn cancelled_send_sends_nothing_and_leaks_no_room() {
    in_virtual_time(async {
        let (tree, to, batches) = slow(2, Duration::from_secs(1), BatchPolicy::of(1), here()).await;
        to.send(1).await.unwrap();
        to.send(2).await.unwrap();
        // Cancelled while waiting, and cancelled after room was granted but before the sender ran again.
        let mut waiting = Box::pin(to.send(100));
        let mut granted = Box::pin(to.send(101));
        assert!((&mut waiting).now_or_never().is_none() && (&mut granted).now_or_never().is_none());
        drop(waiting);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(to.try_send(3), Err(TrySendError::Full(3)), "the room is granted to the one that waits");
        drop(granted);
        to.try_send(3).unwrap();
        assert_eq!(to.depth(), 2);
        tree.stop().await;
        assert_eq!(messages(&batches), [1, 2, 3]);
    });
}

#[test]
fn capacity_changes_at_run_time_lose_nothing() {
    in_virtual_time(async {
        let (tree, to, batches) = slow(8, Duration::from_secs(1), BatchPolicy::of(1), here()).await;
        for message in 0..8 {
            to.try_send(message).unwrap();
        }
        tree.set_capacity("slow", 2).unwrap();
        assert_eq!((to.depth(), to.capacity()), (8, 2), "what is there stays");
        tokio::time::sleep(Duration::from_millis(6_500)).await;
        assert_eq!(to.depth(), 2);
        assert_eq!(to.try_send(8), Err(TrySendError::Full(8)));
        let waiting = to.clone();
        let waiting = actix_rt::spawn(async move { waiting.send(8).await });
        settle().await;
        to.set_capacity(3);
        settle().await;
        assert_eq!(to.depth(), 3, "more room wakes who waits");
        waiting.await.unwrap().unwrap();
        tree.stop().await;
        assert_eq!(messages(&batches), (0..9).collect::<Vec<_>>());
        assert!(tree.set_capacity("nobody", 1).is_err());
    });
}

#[test]
fn batch_closes_at_the_first_limit_reached() {
    in_virtual_time(async {
        let age = Duration::from_millis(50);
        let policy = BatchPolicy { max_messages: 4, max_weight: 100, max_age: age };
        let (tree, to, batches) = slow(100, Duration::ZERO, policy, here()).await;
        let started = Instant::now();
        let expect = |sent: &[u64], waited: Duration, batch: &[u64]| {
            let sent = sent.to_vec();
            let (to, batches) = (to.clone(), batches.clone());
            let batch = batch.to_vec();
            async move {
                let before = Instant::now();
                for message in sent {
                    to.send(message).await.unwrap();
                }
                tokio::time::sleep(waited + Duration::from_millis(2)).await;
                let (at, last) = batches.lock().last().cloned().unwrap();
                assert_eq!(last, batch);
                let took = at - before;
                assert!(took >= waited && took <= waited + Duration::from_millis(1), "{took:?} {waited:?}");
            }
        };
        expect(&[1, 1, 1, 1], Duration::ZERO, &[1, 1, 1, 1]).await;
        expect(&[60, 40], Duration::ZERO, &[60, 40]).await;
        expect(&[500], Duration::ZERO, &[500]).await;
        // The third does not fit, so the batch goes without it, and it waits for its own age.
        expect(&[60, 30, 20], Duration::ZERO, &[60, 30]).await;
        tokio::time::sleep(age).await;
        assert_eq!(batches.lock().last().unwrap().1, [20]);
        expect(&[7], age, &[7]).await;
        // Age counts from the oldest message, not from the last.
        to.send(1).await.unwrap();
        tokio::time::sleep(age * 3 / 5).await;
        to.send(2).await.unwrap();
        tokio::time::sleep(age * 3 / 5).await;
        assert_eq!(batches.lock().last().unwrap().1, [1, 2]);
        // A stop does not wait for company.
        to.send(9).await.unwrap();
        let stopping = Instant::now();
        assert!(tree.stop().await.is_clean());
        assert!(stopping.elapsed() < age / 2 && started.elapsed() > age);
        assert_eq!(batches.lock().last().unwrap().1, [9]);
    });
}

#[test]
fn control_goes_before_queued_messages() {
    in_virtual_time(async {
        let (tree, to, batches) = slow(1_000, Duration::from_millis(10), BatchPolicy::of(1), here()).await;
        for message in 0..1_000 {
            to.try_send(message).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
        tree.command("slow", tidemill::supervisors::ChildCommand::Restart).unwrap();
        tokio::time::sleep(Duration::from_millis(15)).await;
        let status = tree.child_status("slow").unwrap();
        assert_eq!(status.restarts.killed, 1, "with nearly all messages still queued");
        assert!(batches.lock().len() < 6);
        assert!(status.mailbox.unwrap().depth > 990);
    });
}

#[test]
fn depth_is_what_was_received_less_what_was_processed() {
    in_virtual_time(async {
        let (tree, to, _) = slow(100, Duration::from_millis(10), BatchPolicy::of(7), here()).await;
        for message in 0..90 {
            to.try_send(message).unwrap();
        }
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(7)).await;
            let status = tree.child_status("slow").unwrap().mailbox.unwrap();
            assert_eq!(status.messages.received - status.messages.done, status.depth as u64);
        }
        assert_eq!(to.depth(), 0);
    });
}

/// One step of a sender or operator.
#[derive(Debug, Clone)]
enum Step {
    TrySend,
    Send,
    /// Waits at most so many milliseconds for room.
    SendWithin(u64),
    Capacity(usize),
    Pause(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::TrySend),
        4 => Just(Step::Send),
        4 => (0_u64..4).prop_map(Step::SendWithin),
        1 => (1_usize..12).prop_map(Step::Capacity),
        2 => (0_u64..6).prop_map(Step::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_senders_cancels_and_capacities_never_exceed_the_bound_and_lose_nothing(
        scripts in proptest::collection::vec(proptest::collection::vec(step(), 1..40), 1..8),
        capacity in 1_usize..12, work in 0_u64..4, batch in 1_usize..5,
    ) {
        let (mut accepted, mut handled) = in_virtual_time(async move {
            let (tree, to, batches) =
                slow(capacity, Duration::from_millis(work), BatchPolicy::of(batch), here()).await;
            let highest_capacity = Arc::new(AtomicUsize::new(capacity));
            let senders: Vec<_> = scripts.into_iter().enumerate().map(|(sender, script)| {
                let (to, highest) = (to.clone(), highest_capacity.clone());
                actix_rt::spawn(async move {
                    let mut accepted = Vec::new();
                    for (index, step) in script.into_iter().enumerate() {
                        let message = (sender * 1_000 + index) as u64;
                        let sent = match step {
                            Step::TrySend => to.try_send(message).is_ok(),
                            Step::Send => to.send(message).await.is_ok(),
                            Step::SendWithin(millis) => {
                                to.send_timeout(message, Duration::from_millis(millis)).await.is_ok()
                            }
                            Step::Capacity(capacity) => {
                                highest.fetch_max(capacity, Ordering::Relaxed);
                                to.set_capacity(capacity);
                                false
                            }
                            Step::Pause(millis) => {
                                tokio::time::sleep(Duration::from_millis(millis)).await;
                                false
                            }
                        };
                        assert!(to.depth() <= highest.load(Ordering::Relaxed));
                        if sent {
                            accepted.push(message);
                        }
                    }
                    accepted
                })
            }).collect();
            let accepted: Vec<u64> =
                join_all(senders).await.into_iter().flat_map(Result::unwrap).collect();
            assert!(tree.stop().await.is_clean());
            (accepted, messages(&batches))
        });
        accepted.sort_unstable();
        handled.sort_unstable();
        prop_assert_eq!(accepted, handled);
    }
}
