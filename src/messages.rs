//! The vocabulary: what travels between actors, topics and users. One concept per file.

pub mod analysis;
pub mod backtest;
pub mod bar;
pub mod code;
pub mod correlation;
pub mod dead_letter;
pub mod delivery;
pub mod document;
pub mod event;
pub mod job;
pub mod pipeline;
pub mod record;
pub mod sealed;
pub mod signal;
