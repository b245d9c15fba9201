//! The HTTP API over real connections, with in-memory fakes behind it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "web/access.rs"]
mod access;
#[path = "web/backtests.rs"]
mod backtests;
#[path = "web/bad_input.rs"]
mod bad_input;
#[path = "web/bars.rs"]
mod bars;
#[path = "web/cached.rs"]
mod cached;
#[path = "web/fakes.rs"]
mod fakes;
#[path = "web/ingestion.rs"]
mod ingestion;
#[path = "web/intake.rs"]
mod intake;
#[path = "web/jobs.rs"]
mod jobs;
#[path = "web/limits.rs"]
mod limits;
#[path = "web/models.rs"]
mod models;
#[path = "web/nodes.rs"]
mod nodes;
#[path = "web/operating.rs"]
mod operating;
#[path = "web/queries.rs"]
mod queries;
#[path = "web/server.rs"]
mod server;
#[path = "web/stream.rs"]
mod stream;
