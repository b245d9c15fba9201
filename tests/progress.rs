//! Who is stuck, who only waits, and what becomes of a hung thread.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/virtual_time.rs"]
mod virtual_time;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill::supervisors::{
    Actor, Backoff, ChildCommand, ChildSpec, ChildState, Context, ExitReason, Fault, Mailbox, MessageCounts, Options,
    RestartCounts, RootExit, SupervisorSpec, mailbox, start,
};
use virtual_time::{here, in_virtual_time};

const SECOND: Duration = Duration::from_secs(1);
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// What to do for how many seconds.
#[derive(Debug, Clone, Copy)]
enum Task {
    /// Wait, without telling anyone.
    Silent(u64),
    /// Wait in a protected zone.
    Protected(u64),
    /// Wait, with a heartbeat every second.
    Beating(u64),
}

struct Worker;

impl Actor for Worker {
    type Message = Task;

    async fn handle(&mut self, batch: Vec<Task>, ctx: &Context<Task>) -> Result<(), Fault> {
        for task in batch {
            match task {
                Task::Silent(seconds) => tokio::time::sleep(SECOND * u32::try_from(seconds).unwrap()).await,
                Task::Protected(seconds) => ctx.protect(tokio::time::sleep(Duration::from_secs(seconds))).await,
                Task::Beating(seconds) => {
                    for _ in 0..seconds {
                        tokio::time::sleep(SECOND).await;
                        ctx.progress();
                    }
                }
            }
        }
        Ok(())
    }
}

/// Restarts and message counts after one task.
fn after(task: Task) -> (RestartCounts, MessageCounts) {
    in_virtual_time(async move {
        let (to, inbox) = mailbox("worker", 4);
        let child = ChildSpec::actor("worker", inbox, || Worker).stuck_after(STUCK_AFTER).attempts(2);
        let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
        to.send(task).await.unwrap();
        while to.depth() > 0 {
            tokio::time::sleep(SECOND).await;
        }
        // Idle for long: nobody is blamed for having nothing to do.
        tokio::time::sleep(100 * STUCK_AFTER).await;
        let status = tree.child_status("worker").unwrap();
        (status.restarts, status.mailbox.unwrap().messages)
    })
}

#[test]
fn silent_handler_is_replaced() {
    let (restarts, counts) = after(Task::Silent(1_000));
    assert_eq!(restarts, RestartCounts { unresponsive: 2, ..RestartCounts::default() });
    assert_eq!(counts, MessageCounts { received: 1, done: 0, dead: 0, dropped: 1 });
}

#[test]
fn short_silence_protected_waits_and_heartbeats_are_no_hang() {
    for task in [Task::Silent(4), Task::Protected(1_000), Task::Beating(1_000)] {
        let (restarts, counts) = after(task);
        assert_eq!(restarts, RestartCounts::default(), "{task:?}");
        assert_eq!(counts.done, 1, "{task:?}");
    }
}

/// Passes messages on.
struct Relay(Mailbox<Task>);

impl Actor for Relay {
    type Message = Task;

    async fn handle(&mut self, batch: Vec<Task>, ctx: &Context<Task>) -> Result<(), Fault> {
        for task in batch {
            ctx.send(&self.0, task).await?;
            ctx.done(1);
        }
        Ok(())
    }
}

