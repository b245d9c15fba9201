//! The lexical part: a linear model on hashed features, trained by stochastic gradient descent (`AdaGrad`).

use super::CLASSES;
use super::calibrate::softmax;
use super::dataset::Class;
use super::features::{BUCKETS, Feature, PLACES};

/// Passes over the data.
const EPOCHS: usize = 8;
/// Step size of `AdaGrad`.
const RATE: f32 = 0.1;
/// Pull of every touched weight towards zero.
const DECAY: f32 = 2e-4;
/// Texts a hashed feature must be in to count.
const LEAST_TEXTS: u32 = 2;

/// A weight per place and class.
#[derive(Debug, Clone, PartialEq)]
pub struct Lexical {
    /// `PLACES` rows.
    pub weights: Vec<[f32; CLASSES]>,
    /// One per class.
    pub bias: [f32; CLASSES],
}

impl Lexical {
    /// Raw scores of a text.
    pub fn logits(&self, features: &[Feature]) -> [f32; CLASSES] {
        let mut out = self.bias;
        for (place, value) in features {
            for (sum, weight) in out.iter_mut().zip(&self.weights[*place as usize]) {
                *sum += value * weight;
            }
        }
        out
    }

    /// Learns from texts given by features and class; `seed` decides their order.
    pub fn train(examples: &[(&[Feature], Class)], seed: u64) -> Self {
        let rarity = rarity(examples);
        let mut model = Self { weights: vec![[0.0; CLASSES]; PLACES], bias: [0.0; CLASSES] };
        let mut squares = vec![[1e-3f32; CLASSES]; PLACES];
        let mut bias_squares = [1e-3f32; CLASSES];
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..EPOCHS {
            rng.shuffle(&mut order);
            for index in &order {
                let (features, class) = examples[*index];
                let scaled: Vec<Feature> =
                    features.iter().map(|(place, value)| (*place, value * rarity[*place as usize])).collect();
                let mut error = softmax(model.logits(&scaled));
                error[class] -= 1.0;
                for k in 0..CLASSES {
                    bias_squares[k] += error[k] * error[k];
                    model.bias[k] -= RATE * error[k] / bias_squares[k].sqrt();
                }
                for (place, value) in scaled.iter().filter(|feature| feature.1 != 0.0) {
                    let place = *place as usize;
                    for k in 0..CLASSES {
                        let weight = &mut model.weights[place][k];
                        let grad = error[k] * value + DECAY * *weight;
                        squares[place][k] += grad * grad;
                        *weight -= RATE * grad / squares[place][k].sqrt();
                    }
                }
            }
        }
        for (weights, rarity) in model.weights.iter_mut().zip(&rarity) {
            for weight in weights {
                *weight *= rarity;
            }
        }
        model
    }
}

/// Inverse document frequency of every place; 0 where too few texts have it, 1 for the lexicon's.
#[expect(clippy::cast_precision_loss, reason = "counts of texts")]
fn rarity(examples: &[(&[Feature], Class)]) -> Vec<f32> {
    let mut texts = vec![0u32; PLACES];
    for (features, _) in examples {
        features.iter().for_each(|(place, _)| texts[*place as usize] += 1);
    }
    let total = examples.len() as f32;
    let idf = |(place, texts): (usize, &u32)| match *texts {
        _ if place >= BUCKETS => 1.0,
        texts if texts < LEAST_TEXTS => 0.0,
        texts => (1.0 + total / texts as f32).ln() / 4.0,
    };
    texts.iter().enumerate().map(idf).collect()
}
