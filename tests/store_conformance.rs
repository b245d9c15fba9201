//! What every document store promises, run against each backend; and what a `kill -9` may not take.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/services/postgres.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod postgres_server;
#[path = "support/services.rs"]
mod services;
#[path = "store_conformance/suite.rs"]
mod suite;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tidemill::config::postgres::{PoolConfig, PostgresConfig};
use tidemill::config::store::StoreConfig;
use tidemill::stores::documents::{DocumentFilter, DocumentStore, StoreError};
use tidemill::stores::postgres::PostgresStore;
use tidemill::stores::sqlite::SqliteStore;

use suite::{Fresh, row};

/// Set for the process that is to be killed: the file it writes to.
const VICTIM_FILE: &str = "TIDEMILL_TEST_VICTIM_FILE";
/// Times the writer is killed.
const KILLS: u64 = 5;

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, &StoreConfig::default()).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "a server may not be there, a file always is")]
fn sqlite() -> Option<Fresh> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite3");
    let reopen = move || -> Box<dyn DocumentStore> {
        let _ = &directory;
        Box::new(open(&path))
    };
    Some(Fresh::new(Box::new(reopen)))
}

fn reopening(config: PostgresConfig) -> Fresh {
    Fresh::new(Box::new(move || Box::new(PostgresStore::open_blocking(&config).unwrap())))
}

/// All schemas in one database.
fn postgres() -> Option<Fresh> {
    let [url] = postgres_server::fresh_databases()?;
    Some(reopening(PostgresConfig { url: Some(url), ..PostgresConfig::default() }))
}

/// Behind a pooler: nothing is prepared, no session has settings.
fn postgres_pooled() -> Option<Fresh> {
    let [url] = postgres_server::fresh_databases()?;
    Some(reopening(PostgresConfig { url: Some(url), transaction_pooler: true, ..PostgresConfig::default() }))
}

/// Each schema in a database of its own.
fn postgres_separate() -> Option<Fresh> {
    let [raw, analytics, logging] =
        postgres_server::fresh_databases()?.map(|url| PoolConfig { url: Some(url), ..PoolConfig::default() });
    Some(reopening(PostgresConfig { raw, analytics, logging, ..PostgresConfig::default() }))
}

/// Runs cases of the suite against one backend.
macro_rules! cases {
    ($backend:ident: $($case:ident),* $(,)?) => {
        mod $backend {
            $(#[tokio::test] async fn $case() {
                if let Some(fresh) = super::$backend() {
                    super::suite::$case(fresh).await;
                }
            })*
        }
    };
}

/// Runs every case of the suite against one backend.
macro_rules! conformance {
    ($backend:ident) => {
        cases!($backend:
        written_documents_come_back_whole,
        same_document_again_takes_the_earlier_ones_place,
        revision_leaves_nothing_of_the_earlier_version,
        duplicate_needs_its_original,
        duplicate_of_a_duplicate_is_written_under_the_root,
        original_may_come_earlier_in_the_batch,
        one_call_writes_all_or_nothing_visible,
        listing_pages_are_complete_and_newest_first,
        listing_filters_hold,
        wrong_queries_are_refused,
        documents_are_found_by_correlation_id,
        every_delivery_of_a_document_is_found,
        many_are_found_in_the_order_asked,
        remember_streams_in_order_of_record_time,
        dead_letters_keep_every_byte,
        same_dead_letter_is_kept_once,
        dead_letters_are_listed_filtered_and_paged,
        dead_letters_are_replayed_and_purged,
        counts_follow_writes,
        everything_survives_reopening,
        injected_faults_fail_calls_and_pass,
        many_writers_at_once_lose_nothing,
        hostile_text_is_data,
        );
    };
}

conformance!(sqlite);
conformance!(postgres);

