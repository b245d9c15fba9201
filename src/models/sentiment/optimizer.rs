//! `AdamW` over the gradients gathered beside the tape.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::ops::{Parameter, with_values};

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;
/// Longer gradients are shortened to this length.
const LONGEST_GRADIENT: f32 = 1.0;

/// A parameter with its moments.
struct Slot {
    parameter: Parameter,
    /// Running mean of the gradient.
    first: Vec<f32>,
    /// Running mean of its square.
    second: Vec<f32>,
    /// Weight decay; biases and normalisations have none.
    decay: f32,
    /// Factor on the learning rate.
    rate: f32,
}

/// Adam with decoupled weight decay.
pub struct AdamW {
    slots: Vec<Slot>,
    steps: i32,
}

impl AdamW {
    /// An optimiser of `parameters`, each with its factor on the learning rate; `decay` holds for matrices only.
    pub fn new(parameters: Vec<(Parameter, f32)>, decay: f32) -> Self {
        let slot = |(parameter, rate): (Parameter, f32)| {
            let zeros = vec![0.0; parameter.var.elem_count()];
            let decay = if parameter.var.rank() > 1 { decay } else { 0.0 };
            Slot { parameter, first: zeros.clone(), second: zeros, decay, rate }
        };
        Self { slots: parameters.into_iter().map(slot).collect(), steps: 0 }
    }

    /// One step along the gathered gradients, which start from zero again.
    ///
    /// # Errors
    /// If a parameter isn't a CPU tensor.
    pub fn step(&mut self, rate: f32) -> Result<()> {
        self.steps += 1;
        let square = |slot: &Slot| slot.parameter.gradient.lock().iter().map(|g| f64::from(g * g)).sum::<f64>();
        let squares: f64 = self.slots.par_iter().map(square).sum();
        #[expect(clippy::cast_possible_truncation, reason = "a factor between 0 and 1")]
        let shrink = (f64::from(LONGEST_GRADIENT) / squares.sqrt().max(f64::from(LONGEST_GRADIENT))) as f32;
        let steps = self.steps;
        self.slots.par_iter_mut().try_for_each(|slot| slot.update(shrink, rate, steps))
    }
}

impl Slot {
    fn update(&mut self, shrink: f32, rate: f32, steps: i32) -> Result<()> {
        let rate = rate * self.rate;
        let (unbias1, unbias2) = (1.0 / (1.0 - BETA1.powi(steps)), 1.0 / (1.0 - BETA2.powi(steps)));
        let keep = 1.0 - rate * self.decay;
        let var = &self.parameter.var;
        let mut values = with_values(var.as_tensor(), <[f32]>::to_vec)?;
        let mut gradient = self.parameter.gradient.lock();
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, grad), (first, second)) in values.iter_mut().zip(gradient.iter_mut()).zip(moments) {
            let grad = std::mem::take(grad) * shrink;
            *first += (1.0 - BETA1) * (grad - *first);
            *second += (1.0 - BETA2) * (grad * grad - *second);
            *value = *value * keep - rate * *first * unbias1 / ((*second * unbias2).sqrt() + EPSILON);
        }
        var.set(&Tensor::from_vec(values, var.shape(), var.device())?)
    }
}
