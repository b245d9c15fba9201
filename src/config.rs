//! Configuration: typed sections, layering, validation, live reload.

pub mod actors;
pub mod problem;
pub mod supervision;
