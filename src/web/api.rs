//! The handlers: one concept per file.

pub(super) mod analyze;
pub(super) mod backtests;
pub(super) mod bars;
pub(super) mod charts;
pub(super) mod console;
pub(super) mod dead_letters;
pub(super) mod documents;
pub(super) mod embeddings;
pub(super) mod explain;
pub(super) mod faults;
pub(super) mod graphs;
pub(super) mod health;
pub(super) mod ingestion;
pub(super) mod intake;
pub(super) mod jobs;
pub(super) mod operations;
pub(super) mod search;
pub(super) mod stream;
mod view;
