//! The order and the pace of a training, which both trainers keep.

use fastrand::Rng;

use super::{Node2VecConfig, Progress};
use crate::graph::csr::Csr;

/// The loss is told every so many epochs, and at the end.
const LOSS_EVERY: usize = 5;
/// Share of the learning rate that is left at the end.
const LAST_RATE: f32 = 0.01;
/// About the length of a vector before it is learned: short, so that little of what was drawn is left in it at the end, and
/// not so short that nothing pulls it.
const FIRST_LENGTH: f32 = 0.25;

/// What is done when.
#[derive(Debug, Clone, Copy)]
pub(in crate::graph) struct Plan<'a> {
    config: &'a Node2VecConfig,
    /// Nodes of the graph.
    pub(in crate::graph) nodes: u32,
    /// Batches of an epoch.
    pub(in crate::graph) batches: usize,
}

impl<'a> Plan<'a> {
    pub(in crate::graph) fn new(graph: &Csr, config: &'a Node2VecConfig) -> Self {
        let nodes = u32::try_from(graph.nodes()).unwrap_or(u32::MAX);
        Self { config, nodes, batches: graph.nodes().div_ceil(config.batch_size) }
    }

    /// The order of start nodes in an epoch.
    pub(in crate::graph) fn order(&self, epoch: usize) -> Order {
        Order::new(self.nodes, self.config.seed, epoch)
    }

    /// Random numbers of a batch: its own, so that they are the same on whichever thread it is.
    pub(in crate::graph) fn random(&self, epoch: usize, batch: usize) -> Rng {
        Rng::with_seed(mix(self.config.seed, epoch as u64, batch as u64))
    }

    /// The step at a point of the training: it falls in a straight line.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a share of the way")]
    pub(in crate::graph) fn rate(&self, epoch: usize, batch: usize, round: usize) -> f32 {
        let within = round as f64 / self.config.walks_per_node as f64;
        let done = (epoch as f64 + (batch as f64 + within) / self.batches as f64) / self.config.epochs as f64;
        self.config.learning_rate * (1.0 - (1.0 - LAST_RATE) * done as f32)
    }

    /// What the observer is told after `batches` of an epoch.
    #[expect(clippy::cast_precision_loss, reason = "a share of the way")]
    pub(in crate::graph) fn progress(&self, epoch: usize, batches: usize, loss: Option<f64>) -> Progress {
        let epochs = self.config.epochs;
        let within = batches as f64 / self.batches.max(1) as f64;
        Progress { epoch: epoch + 1, epochs, done: (epoch as f64 + within) / epochs as f64, loss }
    }
    /// What the observer is told at the end of an epoch.
    pub(in crate::graph) fn ended(&self, epoch: usize, loss: Option<f64>) -> Progress {
        let tell = (epoch + 1).is_multiple_of(LOSS_EVERY) || epoch + 1 == self.config.epochs;
        self.progress(epoch, self.batches.max(1), loss.filter(|_| tell))
    }

    /// The first vectors: normal numbers of such variance that vectors have a length of about [`FIRST_LENGTH`].
    pub(in crate::graph) fn initial(&self) -> impl Iterator<Item = Vec<f32>> + use<> {
        let dimension = self.config.dimension;
        let mut random = Rng::with_seed(mix(self.config.seed, u64::MAX, 0));
        #[expect(clippy::cast_precision_loss, reason = "at most 1024")]
        let scale = FIRST_LENGTH / (dimension as f32).sqrt();
        (0..self.nodes).map(move |_| (0..dimension).map(|_| scale * bell(&mut random)).collect())
    }
}

/// A number of mean 0 and variance 1, near to normal: the sum of four uniform ones, each of sixteen random bits.
fn bell(random: &mut Rng) -> f32 {
    let bits = random.u64(..);
    let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
    let sum = sum as f32;
    // four times the mean of 0 to 65535, and the root of four times its variance
    (sum - 131_070.0) * (1.0 / 37_837.226)
}

/// The order of start nodes in an epoch: an affine permutation, which needs no memory.
pub(in crate::graph) struct Order {
    nodes: u64,
    factor: u64,
    shift: u64,
}

impl Order {
    fn new(nodes: u32, seed: u64, epoch: usize) -> Self {
        let nodes = u64::from(nodes);
        let mut random = Rng::with_seed(mix(seed, epoch as u64, u64::MAX));
        let mut factor = random.u64(0..nodes.max(1)) | 1;
        while common_divisor(factor, nodes) > 1 {
            factor += 2;
        }
        Self { nodes, factor, shift: random.u64(0..nodes.max(1)) }
    }

    /// Start nodes of one batch.
    pub(in crate::graph) fn batch(&self, batch: usize, size: usize) -> impl Iterator<Item = u32> + use<> {
        let (nodes, factor, shift) = (self.nodes, self.factor, self.shift);
        let start = (batch * size) as u64;
        let end = (start + size as u64).min(nodes);
        #[expect(clippy::cast_possible_truncation, reason = "below the number of nodes")]
        (start..end).map(move |place| ((place * factor + shift) % nodes) as u32)
    }
}

fn common_divisor(one: u64, two: u64) -> u64 {
    if two == 0 { one } else { common_divisor(two, one % two) }
}

/// A seed from three numbers, each of them felt in all bits (finaliser of `SplitMix64`, Steele et al. 2014).
fn mix(seed: u64, one: u64, two: u64) -> u64 {
    [seed, one, two].into_iter().fold(0, |state: u64, number| {
        let mut bits = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}
