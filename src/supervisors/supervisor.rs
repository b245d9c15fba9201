//! One supervisor at work: starts its members in order, restarts by its strategy, gives up by its intensity.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::child::{Child, ChildState};
use super::drain::ChildStop;
use super::fault::{Exit, ExitReason};
use super::intensity::{Intensity, Window};
use super::link::{Phase, StopMode};
use super::queue::Recovery;
use super::seat::Seat;
use super::strategy::{Strategy, counts, restarts};
use super::topology::{NodeSpec, SupervisorSpec};
use super::tree::Options;

/// What all supervisors of a tree share.
pub(super) struct Env {
    pub options: Options,
    /// Name of the root supervisor.
    pub root: String,
    /// Threads that hang and were replaced.
    pub hung: AtomicUsize,
}

impl Env {
    /// How a supervisor that gives up stops its children: the root works them off, others keep their mailboxes for the
    /// next try.
    fn give_up_mode(&self, name: &str) -> StopMode {
        if name == self.root { StopMode::Drain } else { StopMode::Halt }
    }
}

/// A supervisor, as long as its tree lives.
pub(super) struct SupervisorCore {
    pub name: String,
    pub strategy: Strategy,
    pub intensity: Mutex<Intensity>,
    pub nodes: Vec<NodeCore>,
    pub escalations: AtomicU64,
    pub state: Mutex<ChildState>,
    pub last_cause: Mutex<Option<Cause>>,
    /// When it last looked after its members; the tree's pulse.
    pub looked: Mutex<Instant>,
}

pub(super) enum NodeCore {
    Child(Arc<Child>),
    Supervisor(Arc<SupervisorCore>),
}

impl SupervisorCore {
    pub fn build(spec: SupervisorSpec) -> Arc<Self> {
        let nodes = spec.children.into_iter().map(|node| match node {
            NodeSpec::Child(child) => NodeCore::Child(Arc::new(child)),
            NodeSpec::Supervisor(supervisor) => NodeCore::Supervisor(Self::build(supervisor)),
        });
        Arc::new(Self {
            name: spec.name,
            strategy: spec.strategy,
            intensity: Mutex::new(spec.intensity),
            nodes: nodes.collect(),
            escalations: AtomicU64::new(0),
            state: Mutex::default(),
            last_cause: Mutex::default(),
            looked: Mutex::new(Instant::now()),
        })
    }
}

/// Why a supervisor gave up: the first fault of those that led to it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cause {
    /// The child that failed first.
    pub child: String,
    /// How it ended.
    pub exit: Exit,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.child, self.exit)
    }
}

/// It gave up.
#[derive(Debug, Clone)]
pub(super) struct Escalation {
    pub cause: Cause,
    /// Parents must not try again.
    pub fatal: bool,
}

/// Where a supervisor stands.
#[derive(Debug, Clone)]
pub(super) enum SupervisorPhase {
    Starting,
    Running,
    Ended(Option<Escalation>, Vec<ChildStop>),
}

/// Something happened to a member.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Exited { member: usize, worker: usize, incarnation: u64 },
    SupervisorEnded { member: usize, generation: u64 },
}

/// A supervisor under this one.
pub(super) struct Nested {
    core: Arc<SupervisorCore>,
    running: Option<(watch::Sender<StopMode>, watch::Receiver<SupervisorPhase>)>,
    generation: u64,
    failures: u32,
    due: Option<Instant>,
}

pub(super) enum Member {
    Unit(Arc<Child>, Vec<Seat>),
    Nested(Nested),
}

/// A restart of several members at once.
struct Group {
    from: usize,
    due: Instant,
}

/// A supervisor at work.
pub(super) struct Supervisor {
    pub core: Arc<SupervisorCore>,
    pub env: Arc<Env>,
    pub members: Vec<Member>,
    sender: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    pub stop: watch::Receiver<StopMode>,
    phase: watch::Sender<SupervisorPhase>,
    window: Window,
    group: Option<Group>,
    last_look: Instant,
}

