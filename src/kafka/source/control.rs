//! How the source is told what to do, and tells what it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};

use crate::config::log::SourceConfig;

/// What the source is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Hands over nothing new; ends when all has its verdict, or at this time.
    Draining(Instant),
    Stopped,
}

/// What a source does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct SourceStatus {
    /// Milliseconds since the last poll returned; large means stuck.
    pub since_poll_ms: u64,
    /// Records without a verdict.
    pub in_flight: usize,
    /// Records read but not accepted by the pipeline yet.
    pub held: usize,
    /// Partitions assigned.
    pub partitions: usize,
    /// Whether the partitions are paused.
    pub paused: bool,
}

/// Shared by a source and those who steer it.
#[derive(Debug)]
pub struct SourceControl {
    settings: ArcSwap<SourceConfig>,
    phase: Mutex<Phase>,
    changed: Condvar,
    /// All times count from here.
    born: Instant,
    last_poll_ms: AtomicU64,
    in_flight: AtomicUsize,
    held: AtomicUsize,
    partitions: AtomicUsize,
    paused: AtomicBool,
}

impl SourceControl {
    /// A control in the running state.
    #[must_use]
    pub fn new(settings: SourceConfig) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            phase: Mutex::new(Phase::Running),
            changed: Condvar::new(),
            born: Instant::now(),
            last_poll_ms: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            partitions: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
        }
    }

    /// See [`super::SourceHandle::drain`].
    pub fn drain(&self, deadline: Duration) {
        let mut phase = self.phase.lock();
        if *phase == Phase::Running {
            *phase = Phase::Draining(Instant::now() + deadline);
        }
        self.changed.notify_all();
    }

    /// See [`super::SourceHandle::stop`].
    pub fn stop(&self) {
        *self.phase.lock() = Phase::Stopped;
        self.changed.notify_all();
    }

    /// See [`super::SourceHandle::reconfigure`].
    pub fn reconfigure(&self, settings: SourceConfig) {
        self.settings.store(Arc::new(settings));
    }

    /// What the source does now.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        SourceStatus {
            since_poll_ms: self.now_ms().saturating_sub(self.last_poll_ms.load(Ordering::Relaxed)),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
            partitions: self.partitions.load(Ordering::Relaxed),
            paused: self.paused.load(Ordering::Relaxed),
        }
    }

    pub(super) fn settings(&self) -> Arc<SourceConfig> {
        self.settings.load_full()
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    /// Waits this long, or until the phase changes.
    pub(super) fn wait(&self, duration: Duration) {
        let mut phase = self.phase.lock();
        if *phase != Phase::Stopped {
            self.changed.wait_for(&mut phase, duration);
        }
    }

    pub(super) fn polled(&self, in_flight: usize, held: usize) {
        self.last_poll_ms.store(self.now_ms(), Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
    }

    pub(super) fn assignment(&self, partitions: usize, paused: bool) {
        self.partitions.store(partitions, Ordering::Relaxed);
        self.paused.store(paused, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
