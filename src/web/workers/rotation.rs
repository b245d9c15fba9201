//! Whose turn it is: workers one after the other, those that fail again and again left out for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Longest time a worker is left out, in multiples of the first.
const MOST: u32 = 12;

/// The order of workers. All calls are short and never wait.
#[derive(Debug)]
pub(super) struct Rotation {
    /// Whose turn comes next, modulo the number of seats.
    next: AtomicUsize,
    /// One per worker.
    seats: Vec<Mutex<Seat>>,
    /// Failures in a row that put a worker out.
    limit: u32,
    /// Time it is out the first time.
    first: Duration,
}

/// What is known of a worker.
#[derive(Debug, Default, Clone, Copy)]
struct Seat {
    /// Failures since the last success.
    failures: u32,
    /// Times it was put out since the last success.
    outs: u32,
    /// Until when it is out.
    until: Option<Instant>,
}

impl Rotation {
    /// `count` workers, all in.
    pub fn new(count: usize, limit: u32, first: Duration) -> Self {
        let seats = (0..count).map(|_| Mutex::default()).collect();
        Self { next: AtomicUsize::new(0), seats, limit: limit.max(1), first }
    }

    /// The worker whose turn it is, of those that are in and were not tried for this request.
    pub fn pick(&self, now: Instant, tried: &[usize]) -> Option<usize> {
        let count = self.seats.len();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        (0..count).map(|step| start.wrapping_add(step) % count).find(|at| !tried.contains(at) && self.is_in(*at, now))
    }

    /// It answered.
    pub fn succeeded(&self, at: usize) {
        *self.seats[at].lock() = Seat::default();
    }

    /// It failed; how long it is out now, if this put it out.
    pub fn failed(&self, at: usize, now: Instant) -> Option<Duration> {
        let mut seat = self.seats[at].lock();
        seat.failures = seat.failures.saturating_add(1);
        if seat.failures < self.limit {
            return None;
        }
        let time = self.first * 2_u32.saturating_pow(seat.outs).min(MOST);
        seat.outs = seat.outs.saturating_add(1);
        seat.until = Some(now + time);
        Some(time)
    }

    /// Whether it gets requests.
    pub fn is_in(&self, at: usize, now: Instant) -> bool {
        self.seats[at].lock().until.is_none_or(|until| until <= now)
    }

    /// Failures of a worker since its last success.
    pub fn failures(&self, at: usize) -> u32 {
        self.seats[at].lock().failures
    }

    /// How long until the first of them is in.
    pub fn wait(&self, now: Instant) -> Duration {
        let left = self.seats.iter().map(|seat| seat.lock().until.map_or(Duration::ZERO, |until| until - now));
        left.min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn workers_take_turns() {
        let rotation = Rotation::new(3, 3, OUT);
        let picks: Vec<_> = (0..6).filter_map(|_| rotation.pick(Instant::now(), &[])).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
        assert_eq!(rotation.pick(Instant::now(), &[0, 1]), Some(2), "no worker is tried twice for a request");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_fails_in_a_row_is_out_and_comes_back() {
        let rotation = Rotation::new(2, 2, OUT);
        assert_eq!(rotation.failed(0, Instant::now()), None);
        assert_eq!(rotation.failed(0, Instant::now()), Some(OUT));
        assert!((0..4).all(|_| rotation.pick(Instant::now(), &[]) == Some(1)));
        tokio::time::advance(OUT).await;
        assert!((0..2).any(|_| rotation.pick(Instant::now(), &[]) == Some(0)), "it is tried again");
        assert_eq!(rotation.failed(0, Instant::now()), Some(OUT * 2), "one more failure puts it out for longer");
        rotation.succeeded(0);
        assert!(rotation.is_in(0, Instant::now()));
        assert_eq!(rotation.failed(0, Instant::now()), None, "a success forgives");
    }

    #[tokio::test(start_paused = true)]
    async fn with_all_out_nobody_is_picked_and_the_wait_is_known() {
        let rotation = Rotation::new(2, 1, OUT);
        rotation.failed(0, Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        rotation.failed(1, Instant::now());
        assert_eq!(rotation.pick(Instant::now(), &[]), None);
        assert_eq!(rotation.wait(Instant::now()), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_out_is_bounded() {
        let rotation = Rotation::new(1, 1, OUT);
        let longest = (0..20).filter_map(|_| rotation.failed(0, Instant::now())).max();
        assert_eq!(longest, Some(OUT * MOST));
    }
}
