//! What can be wrong with a graph or with the wish to learn it.

use thiserror::Error;

/// Why a graph was refused or its training did not end with vectors.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// An edge names a node the graph does not have.
    #[error("edge {edge} goes to node {node}, the graph has {nodes} nodes")]
    UnknownNode {
        /// Position of the edge in the input, from 0.
        edge: usize,
        /// The node it names.
        node: u32,
        /// Nodes of the graph.
        nodes: usize,
    },
    /// An edge's weight cannot be a probability's share.
    #[error("edge {edge} has weight {weight}, weights must be finite and above 0")]
    Weight {
        /// Position of the edge in the input, from 0.
        edge: usize,
        /// The weight it has.
        weight: f32,
    },
    /// More nodes or edges than 32-bit indices reach.
    #[error("{count} {what} are more than the {limit} that fit")]
    TooLarge {
        /// "nodes" or "edges".
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// A parameter is outside its range.
    #[error("{name} is {value}, allowed is {allowed}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The observer asked to stop.
    #[error("training was cancelled in epoch {epoch}")]
    Cancelled {
        /// The epoch it was in, from 1.
        epoch: usize,
    },
    /// Vectors grew beyond all bounds.
    #[error("training diverged in epoch {epoch}; a smaller learning_rate helps")]
    Diverged {
        /// The epoch it was in, from 1.
        epoch: usize,
    },
    /// The operating system gave no thread.
    #[error("no thread for training: {0}")]
    Thread(#[source] std::io::Error),
    /// The reference trainer's tensor library failed.
    #[error("reference trainer: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl GraphError {
    /// A parameter outside its range.
    pub(crate) fn parameter(name: &'static str, value: impl std::fmt::Display, allowed: &'static str) -> Self {
        Self::Parameter { name, value: value.to_string(), allowed }
    }
}
