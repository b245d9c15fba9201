//! A PostgreSQL server for tests: a private cluster on a free port, synced as in production, with password logins.
//!
//! `deploy/testenv/postgres.sh` gets the programs. `TIDEMILL_TEST_POSTGRES` names a user's own server instead, as the URL
//! of a role that may create databases; tests that have to stop or break their server are skipped then.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tidemill::config::secret::Secret;

use crate::services::{Instance, cache, free_port, skip, users_own, wait_until};

/// Role of the daemon; it owns its databases and is no superuser.
pub const USER: &str = "tidemill";
/// Its password.
pub const PASSWORD: &str = "mill-Wheel-9";
/// Role that may do anything.
const ADMIN: &str = "postgres";
/// How long a statement of a test may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A private cluster.
pub struct Server {
    instance: Instance,
    programs: PathBuf,
    port: u16,
}

/// The directory of `initdb` and `postgres`; why there is none.
fn programs() -> Result<PathBuf, String> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.filter_map(Result::ok).map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    found.retain(|programs| programs.join("initdb").is_file());
    found.sort();
    found.extend(Some(cache("postgres").join("bin")).filter(|programs| programs.join("initdb").is_file()));
    found.pop().ok_or_else(|| "no initdb; run deploy/testenv/postgres.sh".to_owned())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The unprivileged user that runs the server when the test itself runs as root, which `postgres` refuses.
fn unprivileged() -> Option<&'static str> {
    if !is_root() {
        return None;
    }
    let exists = |user: &str| Command::new("id").arg(user).output().is_ok_and(|output| output.status.success());
    Some(if exists("postgres") { "postgres" } else { "nobody" })
}

fn command(program: &Path) -> Command {
    match unprivileged() {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid"]).arg(group_of(user)).arg("--clear-groups").arg("--").arg(program);
            command
        }
    }
}

