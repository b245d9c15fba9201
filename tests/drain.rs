//! Stopping: in reverse order, with nothing lost, each child within its deadline.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/virtual_time.rs"]
mod virtual_time;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill::supervisors::{
    Actor, BatchPolicy, ChildSpec, Context, ExitReason, Fault, Mailbox, MessageCounts, RestartType, RootExit,
    ServiceContext, SupervisorSpec, mailbox, start,
};
use tokio::time::Instant;
use virtual_time::{here, in_virtual_time};

const STEP: Duration = Duration::from_millis(10);

/// Takes its time over each message and passes it on; the last of the line keeps it.
struct Stage {
    next: Option<Mailbox<u32>>,
    kept: Arc<Mutex<Vec<u32>>>,
    crashes: Arc<Mutex<Vec<u32>>>,
}

impl Actor for Stage {
    type Message = u32;

    async fn handle(&mut self, batch: Vec<u32>, ctx: &Context<u32>) -> Result<(), Fault> {
        for message in batch {
            tokio::time::sleep(STEP).await;
            let crash = self.crashes.lock().iter().position(|crash| *crash == message);
            if let Some(crash) = crash {
                self.crashes.lock().remove(crash);
                panic!("crash while draining");
            }
            match &self.next {
                Some(next) => ctx.send(next, message).await?,
                None => self.kept.lock().push(message),
            }
            ctx.done(1);
        }
        Ok(())
    }
}

/// Three stages in a line, declared receivers first.
struct Line {
    spec: SupervisorSpec,
    first: Mailbox<u32>,
    kept: Arc<Mutex<Vec<u32>>>,
}

fn line(crashes: &[u32], workers: usize, drain: Duration) -> Line {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let crashes = Arc::new(Mutex::new(crashes.to_vec()));
    let mut spec = SupervisorSpec::new("root");
    let mut next: Option<Mailbox<u32>> = None;
    for name in ["last", "middle", "first"] {
        let (to, inbox) = mailbox(name, 8);
        let (to_next, kept, crashes) = (next.replace(to), kept.clone(), crashes.clone());
        let child = ChildSpec::actor(name, inbox, move || Stage {
            next: to_next.clone(),
            kept: kept.clone(),
            crashes: crashes.clone(),
        });
        spec = spec.child(child.workers(workers).attempts(9).drain(drain).batch(BatchPolicy::of(3)));
    }
    Line { spec, first: next.unwrap(), kept }
}

const MESSAGES: u32 = 40;
const LONG: Duration = Duration::from_mins(10);

#[test]
fn drain_begins_at_the_source_and_loses_nothing() {
    in_virtual_time(async {
        let Line { spec, first, kept } = line(&[], 1, LONG);
        let tree = start(spec, here()).await.unwrap();
        for message in 0..MESSAGES {
            first.send(message).await.unwrap();
        }
        let report = tree.stop().await;
        assert!(report.is_clean());
        let order: Vec<&str> = report.children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!(order, ["first", "middle", "last"]);
        assert_eq!(*kept.lock(), (0..MESSAGES).collect::<Vec<_>>());
        assert_eq!(tree.wait().await, RootExit::Stopped);
        assert_eq!(tree.stop().await, report, "a second stop gives the same report");
    });
}

#[test]
fn crash_while_draining_is_restarted_and_loses_nothing() {
    for workers in [1, 3] {
        in_virtual_time(async move {
            let Line { spec, first, kept } = line(&[38, 39, 39], workers, LONG);
            let tree = start(spec, here()).await.unwrap();
            for message in 0..MESSAGES {
                first.send(message).await.unwrap();
            }
            let report = tree.stop().await;
            assert!(report.is_clean(), "{report:?}");
            let mut kept = kept.lock().clone();
            kept.sort_unstable();
            assert_eq!(kept, (0..MESSAGES).collect::<Vec<_>>());
            let panicked: u64 = tree.children().iter().map(|child| child.restarts.panicked).sum();
            // With several workers another one may finish the message before its first is back, and that one is not needed.
            assert!(panicked == 3 || (workers > 1 && (1..3).contains(&panicked)), "{panicked}");
        });
    }
}

/// Holds on to its first message for ever.
struct Stubborn;

impl Actor for Stubborn {
    type Message = Arc<()>;

    async fn handle(&mut self, _: Vec<Arc<()>>, ctx: &Context<Arc<()>>) -> Result<(), Fault> {
        ctx.protect(std::future::pending::<()>()).await;
        Ok(())
    }
}

