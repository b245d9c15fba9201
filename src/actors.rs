//! The actors: one per file: receive, call an engine, send on. No algorithm, no SQL.
//!
//! In the order of a document's way: [`source`] → [`fingerprinter`] → [`embedder`] → [`deduplicator`] →
//! [`sentiment_analyzer`] → [`sql_writer`] → [`vector_writer`] → [`publisher`]; [`dead_letters`] serves all.
//! Bars go [`bar_source`] → [`bar_writer`]. [`dispatcher`] runs durable jobs, such as [`reindex`], [`graph_trainer`] and
//! those of [`backtester`].
//! [`topology`] declares who sends to whom; [`daemon`] opens the stores and starts the tree.

pub mod backtester;
pub mod backup;
pub mod backup_schedule;
pub mod bar_source;
pub mod bar_writer;
pub mod check;
pub mod compute;
pub mod daemon;
pub mod dead_letters;
pub mod deduplicator;
pub mod dispatcher;
pub mod drill;
pub mod embedder;
pub mod faulty;
pub mod fingerprinter;
pub mod graph_trainer;
pub mod health;
pub mod housekeeper;
pub mod memory;
pub mod notify;
pub mod open;
pub mod operations;
pub mod originals;
pub mod publisher;
pub mod rates;
pub mod reindex;
pub mod reloader;
pub mod sample;
pub mod sentiment_analyzer;
pub mod servers;
pub mod services;
pub mod shared;
pub mod source;
pub mod sql_writer;
pub mod timing;
pub mod topology;
pub mod vector_writer;
pub mod waiting;
