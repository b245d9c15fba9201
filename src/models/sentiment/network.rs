//! The neural part: own upper layers on the encoder's shared lower ones, mean and max pooling, a linear head.

use candle_core::{Device, Result, Tensor, Var};

use super::CLASSES;
use super::ops::{self, Lengths};
use crate::models::Trunk;
use crate::models::compute::Compute;
use crate::models::kernels::math::dot;
use crate::models::kernels::pool::mean_max;
use crate::models::minilm::forward::Batch;
use crate::models::minilm::weights::{Dense, INNER, Layer, WIDTH};

/// The trained part, ready to judge.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Own layers, in order, after the shared ones.
    pub layers: Vec<Layer>,
    /// `CLASSES × 2·WIDTH`.
    pub head: Dense,
}

impl Network {
    /// A network that starts as the encoder's own upper layers with a head of zeros.
    pub fn from_base(layers: &[Layer]) -> Self {
        let head = Dense { weight: vec![0.0; CLASSES * 2 * WIDTH], bias: vec![0.0; CLASSES] };
        Self { layers: layers.to_vec(), head }
    }

    /// Raw scores of each text.
    pub fn logits(&self, trunks: &[&Trunk], compute: &Compute) -> Vec<[f32; CLASSES]> {
        let tokens = |trunk: &&Trunk| trunk.states.len() / WIDTH;
        let parts = compute.run(trunks, tokens, |part, threads| {
            let states = part.iter().flat_map(|trunk| trunk.states.iter().copied()).collect();
            let mut batch = Batch::from_states(part.iter().map(tokens).collect(), states, threads);
            self.layers.iter().for_each(|layer| batch.layer(layer));
            batch.texts().map(|states| self.score(&mean_max(states, WIDTH))).collect::<Vec<_>>()
        });
        parts.into_iter().flatten().collect()
    }

    fn score(&self, pooled: &[f32]) -> [f32; CLASSES] {
        std::array::from_fn(|class| {
            dot::<false>(&self.head.weight[class * 2 * WIDTH..][..2 * WIDTH], pooled) + self.head.bias[class]
        })
    }
}

/// Shapes of [`Layer::parts`], in their order.
pub fn part_shapes() -> [(usize, usize); 12] {
    let norm = (1, WIDTH);
    [
        (3 * WIDTH, WIDTH),
        (1, 3 * WIDTH),
        (WIDTH, WIDTH),
        norm,
        norm,
        norm,
        (INNER, WIDTH),
        (1, INNER),
        (WIDTH, INNER),
        norm,
        norm,
        norm,
    ]
}

/// The network on candle's tape.
pub struct Trainable {
    /// One set of parameters a layer, in the order of [`Layer::parts`].
    layers: Vec<Vec<Var>>,
    head: (Var, Var),
}

impl Trainable {
    /// Puts a network on the tape.
    ///
    /// # Errors
    /// If candle refuses a tensor.
    pub fn new(network: &Network) -> Result<Self> {
        let var = |values: &Vec<f32>, shape: (usize, usize)| {
            let shape = if shape.0 == 1 { vec![shape.1] } else { vec![shape.0, shape.1] };
            Var::from_vec(values.clone(), shape, &Device::Cpu)
        };
        let layer =
            |layer: &Layer| layer.parts().into_iter().zip(part_shapes()).map(|(part, shape)| var(part, shape)).collect();
        let head = &network.head;
        Ok(Self {
            layers: network.layers.iter().map(layer).collect::<Result<_>>()?,
            head: (var(&head.weight, (CLASSES, 2 * WIDTH))?, var(&head.bias, (1, CLASSES))?),
        })
    }

    /// All parameters with their factor on the learning rate: the head starts from nothing and learns faster.
    pub fn vars(&self, head_rate: f32) -> Vec<(Var, f32)> {
        let layers = self.layers.iter().flatten().map(|var| (var.clone(), 1.0));
        layers.chain([(self.head.0.clone(), head_rate), (self.head.1.clone(), head_rate)]).collect()
    }

    /// Raw scores, `texts × CLASSES`; with dropout decided by `seed`.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn forward(&self, states: Tensor, lengths: &Lengths, seed: u64) -> Result<Tensor> {
        let mut states = states;
        let mut seed = seed;
        for layer in &self.layers {
            let part = |index: usize| layer[index].as_tensor();
            let drop = |x: &Tensor, seed: &mut u64| {
                *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
                ops::dropout(x, *seed)
            };
            let qkv = ops::dense(&states, part(0), part(1))?;
            let context = ops::attend(&qkv, lengths)?;
            let update = drop(&ops::dense(&context, part(2), part(3))?, &mut seed)?;
            states = ops::normalise(&(states + update)?, part(4), part(5))?;
            let inner = ops::gelu(&ops::dense(&states, part(6), part(7))?)?;
            let update = drop(&ops::dense(&inner, part(8), part(9))?, &mut seed)?;
            states = ops::normalise(&(states + update)?, part(10), part(11))?;
        }
        let pooled = ops::dropout(&ops::pool(&states, lengths)?, seed ^ 1)?;
        ops::dense(&pooled, &self.head.0, &self.head.1)
    }

    /// Takes the network off the tape.
    ///
    /// # Errors
    /// If a parameter isn't a CPU tensor.
    pub fn export(&self, base: &Network) -> Result<Network> {
        let mut network = base.clone();
        for (layer, vars) in network.layers.iter_mut().zip(&self.layers) {
            for (part, var) in layer.parts_mut().into_iter().zip(vars) {
                *part = ops::with_values(var.as_tensor(), <[f32]>::to_vec)?;
            }
        }
        network.head.weight = ops::with_values(self.head.0.as_tensor(), <[f32]>::to_vec)?;
        network.head.bias = ops::with_values(self.head.1.as_tensor(), <[f32]>::to_vec)?;
        Ok(network)
    }
}
