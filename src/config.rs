//! Configuration: typed sections, layering, validation, live reload.

pub mod kafka;
pub mod kafka_listener;
pub mod log;
pub mod problem;
