//! Strategies, restart types, intensity, escalation, order of start; panics anywhere.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/virtual_time.rs"]
mod virtual_time;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill::supervisors::{
    Actor, Backoff, ChildCommand, ChildSpec, ChildState, Context, ExitReason, Fault, Intensity, RestartType, RootExit,
    ServiceContext, Settings, StartError, Strategy, SupervisorSpec, TopologyError, Tree, mailbox, start,
};
use virtual_time::{here, in_virtual_time};

/// Events in the order they happened.
type Log = Arc<Mutex<Vec<String>>>;

/// A service that logs its starts and stops, and ends as `end` says.
fn service(name: &'static str, log: &Log, end: impl Fn(u32) -> End + Send + Sync + 'static) -> ChildSpec {
    let (log, starts) = (log.clone(), AtomicU32::new(0));
    let end = Arc::new(end);
    ChildSpec::service(name, move |ctx: ServiceContext| {
        let (log, end) = (log.clone(), end(starts.fetch_add(1, Ordering::Relaxed)));
        async move {
            log.lock().push(format!("+{name}"));
            match end {
                End::Never => ctx.stopping().await,
                End::Complete(after) => tokio::time::sleep(after).await,
                End::Fail(after) => {
                    tokio::time::sleep(after).await;
                    return Err(Fault::broken("as told"));
                }
            }
            log.lock().push(format!("-{name}"));
            Ok(())
        }
    })
    .backoff(Backoff { min: Duration::from_millis(1), ..Backoff::default() })
}

#[derive(Clone, Copy)]
enum End {
    Never,
    Complete(Duration),
    Fail(Duration),
}

const SECOND: Duration = Duration::from_secs(1);

fn incarnations(tree: &Tree) -> Vec<Option<u64>> {
    tree.children().iter().map(|child| child.workers[0].incarnation).collect()
}

/// Four services under `strategy`, the second of which fails once; how often each was started.
fn incarnations_after_failure(strategy: Strategy) -> (Vec<Option<u64>>, Vec<String>) {
    in_virtual_time(async {
        let log = Log::default();
        let fails = |start| if start == 0 { End::Fail(SECOND) } else { End::Never };
        let spec = SupervisorSpec::new("root")
            .strategy(strategy)
            .child(service("a", &log, |_| End::Never))
            .child(service("b", &log, fails))
            .child(service("c", &log, |_| End::Never))
            .child(service("d", &log, |_| End::Never));
        let tree = start(spec, here()).await.unwrap();
        tokio::time::sleep(2 * SECOND).await;
        (incarnations(&tree), log.lock().clone())
    })
}

#[test]
fn one_for_one_restarts_only_the_one_that_failed() {
    let (incarnations, log) = incarnations_after_failure(Strategy::OneForOne);
    assert_eq!(incarnations, [Some(1), Some(2), Some(1), Some(1)]);
    assert_eq!(log, ["+a", "+b", "+c", "+d", "+b"]);
}

#[test]
fn one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() {
    let (incarnations, log) = incarnations_after_failure(Strategy::OneForAll);
    assert_eq!(incarnations, [Some(2); 4]);
    assert_eq!(log, ["+a", "+b", "+c", "+d", "-d", "-c", "-a", "+a", "+b", "+c", "+d"]);
}

#[test]
fn rest_for_one_restarts_those_declared_after_it_too() {
    let (incarnations, log) = incarnations_after_failure(Strategy::RestForOne);
    assert_eq!(incarnations, [Some(1), Some(2), Some(2), Some(2)]);
    assert_eq!(log, ["+a", "+b", "+c", "+d", "-d", "-c", "+b", "+c", "+d"]);
}

#[test]
fn restart_types_decide_who_comes_back() {
    let cases = [
        (RestartType::Permanent, End::Complete(SECOND), 2),
        (RestartType::Permanent, End::Fail(SECOND), 2),
        (RestartType::Transient, End::Complete(SECOND), 1),
        (RestartType::Transient, End::Fail(SECOND), 2),
        (RestartType::Temporary, End::Complete(SECOND), 1),
        (RestartType::Temporary, End::Fail(SECOND), 1),
    ];
    for (restart, end, starts) in cases {
        in_virtual_time(async move {
            let log = Log::default();
            let child = service("child", &log, move |start| if start == 0 { end } else { End::Never }).restart(restart);
            let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
            tokio::time::sleep(3 * SECOND).await;
            assert_eq!(log.lock().iter().filter(|line| *line == "+child").count(), starts, "{restart:?}");
            let state = tree.child_status("child").unwrap().state;
            assert_eq!(state, if starts == 2 { ChildState::Running } else { ChildState::Stopped });
        });
    }
}

