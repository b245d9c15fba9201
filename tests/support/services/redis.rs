//! Private Redis servers for tests: started on a free port with their data in a temporary directory, gone with the test.
//!
//! `deploy/testenv/redis.sh` gets the servers. `TIDEMILL_TEST_REDIS` names a user's own instead, which is never killed.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names a user's own server, `redis://HOST:PORT`.
pub const VARIABLE: &str = "TIDEMILL_TEST_REDIS";
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Such as `redis 7`.
    pub name: &'static str,
    path: PathBuf,
}

/// The server programs on this machine, oldest first; why there is none.
pub fn programs() -> Result<Vec<Program>, String> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let cache = std::env::var_os("TIDEMILL_CACHE").map_or_else(|| home.join(".cache/tidemill"), PathBuf::from);
    let found: Vec<Program> = [
        Program { name: "redis 7", path: "/usr/bin/redis-server".into() },
        Program { name: "redis 8.2", path: cache.join("services/redis-8.2/redis-server") },
    ]
    .into_iter()
    .filter(|program| program.path.is_file())
    .collect();
    if found.is_empty() { Err("no redis-server; run deploy/testenv/redis.sh".to_owned()) } else { Ok(found) }
}

/// The newest server program; a test without one says that it is skipped and returns.
pub fn program(test: &str) -> Option<Program> {
    match programs() {
        Ok(mut found) => found.pop(),
        Err(why) => {
            skipped(test, &why);
            None
        }
    }
}

/// Says that a test did not run.
pub fn skipped(test: &str, why: &str) {
    eprintln!("skipped: {test}: redis is not available: {why}");
}

/// A server to test against: a private one, or the user's own.
pub struct Target {
    /// For messages.
    pub name: String,
    /// `redis://HOST:PORT`.
    pub url: String,
    /// The private server; `None` for a user's own.
    pub server: Option<Server>,
}

/// Every server to test against: the user's own, else one of each program. None: the test says that it is skipped.
pub fn targets(test: &str) -> Vec<Target> {
    if let Ok(url) = std::env::var(VARIABLE) {
        return vec![Target { name: url.clone(), url, server: None }];
    }
    match programs() {
        Ok(programs) => programs
            .into_iter()
            .map(|program| {
                let server = Server::start(&program, &[]);
                Target { name: program.name.to_owned(), url: server.url(), server: Some(server) }
            })
            .collect(),
        Err(why) => {
            skipped(test, &why);
            Vec::new()
        }
    }
}

/// A running private server. Killed when dropped, and when the thread that started it ends.
pub struct Server {
    child: Option<Child>,
    program: Program,
    port: u16,
    settings: Vec<String>,
    directory: tempfile::TempDir,
}

impl Server {
    /// Starts one whose acknowledged writes outlive a kill (append-only file, synced always), with further `settings`
    /// as on its command line (`--maxmemory`, `10mb`), and waits until it answers.
    pub fn start(program: &Program, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self { child: None, program: program.clone(), port: free_port(), settings, directory };
        server.restart();
        server
    }

    /// As [`Server::start`]; `None` if the program does not know these settings.
    pub fn try_start(program: &Program, settings: &[&str]) -> Option<Self> {
        let mut server = Self::absent(program, settings);
        server.launch();
        let started = Instant::now();
        while !server.answers() {
            if server.child.as_mut().unwrap().try_wait().unwrap().is_some() || started.elapsed() > PATIENCE {
                return None;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Some(server)
    }

    /// One that keeps nothing over a restart.
    pub fn start_forgetful(program: &Program) -> Self {
        Self::start(program, &["--appendonly", "no"])
    }

    /// A server that will be: a free port where nobody listens yet. [`Server::restart`] starts it.
    pub fn absent(program: &Program, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let directory = tempfile::tempdir().unwrap();
        Self { child: None, program: program.clone(), port: free_port(), settings, directory }
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it on its port and its data, after [`Server::kill`] or [`Server::stop`].
    pub fn restart(&mut self) {
        self.launch();
        let started = Instant::now();
        while !self.answers() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "{} ended: {log}", self.program.name);
            assert!(started.elapsed() < PATIENCE, "{} does not answer: {log}", self.program.name);
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn launch(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        // dies with the test, even one that is killed itself
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program.path);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(self.directory.path());
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]).args(&self.settings);
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// Whether it answers and has read its data.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut answer = [0; 64];
        let read = stream.write_all(b"PING\r\n").and_then(|()| stream.read(&mut answer));
        read.is_ok_and(|length| answer[..length].starts_with(b"+PONG") || answer[..length].starts_with(b"-NOAUTH"))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// It stands still: connections stay, nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Sends one inline command without a password and returns the raw answer.
    pub fn command(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
