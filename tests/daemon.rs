//! The whole daemon: the real binary on real files and sockets, seen as a user sees it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

#[path = "daemon/backpressure.rs"]
mod backpressure;
#[path = "daemon/backup.rs"]
mod backup;
#[path = "daemon/bad_input.rs"]
mod bad_input;
#[path = "daemon/chaos.rs"]
mod chaos;
#[path = "daemon/corpus.rs"]
mod corpus;
#[path = "daemon/graph.rs"]
mod graph;
#[path = "daemon/jobs.rs"]
mod jobs;
#[path = "support/services/kafka.rs"]
mod kafka;
#[path = "daemon/market.rs"]
mod market;
#[path = "daemon/nodes.rs"]
mod nodes;
#[path = "daemon/pipeline.rs"]
mod pipeline;
#[path = "support/services/postgres.rs"]
#[expect(dead_code, reason = "each test file uses its own part")]
mod postgres;
#[expect(dead_code, reason = "each test file uses its own part")]
#[path = "daemon/process.rs"]
mod process;
#[expect(dead_code, reason = "other suites need what this one does not")]
#[path = "support/services/redis.rs"]
mod redis;
#[path = "daemon/service_manager.rs"]
mod service_manager;
#[path = "support/services.rs"]
mod services;
#[path = "daemon/verdicts.rs"]
mod verdicts;