#[test]
fn too_many_restarts_escalate_and_the_first_fault_is_the_cause() {
    in_virtual_time(async {
        let log = Log::default();
        let intensity = Intensity { max_restarts: 3, window: 10 * SECOND };
        let first = service("first", &log, |start| if start == 0 { End::Fail(SECOND) } else { End::Never });
        let then = service("then", &log, |_| End::Fail(2 * SECOND));
        let spec = SupervisorSpec::new("root").intensity(intensity).child(first).child(then);
        let tree = start(spec, here()).await.unwrap();
        let RootExit::Escalated { cause } = tree.wait().await else { panic!("it should give up") };
        assert_eq!((cause.child.as_str(), cause.exit.reason), ("first", ExitReason::Failed));
        let snapshot = tree.snapshot();
        assert_eq!((snapshot.escalations, snapshot.state), (1, ChildState::Stopped));
        assert_eq!(snapshot.last_cause, Some(cause));
        assert!(tree.children().iter().all(|child| child.state == ChildState::Stopped));
        let restarts: Vec<u64> = tree.children().iter().map(|child| child.restarts.failed).collect();
        assert_eq!(restarts, [1, 3]);
    });
}

#[test]
fn restarts_spread_wider_than_the_window_never_escalate() {
    in_virtual_time(async {
        let log = Log::default();
        let intensity = Intensity { max_restarts: 3, window: 10 * SECOND };
        let backoff = Backoff { min: Duration::ZERO, max: Duration::ZERO, ..Backoff::default() };
        let child = service("child", &log, |_| End::Fail(4 * SECOND)).backoff(backoff);
        let tree = start(SupervisorSpec::new("root").intensity(intensity).child(child), here()).await.unwrap();
        tokio::time::sleep(400 * SECOND).await;
        assert!(tree.child_status("child").unwrap().restarts.failed >= 95);
        assert_eq!(tree.snapshot().escalations, 0);
    });
}

#[test]
fn supervisor_that_gives_up_is_restarted_by_its_parent_until_that_gives_up_too() {
    in_virtual_time(async {
        let log = Log::default();
        let intensity = |max_restarts| Intensity { max_restarts, window: 600 * SECOND };
        let lower = SupervisorSpec::new("lower")
            .intensity(intensity(1))
            .child(service("steady", &log, |_| End::Never))
            .child(service("shaky", &log, |_| End::Fail(SECOND)));
        let spec = SupervisorSpec::new("root")
            .intensity(intensity(2))
            .child(service("apart", &log, |_| End::Never))
            .supervisor(lower);
        let tree = start(spec, here()).await.unwrap();
        let RootExit::Escalated { cause } = tree.wait().await else { panic!("it should give up") };
        assert_eq!(cause.child, "shaky");
        let mut text = String::new();
        tree.render_prometheus(&mut text);
        assert!(text.contains("tidemill_supervisor_escalations_total{supervisor=\"lower\"} 3\n"), "{text}");
        assert!(text.contains("tidemill_supervisor_escalations_total{supervisor=\"root\"} 1\n"), "{text}");
        let starts = |name: &str| log.lock().iter().filter(|line| **line == format!("+{name}")).count();
        assert_eq!((starts("apart"), starts("steady"), starts("shaky")), (1, 3, 6));
    });
}

