//! The heartbeat: cheap for the worker, read by its supervisor.
//!
//! A worker notes that it moved; its supervisor looks now and then whether it did. A worker inside a protected zone
//! waits for something outside itself and is never judged stuck: the stuck one is the one it waits for.

use std::sync::atomic::{AtomicU32, Ordering};

const SILENT: u32 = 0;
const MOVED: u32 = 1;
/// Added per nested protected zone.
const ZONE: u32 = 2;

/// Bit 0: moved since the last look. The rest: how many protected zones are entered.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU32);

impl Progress {
    /// Notes that the worker moved.
    pub fn moved(&self) {
        if self.0.load(Ordering::Relaxed) & MOVED == 0 {
            self.0.fetch_or(MOVED, Ordering::Relaxed);
        }
    }

    /// Enters a protected zone until the guard is dropped.
    pub fn protect(&self) -> Zone<'_> {
        self.0.fetch_add(ZONE, Ordering::Relaxed);
        Zone(self)
    }

    /// Whether the worker moved since the last look or is in a protected zone. Forgets the movement.
    pub fn look(&self) -> bool {
        self.0.fetch_and(!MOVED, Ordering::Relaxed) != SILENT
    }
}

/// A protected zone.
pub(super) struct Zone<'a>(&'a Progress);

impl Drop for Zone<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(ZONE, Ordering::Relaxed);
        self.0.moved();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn movement_is_seen_once() {
        let progress = Progress::default();
        assert!(!progress.look());
        progress.moved();
        progress.moved();
        assert!(progress.look());
        assert!(!progress.look());
    }

    #[test]
    fn nested_zones_protect_until_the_last_is_left() {
        let progress = Progress::default();
        let outer = progress.protect();
        drop(progress.protect());
        assert!(progress.look() && progress.look());
        drop(outer);
        assert!(progress.look(), "leaving a zone is movement");
        assert!(!progress.look());
    }
}
