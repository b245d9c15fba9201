//! The stores: one trait per need, one folder per backend.

pub mod documents;
pub mod lock;
pub mod qdrant;
pub mod redis;
pub mod shared_vectors;
pub mod sqlite;
pub mod vector_index;
pub mod vectors;
