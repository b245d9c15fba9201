//! The running tree as data, for the API, the console and `tidemill top`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::child::{Child, ChildKind, ChildState};
use super::fault::{Exit, ExitReason};
use super::link::Times;
use super::queue::MessageCounts;
use super::strategy::{RestartType, Strategy};
use super::supervisor::{Cause, NodeCore, SupervisorCore};
use super::tree::Tree;

/// A supervisor and all below it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SupervisorStatus {
    /// Its name.
    pub name: String,
    /// Which children it restarts together.
    pub strategy: Strategy,
    /// What it is doing.
    pub state: ChildState,
    /// How often it gave up.
    pub escalations: u64,
    /// The first fault of those that made it give up last.
    pub last_cause: Option<Cause>,
    /// In the order they start.
    pub children: Vec<NodeStatus>,
}

/// A node under a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum NodeStatus {
    /// A supervisor.
    Supervisor(SupervisorStatus),
    /// An actor or service.
    Child(ChildStatus),
}

/// A child.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChildStatus {
    /// Its name.
    pub name: String,
    /// Actor or service.
    pub kind: ChildKind,
    /// Name of its supervisor.
    pub supervisor: String,
    /// Whether it is restarted when it ends.
    pub restart: RestartType,
    /// What its least advanced worker is doing.
    pub state: ChildState,
    /// Restarts by the reason of the exit before.
    pub restarts: RestartCounts,
    /// Its mailbox; services have none.
    pub mailbox: Option<MailboxStatus>,
    /// Handler calls so far.
    pub batches: u64,
    /// Time its workers were at work, seconds.
    pub busy_seconds: f64,
    /// Time its workers waited for messages, seconds.
    pub idle_seconds: f64,
    /// Time its workers waited for room in others' mailboxes, seconds.
    pub backpressure_seconds: f64,
    /// Whom it sends to.
    pub sends_to: Vec<String>,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
}

/// Restarts by the reason of the exit before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RestartCounts {
    /// After it had ended in order.
    pub completed: u64,
    /// After a fault.
    pub failed: u64,
    /// After a panic.
    pub panicked: u64,
    /// After it made no progress.
    pub unresponsive: u64,
    /// By an operator.
    pub killed: u64,
    /// After a receiver had stopped for good.
    pub downstream_closed: u64,
}

impl RestartCounts {
    /// All restarts.
    pub fn total(&self) -> u64 {
        self.completed + self.failed + self.panicked + self.unresponsive + self.killed + self.downstream_closed
    }

    pub(super) fn of(child: &Child) -> Self {
        let count = |reason: ExitReason| child.metrics.restarts[reason.index()].load(Ordering::Relaxed);
        Self {
            completed: count(ExitReason::Completed),
            failed: count(ExitReason::Failed),
            panicked: count(ExitReason::Panicked),
            unresponsive: count(ExitReason::Unresponsive),
            killed: count(ExitReason::Killed),
            downstream_closed: count(ExitReason::DownstreamClosed),
        }
    }
}

/// A mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MailboxStatus {
    /// Messages queued and in flight.
    pub depth: usize,
    /// Most messages queued and in flight.
    pub capacity: usize,
    /// Messages by what became of them.
    pub messages: MessageCounts,
    /// Age of the oldest batch in flight, seconds.
    pub in_flight_age_seconds: Option<f64>,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerStatus {
    /// What it is doing.
    pub state: ChildState,
    /// Which incarnation of the child it is, from 1; absent when there is none now.
    pub incarnation: Option<u64>,
    /// Name of its arbiter's thread.
    pub thread: Option<String>,
    /// How its last incarnation ended.
    pub last_exit: Option<LastExit>,
}

/// How an incarnation ended, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastExit {
    /// How it ended.
    #[serde(flatten)]
    pub exit: Exit,
    /// How long ago, seconds.
    pub seconds_ago: f64,
}

impl Tree {
    /// The whole tree as it is now.
    pub fn snapshot(&self) -> SupervisorStatus {
        supervisor_status(self.root(), Instant::now())
    }

    /// All children as they are now, in the order they start.
    pub fn children(&self) -> Vec<ChildStatus> {
        let now = Instant::now();
        self.all_children().iter().map(|(supervisor, child)| child_status(&supervisor.name, child, now)).collect()
    }

    /// One child as it is now.
    pub fn child_status(&self, name: &str) -> Option<ChildStatus> {
        self.children().into_iter().find(|child| child.name == name)
    }

