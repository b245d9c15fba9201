//! Configuration: typed sections, layering, validation, live reload.

pub mod problem;