#[test]
fn deadline_cuts_off_and_says_what_was_left() {
    in_virtual_time(async {
        const DRAIN: Duration = Duration::from_secs(3);
        let (to, inbox) = mailbox("stubborn", 8);
        let child = ChildSpec::actor("stubborn", inbox, || Stubborn).drain(DRAIN);
        let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
        let messages = Arc::new(());
        for _ in 0..5 {
            to.send(messages.clone()).await.unwrap();
        }
        tokio::task::yield_now().await;
        let before = Instant::now();
        let report = tree.stop().await;
        assert!(before.elapsed() >= DRAIN && before.elapsed() < DRAIN + Duration::from_millis(10));
        let [child] = &report.children[..] else { panic!("one child") };
        assert_eq!((child.left, child.aborted, child.exit), (5, true, ExitReason::Killed));
        assert_eq!(report.left(), 5);
        assert_eq!(Arc::strong_count(&messages), 1, "what was left is let go of, so that its source can know");
        let counts = tree.child_status("stubborn").unwrap().mailbox.unwrap().messages;
        assert_eq!(counts, MessageCounts { received: 5, done: 0, dead: 0, dropped: 5 });
    });
}

#[test]
fn services_are_told_and_waited_for() {
    in_virtual_time(async {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let service = |name: &'static str, takes: u64| {
            let ended = ended.clone();
            ChildSpec::service(name, move |ctx: ServiceContext| {
                let ended = ended.clone();
                async move {
                    assert!(!ctx.is_stopping());
                    ctx.stopping().await;
                    tokio::time::sleep(Duration::from_secs(takes)).await;
                    ended.lock().push(ctx.name().to_owned());
                    Ok(())
                }
            })
            .drain(Duration::from_secs(5))
        };
        let spec = SupervisorSpec::new("root").child(service("quick", 1)).child(service("slow", 100));
        let tree = start(spec, here()).await.unwrap();
        let before = Instant::now();
        let report = tree.stop().await;
        assert_eq!(before.elapsed().as_secs(), 6);
        let ends: Vec<(&str, bool)> =
            report.children.iter().map(|child| (child.name.as_str(), child.aborted)).collect();
        assert_eq!(ends, [("slow", true), ("quick", false)]);
        assert_eq!(*ended.lock(), ["quick"]);
    });
}

/// Gives up on its first message.
struct Quitter;

impl Actor for Quitter {
    type Message = u32;

    async fn handle(&mut self, _: Vec<u32>, _: &Context<u32>) -> Result<(), Fault> {
        Err(Fault::broken("enough"))
    }
}

#[test]
fn receiver_that_stopped_for_good_ends_its_sender_and_keeps_its_messages() {
    in_virtual_time(async {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (to_end, end_inbox) = mailbox("end", 1);
        let (to_relay, relay_inbox) = mailbox("relay", 8);
        let end = ChildSpec::actor("end", end_inbox, || Quitter).restart(RestartType::Temporary);
        let sender_kept = kept.clone();
        let relay = ChildSpec::actor("relay", relay_inbox, move || Stage {
            next: Some(to_end.clone()),
            kept: sender_kept.clone(),
            crashes: Arc::default(),
        })
        .restart(RestartType::Transient);
        let tree = start(SupervisorSpec::new("root").child(end).child(relay), here()).await.unwrap();
        to_relay.send(1).await.unwrap();
        to_relay.send(2).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = tree.child_status("relay").unwrap();
        assert_eq!(status.workers[0].last_exit.as_ref().unwrap().exit.reason, ExitReason::DownstreamClosed);
        assert_eq!(status.restarts.total(), 0, "a transient sender has nothing left to do");
        assert!(to_relay.is_closed());
    });
}

#[test]
fn stop_while_starting_ends_in_order() {
    in_virtual_time(async {
        /// Waits for a store that never comes.
        struct Waits;
        impl Actor for Waits {
            type Message = u32;
            async fn started(&mut self, _: &Context<u32>) -> Result<(), Fault> {
                Err(Fault::unavailable("no store"))
            }
            async fn handle(&mut self, _: Vec<u32>, _: &Context<u32>) -> Result<(), Fault> {
                Ok(())
            }
        }
        let child =
            ChildSpec::actor("waits", mailbox("waits", 1).1, || Waits).unavailable_limit(Duration::from_mins(1));
        let before = Instant::now();
        let failed = start(SupervisorSpec::new("root").child(child), here()).await;
        assert!(failed.is_err_and(|error| error.to_string().contains("no store")));
        assert!(before.elapsed() >= Duration::from_mins(1), "it was waited for");
    });
}