/// What ends the supervisor's loop or a wait in it.
pub(super) enum Break {
    /// It was asked to stop.
    Stop,
    /// It gives up.
    Escalate(Escalation),
}

impl Supervisor {
    #[expect(clippy::disallowed_methods, reason = "one event per end of an incarnation; the sender must never wait")]
    pub fn new(
        core: Arc<SupervisorCore>,
        env: Arc<Env>,
        stop: watch::Receiver<StopMode>,
        phase: watch::Sender<SupervisorPhase>,
    ) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let members = core.nodes.iter().map(|node| match node {
            NodeCore::Child(child) => {
                Member::Unit(child.clone(), (0..child.workers()).map(|_| Seat::default()).collect())
            }
            NodeCore::Supervisor(core) => {
                Member::Nested(Nested { core: core.clone(), running: None, generation: 0, failures: 0, due: None })
            }
        });
        let members = members.collect();
        let (window, last_look) = (Window::default(), Instant::now());
        Self { core, env, members, sender, events, stop, phase, window, group: None, last_look }
    }

    /// Supervises until it is stopped or gives up.
    pub async fn run(mut self) {
        *self.core.state.lock() = ChildState::Starting;
        let end = match self.start_from(0, true).await {
            Ok(()) => {
                *self.core.looked.lock() = Instant::now();
                *self.core.state.lock() = ChildState::Running;
                self.phase.send_replace(SupervisorPhase::Running);
                self.supervise().await
            }
            Err(end) => end,
        };
        *self.core.state.lock() = ChildState::Stopping;
        let (escalation, mode) = match end {
            Break::Stop => (None, *self.stop.borrow()),
            Break::Escalate(escalation) => {
                self.core.escalations.fetch_add(1, Ordering::Relaxed);
                *self.core.last_cause.lock() = Some(escalation.cause.clone());
                tracing::error!(supervisor = self.core.name, cause = %escalation.cause, "supervisor gives up");
                (Some(escalation), self.env.give_up_mode(&self.core.name))
            }
        };
        let mode = if mode == StopMode::Run { StopMode::Drain } else { mode };
        let stops = self.stop_from(0, mode).await;
        *self.core.state.lock() = ChildState::Stopped;
        self.phase.send_replace(SupervisorPhase::Ended(escalation, stops));
    }

    async fn supervise(&mut self) -> Break {
        loop {
            let wake = self.next_wake();
            // A timer would round what is due now up to its next millisecond.
            let late = wake <= Instant::now();
            let event = tokio::select! {
                biased;
                _ = self.stop.wait_for(|mode| *mode != StopMode::Run) => return Break::Stop,
                Some(event) = self.events.recv() => Some(event),
                () = std::future::ready(()), if late => None,
                () = tokio::time::sleep_until(wake), if !late => None,
            };
            let step = match event {
                Some(event) => self.on_event(event).await,
                None => self.on_time().await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// When there is something to do next.
    fn next_wake(&self) -> Instant {
        let mut wake = self.last_look + self.env.options.heartbeat;
        for member in &self.members {
            let dues: &mut dyn Iterator<Item = Instant> = match member {
                Member::Unit(_, seats) => &mut seats.iter().flat_map(|seat| seat.due.into_iter().chain(seat.overdue)),
                Member::Nested(nested) => &mut nested.due.into_iter(),
            };
            wake = dues.fold(wake, Instant::min);
        }
        self.group.as_ref().map_or(wake, |group| wake.min(group.due))
    }

    async fn on_event(&mut self, event: Event) -> Result<(), Break> {
        match event {
            Event::Exited { member, worker, incarnation } => {
                let Some(Member::Unit(_, seats)) = self.members.get_mut(member) else { return Ok(()) };
                let seat = &mut seats[worker];
                let ended = seat
                    .link
                    .take_if(|link| link.token.incarnation == incarnation && matches!(link.phase(), Phase::Exited(..)));
                match ended.map(|link| link.phase()) {
                    Some(Phase::Exited(exit, recovery)) => self.on_exit(member, worker, exit, recovery).await,
                    Some(Phase::Starting | Phase::Running) | None => Ok(()),
                }
            }
            Event::SupervisorEnded { member, generation } => self.on_supervisor_end(member, generation).await,
        }
    }

    async fn on_exit(&mut self, member: usize, worker: usize, exit: Exit, recovery: Recovery) -> Result<(), Break> {
        let now = Instant::now();
        let Member::Unit(child, seats) = &mut self.members[member] else { return Ok(()) };
        let (child, seat) = (child.clone(), &mut seats[worker]);
        seat.overdue = None;
        tracing::warn!(
            actor = %child.name, worker, reason = %exit.reason, detail = %exit.detail, returned = recovery.returned,
            "child ended"
        );
        child.see(worker, |view| {
            view.link = None;
            view.last_exit = Some((exit.clone(), now));
        });
        if !restarts(exit.reason, child.restart) {
            seat.ended = true;
            let all = seats.iter().all(|seat| seat.ended);
            child.see(worker, |view| view.state = ChildState::Stopped);
            if all && let Some(port) = &child.port {
                port.clear();
            }
            return Ok(());
        }
        child.metrics.restarts[exit.reason.index()].fetch_add(1, Ordering::Relaxed);
        let backoff = child.policy.get().backoff;
        let mut delay = Duration::ZERO;
        if counts(exit.reason) {
            if seat.was_healthy(now, backoff.healthy_after) {
                seat.failures = 0;
            }
            seat.failures = seat.failures.saturating_add(1);
            self.window.record(now, (member, worker), &child.name, &exit);
            if seat.is_explained(recovery, child.port.as_deref(), self.env.options.max_poison_streak) {
                seat.failures = seat.failures.saturating_sub(recovery.explained);
                self.window.forgive((member, worker), recovery.explained);
            }
            // a batch that is halved to find its bad message is a search that gets on, not an actor that fails again
            delay = backoff.delay(if recovery.returned > 1 { 0 } else { seat.failures.saturating_sub(1) });
            self.check_intensity(now)?;
        }
        child.see(worker, |view| view.state = ChildState::BackingOff);
        self.restart(member, Some(worker), now + delay).await;
        Ok(())
    }

    fn check_intensity(&mut self, now: Instant) -> Result<(), Break> {
        let intensity = *self.core.intensity.lock();
        if !self.window.exceeds(intensity, now) {
            return Ok(());
        }
        let Some((child, exit)) = self.window.first() else { return Ok(()) };
        Err(Break::Escalate(Escalation { cause: Cause { child, exit }, fatal: false }))
    }

    async fn on_supervisor_end(&mut self, member: usize, generation: u64) -> Result<(), Break> {
        let now = Instant::now();
        let Some(Member::Nested(nested)) = self.members.get_mut(member) else { return Ok(()) };
        if nested.generation != generation {
            return Ok(());
        }
        let Some((_, phase)) = nested.running.take() else { return Ok(()) };
        let SupervisorPhase::Ended(Some(escalation), _) = phase.borrow().clone() else { return Ok(()) };
        if escalation.fatal {
            return Err(Break::Escalate(escalation));
        }
        let backoff = self.env.options.supervisor_backoff;
        let delay = backoff.delay(nested.failures);
        nested.failures = nested.failures.saturating_add(1);
        let name = escalation.cause.child.clone();
        self.window.record(now, (member, usize::MAX), &name, &escalation.cause.exit);
        self.check_intensity(now)?;
        self.restart(member, None, now + delay).await;
        Ok(())
    }

    /// Plans the restart of a member and of those its strategy binds to it.
    async fn restart(&mut self, member: usize, worker: Option<usize>, due: Instant) {
        let from = match self.core.strategy {
            Strategy::OneForOne => {
                match (&mut self.members[member], worker) {
                    (Member::Unit(_, seats), Some(worker)) => seats[worker].due = Some(due),
                    (Member::Nested(nested), _) => nested.due = Some(due),
                    (Member::Unit(..), None) => {}
                }
                return;
            }
            Strategy::OneForAll => 0,
            Strategy::RestForOne => member,
        };
        self.stop_from(from, StopMode::Halt).await;
        let due = self.group.take().map_or(due, |group| group.due.max(due));
        self.group = Some(Group { from, due });
    }

    async fn on_time(&mut self) -> Result<(), Break> {
        let now = Instant::now();
        if self.group.as_ref().is_some_and(|group| group.due <= now)
            && let Some(group) = self.group.take()
        {
            self.start_from(group.from, false).await?;
        }
        for member in 0..self.members.len() {
            match &mut self.members[member] {
                Member::Unit(_, seats) => {
                    let due: Vec<usize> = (0..seats.len())
                        .filter(|worker| seats[*worker].due.take_if(|due| *due <= now).is_some())
                        .collect();
                    for worker in due {
                        self.launch(member, worker);
                    }
                    self.look_for_hung_threads(member, now)?;
                }
                Member::Nested(nested) => {
                    if nested.due.take_if(|due| *due <= now).is_some() {
                        self.start_nested(member);
                    }
                }
            }
        }
        if now.duration_since(self.last_look) >= self.env.options.heartbeat {
            self.look_for_stuck(now);
        }
        Ok(())
    }

    /// Aborts those that made no progress for too long. Time in which this loop itself could not look does not count.
    fn look_for_stuck(&mut self, now: Instant) {
        let options = &self.env.options;
        let elapsed = now.duration_since(self.last_look).min(options.heartbeat * 2);
        self.last_look = now;
        *self.core.looked.lock() = now;
        for member in &mut self.members {
            let Member::Unit(child, seats) = member else { continue };
            let stuck_after = child.policy.get().stuck_after;
            for seat in seats {
                seat.look(elapsed, stuck_after, now + options.hung_grace);
            }
        }
    }

    /// Replaces those whose thread did not even let go of them.
    fn look_for_hung_threads(&mut self, member: usize, now: Instant) -> Result<(), Break> {
        let Member::Unit(child, seats) = &mut self.members[member] else { return Ok(()) };
        for (worker, seat) in seats.iter_mut().enumerate() {
            if seat.overdue.take_if(|overdue| *overdue <= now).is_none() {
                continue;
            }
            let exit = Exit::new(ExitReason::Unresponsive, "its thread is blocked");
            let Some(link) = seat.give_up_thread(child, exit.clone(), &self.env) else { continue };
            let _ = self.sender.send(Event::Exited { member, worker, incarnation: link.token.incarnation });
            if self.env.hung.load(Ordering::Relaxed) > self.env.options.max_hung_threads {
                let cause = Cause { child: child.name.to_string(), exit };
                return Err(Break::Escalate(Escalation { cause, fatal: true }));
            }
        }
        Ok(())
    }

    /// Starts all workers of all members from this one on, in order, each member when the one before has started.
    async fn start_from(&mut self, from: usize, first: bool) -> Result<(), Break> {
        for member in from..self.members.len() {
            match &mut self.members[member] {
                Member::Unit(_, seats) => {
                    let workers: Vec<usize> = (0..seats.len()).filter(|worker| !seats[*worker].ended).collect();
                    for worker in &workers {
                        self.launch(member, *worker);
                    }
                    for worker in workers {
                        match self.wait_started(member, worker).await? {
                            None => {}
                            Some(cause) if first => {
                                return Err(Break::Escalate(Escalation { cause, fatal: false }));
                            }
                            // Its end is among the events and leads to the next restart of the group.
                            Some(_) => return Ok(()),
                        }
                    }
                }
                Member::Nested(nested) if nested.running.is_none() => {
                    self.start_nested(member);
                    if let Some(escalation) = self.wait_nested(member).await? {
                        if first {
                            return Err(Break::Escalate(escalation));
                        }
                        return Ok(());
                    }
                }
                Member::Nested(_) => {}
            }
        }
        Ok(())
    }

    /// Waits until a worker has started; `Some` if it ended instead.
    async fn wait_started(&mut self, member: usize, worker: usize) -> Result<Option<Cause>, Break> {
        let Member::Unit(child, seats) = &mut self.members[member] else { return Ok(None) };
        let (name, seat) = (child.name.clone(), &mut seats[worker]);
        let Some(link) = seat.link.clone() else { return Ok(None) };
        let mut phase = link.watch_phase();
        let options = &self.env.options;
        let patience = child.policy.get().stuck_after.unwrap_or(options.start_limit);
        loop {
            tokio::select! {
                biased;
                changed = phase.wait_for(|phase| !matches!(phase, Phase::Starting)) => {
                    return Ok(match changed.as_deref() {
                        Ok(Phase::Exited(exit, _)) => Some(Cause { child: name.to_string(), exit: exit.clone() }),
                        Ok(Phase::Starting | Phase::Running) | Err(_) => None,
                    });
                }
                _ = self.stop.wait_for(|mode| *mode != StopMode::Run) => return Err(Break::Stop),
                () = tokio::time::sleep(options.heartbeat) => {
                    seat.look(options.heartbeat, Some(patience), Instant::now() + options.hung_grace);
                    if seat.overdue.is_some_and(|overdue| overdue <= Instant::now()) {
                        seat.overdue = None;
                        let exit = Exit::new(ExitReason::Unresponsive, "its thread is blocked");
                        seat.give_up_thread(child, exit, &self.env);
                    }
                }
            }
        }
    }

    async fn wait_nested(&mut self, member: usize) -> Result<Option<Escalation>, Break> {
        let Member::Nested(Nested { running: Some((_, phase)), .. }) = &mut self.members[member] else {
            return Ok(None);
        };
        tokio::select! {
            biased;
            changed = phase.wait_for(|phase| !matches!(phase, SupervisorPhase::Starting)) => {
                Ok(match changed.as_deref() {
                    Ok(SupervisorPhase::Ended(escalation, _)) => escalation.clone(),
                    Ok(SupervisorPhase::Starting | SupervisorPhase::Running) | Err(_) => None,
                })
            }
            _ = self.stop.wait_for(|mode| *mode != StopMode::Run) => Err(Break::Stop),
        }
    }

    pub fn launch(&mut self, member: usize, worker: usize) {
        if let Member::Unit(child, seats) = &mut self.members[member] {
            seats[worker].launch(child, (member, worker), &self.env, &self.sender);
        }
    }

    fn start_nested(&mut self, member: usize) {
        let Member::Nested(nested) = &mut self.members[member] else { return };
        nested.generation += 1;
        let (generation, sender) = (nested.generation, self.sender.clone());
        let (stop, stop_receiver) = watch::channel(StopMode::Run);
        let (phase, phase_receiver) = watch::channel(SupervisorPhase::Starting);
        let supervisor = Supervisor::new(nested.core.clone(), self.env.clone(), stop_receiver, phase);
        nested.running = Some((stop, phase_receiver));
        actix_rt::spawn(async move {
            supervisor.run().await;
            let _ = sender.send(Event::SupervisorEnded { member, generation });
        });
    }
}

impl Nested {
    /// Stops it and waits for its end, which its own deadlines bound.
    pub async fn stop(&mut self, mode: StopMode) -> Vec<ChildStop> {
        self.due = None;
        let Some((stop, mut phase)) = self.running.take() else { return Vec::new() };
        stop.send_replace(mode);
        match phase.wait_for(|phase| matches!(phase, SupervisorPhase::Ended(..))).await.as_deref() {
            Ok(SupervisorPhase::Ended(_, stops)) => stops.clone(),
            Ok(SupervisorPhase::Starting | SupervisorPhase::Running) | Err(_) => Vec::new(),
        }
    }
}
