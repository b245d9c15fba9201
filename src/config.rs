//! Configuration: typed sections, layering, validation, live reload.

pub mod http;
pub mod problem;
