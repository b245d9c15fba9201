//! What a server may do to a daemon that has work: after each of it, verdicts equal acknowledged documents, each once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::breakable;
use crate::corpus::{Expected, POISON, Sample, corpus};
use crate::process::Daemon;
use crate::server::{PASSWORD, Server, sql_at};
use crate::small_disk::SmallDisk;

/// Documents of a round, acknowledged while the fault lasts.
const ROUND: usize = 100;

/// Settings of a daemon that is quick to notice.
pub fn settings(url: &str) -> Vec<String> {
    [
        "encoder.kind=hashing".to_owned(),
        "store.backend=postgres".to_owned(),
        format!("postgres.url={url}"),
        "postgres.connect_timeout_ms=1000".to_owned(),
        "postgres.acquire_timeout_ms=1500".to_owned(),
        "postgres.statement_timeout_ms=2000".to_owned(),
        "postgres.call_timeout_ms=3000".to_owned(),
        format!("faults.poison_marker={POISON}"),
        "faults.poison_stage=embedder".to_owned(),
        "supervision.max_restarts=1000".to_owned(),
        "supervision.backoff_max_ms=200".to_owned(),
    ]
    .into()
}

/// Posts documents until each is acknowledged.
pub async fn post(daemon: &Daemon, samples: &[Sample]) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for chunk in samples.chunks(10) {
        let body = Value::Array(chunk.iter().map(|sample| sample.body.clone()).collect());
        loop {
            tick.tick().await;
            if let Some((202, answer)) = daemon.try_post("/v1/documents", &body).await {
                assert_eq!(answer["accepted"].as_array().unwrap().len(), chunk.len(), "{answer}");
                break;
            }
        }
    }
}

async fn verdicts(daemon: &Daemon) -> BTreeMap<String, Expected> {
    let mut found = BTreeMap::new();
    for item in daemon.all("/v1/documents").await {
        let of = item["analysis"]["duplicate_of"].as_str();
        let verdict = of.map_or(Expected::Stored, |of| Expected::DuplicateOf(of.to_owned()));
        assert!(found.insert(item["id"].as_str().unwrap().to_owned(), verdict).is_none(), "{} twice", item["id"]);
    }
    for letter in daemon.all("/v1/dead-letters").await {
        let id = letter["document_id"].as_str().unwrap().to_owned();
        assert!(found.insert(id, Expected::Dead).is_none_or(|earlier| earlier == Expected::Dead), "dead and alive");
    }
    found
}

async fn check(what: &str, daemon: &Daemon, samples: &[Sample]) {
    daemon.drained().await;
    let found = verdicts(daemon).await;
    assert_eq!(found.len(), samples.len(), "{what}: every acknowledged document has one verdict");
    for sample in samples {
        assert_eq!(found[&sample.id], sample.expected, "{what}: verdict of {}", sample.id);
    }
}

/// Sends the next round while `fault` lasts, and waits until the daemon says that it is not ready.
async fn under_load(daemon: &Daemon, samples: &[Sample], round: usize, fault: impl Future<Output = ()>) {
    let chunk = &samples[round * ROUND..(round + 1) * ROUND];
    futures_util::future::join(post(daemon, chunk), fault).await;
}

async fn not_ready(daemon: &Daemon, because: &str) {
    let holds = |value: &Value| value["ready"] == false && value["dependencies"].to_string().contains(because);
    daemon.wait_for("/health/ready", because, holds).await;
}

#[tokio::test]
async fn server_that_breaks_under_load_costs_no_verdict() {
    let Some(mut server) = breakable(&[]) else { return };
    let url = server.database("shaken");
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&url);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let daemon = Daemon::start(directory.path(), &settings).await;
    let samples = corpus(6 * ROUND, 11);

    // connections are cut in the middle of transactions, again and again
    under_load(&daemon, &samples, 0, async {
        let mut tick = tokio::time::interval(Duration::from_millis(150));
        for _ in 0..8 {
            tick.tick().await;
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shaken' AND pid <> pg_backend_pid()";
            server.sql_as_admin("postgres", cut);
        }
    })
    .await;
    check("connections cut", &daemon, &samples[..ROUND]).await;

    under_load(&daemon, &samples, 1, async {
        server.kill();
        not_ready(&daemon, "documents").await;
    })
    .await;
    server.restart().unwrap();
    check("killed and restarted", &daemon, &samples[..2 * ROUND]).await;

    // slow: the clock of the server stands still for longer than a call may take
    under_load(&daemon, &samples, 2, async {
        server.pause();
        not_ready(&daemon, "no answer").await;
        server.resume();
    })
    .await;
    check("stood still", &daemon, &samples[..3 * ROUND]).await;

    let read_only = |on: &str| {
        server.sql_as_admin("postgres", &format!("ALTER DATABASE shaken SET default_transaction_read_only = {on}"));
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shaken' AND pid <> pg_backend_pid()";
        server.sql_as_admin("postgres", cut);
    };
    under_load(&daemon, &samples, 3, async {
        read_only("on");
        not_ready(&daemon, "read-only").await;
    })
    .await;
    read_only("off");
    check("read-only", &daemon, &samples[..4 * ROUND]).await;

    let password = |text: &str| {
        server.sql_as_admin("postgres", &format!("ALTER ROLE tidemill PASSWORD '{text}'"));
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shaken' AND pid <> pg_backend_pid()";
        server.sql_as_admin("postgres", cut);
    };
    under_load(&daemon, &samples, 4, async {
        password("another");
        not_ready(&daemon, "password").await;
    })
    .await;
    password(PASSWORD);
    check("wrong password", &daemon, &samples[..5 * ROUND]).await;

    disk_full(&server, &daemon, &samples).await;
}

