//! The daemon under a service manager that speaks systemd's notify protocol, played by the test.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::{Daemon, PATIENCE};

const LEXICAL: &[&str] = &["encoder.kind=hashing"];

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    /// Everything told so far.
    told: Vec<String>,
}

impl Manager {
    fn new(directory: &Path) -> (Self, String) {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        (Self { socket, told: Vec::new() }, path.to_str().unwrap().to_owned())
    }

    /// The next message, if there is one soon.
    fn receive(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        self.told.push(text.clone());
        Some(text)
    }

    /// Waits for a message with this line.
    fn wait_for(&mut self, line: &str) -> String {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(text) = self.receive()
                && text.lines().any(|found| found.starts_with(line))
            {
                return text;
            }
        }
        panic!("{line} was not told: {:?}", self.told);
    }

    /// Reads what is there already.
    fn catch_up(&mut self) {
        while self.receive().is_some() {}
    }

    /// How many messages with this line come within `time`.
    fn count(&mut self, line: &str, time: Duration) -> usize {
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < time {
            count += usize::from(self.receive().is_some_and(|text| text.lines().any(|found| found == line)));
        }
        count
    }

    fn position(&self, line: &str) -> Option<usize> {
        self.told.iter().position(|text| text.lines().any(|found| found.starts_with(line)))
    }
}

fn environment(socket: &str, watchdog: Duration) -> [(&'static str, String); 2] {
    [("NOTIFY_SOCKET", socket.to_owned()), ("WATCHDOG_USEC", watchdog.as_micros().to_string())]
}

#[tokio::test]
async fn start_reload_and_drain_are_told_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let (mut manager, socket) = Manager::new(directory.path());
    let variables = environment(&socket, Duration::from_mins(1));
    let mut daemon = Daemon::start_with(&directory.path().join("data"), LEXICAL, &variables).await;
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=api and worker at http://127.0.0.1:");
    assert!(manager.position("STATUS=opens log, stores and models").unwrap() < manager.position("READY=1").unwrap());
    assert!(manager.position("EXTEND_TIMEOUT_USEC=").is_none_or(|at| at < manager.position("READY=1").unwrap()));

    manager.catch_up();
    manager.told.clear();
    daemon.signal("HUP");
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "newer service managers insist on it: {reloading}");
    manager.wait_for("READY=1");

    assert!(daemon.stop().await.success(), "{}", daemon.log_tail());
    manager.wait_for("STOPPING=1");
    let stopping = manager.position("STOPPING=1").unwrap();
    manager.catch_up();
    assert!(!manager.told[stopping..].iter().any(|text| text.contains("READY=1")), "{:?}", manager.told);
}

#[tokio::test]
async fn watchdog_is_fed_while_actors_are_replaced_and_starves_with_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let (mut manager, socket) = Manager::new(directory.path());
    let variables = environment(&socket, Duration::from_millis(600));
    let settings = ["encoder.kind=hashing", "actors.embedder.stuck_after_seconds=1"];
    let daemon = Daemon::start_with(&directory.path().join("data"), &settings, &variables).await;
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");

    let hang = json!({"kind": "hang", "seconds": 4.0});
    let (status, answer) = daemon.post("/v1/faults/actors/embedder", &hang).await;
    assert!(status < 300, "{answer}");
    manager.catch_up();
    let fed = manager.count("WATCHDOG=1", Duration::from_secs(2));
    assert!(fed >= 4, "a stuck actor is the tree's own business, yet the watchdog was fed only {fed} times");

    daemon.signal("STOP");
    manager.catch_up();
    assert_eq!(manager.count("WATCHDOG=1", Duration::from_secs(1)), 0, "a process that stands still feeds nobody");
    daemon.signal("CONT");
    manager.wait_for("WATCHDOG=1");
}

#[tokio::test]
async fn a_dependency_that_goes_away_and_comes_back_is_in_the_status() {
    let directory = tempfile::tempdir().unwrap();
    let (mut manager, socket) = Manager::new(directory.path());
    let variables = environment(&socket, Duration::from_mins(1));
    let daemon = Daemon::start_with(&directory.path().join("data"), LEXICAL, &variables).await;
    manager.wait_for("READY=1");
    let (status, answer) = daemon.post("/v1/faults/store", &json!({"seconds": 3.0})).await;
    assert!(status < 300, "{answer}");
    manager.wait_for("STATUS=waits for documents (");
    manager.wait_for("STATUS=api and worker at ");
}