#[test]
fn backoff_grows_with_failures_in_a_row_and_starts_over_after_health() {
    in_virtual_time(async {
        let log = Log::default();
        let backoff = Backoff { min: SECOND, max: 64 * SECOND, healthy_after: 100 * SECOND };
        // Ten quick failures, then one after a healthy while, then quick ones again.
        let child = service("child", &log, |start| {
            End::Fail(if start == 10 { 200 * SECOND } else { Duration::from_millis(1) })
        })
        .backoff(backoff);
        let intensity = Intensity { max_restarts: 1_000, window: SECOND };
        let tree = start(SupervisorSpec::new("root").intensity(intensity).child(child), here()).await.unwrap();
        let started = tokio::time::Instant::now();
        let after = async |starts: usize| {
            while log.lock().len() < starts {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            started.elapsed()
        };
        let quick = after(11).await;
        // Ceilings 1, 2, 4, … 64 s; a sum under 2 s has a probability below 1e-6.
        assert!(quick > 2 * SECOND && quick < 319 * SECOND, "{quick:?}");
        let healthy = after(12).await;
        assert!(healthy < quick + 202 * SECOND, "the wait starts over at its minimum");
        assert_eq!(tree.child_status("child").unwrap().restarts.failed, 11);
    });
}

#[test]
fn children_start_in_order_each_after_the_one_before_has_started() {
    /// Takes its time to start.
    struct Late(Log, u64);
    impl Actor for Late {
        type Message = ();
        async fn started(&mut self, ctx: &Context<()>) -> Result<(), Fault> {
            tokio::time::sleep(Duration::from_millis(self.1)).await;
            self.0.lock().push(format!("+{}", ctx.name()));
            Ok(())
        }
        async fn handle(&mut self, _: Vec<()>, _: &Context<()>) -> Result<(), Fault> {
            Ok(())
        }
        async fn stopped(&mut self, ctx: &Context<()>) {
            self.0.lock().push(format!("-{}", ctx.name()));
        }
    }
    in_virtual_time(async {
        let log = Log::default();
        let late = |name, millis| {
            let log = log.clone();
            ChildSpec::actor(name, mailbox(name, 1).1, move || Late(log.clone(), millis))
        };
        let inner = SupervisorSpec::new("inner").child(late("b", 20)).child(late("c", 10));
        let spec = SupervisorSpec::new("root").child(late("a", 30)).supervisor(inner).child(late("d", 0));
        let tree = start(spec, here()).await.unwrap();
        tree.stop().await;
        assert_eq!(*log.lock(), ["+a", "+b", "+c", "+d", "-d", "-c", "-b", "-a"]);
    });
}

#[test]
fn child_that_does_not_start_stops_those_before_it_and_is_named() {
    in_virtual_time(async {
        let log = Log::default();
        let bad = ChildSpec::actor_try("bad", mailbox::<u8>("bad", 1).1, || -> Result<Quiet, Fault> {
            Err(Fault::broken("no such model"))
        });
        let spec = SupervisorSpec::new("root").child(service("good", &log, |_| End::Never)).child(bad);
        let Err(StartError::Child { child, exit }) = start(spec, here()).await else { panic!("it should not start") };
        assert_eq!((child.as_str(), exit.reason), ("bad", ExitReason::Failed));
        assert!(exit.detail.contains("no such model"));
        assert_eq!(*log.lock(), ["+good", "-good"]);
    });
}

/// Does nothing.
struct Quiet;

impl Actor for Quiet {
    type Message = u8;

    async fn handle(&mut self, _: Vec<u8>, _: &Context<u8>) -> Result<(), Fault> {
        Ok(())
    }
}

/// Where a [`Mine`] blows up.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Spot {
    Factory,
    Started,
    Handler,
    Future,
    Stopped,
    StateDrop,
    /// The handler panics and so does the drop of the state after it.
    HandlerAndDrop,
    /// The panic's own payload panics when dropped.
    Payload,
}

/// Panics at one spot, in its second incarnation where that makes it start at all.
struct Mine {
    spot: Spot,
    armed: bool,
}

/// Panics when dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

impl Actor for Mine {
    type Message = u8;

    async fn started(&mut self, _: &Context<u8>) -> Result<(), Fault> {
        assert!(!(self.armed && self.spot == Spot::Started), "in started");
        Ok(())
    }

    fn handle(&mut self, _: Vec<u8>, _: &Context<u8>) -> impl Future<Output = Result<(), Fault>> {
        assert!(!(self.armed && matches!(self.spot, Spot::Handler | Spot::HandlerAndDrop)), "in the handler");
        let (armed, spot) = (self.armed, self.spot);
        async move {
            tokio::task::yield_now().await;
            assert!(!(armed && spot == Spot::Future), "in the future");
            if armed && spot == Spot::Payload {
                std::panic::panic_any(Grenade);
            }
            Ok(())
        }
    }

