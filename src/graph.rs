//! Graph learning: from a repository's imports to a dependency graph, from a graph to vectors of its nodes.
//!
//! Reading, in the order of its way: [`repository`] fetches the objects of one commit, [`languages`] tells what is
//! source code, [`imports`] takes the imports out of each file, [`dependencies`] finds what they mean and draws the
//! graph, [`export`] writes it for other programs.
//!
//! Learning: [`csr`] holds a graph ([`edge_list`] reads one from text), [`walks`] wander on it, [`node2vec`] makes vectors
//! of its nodes, [`evaluation`] judges them, [`projection`] and [`communities`] make them fit for
//! a [`picture`]; [`learning`] goes the whole way from an address to vectors.

pub mod communities;
pub mod csr;
pub mod dependencies;
pub mod edge_list;
pub mod error;
pub mod evaluation;
pub mod export;
pub mod imports;
pub mod languages;
pub mod learning;
pub mod node2vec;
pub mod picture;
pub mod projection;
pub mod reading;
mod reference;
pub mod repository;
mod resolution;
mod skipgram;
pub mod walks;
