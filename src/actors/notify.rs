//! Tells the service manager (systemd's notify protocol) how the daemon does. Without one nothing is sent.
//!
//! The watchdog is fed only while the supervision tree's pulse is fresh: a tree whose supervisors no longer look after
//! their children, or a process whose threads stand still, is restarted from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::reload::{ReloadPhase, Reloader};
use crate::supervisors::Tree;
use crate::web::state::{Operations, Readiness};

/// Set by the service manager that wants to be told.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// How often readiness is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks between two status texts that differ only in their numbers.
const LOOKS_PER_STATUS: u32 = 20;
/// While it is alive but not ready, the start may take this much longer, asked for again and again.
const START_MORE: Duration = Duration::from_secs(30);
/// A pulse older than this is no pulse, if the watchdog's own period is longer: many heartbeats.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// Where the daemon stands, as told.
const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// The line to the service manager. Cheap to clone.
#[derive(Clone)]
pub struct ServiceManager {
    stage: Arc<AtomicU8>,
    /// How often it wants a sign of life, if it does.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The service manager that started this process, if it wants to be told.
    #[must_use]
    pub fn of_process() -> Option<Self> {
        std::env::var_os(SOCKET_VARIABLE)?;
        Some(Self { stage: Arc::default(), watchdog: sd_notify::watchdog_enabled() })
    }

    /// Tells of every reload of these settings.
    pub fn follow(&self, reloader: &Reloader) {
        let line = self.clone();
        reloader.on_reload(Box::new(move |phase| line.reload(phase)));
    }

    fn reload(&self, phase: ReloadPhase) {
        if self.stage.load(Ordering::Relaxed) != READY {
            return; // before and after, "ready again" would be a lie
        }
        match phase {
            ReloadPhase::Begins => match NotifyState::monotonic_usec_now() {
                Ok(now) => send(&[NotifyState::Reloading, now]),
                Err(error) => tracing::warn!(%error, "reload can't be told to the service manager"),
            },
            ReloadPhase::Ends => send(&[NotifyState::Ready]),
        }
    }

    /// The stores are being opened.
    pub fn opening(&self) {
        send(&[NotifyState::Status("opens log, stores and models")]);
    }

    /// The drain begins.
    pub fn stopping(&self) {
        self.stage.store(STOPPING, Ordering::Relaxed);
        send(&[NotifyState::Stopping, NotifyState::Status("drains: intake is closed, open work is finished")]);
    }

    /// Tells readiness and feeds the watchdog for as long as the tree lives, until dropped.
    pub async fn attend(self, tree: Tree, operations: Arc<dyn Operations>, serves: String) {
        let period = self.watchdog.map_or(LOOK_EVERY, |watchdog| (watchdog / 4).min(LOOK_EVERY));
        let limit = self.watchdog.map_or(STALE_AFTER, |watchdog| watchdog.min(STALE_AFTER));
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told::default();
        loop {
            interval.tick().await;
            let age = tree.pulse_age();
            if age > limit {
                told.silence(age);
                continue; // no sign of life and no promise of readiness from a tree that stands still
            }
            let readiness = operations.readiness();
            if readiness.ready
                && self.stage.compare_exchange(STARTING, READY, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                send(&[NotifyState::Ready]);
            }
            self.sign_of_life(&mut told);
            told.status(&status(&serves, &readiness, operations.backlog()), readiness.ready);
        }
    }

    fn sign_of_life(&self, told: &mut Told) {
        let now = Instant::now();
        if let Some(watchdog) = self.watchdog
            && told.alive.is_none_or(|last| now - last >= watchdog / 3)
        {
            send(&[NotifyState::Watchdog]);
            told.alive = Some(now);
        }
        let starting = self.stage.load(Ordering::Relaxed) == STARTING;
        if starting && told.more.is_none_or(|last| now - last >= START_MORE / 3) {
            send(&[NotifyState::ExtendTimeoutUsec(u32::try_from(START_MORE.as_micros()).unwrap_or(u32::MAX))]);
            told.more = Some(now);
        }
    }
}

/// What was told, so that nothing is told too often.
#[derive(Default)]
struct Told {
    /// The last sign of life.
    alive: Option<Instant>,
    /// When more time for the start was last asked for.
    more: Option<Instant>,
    /// The last status.
    status: String,
    /// Whether it was one of readiness.
    ready: bool,
    /// Looks since then.
    looks: u32,
    /// Whether the silence was told.
    silent: bool,
}

impl Told {
    fn status(&mut self, status: &str, ready: bool) {
        self.silent = false;
        self.looks += 1;
        let due = self.ready != ready || !ready || self.looks >= LOOKS_PER_STATUS;
        if status != self.status && due {
            send(&[NotifyState::Status(status)]);
            status.clone_into(&mut self.status);
            (self.ready, self.looks) = (ready, 0);
        }
    }

    fn silence(&mut self, age: Duration) {
        if !self.silent {
            tracing::error!(seconds = age.as_secs_f64(), "supervisors stand still, the watchdog gets no sign of life");
            self.silent = true;
        }
    }
}

/// What the daemon does, in one line for `systemctl status`.
fn status(serves: &str, readiness: &Readiness, backlog: u64) -> String {
    if readiness.ready {
        return format!("{serves}, {backlog} records wait");
    }
    let away: Vec<String> = readiness
        .dependencies
        .iter()
        .filter(|dependency| !dependency.healthy)
        .map(|dependency| format!("{} ({})", dependency.name, dependency.detail))
        .collect();
    if away.is_empty() { "starts its actors".to_owned() } else { format!("waits for {}", one_line(&away.join(", "))) }
}

/// A line end would end the status.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::state::Dependency;

    fn readiness(ready: bool, away: &[(&str, &str)]) -> Readiness {
        let dependencies = away
            .iter()
            .map(|(name, detail)| Dependency { name: (*name).into(), healthy: false, detail: (*detail).into() })
            .collect();
        Readiness { ready, stopping: false, dependencies }
    }

    #[test]
    fn status_says_what_it_serves_or_waits_for() {
        assert_eq!(status("api at :1", &readiness(true, &[]), 7), "api at :1, 7 records wait");
        let waits = status("api at :1", &readiness(false, &[("log", "no\nbroker")]), 0);
        assert_eq!(waits, "waits for log (no broker)");
        assert_eq!(status("api at :1", &readiness(false, &[]), 0), "starts its actors");
    }
}
