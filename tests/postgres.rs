//! PostgreSQL for real: what only a server shared by several daemons has, and what it may do to a daemon.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "postgres/books.rs"]
mod books;
#[path = "daemon/corpus.rs"]
mod corpus;
#[path = "postgres/dashboards.rs"]
mod dashboards;
#[path = "postgres/faults.rs"]
mod faults;
#[path = "daemon/process.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod process;
#[path = "support/services/postgres.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod server;
#[path = "support/services.rs"]
mod services;
#[path = "postgres/sharing.rs"]
mod sharing;
#[path = "support/small_disk.rs"]
mod small_disk;
#[path = "store_conformance/suite.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod suite;

use tidemill::config::postgres::PostgresConfig;
use tidemill::config::secret::Secret;

/// A new database, or a word that the test is skipped.
fn database() -> Option<String> {
    server::fresh_database().inspect_err(|why| services::skip("postgres", why)).ok()
}

/// A server of the test's own, or a word that the test is skipped.
fn breakable(settings: &[&str]) -> Option<server::Server> {
    server::breakable(settings).inspect_err(|why| services::skip("postgres", why)).ok()
}

fn config(url: &str) -> PostgresConfig {
    PostgresConfig { url: Some(Secret::new(url)), ..PostgresConfig::default() }
}
