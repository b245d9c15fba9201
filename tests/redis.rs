//! What is built on Redis, against real servers: Debian's 7 and 8.2, or the one that `TIDEMILL_TEST_REDIS` names.
#![allow(
    clippy::type_complexity,
    clippy::expect_used,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "tests"
)]
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests")]

#[path = "redis/cache.rs"]
mod cache;
#[path = "redis/claims.rs"]
mod claims;
#[path = "redis/connection.rs"]
mod connection;
#[path = "daemon/corpus.rs"]
mod corpus;
#[path = "redis/daemon.rs"]
mod daemon;
#[path = "redis/lock.rs"]
mod lock;
#[path = "redis/pipelines.rs"]
mod pipelines;
#[expect(dead_code, reason = "tests/daemon.rs uses the rest")]
#[path = "daemon/process.rs"]
mod process;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "support/services/redis.rs"]
mod server;
#[path = "near_duplicate/suite.rs"]
mod suite;
#[path = "support/two_daemons.rs"]
mod two_daemons;
#[path = "daemon/verdicts.rs"]
mod verdicts;

use std::time::Duration;

use tidemill::config::redis::RedisConfig;
use tidemill::stores::redis::Redis;

/// Settings that make a test quick: nobody else uses this prefix.
fn settings(url: &str) -> RedisConfig {
    RedisConfig {
        url: url.to_owned(),
        key_prefix: format!("test-{:016x}", fastrand::u64(..)),
        command_timeout_ms: 1000,
        connect_timeout_ms: 500,
        backoff_max_ms: 100,
        ..RedisConfig::default()
    }
}

fn open(url: &str) -> Redis {
    Redis::open(&settings(url)).unwrap()
}

/// Waits until `holds`, which is asked again and again.
async fn eventually<R: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> R) {
    let started = std::time::Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
