//! Parameters of `Node2Vec`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::graph::error::GraphError;

/// Parameters of walks and training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Node2VecConfig {
    /// Numbers in a node's vector (1 to 1024). Multiples of 16 waste nothing.
    pub dimension: usize,
    /// Most nodes of a walk, its start included (2 to 10000).
    pub walk_length: usize,
    /// Nodes of a window, its first included (2 to `walk_length`, 256 at most): each window teaches its first node about
    /// the others.
    pub context_size: usize,
    /// Walks from each node in each epoch (1 to 10000).
    pub walks_per_node: usize,
    /// Return parameter: small sends walks back where they came from (above 0).
    pub p: f32,
    /// In-out parameter: small sends walks away from where they came from (above 0).
    pub q: f32,
    /// Random nodes a window's first node is told apart from, for each node it is told to be near (1 to 64).
    pub negatives: usize,
    /// Start nodes whose walks are drawn together (1 to 65536). One thread takes a batch at a time.
    pub batch_size: usize,
    /// Times all walks are drawn and learned (1 to 10000).
    pub epochs: usize,
    /// Step of the first epoch (above 0, 1 at most). It falls to a hundredth in a straight line.
    pub learning_rate: f32,
    /// Added to products of vectors with `single_table` (-20 to 20): about the log-odds of two nodes at random being near.
    pub offset: f32,
    /// What is learned: `single_table` or `skip_gram`.
    pub objective: Objective,
    /// Who learns: `parallel` or `reference`.
    pub trainer: Trainer,
    /// Threads (up to 1024); 0 takes as many as there are processors.
    pub threads: usize,
    /// Where random numbers begin. With one thread the same seed gives the same vectors.
    pub seed: u64,
}

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// One vector a node, negatives drawn evenly from all nodes: with an offset of 0 as `PyTorch` Geometric defines it.
    SingleTable,
    /// A second vector a node for its part as context, negatives by degree to the power of 0.75: word2vec's.
    SkipGram,
}

/// Who learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trainer {
    /// The hand-written one: all threads, no locks.
    Parallel,
    /// The one on candle with automatic derivatives, to check the other against; slow.
    Reference,
}

impl Default for Node2VecConfig {
    fn default() -> Self {
        Self {
            dimension: 64,
            walk_length: 20,
            context_size: 10,
            walks_per_node: 10,
            p: 1.0,
            q: 1.0,
            negatives: 1,
            batch_size: 128,
            epochs: 10,
            learning_rate: 0.005,
            offset: -6.0,
            objective: Objective::SingleTable,
            trainer: Trainer::Parallel,
            threads: 0,
            seed: 1,
        }
    }
}

/// Longest window.
const CONTEXT_MAX: usize = 256;

impl Node2VecConfig {
    /// Checks every parameter.
    ///
    /// # Errors
    /// [`GraphError::Parameter`] with the first that is outside its range.
    pub fn validate(&self) -> Result<(), GraphError> {
        let counts = [
            ("dimension", self.dimension, 1, 1024, "1 to 1024"),
            ("walk_length", self.walk_length, 2, 10_000, "2 to 10000"),
            (
                "context_size",
                self.context_size,
                2,
                self.walk_length.min(CONTEXT_MAX),
                "2 to walk_length and 256 at most",
            ),
            ("walks_per_node", self.walks_per_node, 1, 10_000, "1 to 10000"),
            ("negatives", self.negatives, 1, 64, "1 to 64"),
            ("batch_size", self.batch_size, 1, 65_536, "1 to 65536"),
            ("epochs", self.epochs, 1, 10_000, "1 to 10000"),
            ("threads", self.threads, 0, 1024, "0 to 1024"),
        ];
        for (name, value, least, most, allowed) in counts {
            if !(least..=most).contains(&value) {
                return Err(GraphError::parameter(name, value, allowed));
            }
        }
        for (name, value) in [("p", self.p), ("q", self.q)] {
            if !(value.is_finite() && value > 0.0 && (1.0 / value).is_finite()) {
                return Err(GraphError::parameter(name, value, "a finite number above 0"));
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return Err(GraphError::parameter("learning_rate", self.learning_rate, "above 0, 1 at most"));
        }
        if !(-20.0..=20.0).contains(&self.offset) {
            return Err(GraphError::parameter("offset", self.offset, "-20 to 20"));
        }
        Ok(())
    }

    /// What is added to a product of vectors before it is made a probability.
    pub(in crate::graph) fn product_offset(&self) -> f32 {
        match self.objective {
            Objective::SingleTable => self.offset,
            Objective::SkipGram => 0.0,
        }
    }

    /// Threads to use.
    pub(in crate::graph) fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }
}
