//! Tidemill: a supervised stream processor for market text.
//!
//! The map of the house, in the order of a document's way:
//!
//! - [`config`]: typed sections, layering, validation, live reload
//! - [`messages`]: the typed messages, one vocabulary per file
//! - [`kafka`]: the log: Kafka client, embedded log, produce-only listener
//! - [`text`], [`models`], [`graph`], [`backtest`]: the engines: pure, synchronous, know nothing of actors, Kafka or HTTP
//! - [`stores`]: one trait per need, one folder per backend
//! - [`backup`]: copies of the stores that fit the log, and the way back
//! - [`jobs`]: kinds of durable jobs, what submits them and what a handler sees
//! - [`supervisors`]: the actor runtime on actix: mailboxes, supervision tree, drain
//! - [`actors`]: one actor per file: receive, call an engine, send on
//! - [`telemetry`]: metric catalogue, events, log format
//! - [`web`]: HTTP API, authentication, console page
//! - [`tls`]: which TLS all clients use
//! - [`cli`]: one file per subcommand; no logic
//!
//! A dependency points one way: `cli → actors → {supervisors, messages, engines, stores, kafka, telemetry}`.

pub mod actors;
pub mod backtest;
pub mod backup;
pub mod cli;
pub mod config;
pub mod graph;
pub mod jobs;
pub mod kafka;
pub mod messages;
pub mod models;
pub mod stores;
pub mod supervisors;
pub mod telemetry;
pub mod text;
pub mod tls;
pub mod web;
