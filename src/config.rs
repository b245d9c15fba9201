//! Configuration: typed sections, layering, validation, live reload.

pub mod problem;

pub mod dedup;
pub mod documents;
pub mod store;