// what these two do differently
cases!(postgres_pooled:
    written_documents_come_back_whole,
    revision_leaves_nothing_of_the_earlier_version,
    duplicate_of_a_duplicate_is_written_under_the_root,
    listing_filters_hold,
    remember_streams_in_order_of_record_time,
    dead_letters_keep_every_byte,
    many_writers_at_once_lose_nothing,
    hostile_text_is_data,
);
cases!(postgres_separate:
    written_documents_come_back_whole,
    same_document_again_takes_the_earlier_ones_place,
    revision_leaves_nothing_of_the_earlier_version,
    duplicate_needs_its_original,
    duplicate_of_a_duplicate_is_written_under_the_root,
    one_call_writes_all_or_nothing_visible,
    listing_filters_hold,
    every_delivery_of_a_document_is_found,
    remember_streams_in_order_of_record_time,
    dead_letters_keep_every_byte,
    many_writers_at_once_lose_nothing,
    hostile_text_is_data,
);

#[tokio::test]
async fn sqlite_second_process_that_holds_the_lock_makes_writes_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite3");
    let store = SqliteStore::open(&path, &StoreConfig { busy_timeout_ms: 50, ..StoreConfig::default() }).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.write(vec![row(1)]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(said) if said.contains("locked")), "{error}");
    assert!(store.counts().await.unwrap().stored == 0, "readers go on");
    other.execute_batch("ROLLBACK").unwrap();
    store.write(vec![row(1)]).await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
async fn sqlite_damaged_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.sqlite3");
    std::fs::write(&path, vec![7_u8; 20_000]).unwrap();
    let error = SqliteStore::open(&path, &StoreConfig::default()).err().unwrap();
    assert!(matches!(&error, StoreError::Damaged(said) if said.contains("broken.sqlite3")), "{error}");
    assert!(!error.is_retriable());
}

/// Not a check of its own: run in a second process, writes batches for ever and says which are durable.
#[test]
fn victim_writes_until_killed() {
    let Ok(file) = std::env::var(VICTIM_FILE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&file));
        let counts = store.counts().await.unwrap();
        let mut next = counts.stored;
        loop {
            let rows: Vec<_> = (next..next + 20).map(row).collect();
            next += 20;
            store.write(rows).await.unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "durable {next}").unwrap();
            out.flush().unwrap();
        }
    });
}

#[tokio::test]
async fn sqlite_kill_9_takes_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite3");
    drop(open(&path));
    for kill in 1..=KILLS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim_writes_until_killed", "--nocapture", "--test-threads=1"])
            .env(VICTIM_FILE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        let mut batches = 0;
        for line in BufReader::new(victim.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some((_, count)) = line.split_once("durable ") {
                acknowledged = count.parse::<u64>().unwrap();
                batches += 1;
            }
            if batches == 3 * kill {
                victim.kill().unwrap();
                break;
            }
        }
        victim.wait().unwrap();
        assert!(acknowledged >= 60 * kill, "kill {kill}: {acknowledged} acknowledged");
        let store = open(&path);
        let stored = store.counts().await.unwrap().stored;
        assert!(stored >= acknowledged, "kill {kill}: {stored} of {acknowledged}");
        assert_eq!(stored % 20, 0, "half a batch was written");
        let ids: Vec<Arc<str>> = (0..acknowledged).map(|index| row(index).document.id.clone()).collect();
        assert_eq!(store.get_many(&ids).await.unwrap().len() as u64, acknowledged);
    }
    let checked: String = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |found| found.get(0))
        .unwrap();
    assert_eq!(checked, "ok");
}

#[tokio::test]
async fn sqlite_stalled_writer_meets_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite3");
    let config = StoreConfig { busy_timeout_ms: 10_000, call_timeout_ms: 100, ..StoreConfig::default() };
    let store = SqliteStore::open(&path, &config).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = std::time::Instant::now();
    let error = store.write(vec![row(1)]).await.unwrap_err();
    assert!(error.is_retriable() && started.elapsed() < Duration::from_secs(5), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    drop(store);
    let store = open(&path);
    let page = store.list(DocumentFilter { limit: 10, ..DocumentFilter::default() }).await.unwrap();
    assert_eq!(page.items.len(), 1, "the late write became durable all the same");
}
