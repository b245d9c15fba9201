//! AdamW over gradients that several shards of a batch contributed to.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::ops::with_values;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;
/// Longer gradients are shortened to this length.
const LONGEST_GRADIENT: f32 = 1.0;

/// A parameter with its moments.
struct Slot {
    var: Var,
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
    /// An optimiser of `vars`, each with its factor on the learning rate; `decay` holds for matrices only.
    pub fn new(vars: Vec<(Var, f32)>, decay: f32) -> Self {
        let slot = |(var, rate): (Var, f32)| {
            let zeros = vec![0.0; var.elem_count()];
            let decay = if var.rank() > 1 { decay } else { 0.0 };
            Slot { var, first: zeros.clone(), second: zeros, decay, rate }
        };
        Self { slots: vars.into_iter().map(slot).collect(), steps: 0 }
    }

    /// One step along the sum of `grads`.
    ///
    /// # Errors
    /// If a gradient isn't a CPU tensor.
    pub fn step(&mut self, grads: &[GradStore], rate: f32) -> Result<()> {
        self.steps += 1;
        let summed: Vec<Vec<f32>> =
            self.slots.par_iter().map(|slot| summed(&slot.var, grads)).collect::<Result<_>>()?;
        let squares: f64 = summed.par_iter().map(|grad| grad.iter().map(|g| f64::from(g * g)).sum::<f64>()).sum();
        #[expect(clippy::cast_possible_truncation, reason = "a factor between 0 and 1")]
        let shrink = (f64::from(LONGEST_GRADIENT) / squares.sqrt().max(f64::from(LONGEST_GRADIENT))) as f32;
        let (steps, slots) = (self.steps, &mut self.slots);
        slots.par_iter_mut().zip(&summed).try_for_each(|(slot, grad)| slot.update(grad, shrink, rate, steps))
    }
}

fn summed(var: &Var, grads: &[GradStore]) -> Result<Vec<f32>> {
    let mut total = vec![0.0f32; var.elem_count()];
    for grad in grads.iter().filter_map(|store| store.get(var.as_tensor())) {
        with_values(grad, |grad| total.iter_mut().zip(grad).for_each(|(sum, g)| *sum += g))?;
    }
    Ok(total)
}

impl Slot {
    fn update(&mut self, grad: &[f32], shrink: f32, rate: f32, steps: i32) -> Result<()> {
        let rate = rate * self.rate;
        let (unbias1, unbias2) = (1.0 / (1.0 - BETA1.powi(steps)), 1.0 / (1.0 - BETA2.powi(steps)));
        let keep = 1.0 - rate * self.decay;
        let mut values = with_values(self.var.as_tensor(), <[f32]>::to_vec)?;
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, grad), (first, second)) in values.iter_mut().zip(grad).zip(moments) {
            let grad = grad * shrink;
            *first += (1.0 - BETA1) * (grad - *first);
            *second += (1.0 - BETA2) * (grad * grad - *second);
            *value = *value * keep - rate * *first * unbias1 / ((*second * unbias2).sqrt() + EPSILON);
        }
        self.var.set(&Tensor::from_vec(values, self.var.shape(), self.var.device())?)
    }
}
