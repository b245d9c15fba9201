//! The neural part: own upper layers on the encoder's shared lower ones, mean and max pooling, a linear head.

use candle_core::{Device, Result, Tensor, Var};

use super::CLASSES;
use super::ops::{self, Lengths, Parameter};
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
    layers: Vec<Vec<Parameter>>,
    head: (Parameter, Parameter),
}

impl Trainable {
    /// Puts a network on the tape.
    ///
    /// # Errors
    /// If candle refuses a tensor.
    pub fn new(network: &Network) -> Result<Self> {
        let var = |values: &Vec<f32>, shape: (usize, usize)| {
            let shape = if shape.0 == 1 { vec![shape.1] } else { vec![shape.0, shape.1] };
            Ok(Parameter::new(Var::from_vec(values.clone(), shape, &Device::Cpu)?))
        };
        let layer = |layer: &Layer| {
            layer.parts().into_iter().zip(part_shapes()).map(|(part, shape)| var(part, shape)).collect()
        };
        let head = &network.head;
        Ok(Self {
            layers: network.layers.iter().map(layer).collect::<Result<_>>()?,
            head: (var(&head.weight, (CLASSES, 2 * WIDTH))?, var(&head.bias, (1, CLASSES))?),
        })
    }

    /// All parameters with their factor on the learning rate: the head starts from nothing and learns faster.
    pub fn parameters(&self, head_rate: f32) -> Vec<(Parameter, f32)> {
        let layers = self.layers.iter().flatten().map(|var| (var.clone(), 1.0));
        layers.chain([(self.head.0.clone(), head_rate), (self.head.1.clone(), head_rate)]).collect()
    }

    /// Raw scores, `texts × CLASSES`; with dropout decided by `seed`, or without.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn forward(&self, states: Tensor, lengths: &Lengths, seed: Option<u64>) -> Result<Tensor> {
        let mut states = states;
        let mut seeds = seed.map(fastrand::Rng::with_seed);
        let mut drop = |x: Tensor| match &mut seeds {
            Some(seeds) => ops::dropout(&x, seeds.u64(..)),
            None => Ok(x),
        };
        for layer in &self.layers {
            let part = |index: usize| &layer[index];
            let qkv = ops::dense(&states, part(0), part(1))?;
            let context = ops::attend(&qkv, lengths)?;
            let update = drop(ops::dense(&context, part(2), part(3))?)?;
            states = ops::normalise(&(states + update)?, part(4), part(5))?;
            let inner = ops::gelu(&ops::dense(&states, part(6), part(7))?)?;
            let update = drop(ops::dense(&inner, part(8), part(9))?)?;
            states = ops::normalise(&(states + update)?, part(10), part(11))?;
        }
        let pooled = drop(ops::pool(&states, lengths)?)?;
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
                *part = ops::with_values(var.var.as_tensor(), <[f32]>::to_vec)?;
            }
        }
        network.head.weight = ops::with_values(self.head.0.var.as_tensor(), <[f32]>::to_vec)?;
        network.head.bias = ops::with_values(self.head.1.var.as_tensor(), <[f32]>::to_vec)?;
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use super::*;
    use crate::models::minilm::weights::Norm;

    fn random(rng: &mut fastrand::Rng, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| (rng.f32() * 2.0 - 1.0) * scale).collect()
    }

    fn network(seed: u64) -> Network {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut dense = |outputs: usize, inputs: usize| Dense {
            weight: random(&mut rng, outputs * inputs, 0.05),
            bias: random(&mut rng, outputs, 0.05),
        };
        let norm = || Norm { gamma: vec![1.0; WIDTH], beta: vec![0.1; WIDTH] };
        let layer = Layer {
            qkv: dense(3 * WIDTH, WIDTH),
            out: dense(WIDTH, WIDTH),
            attention_norm: norm(),
            up: dense(INNER, WIDTH),
            down: dense(WIDTH, INNER),
            output_norm: norm(),
        };
        Network { layers: vec![layer], head: dense(CLASSES, 2 * WIDTH) }
    }

    #[test]
    fn the_tape_computes_what_the_kernels_compute_and_its_gradient_is_the_slope() {
        let network = network(1);
        let mut rng = fastrand::Rng::with_seed(2);
        let trunks: Vec<Trunk> =
            [3, 7].map(|n| Trunk { states: random(&mut rng, n * WIDTH, 1.0), width: WIDTH }).into();
        let judged = network.logits(&trunks.iter().collect::<Vec<_>>(), &Compute::new(1).unwrap());
        let lengths = Arc::new(vec![3, 7]);
        let states = || {
            let values: Vec<f32> = trunks.iter().flat_map(|trunk| trunk.states.clone()).collect();
            Tensor::from_vec(values, (10, WIDTH), &Device::Cpu).unwrap()
        };
        let trainable = Trainable::new(&network).unwrap();
        let logits = trainable.forward(states(), &lengths, None).unwrap();
        for (row, want) in logits.to_vec2::<f32>().unwrap().iter().zip(&judged) {
            assert!(row.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4), "{row:?} {want:?}");
        }
        logits.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let loss = |network: &Network| {
            let logits = network.logits(&trunks.iter().collect::<Vec<_>>(), &Compute::new(1).unwrap());
            logits.iter().flatten().map(|x| f64::from(x * x)).sum::<f64>()
        };
        for part in 0..12 {
            let gradient = trainable.layers[0][part].gradient.lock().clone();
            // The steepest value of each part: rounding drowns the slopes of the others.
            let at = (0..gradient.len()).max_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs())).unwrap();
            let slope = |h: f32| {
                let mut moved = network.clone();
                moved.layers[0].parts_mut()[part][at] += h;
                loss(&moved)
            };
            let want = (slope(5e-3) - slope(-5e-3)) / 1e-2;
            let got = f64::from(gradient[at]);
            assert!((got - want).abs() < 0.05 * want.abs() + 1e-3, "part {part}: {got} {want}");
        }
    }
}
