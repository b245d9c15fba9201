//! `Node2Vec`: vectors of nodes such that nodes near each other on random walks have similar ones.
//!
//! Each epoch draws new walks, `walks_per_node` from every node, and learns from windows on them by skip-gram with
//! negative sampling; see [`Objective`] for what is learned. Nodes without edges keep their first, random vector.

mod config;
mod embeddings;
pub(super) mod negatives;
pub(super) mod plan;

use std::ops::ControlFlow;

pub use self::config::{Node2VecConfig, Objective, Trainer};
pub use self::embeddings::{Embeddings, EpochLoss};
use super::csr::Csr;
use super::error::GraphError;
use super::{reference, skipgram};

/// What an observer is told during training: now and then, and at the end of every epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The epoch, from 1.
    pub epoch: usize,
    /// How many there will be.
    pub epochs: usize,
    /// Share of the whole training that is done, 0 to 1.
    pub done: f64,
    /// Loss of the epoch that ended, every fifth epoch and the last.
    pub loss: Option<f64>,
}

/// What is told of a training's progress, and may end it.
pub(super) type Observer<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Learns vectors. The observer is called on the calling thread; it ends the training with [`ControlFlow::Break`].
/// With one thread the same seed gives the same vectors; with more, threads write over each other's small changes now
/// and then (Hogwild, Niu et al. 2011), and the vectors differ a little from run to run.
///
/// # Errors
/// [`GraphError::Parameter`], [`GraphError::Cancelled`], [`GraphError::Thread`], [`GraphError::Tensor`].
pub fn train(
    graph: &Csr,
    config: &Node2VecConfig,
    observer: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Embeddings, GraphError> {
    config.validate()?;
    match config.trainer {
        Trainer::Parallel => skipgram::train(graph, config, observer),
        Trainer::Reference => reference::train(graph, config, observer),
    }
}
