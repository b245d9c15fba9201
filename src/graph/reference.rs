//! The reference trainer: the same objective on candle, with automatic derivatives, to check the hand-written one against.
//!
//! Loss and windows are those of `PyTorch` Geometric's `Node2Vec`, but for the offset added to products: a window's first
//! node against the others, mean of `-ln(σ(h·h') + 1e-15)` over them plus mean of `-ln(1 - σ(h·h') + 1e-15)` over random
//! nodes. A step follows the gradient of one window's summed loss, on the same walks and negatives and in the same order as
//! the other's. Every step touches the whole table: this is for small graphs. With the feature `cuda` it runs on the first
//! GPU if there is one.

use candle_core::{Device, Tensor, Var};
use candle_nn::ops::sigmoid;
use candle_nn::optim::{Optimizer, SGD};
use fastrand::Rng;

use super::csr::Csr;
use super::error::GraphError;
use super::node2vec::negatives::{Negatives, Passage};
use super::node2vec::plan::Plan;
use super::node2vec::{Embeddings, EpochLoss, Node2VecConfig, Objective, Observer};
use super::walks::{Walker, Walks};

/// Least probability in a loss.
const LEAST: f64 = 1e-15;

/// Tables, optimiser and where negatives come from.
struct Reference<'a> {
    config: &'a Node2VecConfig,
    device: Device,
    own: Var,
    context: Var,
    optimiser: SGD,
    negatives: Negatives,
}

/// Sums of an epoch: pairs, loss of near ones, loss of random ones.
#[derive(Default)]
struct Sums {
    near: u64,
    far: u64,
    near_loss: f64,
    far_loss: f64,
    steps: u64,
}

impl Sums {
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    fn loss(&self) -> Option<f64> {
        (self.near > 0).then(|| self.near_loss / self.near as f64 + self.far_loss / self.far as f64)
    }
}

/// Learns with `config`, which is valid, on one thread.
pub(super) fn train(graph: &Csr, config: &Node2VecConfig, observer: Observer) -> Result<Embeddings, GraphError> {
    let plan = Plan::new(graph, config);
    let walker = Walker::new(graph, config.walk_length, config.p, config.q)?;
    let mut reference = Reference::new(graph, config, &plan)?;
    let mut walks = Walks::default();
    let (mut losses, mut steps, mut pairs) = (Vec::with_capacity(config.epochs), 0, 0);
    for epoch in 0..config.epochs {
        let (order, mut sums) = (plan.order(epoch), Sums::default());
        for batch in 0..plan.batches {
            let mut random = plan.random(epoch, batch);
            for round in 0..config.walks_per_node {
                reference.optimiser.set_learning_rate(f64::from(plan.rate(epoch, batch, round)));
                walker.walk(order.batch(batch, config.batch_size), &mut random, &mut walks);
                sums.steps += walks.steps() as u64;
                for passage in walks.iter().flat_map(|walk| Passage::of(walk, config)) {
                    reference.learn(passage, &mut random, &mut sums)?;
                }
                if observer(plan.progress(epoch, batch, None)).is_break() {
                    return Err(GraphError::Cancelled { epoch: epoch + 1 });
                }
            }
        }
        let loss = sums.loss();
        losses.extend(loss.map(|loss| EpochLoss { epoch: epoch + 1, loss }));
        (steps, pairs) = (steps + sums.steps, pairs + sums.near + sums.far);
        if observer(plan.ended(epoch, loss)).is_break() && epoch + 1 < config.epochs {
            return Err(GraphError::Cancelled { epoch: epoch + 1 });
        }
    }
    let values = reference.own.flatten_all()?.to_vec1()?;
    Ok(Embeddings { dimension: config.dimension, values, losses, steps, pairs })
}

impl<'a> Reference<'a> {
    fn new(graph: &Csr, config: &'a Node2VecConfig, plan: &Plan) -> Result<Self, GraphError> {
        let device = Device::cuda_if_available(0)?;
        let shape = (graph.nodes(), config.dimension);
        let own = Var::from_vec(plan.initial().flatten().collect::<Vec<f32>>(), shape, &device)?;
        let (context, vars) = match config.objective {
            Objective::SingleTable => (own.clone(), vec![own.clone()]),
            Objective::SkipGram => {
                let context = Var::zeros(shape, candle_core::DType::F32, &device)?;
                (context.clone(), vec![own.clone(), context])
            }
        };
        let optimiser = SGD::new(vars, f64::from(config.learning_rate))?;
        let negatives = Negatives::new(graph, config.objective);
        Ok(Self { config, device, own, context, optimiser, negatives })
    }

    /// A step with each window of a passage.
    fn learn(&mut self, passage: Passage, random: &mut Rng, sums: &mut Sums) -> Result<(), GraphError> {
        let far: Vec<u32> = (0..passage.far(self.config)).map(|_| self.negatives.draw(random)).collect();
        for window in passage.nodes.windows(passage.size) {
            let near = passage.near();
            let others = [&window[1..], &far].concat();
            let first = Tensor::from_slice(&window[..1], 1, &self.device)?;
            let others = Tensor::from_vec(others, near + far.len(), &self.device)?;
            let own = self.own.index_select(&first, 0)?;
            let products = own.broadcast_mul(&self.context.index_select(&others, 0)?)?.sum(1)?;
            let chances = sigmoid(&(products + f64::from(self.config.product_offset()))?)?;
            let near_loss = (chances.narrow(0, 0, near)? + LEAST)?.log()?.sum_all()?.neg()?;
            let far_loss = ((1.0 - chances.narrow(0, near, far.len())?)? + LEAST)?.log()?.sum_all()?.neg()?;
            self.optimiser.backward_step(&(&near_loss + &far_loss)?)?;
            sums.near += near as u64;
            sums.far += far.len() as u64;
            sums.near_loss += f64::from(near_loss.to_scalar::<f32>()?);
            sums.far_loss += f64::from(far_loss.to_scalar::<f32>()?);
        }
        Ok(())
    }
}