fn group_of(user: &str) -> String {
    let output = Command::new("id").args(["-gn", user]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{:?}: {}", command, String::from_utf8_lossy(&output.stderr)))
}

fn prepare(programs: &Path, directory: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    let home = directory.join("home");
    std::fs::create_dir(&home).map_err(failed)?;
    std::fs::write(home.join("password"), PASSWORD).map_err(failed)?;
    if let Some(user) = unprivileged() {
        run(Command::new("chown").arg("-R").arg(format!("{user}:")).arg(&home))?;
    }
    let mut initdb = command(&programs.join("initdb"));
    initdb.args(["--username", ADMIN, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"]);
    initdb.arg("--pwfile").arg(home.join("password")).arg("-D").arg(home.join("data")).current_dir("/");
    run(&mut initdb)
}

impl Server {
    /// Makes a cluster and starts it with further settings, such as `max_connections=20`.
    pub fn start(settings: &[&str]) -> Result<Self, String> {
        let mut server = Self::absent(settings)?;
        server.restart()?;
        server.sql_as_admin("postgres", &format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"));
        Ok(server)
    }

    fn absent(settings: &[&str]) -> Result<Self, String> {
        let programs = programs()?;
        let port = free_port();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let (for_initdb, for_start) = (programs.clone(), programs.clone());
        let instance = Instance::new(
            "postgres",
            move |directory| prepare(&for_initdb, directory),
            move |directory| {
                let home = directory.join("home");
                let mut postgres = command(&for_start.join("postgres"));
                postgres.arg("-D").arg(home.join("data")).args(["-p", &port.to_string()]);
                postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=on", "-k"]).arg(&home);
                for setting in &settings {
                    postgres.args(["-c", setting]);
                }
                postgres.current_dir("/");
                postgres
            },
        )?;
        Ok(Self { instance, programs, port })
    }

    /// A cluster that all tests of a file share; `Err` says why there is none.
    pub fn shared() -> Result<&'static Self, String> {
        static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&["max_connections=300"])).as_ref().map_err(Clone::clone)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Directory that the server's user owns.
    pub fn home(&self) -> PathBuf {
        self.instance.directory().join("home")
    }

    /// Lets the server's user own a file in its home, readable by nobody else, as keys have to be.
    pub fn give(file: &Path) {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some(user) = unprivileged() {
            run(Command::new("chown").arg(format!("{user}:")).arg(file)).unwrap();
        }
    }

    /// Lets the server's user own an empty directory.
    pub fn give_directory(directory: &Path) {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
        if let Some(user) = unprivileged() {
            run(Command::new("chown").arg(format!("{user}:")).arg(directory)).unwrap();
        }
    }

    /// Starts it on its port and its data, after [`Server::kill`], and waits until it takes logins.
    pub fn restart(&mut self) -> Result<(), String> {
        self.instance.start()?;
        let (ready, port) = (self.programs.join("pg_isready"), self.port.to_string());
        let admin = format!("postgres://{ADMIN}:{PASSWORD}@127.0.0.1:{port}/postgres");
        self.instance.wait_ready(|| {
            if ready.is_file() {
                run(Command::new(&ready).args(["-q", "-h", "127.0.0.1", "-p", &port]))?;
            }
            try_sql(&admin, "SELECT 1").map(drop)
        })
    }

    /// `kill -9` of all its processes.
    pub fn kill(&mut self) {
        // each backend has a process group of its own
        let backends = self.backends();
        self.instance.kill();
        signal("KILL", &backends);
        let gone = || if backends.iter().any(|pid| lives(*pid)) { Err("backends stay".to_owned()) } else { Ok(()) };
        wait_until(Duration::from_secs(10), gone).unwrap();
    }

    /// Stops the clock of all its processes: connections stay and nothing answers.
    pub fn pause(&self) {
        self.instance.pause();
        signal("STOP", &self.backends());
    }

    /// After [`Server::pause`].
    pub fn resume(&self) {
        signal("CONT", &self.backends());
        self.instance.resume();
    }

    fn backends(&self) -> Vec<u32> {
        let Some(postmaster) = self.instance.id() else { return Vec::new() };
        let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// A new, empty database of the daemon's role; its URL.
    pub fn database(&self, name: &str) -> String {
        self.sql_as_admin("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
        self.url(name)
    }

    /// URL of a database for the daemon's role.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements as superuser; the rows of text.
    pub fn sql_as_admin(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        sql_at(&format!("postgres://{ADMIN}:{PASSWORD}@127.0.0.1:{}/{database}", self.port), sql)
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        self.instance.output_tail()
    }
}

fn lives(pid: u32) -> bool {
    // a zombie that its parent, now init, has not fetched yet is gone for us
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn signal(name: &str, processes: &[u32]) {
    for pid in processes {
        let _ = Command::new("sh").args(["-c", &format!("kill -{name} {pid} 2>/dev/null")]).status();
    }
}

/// A new, empty database on the user's own server or the shared one; why there is none.
pub fn fresh_database() -> Result<String, String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    match users_own("postgres") {
        Some(url) => {
            try_sql(&url, &format!("CREATE DATABASE {name}"))?;
            let (server, _) = url.rsplit_once('/').ok_or("TIDEMILL_TEST_POSTGRES is no URL with a database")?;
            Ok(format!("{server}/{name}"))
        }
        None => Ok(Server::shared()?.database(&name)),
    }
}

/// As many new databases as asked; `None` after saying that the test is skipped.
pub fn fresh_databases<const COUNT: usize>() -> Option<[Secret; COUNT]> {
    let made: Result<Vec<Secret>, String> = (0..COUNT).map(|_| fresh_database().map(Secret::new)).collect();
    match made {
        Ok(urls) => urls.try_into().ok(),
        Err(why) => {
            skip("postgres", why);
            None
        }
    }
}

/// A private server for a test that has to break it; why there is none.
pub fn breakable(settings: &[&str]) -> Result<Server, String> {
    match users_own("postgres") {
        Some(_) => Err("TIDEMILL_TEST_POSTGRES names a server that must not be broken".to_owned()),
        None => Server::start(settings),
    }
}

/// Runs statements; the rows of text.
pub fn sql_at(url: &str, sql: &str) -> Vec<Vec<String>> {
    try_sql(url, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// As [`sql_at`], or why it failed. From any thread, inside of a runtime or not.
pub fn try_sql(url: &str, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    let running = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|it| it.to_string())?;
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE, query(&url, &sql)).await.map_err(|it| it.to_string())? })
    });
    running.join().map_err(|_| "panicked".to_owned())?
}

async fn query(url: &str, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let words = |error: tokio_postgres::Error| match error.as_db_error() {
        Some(db) => db.to_string(),
        None => format!("{error:?}"),
    };
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(words)?;
    let driver = tokio::spawn(connection);
    let messages = client.simple_query(sql).await.map_err(words)?;
    drop(client);
    let _ = driver.await;
    let mut rows = Vec::new();
    for message in messages {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            rows.push((0..row.len()).map(|index| row.get(index).unwrap_or_default().to_owned()).collect());
        }
    }
    Ok(rows)
}

/// Looks until a statement answers `expected` in its first column; the last answer when `patience` is over.
pub fn wait_for_answer(url: &str, sql: &str, patience: Duration, expected: &str) -> Result<(), String> {
    let started = Instant::now();
    wait_until(patience, || match try_sql(url, sql) {
        Ok(rows) if rows.first().is_some_and(|row| row[0] == expected) => Ok(()),
        other => Err(format!("{sql}: {other:?} after {:?}", started.elapsed())),
    })
}