#[test]
fn sender_waiting_for_a_full_mailbox_is_not_blamed_the_stuck_receiver_is() {
    in_virtual_time(async {
        let (to_worker, worker_inbox) = mailbox("worker", 1);
        let (to_relay, relay_inbox) = mailbox("relay", 4);
        let worker = ChildSpec::actor("worker", worker_inbox, || Worker).stuck_after(6 * STUCK_AFTER).attempts(1);
        let relay = ChildSpec::actor("relay", relay_inbox, move || Relay(to_worker.clone()))
            .stuck_after(STUCK_AFTER)
            .sends_to(&["worker"]);
        let tree = start(SupervisorSpec::new("root").child(worker).child(relay), here()).await.unwrap();
        for _ in 0..4 {
            to_relay.send(Task::Silent(1_000)).await.unwrap();
        }
        tokio::time::sleep(5 * STUCK_AFTER).await;
        let relay = tree.child_status("relay").unwrap();
        assert!((relay.backpressure_seconds - 25.0).abs() < 0.1, "{relay:?}");
        assert!(relay.busy_seconds < 0.1 && relay.idle_seconds < 0.1, "{relay:?}");
        let worker = tree.child_status("worker").unwrap();
        assert!((worker.busy_seconds - 25.0).abs() < 0.1, "{worker:?}");
        assert!((worker.mailbox.unwrap().in_flight_age_seconds.unwrap() - 25.0).abs() < 0.1);
        tokio::time::sleep(30 * STUCK_AFTER).await;
        assert_eq!(tree.child_status("relay").unwrap().restarts.total(), 0);
        assert_eq!(tree.child_status("worker").unwrap().restarts.unresponsive, 4);
    });
}

#[test]
fn injected_hang_is_found_and_blames_no_message() {
    in_virtual_time(async {
        let (to, inbox) = mailbox("worker", 4);
        let child = ChildSpec::actor("worker", inbox, || Worker).stuck_after(STUCK_AFTER).attempts(1);
        let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
        for idle in [true, false] {
            if !idle {
                to.send(Task::Silent(1)).await.unwrap();
            }
            tree.command("worker", ChildCommand::HangAsync).unwrap();
            if !idle {
                to.send(Task::Silent(1)).await.unwrap();
            }
            tokio::time::sleep(4 * STUCK_AFTER).await;
        }
        let status = tree.child_status("worker").unwrap();
        assert_eq!(status.restarts, RestartCounts { unresponsive: 2, ..RestartCounts::default() });
        assert_eq!(status.mailbox.unwrap().messages, MessageCounts { received: 2, done: 2, dead: 0, dropped: 0 });
    });
}

/// Blocks its thread on the first message it sees until told to go on, then tells what became of its calls.
struct Blocker {
    gate: Arc<Mutex<mpsc::Receiver<()>>>,
    blocked: Arc<Mutex<bool>>,
    seen: Arc<Mutex<Vec<u32>>>,
    sent: Mailbox<u32>,
    late: mpsc::Sender<Result<(), Fault>>,
}

impl Actor for Blocker {
    type Message = u32;

    async fn handle(&mut self, batch: Vec<u32>, ctx: &Context<u32>) -> Result<(), Fault> {
        let first = !std::mem::replace(&mut *self.blocked.lock(), true);
        if first {
            self.gate.lock().recv().unwrap();
            ctx.done(batch.len());
            self.late.send(ctx.send(&self.sent, 0).await).unwrap();
            return Ok(());
        }
        self.seen.lock().extend(batch);
        Ok(())
    }
}

/// Options that find a hang within a tenth of a second.
fn alert(max_hung_threads: usize) -> Options {
    let heartbeat = Duration::from_millis(20);
    Options { heartbeat, hung_grace: heartbeat, max_hung_threads, ..Options::default() }
}

