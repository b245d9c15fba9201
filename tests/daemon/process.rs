//! Starts the real binary in a directory of its own and talks to it as a user would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long the daemon may take to become ready, or a condition to hold.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The actors of the document path, from the source's first receiver on, and the source.
pub const ACTORS: &[&str] = &[
    "fingerprinter",
    "embedder",
    "deduplicator",
    "sentiment_analyzer",
    "sql_writer",
    "vector_writer",
    "publisher",
    "dead_letters",
    "source",
];
/// Names the binary to start in place of the one built for the tests, such as a release build.
const BINARY_VARIABLE: &str = "TIDEMILL_TEST_BINARY";

/// A running daemon. Killed when dropped.
pub struct Daemon {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// `127.0.0.1:PORT` of the Kafka listener.
    pub kafka: String,
    directory: PathBuf,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    client: reqwest::Client,
}

impl Daemon {
    /// Starts it on free ports with `settings` (`section.key=value`) over the defaults and waits until it is ready.
    pub async fn start(directory: &Path, settings: &[&str]) -> Self {
        Self::start_with(directory, settings, &[]).await
    }

    /// As [`Daemon::start`], with more variables in its environment.
    pub async fn start_with(directory: &Path, settings: &[&str], environment: &[(&str, String)]) -> Self {
        let mut daemon = Self::launch(directory, settings, environment);
        daemon.wait_ready().await;
        daemon
    }

    /// As [`Daemon::start`], where something it needs is away: waits only until its API answers.
    pub async fn start_unready(directory: &Path, settings: &[&str]) -> Self {
        let mut daemon = Self::launch(directory, settings, &[]);
        daemon.wait_until("/health/live").await;
        daemon
    }

    fn launch(directory: &Path, settings: &[&str], environment: &[(&str, String)]) -> Self {
        tidemill::tls::install_provider();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let child = Self::spawn(directory, &settings, &environment);
        Self {
            child,
            environment,
            url: String::new(),
            kafka: String::new(),
            directory: directory.to_owned(),
            settings,
            client: reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap(),
        }
    }

    /// Starts it where it can't run; its exit status and log.
    pub fn fails_to_start(directory: &Path, settings: &[&str]) -> (ExitStatus, String) {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let status = Self::spawn(directory, &settings, &[]).wait().unwrap();
        (status, std::fs::read_to_string(directory.join("daemon.log")).unwrap())
    }

    fn spawn(directory: &Path, settings: &[String], environment: &[(String, String)]) -> Child {
        std::fs::create_dir_all(directory).unwrap();
        let _ = std::fs::remove_file(directory.join("endpoints.json"));
        let log = std::fs::File::options().create(true).append(true).open(directory.join("daemon.log")).unwrap();
        let binary = std::env::var_os(BINARY_VARIABLE).unwrap_or_else(|| env!("CARGO_BIN_EXE_tidemill").into());
        let mut command = Command::new(binary);
        command.arg("run");
        for setting in ["http.listen=127.0.0.1:0", "kafka_listener.listen=127.0.0.1:0", "faults.enabled=true"] {
            command.args(["--set", setting]);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        command
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("TIDEMILL_DATA_DIR", directory)
            .env("TIDEMILL_CONFIG", Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Waits until it is ready.
    pub async fn wait_ready(&mut self) {
        self.wait_until("/health/ready").await;
    }

    async fn wait_until(&mut self, path: &str) {
        let endpoints = self.directory.join("endpoints.json");
        let started = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("daemon ended with {status}:\n{}", self.log_tail());
            }
            assert!(started.elapsed() < PATIENCE, "daemon is not ready:\n{}", self.log_tail());
            let Ok(text) = std::fs::read_to_string(&endpoints) else { continue };
            let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
            self.url = format!("http://{}", value["http"].as_str().unwrap());
            value["kafka"].as_str().unwrap_or_default().clone_into(&mut self.kafka);
            let ready = self.client.get(format!("{}{path}", self.url)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
        }
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.directory.join("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// `kill -9`, then a new process on the same directory.
    pub async fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.directory, &self.settings, &self.environment);
        self.wait_ready().await;
    }

    /// `kill -9`, then a new process on the same directory with other settings.
    pub async fn restart_with(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        self.kill_and_restart().await;
    }

    /// Sends it a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Asks it to stop as `systemctl stop` does and waits.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let started = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "daemon does not stop:\n{}", self.log_tail());
        }
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// GET; status and JSON body.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// GET; status and text.
    pub async fn get_text(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// DELETE; status and JSON body.
    pub async fn delete(&self, path: &str) -> (u16, Value) {
        let answer = self.client.delete(format!("{}{path}", self.url)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// POST of JSON; `None` when the connection broke.
    pub async fn try_post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let sent = self.client.post(format!("{}{path}", self.url)).json(body).send().await;
        let answer = sent.inspect_err(|error| eprintln!("no answer from {path}: {error:?}")).ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.try_post(path, body).await.unwrap_or_else(|| panic!("no answer from {path}:\n{}", self.log_tail()))
    }

    /// POST of raw bytes.
    pub async fn post_bytes(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        let answer = self
            .client
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// All items of a paged listing.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let (status, page) = self.get(&format!("{path}?limit=500{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Waits until every record has its verdict; patient as long as the backlog shrinks.
    pub async fn drained(&self) {
        let mut least = u64::MAX;
        let mut progress = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(25));
        while least > 0 {
            tick.tick().await;
            let (_, health) = self.get("/health").await;
            let backlog = health["backlog_records"].as_u64().unwrap_or(u64::MAX);
            if backlog < least {
                (least, progress) = (backlog, Instant::now());
            }
            assert!(progress.elapsed() < PATIENCE, "the backlog stays at {least}: {health}\n{}", self.log_tail());
        }
    }

    /// Waits until `holds` of the answer to `path`.
    pub async fn wait_for(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(25));
        loop {
            tick.tick().await;
            let (_, value) = self.get(path).await;
            if holds(&value) {
                return value;
            }
            assert!(started.elapsed() < PATIENCE, "{what} did not come true; {path} says {value}\n{}", self.log_tail());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