    async fn stopped(&mut self, _: &Context<u8>) {
        assert!(!(self.armed && self.spot == Spot::Stopped), "in stopped");
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        assert!(!(self.armed && matches!(self.spot, Spot::StateDrop | Spot::HandlerAndDrop)), "in drop");
    }
}

#[test]
fn panic_anywhere_never_ends_the_process_and_the_actor_comes_back() {
    let spots = [
        Spot::Factory,
        Spot::Started,
        Spot::Handler,
        Spot::Future,
        Spot::Stopped,
        Spot::StateDrop,
        Spot::HandlerAndDrop,
        Spot::Payload,
    ];
    for spot in spots {
        in_virtual_time(async move {
            let (to, inbox) = mailbox("mine", 4);
            let made = AtomicU32::new(0);
            let child = ChildSpec::actor("mine", inbox, move || {
                let number = made.fetch_add(1, Ordering::Relaxed);
                // The first start must succeed; the first message then meets an armed one, except after a restart.
                let armed = number == u32::from(matches!(spot, Spot::Factory | Spot::Started));
                assert!(!(armed && spot == Spot::Factory), "in the factory");
                Mine { spot, armed }
            })
            .backoff(Backoff { min: Duration::from_millis(1), ..Backoff::default() });
            let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
            to.send(1).await.unwrap();
            tokio::time::sleep(SECOND).await;
            if tree.child_status("mine").unwrap().restarts.total() == 0 {
                tree.command("mine", ChildCommand::Restart).unwrap();
                tokio::time::sleep(SECOND).await;
            }
            to.send(2).await.unwrap();
            tokio::time::sleep(SECOND).await;
            let status = tree.child_status("mine").unwrap();
            assert_eq!(status.state, ChildState::Running, "{spot:?}");
            assert!(status.restarts.total() >= 1, "{spot:?}");
            assert_eq!(status.mailbox.unwrap().messages.done, 2, "{spot:?}");
            assert!(tree.stop().await.is_clean(), "{spot:?}");
        });
    }
}

#[test]
fn panic_in_stopped_is_reported_and_the_rest_still_stops() {
    in_virtual_time(async {
        let log = Log::default();
        let mine = ChildSpec::actor("mine", mailbox("mine", 4).1, || Mine { spot: Spot::Stopped, armed: true });
        let spec = SupervisorSpec::new("root").child(service("below", &log, |_| End::Never)).child(mine);
        let tree = start(spec, here()).await.unwrap();
        let report = tree.stop().await;
        let ends: Vec<(&str, ExitReason)> =
            report.children.iter().map(|child| (child.name.as_str(), child.exit)).collect();
        assert_eq!(ends, [("mine", ExitReason::Panicked), ("below", ExitReason::Completed)]);
        assert_eq!(*log.lock(), ["+below", "-below"]);
    });
}

#[test]
fn services_panic_and_fault_injection_are_restarted_and_told_apart() {
    in_virtual_time(async {
        let log = Log::default();
        let tree = start(SupervisorSpec::new("root").child(service("s", &log, |_| End::Never)), here()).await.unwrap();
        tree.command("s", ChildCommand::Panic).unwrap();
        tokio::time::sleep(SECOND).await;
        tree.command("s", ChildCommand::Restart).unwrap();
        tokio::time::sleep(SECOND).await;
        let restarts = tree.child_status("s").unwrap().restarts;
        assert_eq!((restarts.panicked, restarts.killed, restarts.total()), (1, 1, 2));
        let mut text = String::new();
        tree.render_prometheus(&mut text);
        for (reason, count) in [("panicked", 1), ("killed", 1), ("failed", 0), ("unresponsive", 0)] {
            let line = format!("tidemill_actor_restarts_total{{actor=\"s\",reason=\"{reason}\"}} {count}\n");
            assert!(text.contains(&line), "{text}");
        }
    });
}

