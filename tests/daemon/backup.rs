//! Backups of the real daemon: made while it takes documents, restored after it was killed.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::corpus::{Sample, corpus};
use crate::process::Daemon;
use crate::verdicts::{check, post_until_acknowledged, verdicts};

const LEXICAL: &str = "encoder.kind=hashing";
const POISON: &str = "faults.poison_marker=POISON-PILL";
const POISONED: &str = "faults.poison_stage=fingerprinter";
/// Poison is what this is about, not how much of it a supervisor takes.
const PATIENT: &str = "supervision.max_restarts=1000";
const DOCUMENTS: usize = 600;

/// The command line beside the daemon, on a data directory.
fn tidemill(data: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidemill"))
        .args(arguments)
        .env("TIDEMILL_DATA_DIR", data)
        .env("TIDEMILL_CONFIG", Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(data: &Path, arguments: &[&str]) -> String {
    let output = tidemill(data, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(data: &Path, arguments: &[&str], code: i32, expected: &str) {
    let output = tidemill(data, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    assert!(said(&output).contains(expected), "{}", said(&output));
}

async fn post(daemon: &mut Daemon, samples: &[Sample]) {
    for chunk in samples.chunks(20) {
        post_until_acknowledged(daemon, &chunk.iter().collect::<Vec<_>>()).await;
    }
}

async fn backup_job(daemon: &Daemon) -> String {
    let (status, job) = daemon.post("/v1/jobs", &json!({"kind": "backup"})).await;
    assert_eq!(status, 202, "{job}");
    format!("/v1/jobs/{}", job["id"].as_str().unwrap())
}

async fn finished(daemon: &Daemon, job: &str) -> Value {
    let job = daemon.wait_for(job, "the backup", |job| job["finished_at"].is_string()).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    job["result"].clone()
}

#[tokio::test]
async fn backup_under_load_restores_to_every_verdict_once_and_loses_nothing_with_the_log_kept() {
    let places = tempfile::tempdir().unwrap();
    let (data, backups) = (places.path().join("data"), places.path().join("backups"));
    let backups = backups.to_str().unwrap();
    let target = format!("backup.target={backups}");
    let settings = [LEXICAL, POISON, POISONED, PATIENT, target.as_str()];
    let samples = corpus(DOCUMENTS, 11);
    let (early, late) = samples.split_at(DOCUMENTS / 3);
    let mut daemon = Daemon::start(&data, &settings).await;
    post(&mut daemon, early).await;
    let job = backup_job(&daemon).await;
    post(&mut daemon, late).await;
    let made = finished(&daemon, &job).await;
    assert_eq!(made["drift"], json!([]), "{made}");
    fails(&data, &["backup", "restore", backups], 69, "stop the daemon first");
    // the command makes one beside the running daemon, too
    let second = done(&data, &["backup", "create", backups]);
    daemon.drained().await;
    drop(daemon); // kill -9

    let first = made["id"].as_str().unwrap();
    assert!(done(&data, &["backup", "verify", backups, "--id", first]).contains("no drift"));
    assert!(done(&data, &["backup", "verify", backups]).contains(second.trim()));
    assert!(done(&data, &["backup", "verify", "--stores"]).contains("no drift"));

    // into an empty directory: what was acknowledged before the backup began is there, the rest as far as its log goes
    let fresh = places.path().join("fresh");
    done(&fresh, &["backup", "restore", backups, "--id", first]);
    let mut daemon = Daemon::start(&fresh, &settings).await;
    daemon.drained().await;
    let found = verdicts(&daemon).await;
    assert!(early.iter().all(|sample| found.contains_key(&sample.id)), "{} of {}", found.len(), early.len());
    // who saw no answer sends again; then every verdict is as it had been
    post(&mut daemon, &samples).await;
    daemon.drained().await;
    check(&samples, &verdicts(&daemon).await);
    assert!(daemon.stop().await.success());

    // the database is lost and the log is not: nothing is sent again
    fails(&data, &["backup", "restore", backups, "--keep-log"], 1, "--force");
    std::fs::remove_file(data.join("tidemill.sqlite3")).unwrap();
    done(&data, &["backup", "restore", backups, "--id", first, "--keep-log", "--force"]);
    let daemon = Daemon::start(&data, &settings).await;
    daemon.drained().await;
    check(&samples, &verdicts(&daemon).await);
    assert!(done(&data, &["backup", "verify", "--stores"]).contains("no drift"));
}

#[tokio::test]
async fn schedule_makes_backups_and_deletes_what_is_not_kept() {
    let places = tempfile::tempdir().unwrap();
    let (data, backups) = (places.path().join("data"), places.path().join("backups"));
    let target = format!("backup.target={}", backups.display());
    let keep = ["backup.keep_last=2", "backup.keep_daily=0", "backup.keep_weekly=0"];
    let settings = [LEXICAL, target.as_str(), "backup.schedule=* * * * * *", keep[0], keep[1], keep[2]];
    let daemon = Daemon::start(&data, &settings).await;
    let done_twice = |jobs: &Value| {
        let deleted = |job: &&Value| job["result"]["deleted"].as_array().is_some_and(|gone| !gone.is_empty());
        jobs["items"].as_array().unwrap().iter().filter(deleted).count() >= 2
    };
    daemon.wait_for("/v1/jobs?kind=backup&state=succeeded", "backups that push others out", done_twice).await;
    let (_, tree) = daemon.get_text("/v1/topology").await;
    assert!(tree.contains("backup_schedule"), "{tree}");
}

#[tokio::test]
async fn damaged_backup_and_missing_target_are_told() {
    let places = tempfile::tempdir().unwrap();
    let (data, backups) = (places.path().join("data"), places.path().join("backups"));
    let place = backups.to_str().unwrap();
    let mut daemon = Daemon::start(&data, &[LEXICAL]).await;
    daemon.post("/v1/documents", &json!({"id": "a", "source": "news", "text": "copper mines close"})).await;
    let (status, refused) = daemon.post("/v1/jobs", &json!({"kind": "backup"})).await;
    assert_eq!(status, 400, "without a target there is no such job: {refused}");
    daemon.drained().await;
    assert!(daemon.stop().await.success());
    let id = done(&data, &["backup", "create", place]);
    let file = backups.join(id.trim()).join("documents.sqlite3.zst");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 9]).unwrap();
    for command in ["verify", "restore"] {
        fails(&places.path().join("fresh"), &["backup", command, place], 1, "documents.sqlite3.zst");
    }
    fails(&data, &["backup", "verify", "nowhere-at-all"], 1, "nowhere-at-all");
    fails(&data, &["backup", "create"], 2, "backup.target");
    fails(
        &data,
        &["backup", "create", "s3://bucket/a", "--set", "backup.endpoint=http://s3.example.com"],
        78,
        "https://",
    );
    let listed: Value = serde_json::from_str(&done(&data, &["backup", "ls", place, "--json"])).unwrap();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["complete"]), (&json!(id.trim()), &json!(true)));
}

#[tokio::test]
async fn events_are_told_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(directory.path(), &[LEXICAL]).await;
    daemon.post("/v1/documents", &json!({"id": "a", "source": "news", "text": "copper mines close"})).await;
    let is_told = |history: &Value| history["events"].as_array().unwrap().iter().any(|it| it["document_id"] == "a");
    let before = daemon.wait_for("/events/history", "the verdict", is_told).await;
    assert!(daemon.stop().await.success());
    let daemon = Daemon::start(directory.path(), &[LEXICAL]).await;
    let (_, after) = daemon.get("/events/history").await;
    let (before, after) = (before["events"].as_array().unwrap(), after["events"].as_array().unwrap());
    assert_eq!(&after[..before.len()], before.as_slice());
}
