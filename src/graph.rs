//! Graph learning: from a repository's imports to a dependency graph, from a graph to vectors of its nodes.
//!
//! Reading, in the order of its way: [`repository`] fetches the objects of one commit, [`languages`] tells what is
//! source code, [`imports`] takes the imports out of each file, [`dependencies`] finds what they mean and draws the
//! graph, [`export`] writes it for other programs.

pub mod dependencies;
pub mod export;
pub mod imports;
pub mod languages;
pub mod reading;
pub mod repository;
mod resolution;
