//! What every store promises of bars, signals and backtests, run against each backend.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "store_conformance/suite.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod documents;
#[path = "support/services/postgres.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod postgres_server;
#[path = "support/services.rs"]
mod services;
#[path = "market_conformance/suite.rs"]
mod suite;

use std::sync::Arc;

use tidemill::config::postgres::{PoolConfig, PostgresConfig};
use tidemill::config::store::StoreConfig;
use tidemill::stores::postgres::PostgresStore;
use tidemill::stores::sqlite::SqliteStore;

use suite::{Fresh, Market};

#[expect(clippy::unnecessary_wraps, reason = "a server may not be there, a file always is")]
fn sqlite() -> Option<Fresh> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite3");
    Some(Fresh::new(move || -> Arc<dyn Market> {
        let _ = &directory;
        Arc::new(SqliteStore::open(&path, &StoreConfig::default()).unwrap())
    }))
}

fn reopening(config: PostgresConfig) -> Fresh {
    Fresh::new(move || -> Arc<dyn Market> { Arc::new(PostgresStore::open_blocking(&config).unwrap()) })
}

/// All schemas in one database.
fn postgres() -> Option<Fresh> {
    let [url] = postgres_server::fresh_databases()?;
    Some(reopening(PostgresConfig { url: Some(url), ..PostgresConfig::default() }))
}

/// Each schema in a database of its own, behind a pooler.
fn postgres_separate() -> Option<Fresh> {
    let [raw, analytics, logging] =
        postgres_server::fresh_databases()?.map(|url| PoolConfig { url: Some(url), ..PoolConfig::default() });
    Some(reopening(PostgresConfig { raw, analytics, logging, transaction_pooler: true, ..PostgresConfig::default() }))
}

/// Runs every case of the suite against one backend.
macro_rules! conformance {
    ($($backend:ident),*) => {$(
        conformance!(@cases $backend:
            bars_come_back_as_written_and_in_order,
            same_bar_again_takes_the_earlier_ones_place,
            late_delivery_of_an_earlier_record_undoes_nothing,
            bars_are_paged_between_times,
            wrong_market_queries_are_refused,
            stored_documents_say_something_of_each_symbol,
            duplicate_says_nothing,
            same_record_again_says_the_same_once,
            revision_adds_to_what_was_said_however_it_is_batched,
            runs_are_kept_found_and_listed,
            sweep_rows_come_in_order_and_are_replaced,
            checkpoint_is_kept_until_it_is_forgotten,
            everything_survives_reopening,
        );
    )*};
    (@cases $backend:ident: $($case:ident),* $(,)?) => {
        mod $backend {
            $(#[tokio::test] async fn $case() {
                if let Some(fresh) = super::$backend() {
                    super::suite::$case(fresh).await;
                }
            })*
        }
    };
}

conformance!(sqlite, postgres, postgres_separate);
