//! One worker's seat: its thread, its present incarnation, and what its supervisor remembers of earlier ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::child::{Child, ChildState};
use super::fault::{Exit, ExitReason};
use super::link::{Link, Phase};
use super::mailbox::Port;
use super::placement::Place;
use super::queue::{Recovery, Token};
use super::shell::{OnExit, Runner};
use super::supervisor::{Env, Event};

/// One worker's seat.
#[derive(Default)]
pub(super) struct Seat {
    /// Its thread, kept over restarts, replaced when it hangs.
    place: Option<Place>,
    /// The present incarnation.
    pub link: Option<Arc<Link>>,
    /// When the present incarnation was launched.
    launched: Option<Instant>,
    /// Without progress for so long.
    silent: Duration,
    /// Failures in a row, for the backoff.
    pub failures: u32,
    /// When it is to be restarted.
    pub due: Option<Instant>,
    /// It was aborted: when its thread must have let go of it.
    pub overdue: Option<Instant>,
    /// It has ended for good.
    pub ended: bool,
    /// Poison messages in a row without a good one between.
    poison_streak: u32,
    /// Messages done when the last poison was found.
    done_at_poison: u64,
}

impl Seat {
    /// Starts a new incarnation.
    pub fn launch(
        &mut self,
        child: &Arc<Child>,
        (member, worker): (usize, usize),
        env: &Arc<Env>,
        events: &UnboundedSender<Event>,
    ) {
        let token = Token { worker, incarnation: child.next_incarnation() };
        if let Some(port) = &child.port {
            port.attach(token);
        }
        let link = Arc::new(Link::new(child.name.clone(), token, child.metrics.clone()));
        self.link = Some(link.clone());
        (self.due, self.overdue, self.silent) = (None, None, Duration::ZERO);
        self.launched = Some(Instant::now());
        child.see(worker, |view| {
            view.state = ChildState::Starting;
            view.link = Some(link.clone());
        });
        let (port, policy, env_, events) = (child.port.clone(), child.policy.clone(), env.clone(), events.clone());
        let on_exit = move |link: &Arc<Link>, exit: Exit| {
            let exit = link.judge(exit);
            let recovery = port.map_or(Recovery::default(), |port| port.recover(token, &exit, policy.get().attempts));
            if link.exited(exit, recovery) {
                let _ = events.send(Event::Exited { member, worker, incarnation: token.incarnation });
            } else {
                // It had been given up as hung and has come back.
                env_.hung.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let place = match &self.place {
            Some(place) => place,
            None => match Place::new(env.options.placement, &child.name) {
                Ok(place) => self.place.insert(place),
                Err(error) => {
                    on_exit(&link, Exit::new(ExitReason::Failed, format!("no thread for it: {error}")));
                    return;
                }
            },
        };
        let (host, policy) = (child.host.clone(), child.policy.clone());
        place.run(move || {
            let work = host.work(link.clone(), policy);
            let on_exit: OnExit = Box::new(on_exit);
            actix_rt::spawn(Runner::new(link, work, on_exit));
        });
    }

    /// Whether the incarnation that has just ended had run well for long enough.
    pub fn was_healthy(&self, now: Instant, healthy_after: Duration) -> bool {
        self.launched.is_some_and(|launched| now.duration_since(launched) >= healthy_after)
    }

    /// Whether the crashes are put down to a message that was given up, and not to the actor. An actor that gives up
    /// one message after the other without finishing any is itself the cause.
    pub fn is_explained(&mut self, recovery: Recovery, port: Option<&dyn Port>, max_streak: u32) -> bool {
        let (true, Some(port)) = (recovery.explained > 0, port) else { return false };
        let done = port.counts().done;
        self.poison_streak = if done == self.done_at_poison { self.poison_streak + 1 } else { 1 };
        self.done_at_poison = done;
        self.poison_streak <= max_streak
    }

    /// Looks at the heartbeat; aborts the incarnation when it was silent for too long.
    pub fn look(&mut self, elapsed: Duration, stuck_after: Option<Duration>, grace: Instant) {
        let Some(link) = &self.link else { return };
        let Some(stuck_after) = stuck_after else { return };
        self.silent = if link.progress.look() { Duration::ZERO } else { self.silent + elapsed };
        if self.silent >= stuck_after && self.overdue.is_none() {
            tracing::error!(actor = %link.name, silent_seconds = self.silent.as_secs_f64(), "no progress, replacing");
            link.abort(ExitReason::Unresponsive);
            self.overdue = Some(grace);
        }
    }

    /// The incarnation did not let go of its thread: leaves the thread to it and counts it as hung. `None` if it let
    /// go at the last moment.
    pub fn give_up_thread(&mut self, child: &Child, exit: Exit, env: &Env) -> Option<Arc<Link>> {
        let link = self.link.clone()?;
        if matches!(link.phase(), Phase::Exited(..)) {
            return None;
        }
        let (exit, attempts) = (link.judge(exit), child.policy.get().attempts);
        let recovery =
            child.port.as_ref().map_or(Recovery::default(), |port| port.recover(link.token, &exit, attempts));
        link.fence();
        env.hung.fetch_add(1, Ordering::Relaxed);
        if !link.exited(exit, recovery) {
            env.hung.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        tracing::error!(actor = %child.name, "thread is hung, going on with another");
        self.place = None;
        Some(link)
    }
}
