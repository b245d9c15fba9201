//! What one incarnation and its supervisor share: heartbeat, control, phase, and where the time goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::fault::{Exit, ExitReason};
use super::histogram::{Histogram, nanos};
use super::progress::{Progress, Zone};
use super::queue::{Recovery, Token};
use super::shell::{Control, ControlPort};

/// How a child is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopMode {
    /// Not at all.
    Run,
    /// After the batch at hand; the mailbox stays open and keeps what is queued.
    Halt,
    /// For good: after everything queued.
    Drain,
}

/// Faults injected on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Injection {
    Panic,
    /// Blocks the thread.
    Hang(Duration),
    /// Never returns, without blocking the thread.
    HangAsync,
}

/// Where an incarnation stands.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    Starting,
    Running,
    Exited(Exit, Recovery),
}

/// What an incarnation does with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Idle,
    Busy,
    BackPressured,
    Ended,
}

/// Totals of one child over all its incarnations and workers.
#[derive(Debug, Default)]
pub(super) struct ChildMetrics {
    /// Time of handler calls.
    pub processing: Histogram,
    busy: AtomicU64,
    idle: AtomicU64,
    back_pressure: AtomicU64,
    /// Restarts by [`ExitReason::index`] of the exit before.
    pub restarts: [AtomicU64; ExitReason::ALL.len()],
}

/// Busy, idle and back-pressured time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Times {
    pub busy: Duration,
    pub idle: Duration,
    pub back_pressure: Duration,
}

impl ChildMetrics {
    fn add(&self, mode: Mode, elapsed: Duration) {
        let total = match mode {
            Mode::Idle => &self.idle,
            Mode::Busy => &self.busy,
            Mode::BackPressured => &self.back_pressure,
            Mode::Ended => return,
        };
        total.fetch_add(nanos(elapsed), Ordering::Relaxed);
    }

    /// Totals of what has been added up.
    pub fn times(&self) -> Times {
        let load = |total: &AtomicU64| Duration::from_nanos(total.load(Ordering::Relaxed));
        Times { busy: load(&self.busy), idle: load(&self.idle), back_pressure: load(&self.back_pressure) }
    }
}

/// One incarnation of one worker.
pub(super) struct Link {
    /// The child's name.
    pub name: Arc<str>,
    pub token: Token,
    pub progress: Progress,
    pub metrics: Arc<ChildMetrics>,
    pub control: ControlPort,
    /// Anything to look at outside the mailbox, so that the loop pays one load per message.
    signal: AtomicBool,
    nudge: Notify,
    stop: watch::Sender<StopMode>,
    injection: Mutex<Option<Injection>>,
    /// An injected fault took effect: the messages in flight are not to blame.
    injected: AtomicBool,
    phase: watch::Sender<Phase>,
    /// 0, or 1 + [`ExitReason::index`] of why the runner is to drop the incarnation.
    aborted: AtomicU8,
    runner: AtomicWaker,
    /// Replaced while its thread was blocked: nothing it does counts any more.
    fenced: AtomicBool,
    /// What it does now, and since when.
    clock: Mutex<(Mode, Instant)>,
    /// How many sends wait for room at once.
    sends: AtomicU32,
    /// Name of the thread it runs on.
    pub thread: Mutex<String>,
}

impl Link {
    pub fn new(name: Arc<str>, token: Token, metrics: Arc<ChildMetrics>) -> Self {
        Self {
            name,
            token,
            progress: Progress::default(),
            metrics,
            control: ControlPort::default(),
            signal: AtomicBool::new(false),
            nudge: Notify::new(),
            stop: watch::Sender::new(StopMode::Run),
            injection: Mutex::new(None),
            injected: AtomicBool::new(false),
            phase: watch::Sender::new(Phase::Starting),
            aborted: AtomicU8::new(0),
            runner: AtomicWaker::new(),
            fenced: AtomicBool::new(false),
            clock: Mutex::new((Mode::Busy, Instant::now())),
            sends: AtomicU32::new(0),
            thread: Mutex::new(String::new()),
        }
    }

    /// Asks the incarnation through its actix mailbox.
    pub fn ask(&self, control: Control) {
        self.control.send(control);
    }

    // --- called by the shell, on the incarnation's thread ---

