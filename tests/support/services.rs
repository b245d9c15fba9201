//! Real services for tests: a private instance on a free port with its data in a temporary directory.
//!
//! A test file takes what it needs:
//!
//! ```ignore
//! #[path = "support/services.rs"]
//! mod services;
//! #[path = "support/services/kafka.rs"]
//! mod kafka; // uses `crate::services`
//! ```
//!
//! Whatever way the test process ends, by a panic, an abort or `kill -9`, nothing of an instance stays: a small shell in
//! a process group of its own waits on a pipe that only the test process holds, and when that closes it kills the
//! service's process group and deletes its directory. It needs no `Drop`, so that an instance may also be a `static` that
//! all tests of a file share.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashSet;
use std::fmt::Display;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a service may take to become ready on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Pause between two looks at a condition.
const TICK: Duration = Duration::from_millis(10);
/// Ports below the range that the system gives to outgoing connections: a client that tries to reach a service which is
/// down can't be given the service's own port, and a restart finds it free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Kills the group that was named last and deletes the directory, once its input ends.
const REAPER: &str = r#"
group=
while read -r order number; do
    case $order in
        started) group=$number ;;
        ended) group= ;;
    esac
done
[ -z "$group" ] || kill -s KILL -- "-$group" 2>/dev/null
rm -rf -- "$0"
"#;

/// A port of the loopback interface that nobody listens on, and that no other caller in this process was given.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap();
    let given = given.get_or_insert_default();
    for _ in 0..1000 {
        let port = fastrand::u16(PORTS);
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port between {} and {}", PORTS.start, PORTS.end);
}

/// Whether something accepts connections there.
pub fn answers(port: u16) -> Result<(), String> {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop).map_err(|error| error.to_string())
}

/// Looks until `probe` is content; its last objection when `patience` is over.
pub fn wait_until(patience: Duration, mut probe: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let started = Instant::now();
    loop {
        match probe() {
            Ok(()) => return Ok(()),
            Err(objection) if started.elapsed() >= patience => {
                return Err(format!("{objection} (waited {:.1} s)", started.elapsed().as_secs_f64()));
            }
            Err(_) => std::thread::park_timeout(TICK),
        }
    }
}

/// As [`wait_until`], for asynchronous conditions.
pub async fn eventually<F: Future<Output = Result<(), String>>>(
    patience: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<(), String> {
    let started = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tick.tick().await;
        match probe().await {
            Ok(()) => return Ok(()),
            Err(objection) if started.elapsed() >= patience => {
                return Err(format!("{objection} (waited {:.1} s)", started.elapsed().as_secs_f64()));
            }
            Err(_) => {}
        }
    }
}

/// The server that the user named for these tests in `TIDEMILL_TEST_<SERVICE>`, if any.
pub fn users_own(service: &str) -> Option<String> {
    let value = std::env::var(format!("TIDEMILL_TEST_{}", service.to_uppercase())).ok()?;
    (!value.trim().is_empty()).then(|| value.trim().to_owned())
}

/// Says that the running test is skipped, and why. The caller returns.
pub fn skip(service: &str, why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // straight to the descriptor: the harness keeps what a passing test prints with `eprintln!`
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {service} is not available: {why}");
}

/// Where `deploy/testenv/<service>.sh` puts what it fetches.
pub fn cache(service: &str) -> PathBuf {
    let cache = std::env::var_os("TIDEMILL_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".cache/tidemill");
    cache.unwrap_or_else(home).join("services").join(service)
}

/// Full path of a program, looked for on `PATH` and then in `further` directories.
pub fn program(name: &str, further: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(further.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// A process of a service, its group and its directory. Killed and deleted when dropped or when the test process ends.
pub struct Instance {
    name: &'static str,
    directory: PathBuf,
    /// Makes the command of each start.
    command: Box<dyn Fn(&Path) -> Command + Send + Sync>,
    child: Option<Child>,
    reaper: Child,
    /// Told of every start and end; closing it lets the reaper do its work.
    orders: Option<ChildStdin>,
}

impl Instance {
    /// Makes the temporary directory and lets `prepare` fill it; starts nothing yet. `command` is told the directory; its
    /// output goes to `output.log` there.
    pub fn new(
        name: &'static str,
        prepare: impl FnOnce(&Path) -> Result<(), String>,
        command: impl Fn(&Path) -> Command + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix(&format!("tidemill-{name}-")).tempdir();
        let directory = directory.map_err(|error| format!("no temporary directory: {error}"))?.keep();
        let reaper = Command::new("sh")
            .args(["-c", REAPER])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn();
        let mut reaper = reaper.map_err(|error| format!("sh: {error}"))?;
        let orders = reaper.stdin.take();
        let instance = Self { name, directory, command: Box::new(command), child: None, reaper, orders };
        prepare(&instance.directory)?;
        Ok(instance)
    }

    /// The instance's own directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts the process, or starts it again.
    pub fn start(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let output = std::fs::File::options().create(true).append(true).open(self.directory.join("output.log"));
        let output = output.map_err(|error| error.to_string())?;
        let mut command = (self.command)(&self.directory);
        command.stdin(Stdio::null()).stderr(output.try_clone().map_err(|error| error.to_string())?).stdout(output);
        let child = command.process_group(0).spawn();
        let child = child.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        self.order("started", child.id());
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `probe` is content. Ends early, with the last lines of the output, when the process ends.
    pub fn wait_ready(&mut self, mut probe: impl FnMut() -> Result<(), String>) -> Result<(), String> {
        let child = self.child.as_mut().ok_or("not started")?;
        let mut ended = None;
        let ready = wait_until(PATIENCE, || match child.try_wait() {
            Ok(None) => probe(),
            Ok(Some(status)) => {
                ended = Some(status);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        });
        match ended {
            Some(status) => Err(format!("{} ended with {status}:\n{}", self.name, self.output_tail())),
            None => ready.map_err(|objection| format!("{}: {objection}:\n{}", self.name, self.output_tail())),
        }
    }

    /// Process id of the leader, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// `kill -9` of the whole group; returns when it is gone.
    pub fn kill(&mut self) {
        self.signal("KILL");
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
            self.order("ended", child.id());
        }
    }

    /// Asks the leader to stop in order (`TERM`, `INT`…) and waits; kills the group if it doesn't in time.
    pub fn stop(&mut self, signal: &str, patience: Duration) {
        let Some(child) = self.child.as_mut() else { return };
        let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
        let _ = wait_until(patience, || match child.try_wait() {
            Ok(None) => Err("still runs".to_owned()),
            _ => Ok(()),
        });
        self.kill();
    }

    /// Stops the clock of the whole group: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// After [`Instance::pause`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: &str) {
        if let Some(child) = &self.child {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -s {signal} -- -{}", child.id())])
                .stderr(Stdio::null())
                .status();
        }
    }

    /// The last lines of the process's output.
    pub fn output_tail(&self) -> String {
        let text = std::fs::read(self.directory.join("output.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn order(&mut self, order: &str, number: u32) {
        if let Some(orders) = &mut self.orders {
            let _ = writeln!(orders, "{order} {number}");
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
        drop(self.orders.take());
        let _ = self.reaper.wait();
    }
}