#[test]
fn actor_that_blocks_its_thread_is_replaced_on_another_and_ignored_when_it_wakes() {
    actix::System::new().block_on(async {
        let (to, inbox) = mailbox("blocker", 8);
        let (to_sink, _sink) = mailbox("sink", 8);
        let ((open, gate), (late, woken)) = (mpsc::channel(), mpsc::channel());
        let (gate, blocked, seen) = (Arc::new(Mutex::new(gate)), Arc::default(), Arc::new(Mutex::new(Vec::new())));
        let (kept, sink) = (seen.clone(), to_sink.clone());
        let child = ChildSpec::actor("blocker", inbox, move || Blocker {
            gate: gate.clone(),
            blocked: Arc::clone(&blocked),
            seen: kept.clone(),
            sent: sink.clone(),
            late: late.clone(),
        })
        .backoff(Backoff { min: Duration::ZERO, max: Duration::ZERO, ..Backoff::default() })
        .stuck_after(Duration::from_millis(60));
        let tree = start(SupervisorSpec::new("root").child(child), alert(1)).await.unwrap();
        let first_thread = tree.child_status("blocker").unwrap().workers[0].thread.clone();
        for message in 1..=3 {
            to.send(message).await.unwrap();
        }
        while to.depth() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*seen.lock(), [1, 2, 3], "the replacement did all, the one in flight first");
        assert_eq!(tree.hung_threads(), 1);
        let status = tree.child_status("blocker").unwrap();
        assert_eq!(status.restarts, RestartCounts { unresponsive: 1, ..RestartCounts::default() });
        assert_ne!(status.workers[0].thread, first_thread);
        open.send(()).unwrap();
        let late = tokio::task::spawn_blocking(move || woken.recv().unwrap()).await.unwrap();
        assert!(matches!(late, Err(Fault::Broken { .. })), "what it sends late is refused");
        while tree.hung_threads() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(to_sink.depth(), 0);
        assert!(tree.stop().await.is_clean());
        let counts = tree.child_status("blocker").unwrap().mailbox.unwrap().messages;
        assert_eq!(counts, MessageCounts { received: 3, done: 3, dead: 0, dropped: 0 }, "done twice is done once");
    });
}

#[test]
fn too_many_hung_threads_end_the_tree() {
    actix::System::new().block_on(async {
        let (to, inbox) = mailbox("worker", 8);
        let child = ChildSpec::actor("worker", inbox, || Worker)
            .stuck_after(Duration::from_millis(60))
            .drain(Duration::from_millis(50));
        let tree = start(SupervisorSpec::new("root").child(child), alert(0)).await.unwrap();
        tree.command("worker", ChildCommand::Hang(Duration::from_millis(600))).unwrap();
        to.send(Task::Silent(0)).await.unwrap();
        let RootExit::Escalated { cause } = tree.wait().await else { panic!("it should give up") };
        assert_eq!(cause.exit.reason, ExitReason::Unresponsive);
        assert_eq!(tree.child_status("worker").unwrap().state, ChildState::Stopped);
    });
}

#[test]
fn idle_busy_and_back_pressured_time_are_told_apart() {
    in_virtual_time(async {
        let (to, inbox) = mailbox("worker", 4);
        let tree = start(SupervisorSpec::new("root").child(ChildSpec::actor("worker", inbox, || Worker)), here());
        let tree = tree.await.unwrap();
        tokio::time::sleep(10 * SECOND).await;
        to.send(Task::Silent(3)).await.unwrap();
        tokio::time::sleep(20 * SECOND).await;
        let status = tree.child_status("worker").unwrap();
        assert!((status.busy_seconds - 3.0).abs() < 0.1, "{status:?}");
        assert!((status.idle_seconds - 27.0).abs() < 0.1, "{status:?}");
        assert!(status.backpressure_seconds < 0.1, "{status:?}");
        let mut text = String::new();
        tree.render_prometheus(&mut text);
        assert!(text.contains("tidemill_actor_processing_seconds_bucket{actor=\"worker\",le=\"2.5\"} 0\n"), "{text}");
        assert!(text.contains("tidemill_actor_processing_seconds_bucket{actor=\"worker\",le=\"5\"} 1\n"), "{text}");
        assert!(text.contains("tidemill_actor_wait_seconds_count{actor=\"worker\"} 1\n"), "{text}");
        assert!(
            text.contains("tidemill_actor_messages_processed_total{actor=\"worker\",outcome=\"done\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("tidemill_actor_mailbox_capacity{actor=\"worker\"} 4\n"), "{text}");
    });
}
