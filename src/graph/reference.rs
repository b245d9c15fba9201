//! The reference trainer: the same objective on candle, with automatic derivatives, to check the hand-written one against.
//!
//! Loss and windows are those of `PyTorch` Geometric's `Node2Vec`, but for the offset added to products: a window's first node against the others, mean of
//! `-ln(σ(h·h') + 1e-15)` over them plus mean of `-ln(1 - σ(h·h') + 1e-15)` over random nodes. A step follows the gradient
//! of one walk's summed loss, so that learning rates mean the same here and there. Every step touches the whole table:
//! this is for small graphs. With the feature `cuda` it runs on the first GPU if there is one.

use candle_core::{Device, Tensor, Var};
use candle_nn::ops::sigmoid;
use candle_nn::optim::{Optimizer, SGD};
use fastrand::Rng;

use super::csr::Csr;
use super::error::GraphError;
use super::node2vec::plan::Plan;
use super::node2vec::{Embeddings, EpochLoss, Node2VecConfig, Objective, Observer};
use super::walks::{NodeAlias, Walker, Walks, below};

/// Least probability in a loss.
const LEAST: f64 = 1e-15;

/// Tables, optimiser and where negatives come from.
struct Reference<'a> {
    config: &'a Node2VecConfig,
    nodes: u32,
    device: Device,
    own: Var,
    context: Var,
    optimiser: SGD,
    negatives: Option<NodeAlias>,
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
                for walk in walks.iter() {
                    reference.learn(walk, &mut random, &mut sums)?;
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
        let (context, vars, negatives) = match config.objective {
            Objective::SingleTable => (own.clone(), vec![own.clone()], None),
            Objective::SkipGram => {
                let context = Var::zeros(shape, candle_core::DType::F32, &device)?;
                let weights: Vec<f32> = (0..plan.nodes).map(|node| graph.strength(node).powf(0.75)).collect();
                (context.clone(), vec![own.clone(), context], NodeAlias::new(&weights))
            }
        };
        let optimiser = SGD::new(vars, f64::from(config.learning_rate))?;
        Ok(Self { config, nodes: plan.nodes, device, own, context, optimiser, negatives })
    }

    /// One step with all windows of a walk.
    fn learn(&mut self, walk: &[u32], random: &mut Rng, sums: &mut Sums) -> Result<(), GraphError> {
        let size = self.config.context_size.min(walk.len());
        if size < 2 {
            return Ok(());
        }
        let (near, far) = (size - 1, (size - 1) * self.config.negatives);
        let (mut firsts, mut others) = (Vec::new(), Vec::new());
        for window in walk.windows(size) {
            firsts.push(window[0]);
            others.extend_from_slice(&window[1..]);
            for _ in 0..far {
                others.push(match &self.negatives {
                    Some(alias) => alias.draw(random),
                    None => below(random, self.nodes),
                });
            }
        }
        let windows = firsts.len();
        let firsts = Tensor::from_vec(firsts, windows, &self.device)?;
        let others = Tensor::from_vec(others, windows * (near + far), &self.device)?;
        let own = self.own.index_select(&firsts, 0)?.unsqueeze(1)?;
        let shape = (windows, near + far, self.config.dimension);
        let context = self.context.index_select(&others, 0)?.reshape(shape)?;
        let products = own.broadcast_mul(&context)?.sum(2)?;
        let chances = sigmoid(&(products + f64::from(self.config.product_offset()))?)?;
        let near_loss = (chances.narrow(1, 0, near)? + LEAST)?.log()?.sum_all()?.neg()?;
        let far_loss = ((1.0 - chances.narrow(1, near, far)?)? + LEAST)?.log()?.sum_all()?.neg()?;
        self.optimiser.backward_step(&(&near_loss + &far_loss)?)?;
        sums.near += (windows * near) as u64;
        sums.far += (windows * far) as u64;
        sums.near_loss += f64::from(near_loss.to_scalar::<f32>()?);
        sums.far_loss += f64::from(far_loss.to_scalar::<f32>()?);
        Ok(())
    }
}