    pub fn request_stop(&self, mode: StopMode) {
        self.stop.send_replace(mode);
        self.signal();
    }

    pub fn inject(&self, injection: Injection) {
        *self.injection.lock() = Some(injection);
        self.signal();
    }

    fn signal(&self) {
        self.signal.store(true, Ordering::Release);
        self.nudge.notify_one();
    }

    // --- called by the incarnation ---

    /// Whether there is something to look at; one load.
    pub fn is_signalled(&self) -> bool {
        self.signal.load(Ordering::Acquire)
    }

    pub async fn nudged(&self) {
        self.nudge.notified().await;
    }

    pub fn stop_mode(&self) -> StopMode {
        *self.stop.borrow()
    }

    pub async fn stopping(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives in `self`, so that waiting cannot fail.
        let _ = stop.wait_for(|mode| *mode != StopMode::Run).await;
    }

    pub fn take_injection(&self) -> Option<Injection> {
        let injection = self.injection.lock().take();
        if injection.is_some() {
            self.injected.store(true, Ordering::Release);
        }
        injection
    }

    /// The exit, without blame for the messages in flight if it was brought about on purpose.
    pub fn judge(&self, mut exit: Exit) -> Exit {
        if self.injected.load(Ordering::Acquire) {
            exit.blames = None;
        }
        exit
    }

    pub fn set_running(&self) {
        self.progress.moved();
        self.phase.send_if_modified(|phase| {
            let starting = matches!(phase, Phase::Starting);
            if starting {
                *phase = Phase::Running;
            }
            starting
        });
    }

    /// From now on the incarnation waits for messages.
    pub fn idle(&self) {
        self.switch(Mode::Idle);
    }

    pub fn busy(&self) {
        self.switch(Mode::Busy);
    }

    /// A send waits for room until the guard is dropped.
    pub fn back_pressured(&self) -> BackPressured<'_> {
        if self.sends.fetch_add(1, Ordering::Relaxed) == 0 {
            self.switch(Mode::BackPressured);
        }
        BackPressured { link: self, _zone: self.progress.protect() }
    }

    fn switch(&self, mode: Mode) {
        let now = Instant::now();
        let mut clock = self.clock.lock();
        if clock.0 != mode && clock.0 != Mode::Ended {
            self.metrics.add(clock.0, now.saturating_duration_since(clock.1));
            *clock = (mode, now);
        }
    }

    /// Time since the last change of what it does, to be added to the totals.
    pub fn current_times(&self) -> Times {
        let (mode, since) = *self.clock.lock();
        let elapsed = Instant::now().saturating_duration_since(since);
        let mut times = Times::default();
        match mode {
            Mode::Idle => times.idle = elapsed,
            Mode::Busy => times.busy = elapsed,
            Mode::BackPressured => times.back_pressure = elapsed,
            Mode::Ended => {}
        }
        times
    }

    // --- called by the runner ---

    pub fn register_runner(&self, waker: &std::task::Waker) {
        self.runner.register(waker);
    }

    /// Why the incarnation is to be dropped, if it is.
    pub fn aborted(&self) -> Option<ExitReason> {
        let value = self.aborted.load(Ordering::Acquire);
        value.checked_sub(1).map(|index| ExitReason::ALL[usize::from(index)])
    }

    /// The incarnation is gone. Only the first end counts; returns whether this was it.
    pub fn exited(&self, exit: Exit, recovery: Recovery) -> bool {
        self.switch(Mode::Ended);
        self.control.close();
        self.phase.send_if_modified(|phase| {
            let first = !matches!(phase, Phase::Exited(..));
            if first {
                *phase = Phase::Exited(exit, recovery);
            }
            first
        })
    }

    // --- called by the supervisor ---

    /// Has the runner drop the incarnation as soon as its thread can.
    pub fn abort(&self, reason: ExitReason) {
        let value = u8::try_from(reason.index() + 1).unwrap_or(u8::MAX);
        let _ = self.aborted.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire);
        self.runner.wake();
    }

    pub fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
    }

    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

/// A send that waits for room.
pub(super) struct BackPressured<'a> {
    link: &'a Link,
    _zone: Zone<'a>,
}

impl Drop for BackPressured<'_> {
    fn drop(&mut self) {
        if self.link.sends.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.link.switch(Mode::Busy);
        }
    }
}