/// The database moves to a small disk, which then is filled; the server refuses writes and answers everything else.
async fn disk_full(server: &Server, daemon: &Daemon, samples: &[Sample]) {
    let place = server.home().join("small");
    let disk = match SmallDisk::mount(&place, 96) {
        Ok(disk) => disk,
        Err(why) => return crate::services::skip("a small disk", why),
    };
    let tables = place.join("tables");
    std::fs::create_dir(&tables).unwrap();
    Server::give_directory(&tables);
    server.sql_as_admin("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", tables.display()));
    // refused while anybody is connected: the daemon comes back at once, so it is kept out for the moment
    let moved = "ALTER DATABASE shaken ALLOW_CONNECTIONS false;
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shaken'";
    server.sql_as_admin("postgres", moved);
    server.sql_as_admin("postgres", "ALTER DATABASE shaken SET TABLESPACE small");
    server.sql_as_admin("postgres", "ALTER DATABASE shaken ALLOW_CONNECTIONS true");
    under_load(daemon, samples, 5, async {
        disk.fill();
        // what fits into pages that are there already is still written: take bigger and bigger bites
        let bite = "INSERT INTO raw.documents SELECT 'filler-' || g, '', '', NULL, NULL, repeat(md5(g::text), 60), NULL, NULL, NULL,
            '[]', NULL, '{}', '', 0, '', 0, 0 FROM generate_series(1, 2000) g";
        let refused = crate::server::try_sql(&server.url("shaken"), bite).unwrap_err();
        assert!(refused.contains("No space left"), "{refused}");
    })
    .await;
    not_ready(daemon, "No space left").await;
    disk.make_room();
    check("disk full", daemon, samples).await;
    // the server lives on the disk: it must not look at it once it is gone
    drop(disk);
}

#[tokio::test]
async fn daemon_waits_for_a_server_that_is_down_at_its_start() {
    let Some(mut server) = breakable(&[]) else { return };
    let url = server.database("late");
    server.kill();
    let directory = tempfile::tempdir().unwrap();
    let port = crate::services::free_port();
    let mut settings = settings(&url);
    settings.push(format!("http.listen=127.0.0.1:{port}"));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let (daemon, ()) = futures_util::future::join(Daemon::start(directory.path(), &settings), async {
        tidemill::tls::install_provider();
        let client = reqwest::Client::new();
        let get = async |path: &str| {
            let answer =
                client.get(format!("http://127.0.0.1:{port}{path}")).send().await.map_err(|it| it.to_string())?;
            Ok::<_, String>((answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default()))
        };
        crate::services::eventually(Duration::from_mins(1), async || match get("/health/ready").await {
            Ok((503, body)) if body["dependencies"].to_string().contains("Connection refused") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await
        .unwrap();
        assert_eq!(get("/health/live").await.unwrap().0, 200);
        let (status, body) = get("/v1/documents").await.unwrap();
        assert_eq!((status, body["error"]["code"].as_str()), (503, Some("TM0017")), "{body}");
        server.restart().unwrap();
    })
    .await;
    let samples = corpus(20, 5);
    post(&daemon, &samples).await;
    check("down at start", &daemon, &samples).await;
    let log = std::fs::read_to_string(directory.path().join("daemon.log")).unwrap();
    let waits = log.lines().filter(|line| line.contains("the start waits for it")).count();
    assert_eq!(waits, 1, "it says once that it waits");
}

#[test]
fn start_with_a_wrong_setting_ends_at_once_and_says_which() {
    let Some(url) = crate::database() else { return };
    let fails = |url: &str, more: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(url);
        let settings: Vec<&str> = settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let started = Instant::now();
        let (status, log) = Daemon::fails_to_start(directory.path(), &settings);
        assert!(started.elapsed() < Duration::from_mins(1), "it waits for what does not pass");
        assert!(!log.contains("hunter2") && !log.contains(PASSWORD), "{log}");
        (status.code(), log)
    };
    let (code, log) = fails(&url.replace(PASSWORD, "hunter2"), &[]);
    assert!(code == Some(78) && log.contains("password authentication failed"), "{code:?} {log}");
    let (code, log) = fails("postgres://tidemill:hunter2@db.example.com/a?sslmode=disable", &[]);
    assert!(code == Some(78) && log.contains("allow_plaintext"), "{code:?} {log}");
    drop(tidemill::stores::postgres::PostgresStore::open_blocking(&crate::config(&url)).unwrap());
    sql_at(&url, "INSERT INTO logging.schema_history VALUES (7, 'later', '2030-01-01T00:00:00Z', '1')");
    let (code, log) = fails(&url, &[]);
    assert!(code == Some(78) && log.contains("written by a newer one"), "{code:?} {log}");
}

#[test]
fn start_without_a_server_ends_when_the_patience_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("postgres://a:b@127.0.0.1:{}/c", crate::services::free_port());
    let mut settings = settings(&url);
    settings.push("postgres.startup_wait_seconds=1".to_owned());
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let (status, log) = Daemon::fails_to_start(directory.path(), &settings);
    assert_eq!(status.code(), Some(69), "{log}");
}
