//! Log entries, events, the error summary and their partitions; all of it by the running daemon.

use serde_json::json;
use std::time::Duration;
use tidemill::stores::documents::DocumentStore;
use tidemill::stores::postgres::PostgresStore;

use crate::corpus::{POISON, corpus};
use crate::faults::{post, settings};
use crate::process::Daemon;
use crate::server::{sql_at, wait_for_answer};
use crate::{config, database};

#[tokio::test]
async fn partitions_are_made_ahead_and_dropped_when_old() {
    let Some(url) = database() else { return };
    let mut keep_a_week = config(&url);
    keep_a_week.upkeep.retention_days = 7;
    let store = PostgresStore::open(&keep_a_week).await.unwrap();
    sql_at(
        &url,
        "CREATE TABLE logging.events_20200101 PARTITION OF logging.events
            FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-01-02 00:00:00+00');
        CREATE TABLE logging.events_by_hand PARTITION OF logging.events
            FOR VALUES FROM ('2019-01-01 00:00:00+00') TO ('2019-01-02 00:00:00+00')",
    );
    store.tend().await.unwrap();
    let names = "SELECT count(*) FILTER (WHERE inhrelid::regclass::text ~ '_20[0-9]{6}$'),
            count(*) FILTER (WHERE inhrelid::regclass::text ~ 'by_hand'),
            count(*) FILTER (WHERE inhrelid::regclass::text ~ '2020')
        FROM pg_inherits WHERE inhparent IN ('logging.events'::regclass, 'logging.log_entries'::regclass)";
    assert_eq!(
        sql_at(&url, names),
        [["8", "1", "0"]],
        "today and three days more of two tables; others' are left alone"
    );
    store.check().await.unwrap();
}

#[tokio::test]
async fn daemon_keeps_warnings_events_and_errors_by_code() {
    let Some(url) = database() else { return };
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&url);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(directory.path(), &settings).await;
    let samples = corpus(50, 3);
    post(&daemon, &samples).await;
    daemon.drained().await;
    let wait =
        |sql: &'static str, expected: &str| wait_for_answer(&url, sql, Duration::from_secs(30), expected).unwrap();
    wait("SELECT count(*) FROM logging.events WHERE kind = 'verdict'", "49");
    wait("SELECT count(*) FROM logging.events WHERE kind = 'dead_letter' AND document_id IS NOT NULL", "1");
    wait(
        "SELECT count(*) FROM logging.log_entries WHERE message = 'document dead-lettered' AND level = 'WARN' AND correlation_id IS NOT NULL",
        "1",
    );
    wait("SELECT count(*) FROM logging.error_summary WHERE stage = 'embedder' AND code = 'TM0019' AND count = 1", "1");
    let said =
        sql_at(&url, "SELECT fields ->> 'error' FROM logging.log_entries WHERE message = 'document dead-lettered'");
    assert!(said[0][0].contains(POISON) || !said[0][0].is_empty(), "{said:?}");

    let (status, pools) = daemon.get("/db/pool").await;
    assert_eq!(status, 200);
    let names: Vec<&str> =
        pools["pools"].as_array().unwrap().iter().map(|pool| pool["store"].as_str().unwrap()).collect();
    assert_eq!(names, ["postgres_raw", "postgres_analytics", "postgres_logging"]);
    let (_, ready) = daemon.get("/health/ready").await;
    let documents =
        json!(ready["dependencies"].as_array().unwrap().iter().find(|it| it["name"] == "documents").unwrap());
    assert!(documents["detail"].as_str().unwrap().starts_with("postgres at 127.0.0.1:"), "{documents}");
    assert!(daemon.stop().await.success(), "{}", daemon.log_tail());
}
