//! Configuration: typed sections, layering, validation, live reload.

pub mod problem;

pub mod encoder;
pub mod sentiment;