    /// How long ago the running supervisor that is furthest behind last looked after its members: under twice the heartbeat
    /// in a healthy tree. It grows when a supervisor's thread no longer runs, and only that; a stuck actor is replaced.
    pub fn pulse_age(&self) -> Duration {
        let now = Instant::now();
        let mut found = vec![self.root().clone()];
        let mut oldest = Duration::ZERO;
        while let Some(core) = found.pop() {
            if *core.state.lock() == ChildState::Running {
                oldest = oldest.max(now.saturating_duration_since(*core.looked.lock()));
            }
            found.extend(core.nodes.iter().filter_map(|node| match node {
                NodeCore::Supervisor(core) => Some(core.clone()),
                NodeCore::Child(_) => None,
            }));
        }
        oldest
    }

    /// Threads that hang and were replaced.
    pub fn hung_threads(&self) -> usize {
        self.env().hung.load(Ordering::Relaxed)
    }
}

fn supervisor_status(core: &Arc<SupervisorCore>, now: Instant) -> SupervisorStatus {
    let children = core.nodes.iter().map(|node| match node {
        NodeCore::Child(child) => NodeStatus::Child(child_status(&core.name, child, now)),
        NodeCore::Supervisor(core) => NodeStatus::Supervisor(supervisor_status(core, now)),
    });
    SupervisorStatus {
        name: core.name.clone(),
        strategy: core.strategy,
        state: *core.state.lock(),
        escalations: core.escalations.load(Ordering::Relaxed),
        last_cause: core.last_cause.lock().clone(),
        children: children.collect(),
    }
}

/// Busy, idle and back-pressured time of an actor up to now; a service's is not known.
pub(super) fn times(child: &Child) -> Times {
    if child.port.is_none() {
        return Times::default();
    }
    let mut total = child.metrics.times();
    for seat in child.seats.lock().iter() {
        if let Some(link) = &seat.link {
            let current = link.current_times();
            total.busy += current.busy;
            total.idle += current.idle;
            total.back_pressure += current.back_pressure;
        }
    }
    total
}

/// Age of the oldest batch in flight.
pub(super) fn in_flight_age(child: &Child, now: Instant) -> Option<Duration> {
    Some(now.saturating_duration_since(child.port.as_ref()?.oldest_in_flight()?))
}

fn child_status(supervisor: &str, child: &Child, now: Instant) -> ChildStatus {
    let workers: Vec<WorkerStatus> = child.seats.lock().iter().map(|seat| worker_status(seat, now)).collect();
    let mailbox = child.port.as_ref().map(|port| {
        let (depth, capacity) = port.level();
        let in_flight_age_seconds = in_flight_age(child, now).map(|age| age.as_secs_f64());
        MailboxStatus { depth, capacity, messages: port.counts(), in_flight_age_seconds }
    });
    let times = times(child);
    ChildStatus {
        name: child.name.to_string(),
        kind: child.kind,
        supervisor: supervisor.to_owned(),
        restart: child.restart,
        state: workers.iter().map(|worker| worker.state).min_by_key(|state| rank(*state)).unwrap_or_default(),
        restarts: RestartCounts::of(child),
        mailbox,
        batches: child.metrics.processing.count(),
        busy_seconds: times.busy.as_secs_f64(),
        idle_seconds: times.idle.as_secs_f64(),
        backpressure_seconds: times.back_pressure.as_secs_f64(),
        sends_to: child.sends_to.clone(),
        workers,
    }
}

fn worker_status(seat: &super::child::SeatView, now: Instant) -> WorkerStatus {
    let link = seat.link.as_ref();
    // The link knows first that it runs.
    let running = link.is_some_and(|link| matches!(link.phase(), super::link::Phase::Running));
    let state = if seat.state == ChildState::Starting && running { ChildState::Running } else { seat.state };
    WorkerStatus {
        state,
        incarnation: link.map(|link| link.token.incarnation),
        thread: link.map(|link| link.thread.lock().clone()),
        last_exit: seat.last_exit.as_ref().map(|(exit, at)| LastExit {
            exit: exit.clone(),
            seconds_ago: now.saturating_duration_since(*at).as_secs_f64(),
        }),
    }
}

/// The less, the more it deserves attention.
const fn rank(state: ChildState) -> u8 {
    match state {
        ChildState::BackingOff => 0,
        ChildState::Starting => 1,
        ChildState::Stopping => 2,
        ChildState::Waiting => 3,
        ChildState::Running => 4,
        ChildState::Stopped => 5,
    }
}
