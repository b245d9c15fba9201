//! Jobs of the real daemon: `kill -9`, drain, two daemons on one Redis, the kind `reindex` and the command line.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::process::Daemon;
use crate::redis::{Server, program};
use serde_json::{Value, json};

const LEXICAL: &str = "encoder.kind=hashing";
/// As short as leases get, so that the tests are.
const LEASE: &str = "jobs.lease_seconds=2";

async fn submit(daemon: &Daemon, body: Value) -> String {
    let (status, job) = daemon.post("/v1/jobs", &body).await;
    assert_eq!(status, 202, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

async fn until(daemon: &Daemon, id: &str, state: &str) -> Value {
    daemon.wait_for(&format!("/v1/jobs/{id}"), state, |job| job["state"] == state).await
}

async fn underway(daemon: &Daemon, id: &str) -> Value {
    let running = |job: &Value| job["state"] == "running" && job["progress"].as_f64().unwrap_or_default() > 0.0;
    daemon.wait_for(&format!("/v1/jobs/{id}"), "progress", running).await
}

/// The command line, against a daemon.
fn tidemill(daemon: &Daemon, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidemill"))
        .args(arguments)
        .args(["--url", &daemon.url])
        .env("TIDEMILL_CONFIG", Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn job_of_a_killed_daemon_runs_again_and_succeeds_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(directory.path(), &[LEXICAL, LEASE]).await;
    let running = submit(&daemon, json!({"kind": "drill", "payload": {"seconds": 2}, "key": "one"})).await;
    let waiting = submit(&daemon, json!({"kind": "drill", "priority": 1})).await;
    let fatal = json!({"kind": "drill", "priority": 9, "payload": {"fail_attempts": 1, "fatal": true}});
    underway(&daemon, &running).await;
    daemon.kill_and_restart().await;
    let (_, again) = daemon.post("/v1/jobs", &json!({"kind": "drill", "key": "one"})).await;
    assert_eq!((&again["id"], &again["existing"]), (&json!(running), &json!(true)), "the key is known after the kill");
    let job = until(&daemon, &running, "succeeded").await;
    assert_eq!((&job["attempts"], &job["result"]), (&json!(2), &json!({"attempt": 2})));
    assert_eq!(job["errors"].as_array().unwrap().len(), 1, "{job}");
    until(&daemon, &waiting, "succeeded").await;
    let dead = submit(&daemon, fatal).await;
    until(&daemon, &dead, "dead").await;
    daemon.kill_and_restart().await;
    let (_, succeeded) = daemon.get("/v1/jobs?state=succeeded").await;
    let ids: Vec<&str> = succeeded["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [waiting.as_str(), &running], "each once");
    assert_eq!(until(&daemon, &dead, "dead").await["errors"].as_array().unwrap().len(), 1, "history survives");
    let (status, _) = daemon.post(&format!("/v1/jobs/{dead}/replay"), &json!({})).await;
    assert_eq!(status, 202);
    until(&daemon, &dead, "dead").await;
}

#[tokio::test]
async fn stopping_daemon_gives_its_jobs_back_uncounted() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [LEXICAL, "jobs.drain_seconds=1"];
    let mut daemon = Daemon::start(directory.path(), &settings).await;
    let id = submit(&daemon, json!({"kind": "drill", "payload": {"seconds": 1.5}})).await;
    underway(&daemon, &id).await;
    assert!(daemon.stop().await.success());
    let daemon = Daemon::start(directory.path(), &settings).await;
    let job = until(&daemon, &id, "succeeded").await;
    assert_eq!((&job["attempts"], &job["errors"]), (&json!(1), &json!([])));
}

#[tokio::test]
async fn daemons_on_one_redis_share_jobs_and_take_over_from_a_dead_one() {
    let Some(program) = program("jobs::daemons_on_one_redis") else { return };
    let server = Server::start(&program, &[]);
    let redis = format!("redis.url={}", server.url());
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let settings = [LEXICAL, LEASE, "jobs.backend=redis", &redis];
    let busy = Daemon::start(directories[0].path(), &settings).await;
    let idle_settings = [LEXICAL, LEASE, "jobs.backend=redis", &redis, "jobs.workers=0"];
    let idle = Daemon::start(directories[1].path(), &idle_settings).await;

    let long = submit(&idle, json!({"kind": "drill", "payload": {"seconds": 30}})).await;
    underway(&idle, &long).await;
    let (_, status) = busy.get("/workers/status").await;
    assert_eq!(status["jobs"]["running"][0]["id"], long.as_str(), "{status}");
    let asked = idle.delete(&format!("/v1/jobs/{long}")).await;
    assert_eq!(asked.0, 202, "{asked:?}");
    until(&idle, &long, "cancelled").await;

    let taken_over = submit(&idle, json!({"kind": "drill", "payload": {"seconds": 1}})).await;
    underway(&idle, &taken_over).await;
    drop(busy); // kill -9
    let heir_directory = tempfile::tempdir().unwrap();
    let heir = Daemon::start(heir_directory.path(), &settings).await;
    let job = until(&heir, &taken_over, "succeeded").await;
    assert_eq!(job["attempts"], 2);
    assert!(job["errors"][0]["error"].as_str().unwrap().contains("was not heard of"), "{job}");
    let (_, succeeded) = idle.get("/v1/jobs?state=succeeded").await;
    assert_eq!(succeeded["items"].as_array().unwrap().len(), 1, "one success");
}

#[tokio::test]
async fn daemon_whose_redis_is_away_says_so_and_works_when_it_is_back() {
    let Some(program) = program("jobs::daemon_whose_redis_is_away") else { return };
    let mut server = Server::start(&program, &[]);
    let redis = format!("redis.url={}", server.url());
    let directory = tempfile::tempdir().unwrap();
    let settings = [LEXICAL, LEASE, "jobs.backend=redis", &redis, "redis.command_timeout_ms=500"];
    let daemon = Daemon::start(directory.path(), &settings).await;
    let id = submit(&daemon, json!({"kind": "drill", "payload": {"seconds": 1}})).await;
    underway(&daemon, &id).await;
    server.kill();
    let (status, refusal) = daemon.post("/v1/jobs", &json!({"kind": "drill"})).await;
    assert_eq!((status, &refusal["error"]["code"]), (503, &json!("TM0017")), "{refusal}");
    let health = daemon.wait_for("/health", "the queue to be ill", |health| health["status"] == "degraded").await;
    let jobs = health["dependencies"].as_array().unwrap().iter().find(|it| it["name"] == "jobs").unwrap();
    assert_eq!(jobs["healthy"], false, "{health}");
    let (status, _) = daemon.post("/v1/documents", &json!({"source": "news", "text": "goes on"})).await;
    assert_eq!(status, 202, "documents need no job queue");
    server.restart();
    let job = until(&daemon, &id, "succeeded").await;
    assert!(job["attempts"].as_u64().unwrap() <= 2, "{job}");
    daemon.wait_for("/health", "all to be well", |health| health["status"] == "ok").await;
}

#[tokio::test]
async fn reindex_finds_and_mends_what_differs() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(directory.path(), &[LEXICAL]).await;
    let topics = ["copper mines close", "harbour dividends rise", "wheat exports resume", "chip foundry delayed"];
    for (index, text) in topics.iter().enumerate() {
        daemon.post("/v1/documents", &json!({"id": format!("d{index}"), "source": "news", "text": text})).await;
    }
    daemon.drained().await;
    daemon.wait_for("/health", "vectors", |health| health["vectors"] == 4).await;
    let report = |output: &Output| -> Value {
        let job: Value = serde_json::from_str(&out(output)).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(job["state"], "succeeded", "{job}");
        job["result"].clone()
    };
    let submit = ["jobs", "submit", "reindex", "--wait", "--json"];
    let clean = report(&tidemill(&daemon, &submit));
    assert_eq!((&clean["same"], &clean["missing"], &clean["extra"]), (&json!(4), &json!(0), &json!(0)));

    // two vectors change places behind the index's back
    assert!(daemon.stop().await.success());
    let file = rusqlite::Connection::open(directory.path().join("tidemill.sqlite3")).unwrap();
    let swapped = file
        .execute_batch(
            "CREATE TEMP TABLE kept AS SELECT v.seq, v.vector FROM analytics_vectors v JOIN raw_documents d USING (seq)
                WHERE d.id IN ('d0', 'd1');
            UPDATE analytics_vectors SET vector = (SELECT vector FROM kept WHERE kept.seq <> analytics_vectors.seq)
                WHERE seq IN (SELECT seq FROM kept);",
        )
        .is_ok();
    assert!(swapped);
    drop(file);
    let daemon = Daemon::start(directory.path(), &[LEXICAL]).await;
    let dry = report(&tidemill(&daemon, &["jobs", "submit", "reindex", "{\"dry_run\": true}", "--wait", "--json"]));
    assert_eq!((&dry["same"], &dry["missing"], &dry["dry_run"]), (&json!(2), &json!(2), &json!(true)), "{dry}");
    let mended = report(&tidemill(&daemon, &submit));
    assert_eq!((&mended["same"], &mended["missing"]), (&json!(2), &json!(2)), "the dry run changed nothing: {mended}");
    let clean = report(&tidemill(&daemon, &submit));
    assert_eq!((&clean["same"], &clean["missing"]), (&json!(4), &json!(0)));

    let listed = out(&tidemill(&daemon, &["jobs", "ls", "--kind", "reindex"]));
    assert_eq!(listed.lines().count(), 5, "{listed}");
    let (_, metrics) = daemon.get_text("/metrics").await;
    for line in [
        "tidemill_jobs_total{kind=\"reindex\",state=\"succeeded\"} 3",
        "tidemill_job_run_seconds_count{kind=\"reindex\"} 3",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn restarted_dispatcher_loses_no_job() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path(), &[LEXICAL, LEASE]).await;
    let id = submit(&daemon, json!({"kind": "drill", "payload": {"seconds": 1}})).await;
    underway(&daemon, &id).await;
    let (status, _) = daemon.post("/v1/faults/actors/dispatcher", &json!({"kind": "panic"})).await;
    assert_eq!(status, 202);
    let job = until(&daemon, &id, "succeeded").await;
    assert_eq!(job["attempts"], 2, "{job}");
    let after = submit(&daemon, json!({"kind": "drill"})).await;
    tokio::time::timeout(Duration::from_secs(30), until(&daemon, &after, "succeeded")).await.unwrap();
}
