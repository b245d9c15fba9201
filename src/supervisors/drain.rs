//! Stopping in reverse order, each child within its deadline.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::child::ChildState;
use super::fault::{Exit, ExitReason};
use super::link::{Phase, StopMode};
use super::shell::Control;
use super::supervisor::{Member, Supervisor};

/// How the tree stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct StopReport {
    /// One entry per child, in the order they were stopped.
    pub children: Vec<ChildStop>,
}

impl StopReport {
    /// Messages that were not finished.
    pub fn left(&self) -> usize {
        self.children.iter().map(|child| child.left).sum()
    }

    /// Whether every child ended by itself, in time and with an empty mailbox.
    pub fn is_clean(&self) -> bool {
        self.children.iter().all(|child| child.left == 0 && !child.aborted)
    }
}

/// How one child stopped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChildStop {
    /// The child's name.
    pub name: String,
    /// How its last worker ended.
    pub exit: ExitReason,
    /// Messages still in its mailbox at the end. They were let go, so that their source delivers them again.
    pub left: usize,
    /// Whether it did not end within its deadline.
    pub aborted: bool,
    /// How long it took.
    pub seconds: f64,
}

impl Supervisor {
    /// Stops the members from this one on, the last first.
    pub async fn stop_from(&mut self, from: usize, mode: StopMode) -> Vec<ChildStop> {
        let mut stops = Vec::new();
        for member in (from..self.members.len()).rev() {
            match &mut self.members[member] {
                Member::Nested(nested) => stops.extend(nested.stop(mode).await),
                Member::Unit(..) => stops.extend(self.stop_unit(member, mode).await),
            }
        }
        stops
    }

    async fn stop_unit(&mut self, member: usize, mode: StopMode) -> Option<ChildStop> {
        let started = Instant::now();
        let Member::Unit(child, seats) = &mut self.members[member] else { return None };
        let child = child.clone();
        if mode == StopMode::Drain
            && let Some(port) = &child.port
        {
            port.drain();
        }
        for (worker, seat) in seats.iter_mut().enumerate() {
            seat.due = None;
            child.see(worker, |view| view.state = ChildState::Stopping);
        }
        let deadline = started + child.policy.get().drain;
        let mut aborted = false;
        let mut exit = ExitReason::Completed;
        let mut failures = 0;
        loop {
            let (ended, in_time) = self.stop_workers(member, mode, deadline).await;
            aborted |= !in_time;
            if let Some((_, last)) = ended.last() {
                exit = last.reason;
            }
            if mode != StopMode::Drain || aborted || child.depth() == 0 || Instant::now() >= deadline {
                break;
            }
            // Workers crashed while the mailbox was worked off, or none was there: go on with new ones.
            let delay = child.policy.get().backoff.delay(failures);
            failures += 1;
            tokio::time::sleep_until((Instant::now() + delay).min(deadline)).await;
            let crashed = ended.iter().filter(|(_, exit)| exit.reason != ExitReason::Completed);
            let again: Vec<usize> = crashed
                .map(|(worker, exit)| {
                    child.metrics.restarts[exit.reason.index()].fetch_add(1, Ordering::Relaxed);
                    *worker
                })
                .collect();
            if again.is_empty() {
                self.launch(member, 0);
            }
            for worker in again {
                self.launch(member, worker);
            }
        }
        let left = match &child.port {
            Some(port) if mode == StopMode::Drain => port.clear(),
            _ => 0,
        };
        let Member::Unit(_, seats) = &mut self.members[member] else { return None };
        for worker in 0..seats.len() {
            child.see(worker, |view| view.state = ChildState::Stopped);
        }
        let seconds = started.elapsed().as_secs_f64();
        if aborted || left > 0 {
            tracing::warn!(actor = %child.name, left, aborted, seconds, "child did not end in order");
        }
        Some(ChildStop { name: child.name.to_string(), exit, left, aborted, seconds })
    }

    /// Asks all workers to stop and waits for them; after the deadline drops them. Returns how each ended and whether all
    /// did in time.
    async fn stop_workers(&mut self, member: usize, mode: StopMode, deadline: Instant) -> (Vec<(usize, Exit)>, bool) {
        let env = self.env.clone();
        let Member::Unit(child, seats) = &mut self.members[member] else { return (Vec::new(), true) };
        for seat in seats.iter() {
            if let Some(link) = &seat.link {
                link.ask(Control::Stop(mode));
            }
        }
        let (mut all, mut in_time) = (Vec::new(), true);
        for (worker, seat) in seats.iter_mut().enumerate() {
            seat.overdue = None;
            let Some(link) = seat.link.clone() else { continue };
            let mut phase = link.watch_phase();
            let ended = phase.wait_for(|phase| matches!(phase, Phase::Exited(..)));
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                in_time = false;
                link.abort(ExitReason::Killed);
                let grace = env.options.hung_grace.max(Duration::from_millis(1));
                let let_go = phase.wait_for(|phase| matches!(phase, Phase::Exited(..)));
                if tokio::time::timeout(grace, let_go).await.is_err() {
                    seat.give_up_thread(child, Exit::new(ExitReason::Unresponsive, "its thread is blocked"), &env);
                }
            }
            if let Phase::Exited(exit, _) = link.phase() {
                child.see(worker, |view| {
                    view.link = None;
                    view.last_exit = Some((exit.clone(), Instant::now()));
                });
                all.push((worker, exit));
            }
            seat.link = None;
        }
        (all, in_time)
    }
}
