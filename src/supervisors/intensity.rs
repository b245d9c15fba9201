//! Restart intensity: a true sliding window.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Exit;

/// More than `max_restarts` within `window` and the supervisor gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts allowed within the window.
    pub max_restarts: usize,
    /// Length of the window.
    pub window: Duration,
}

impl Default for Intensity {
    fn default() -> Self {
        Self { max_restarts: 20, window: Duration::from_mins(1) }
    }
}

/// One failure in the window.
#[derive(Debug, Clone)]
struct Failure {
    at: Instant,
    /// Child and worker it happened to.
    who: (usize, usize),
    /// The child's name.
    name: String,
    exit: Exit,
}

/// The failures of the last `window`, oldest first.
#[derive(Debug, Default)]
pub(super) struct Window {
    failures: VecDeque<Failure>,
}

impl Window {
    /// Notes a failure.
    pub fn record(&mut self, now: Instant, who: (usize, usize), name: &str, exit: &Exit) {
        self.failures.push_back(Failure { at: now, who, name: name.to_owned(), exit: exit.clone() });
    }

    /// Whether more than the allowed failures lie within the window that ends now. Forgets older ones.
    pub fn exceeds(&mut self, intensity: Intensity, now: Instant) -> bool {
        while self.failures.front().is_some_and(|first| now.duration_since(first.at) > intensity.window) {
            self.failures.pop_front();
        }
        self.failures.len() > intensity.max_restarts
    }

    /// Takes back the last `count` failures of one worker: a message was found to be the cause.
    pub fn forgive(&mut self, who: (usize, usize), count: u32) {
        for _ in 0..count {
            let Some(position) = self.failures.iter().rposition(|failure| failure.who == who) else { return };
            self.failures.remove(position);
        }
    }

    /// The first failure still in the window: the cause, where later ones may be its consequences.
    pub fn first(&self) -> Option<(String, Exit)> {
        self.failures.front().map(|failure| (failure.name.clone(), failure.exit.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisors::fault::ExitReason;

    fn count(window: &mut Window, intensity: Intensity, now: Instant) -> bool {
        window.record(now, (0, 0), "child", &Exit::new(ExitReason::Failed, "why"));
        window.exceeds(intensity, now)
    }

    #[test]
    fn window_slides_so_that_spaced_restarts_never_trip_it() {
        let intensity = Intensity { max_restarts: 3, window: Duration::from_secs(5) };
        let (mut window, start) = (Window::default(), Instant::now());
        let tripped = (0..100_u64).any(|i| count(&mut window, intensity, start + Duration::from_millis(1_700 * i)));
        assert!(!tripped, "three in any five seconds are allowed");
    }

    #[test]
    fn one_more_than_allowed_within_the_window_trips_it() {
        let intensity = Intensity { max_restarts: 3, window: Duration::from_secs(5) };
        let (mut window, start) = (Window::default(), Instant::now());
        let answers: Vec<bool> =
            (0..4_u64).map(|i| count(&mut window, intensity, start + Duration::from_millis(1_600 * i))).collect();
        assert_eq!(answers, [false, false, false, true]);
        assert_eq!(window.first().map(|(name, _)| name).as_deref(), Some("child"));
    }

    #[test]
    fn forgiven_restarts_no_longer_count() {
        let intensity = Intensity { max_restarts: 1, window: Duration::from_secs(5) };
        let (mut window, now) = (Window::default(), Instant::now());
        assert!(!count(&mut window, intensity, now));
        window.forgive((0, 0), 3);
        assert!(!count(&mut window, intensity, now));
        assert!(count(&mut window, intensity, now));
    }
}
