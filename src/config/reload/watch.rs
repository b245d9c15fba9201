//! Watches the configuration files and SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Reloader, Trigger};

/// How long between looks at `config_poll_seconds` while watching is off.
const IDLE: Duration = Duration::from_secs(5);

/// What tells one state of a file from another; `None` if it is not there.
type Stamp = Option<(SystemTime, u64)>;

/// Reloads when a file changed or SIGHUP came, until stopped. A file is taken as changed once it differs from what was
/// loaded and has stayed the same for one period, so that a half-written file is not read.
pub async fn watch(reloader: Arc<Reloader>, stop: CancellationToken) {
    // Without the signal (a platform's refusal) the files are still watched.
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut files = Files::new(reloader.sources().files.clone());
    loop {
        let seconds = reloader.current().daemon.config_poll_seconds;
        let period = if seconds == 0 { IDLE } else { Duration::from_secs(seconds) };
        let trigger = tokio::select! {
            () = stop.cancelled() => return,
            () = received(&mut hangup) => Some(Trigger::Signal),
            () = tokio::time::sleep_until(Instant::now() + period) => {
                (seconds > 0 && files.settled_change()).then_some(Trigger::File)
            }
        };
        if let Some(trigger) = trigger {
            files.take_as_loaded();
            let reloader = Arc::clone(&reloader);
            // The result is in the log; a panic in there must not end the watching.
            let _ = tokio::task::spawn_blocking(move || reloader.reload(trigger)).await;
        }
    }
}

async fn received(hangup: &mut Option<Signal>) {
    match hangup {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The files' stamps.
struct Files {
    paths: Vec<PathBuf>,
    /// When they were last loaded.
    loaded: Vec<Stamp>,
    /// At the last look.
    seen: Vec<Stamp>,
}

impl Files {
    fn new(paths: Vec<PathBuf>) -> Self {
        let loaded = stamps(&paths);
        Self { paths, seen: loaded.clone(), loaded }
    }

    /// Whether the files differ from what was loaded and have settled since the last look.
    fn settled_change(&mut self) -> bool {
        let now = stamps(&self.paths);
        let settled = now == self.seen && now != self.loaded;
        self.seen = now;
        settled
    }

    fn take_as_loaded(&mut self) {
        self.seen = stamps(&self.paths);
        self.loaded.clone_from(&self.seen);
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn change_counts_once_it_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, "a").unwrap();
        let mut files = Files::new(vec![path.clone()]);
        assert!(!files.settled_change(), "nothing changed");
        std::fs::write(&path, "ab").unwrap();
        assert!(!files.settled_change(), "changed since the last look");
        assert!(files.settled_change(), "settled");
        files.take_as_loaded();
        assert!(!files.settled_change(), "loaded");
    }
}
