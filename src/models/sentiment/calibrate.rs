//! From raw scores to probabilities: one scale per part and class and one shift per class, fitted on held-out texts.

use serde::{Deserialize, Serialize};

use super::CLASSES;
use super::dataset::Class;

/// Scores of the two parts for one text; `None` where there is no neural part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Of the network.
    pub neural: Option<[f32; CLASSES]>,
    /// Of the linear model.
    pub lexical: [f32; CLASSES],
}

/// Vector scaling of the sum of both parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Factors on the network's scores.
    pub neural: [f32; CLASSES],
    /// Factors on the linear model's scores.
    pub lexical: [f32; CLASSES],
    /// Summands.
    pub shift: [f32; CLASSES],
}

/// Probabilities of raw scores.
pub fn softmax(logits: [f32; CLASSES]) -> [f32; CLASSES] {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.map(|logit| (logit - top).exp());
    let total: f32 = powers.iter().sum();
    powers.map(|power| power / total)
}

impl Calibration {
    /// Takes the scores as they are: what is measured as "before calibration".
    pub const NONE: Self = Self { neural: [1.0; CLASSES], lexical: [1.0; CLASSES], shift: [0.0; CLASSES] };

    /// Calibrated probabilities.
    pub fn probabilities(&self, scores: &Scores) -> [f32; CLASSES] {
        let neural = scores.neural.unwrap_or([0.0; CLASSES]);
        softmax(std::array::from_fn(|k| {
            self.neural[k] * neural[k] + self.lexical[k] * scores.lexical[k] + self.shift[k]
        }))
    }

    fn parameters(&mut self) -> impl Iterator<Item = &mut f32> {
        self.neural.iter_mut().chain(&mut self.lexical).chain(&mut self.shift)
    }

    /// The calibration with the least log loss on held-out scores, held near equal factors by a weak prior.
    #[expect(clippy::cast_precision_loss, reason = "a number of texts")]
    pub fn fit(held_out: &[(Scores, Class)]) -> Self {
        const STEPS: i32 = 1500;
        const PRIOR: f32 = 1e-3;
        let mut model = Self { neural: [0.5; CLASSES], lexical: [0.5; CLASSES], shift: [0.0; CLASSES] };
        let mut moments = [[0.0f32; 2]; 3 * CLASSES];
        for step in 1..=STEPS {
            let mut grad = [0.0f32; 3 * CLASSES];
            for (scores, class) in held_out {
                let mut error = model.probabilities(scores);
                error[*class] -= 1.0;
                for k in 0..CLASSES {
                    grad[k] += error[k] * scores.neural.map_or(0.0, |neural| neural[k]);
                    grad[CLASSES + k] += error[k] * scores.lexical[k];
                    grad[2 * CLASSES + k] += error[k];
                }
            }
            let mean = |factors: [f32; CLASSES]| factors.iter().sum::<f32>() / CLASSES as f32;
            let centres = [mean(model.neural), mean(model.lexical), mean(model.shift)];
            let rate = 0.03 * (1.0 - step as f32 / (STEPS + 1) as f32);
            for (at, ((value, grad), moment)) in model.parameters().zip(grad).zip(&mut moments).enumerate() {
                let grad = grad / held_out.len().max(1) as f32 + PRIOR * (*value - centres[at / CLASSES]);
                moment[0] += 0.1 * (grad - moment[0]);
                moment[1] += 0.01 * (grad * grad - moment[1]);
                let unbiased = [moment[0] / (1.0 - 0.9f32.powi(step)), moment[1] / (1.0 - 0.99f32.powi(step))];
                *value -= rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8);
            }
        }
        if held_out.iter().all(|(scores, _)| scores.neural.is_none()) {
            model.neural = [0.0; CLASSES];
        }
        model
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitting_finds_the_scale_of_overconfident_scores() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut held_out = Vec::new();
        for _ in 0..3_000 {
            let truth: [f32; CLASSES] = std::array::from_fn(|_| rng.f32() * 4.0 - 2.0);
            let p = softmax(truth);
            let dice = rng.f32();
            let class = if dice < p[0] {
                0
            } else if dice < p[0] + p[1] {
                1
            } else {
                2
            };
            held_out.push((Scores { neural: Some(truth.map(|x| x * 4.0)), lexical: [0.0; CLASSES] }, class));
        }
        let fitted = Calibration::fit(&held_out);
        for factor in fitted.neural {
            assert!((factor - 0.25).abs() < 0.05, "{fitted:?}");
        }
    }
}