#[test]
fn settings_change_while_it_runs() {
    in_virtual_time(async {
        let log = Log::default();
        let child = service("child", &log, |_| End::Fail(SECOND));
        let generous = Intensity { max_restarts: 1_000, window: 1_000 * SECOND };
        let tree = start(SupervisorSpec::new("root").intensity(generous).child(child), here()).await.unwrap();
        tokio::time::sleep(20 * SECOND).await;
        assert!(log.lock().len() > 10);
        let slow = Backoff { min: 10_000 * SECOND, max: 10_000 * SECOND, ..Backoff::default() };
        tree.set_policy("child", |settings: &mut Settings| settings.backoff = slow).unwrap();
        tokio::time::sleep(3 * SECOND).await;
        assert_eq!(tree.child_status("child").unwrap().state, ChildState::BackingOff);
        tree.set_policy("child", |settings| settings.backoff = Backoff::default()).unwrap();
        assert!(tree.set_policy("nobody", |_| {}).is_err());
        tree.set_intensity("root", Intensity { max_restarts: 1, window: 1_000 * SECOND }).unwrap();
        assert!(tree.set_intensity("nobody", generous).is_err());
        assert!(matches!(tree.wait().await, RootExit::Escalated { .. }));
    });
}

#[test]
fn wrong_declarations_are_refused_before_anything_starts() {
    let child = |name: &'static str, to: &'static [&'static str]| {
        ChildSpec::actor(name, mailbox(name, 1).1, || Quiet).sends_to(to)
    };
    let root = || SupervisorSpec::new("root");
    let ring = root().child(child("a", &["b"])).child(child("b", &["c"])).child(child("c", &["a"]));
    let expected = TopologyError::Ring(["a", "b", "c", "a"].map(str::to_owned).to_vec());
    assert_eq!(ring.topology().check(), Err(expected.clone()));
    assert_eq!(expected.to_string(), "the edges form a ring: a → b → c → a");
    let unknown = root().child(child("a", &["x"]));
    assert_eq!(
        unknown.topology().check(),
        Err(TopologyError::UnknownEdge { from: "a".to_owned(), to: "x".to_owned() })
    );
    let twice = root().supervisor(SupervisorSpec::new("a").child(child("a", &[])));
    assert_eq!(twice.topology().check(), Err(TopologyError::DuplicateName("a".to_owned())));
    in_virtual_time(async {
        assert!(matches!(start(ring, here()).await, Err(StartError::Topology(TopologyError::Ring(_)))));
    });
}

#[test]
fn topology_is_drawn_as_text_mermaid_and_json() {
    let child = |name: &'static str, to: &'static [&'static str]| {
        ChildSpec::actor(name, mailbox(name, 8).1, || Quiet).sends_to(to)
    };
    let inner = SupervisorSpec::new("path").strategy(Strategy::RestForOne).child(child("writer", &[]));
    let topology =
        SupervisorSpec::new("root").supervisor(inner).child(child("reader", &["writer"]).workers(3)).topology();
    topology.check().unwrap();
    let text = "root [one_for_one]\n  path [rest_for_one]\n    writer (8)\n  reader ×3 (8) → writer\n";
    assert_eq!(topology.to_text(), text);
    let mermaid = topology.to_mermaid();
    assert!(mermaid.starts_with("flowchart TD\n  subgraph n_root"), "{mermaid}");
    assert!(mermaid.contains("n_reader[\"reader ×3\"]") && mermaid.contains("n_reader --> n_writer"), "{mermaid}");
    let json = serde_json::to_value(&topology).unwrap();
    assert_eq!(json["root"]["children"][1]["sends_to"][0], "writer");
}

/// What a watchdog outside asks: whether anybody still looks after the children.
#[test]
fn pulse_is_young_while_children_fail_and_ages_when_supervisors_stand_still() {
    in_virtual_time(async {
        let log = Log::default();
        let fails = |_| End::Fail(SECOND);
        let nested = SupervisorSpec::new("nested").child(service("fails", &log, fails));
        let spec = SupervisorSpec::new("root").child(service("runs", &log, |_| End::Never)).supervisor(nested);
        let tree = start(spec, here()).await.unwrap();
        let beat = here().heartbeat;
        for _ in 0..20 {
            tokio::time::sleep(3 * SECOND).await;
            assert!(tree.pulse_age() <= 2 * beat, "{:?}", tree.pulse_age());
        }
        // the clock goes on, but nobody on this thread gets to run
        let mut standstill = std::pin::pin!(tokio::time::advance(30 * SECOND));
        assert!(futures_util::poll!(standstill.as_mut()).is_pending());
        assert!(tree.pulse_age() >= 30 * SECOND, "{:?}", tree.pulse_age());
        standstill.await;
        tokio::time::sleep(beat).await;
        assert!(tree.pulse_age() <= 2 * beat, "it recovers: {:?}", tree.pulse_age());
        tree.stop().await;
    });
}
