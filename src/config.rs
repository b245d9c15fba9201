//! Configuration: typed sections, layering, validation, live reload.

pub mod log;
pub mod problem;
