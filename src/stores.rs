//! The stores: one trait per need, one folder per backend.

pub mod backtests;
pub mod bar_file;
pub mod bars;
pub mod cache;
pub mod claims;
mod cursor;
pub mod documents;
pub mod figures;
pub mod graphs;
pub mod jobs;
pub mod lock;
mod names;
pub mod pools;
pub mod postgres;
pub mod qdrant;
pub mod redis;
pub mod shared_vectors;
pub mod signals;
pub mod sqlite;
pub mod table_file;
pub mod vector_index;
pub mod vectors;
