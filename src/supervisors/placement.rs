//! Where incarnations run: each worker on an Arbiter of its own, or all on the caller's thread.

use actix::Arbiter;

/// Where a tree runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// Each worker on an arbiter (a thread with an event loop) of its own, the supervisors on one more.
    #[default]
    Arbiter,
    /// Everything on the caller's thread: for tests in virtual time. A handler that blocks its thread blocks all.
    Here,
}

/// A thread to run on.
pub(super) enum Place {
    Here,
    Arbiter(Arbiter),
}

impl Place {
    /// A new thread named `name`, or this one.
    pub fn new(placement: Placement, name: &str) -> std::io::Result<Self> {
        match placement {
            Placement::Here => Ok(Self::Here),
            Placement::Arbiter => {
                let arbiter = Arbiter::try_new()?;
                let name: String = name.chars().take(15).collect();
                // actix numbers its threads; a name tells them apart in `top` and debuggers. Only Linux has this file,
                // and nothing depends on it.
                arbiter.spawn_fn(move || {
                    let _ = std::fs::write("/proc/thread-self/comm", name);
                });
                Ok(Self::Arbiter(arbiter))
            }
        }
    }

    /// Runs `action` on the thread, inside its event loop; it may use `actix_rt::spawn`.
    pub fn run(&self, action: impl FnOnce() + Send + 'static) {
        match self {
            Self::Here => action(),
            Self::Arbiter(arbiter) => {
                arbiter.spawn_fn(action);
            }
        }
    }
}

impl Drop for Place {
    /// Has the thread end as soon as it can; a hung one ends when it wakes.
    fn drop(&mut self) {
        if let Self::Arbiter(arbiter) = self {
            arbiter.stop();
        }
    }
}
