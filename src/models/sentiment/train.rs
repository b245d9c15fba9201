//! Training: the network by gradient descent on cached trunks, the linear model beside it, both measured on folds they
//! have not seen and calibrated on those.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::calibrate::{Calibration, Scores};
use super::checkpoint::Checkpoints;
use super::dataset::{Class, DatasetError, Example, folds};
use super::evaluate::Quality;
use super::features::{Extractor, Feature};
use super::format::{Header, Packed, Weights, quantised};
use super::lexical::Lexical;
use super::network::{Network, Trainable};
use super::optimizer::AdamW;
use super::{CLASSES, MODEL_NAME};
use crate::models::compute::Compute;
use crate::models::minilm::MiniLm;
use crate::models::minilm::weights::{LAYERS, WIDTH};
use crate::models::{ModelError, Trunk};

/// Why training can't be done.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The texts aren't usable.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The encoder failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The arithmetic failed.
    #[error("training failed: {0}")]
    Candle(#[from] candle_core::Error),
}

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Own layers; the encoder's other layers are shared with the embedding.
    pub layers: usize,
    /// Passes over the data.
    pub epochs: usize,
    /// Texts a step.
    pub batch: usize,
    /// Highest learning rate.
    pub rate: f32,
    /// Factor on it for the head.
    pub head_rate: f32,
    /// Pull of matrices towards zero.
    pub weight_decay: f32,
    /// Share of every target spread over all classes.
    pub smoothing: f32,
    /// Weight of a text of each class.
    pub class_weights: [f32; CLASSES],
    /// Parts for cross-validation.
    pub folds: usize,
    /// Decides order, dropout and folds.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            layers: 4,
            epochs: 2,
            batch: 32,
            rate: 2e-4,
            head_rate: 5.0,
            weight_decay: 0.01,
            smoothing: 0.05,
            class_weights: [1.3, 1.2, 0.8],
            folds: 3,
            seed: 17,
        }
    }
}

/// Cross-validated quality of the parts and of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How it was trained.
    pub options: Options,
    /// The whole model, calibrated on the other folds.
    pub combined: Quality,
    /// The whole model with both parts' scores simply added: what calibration starts from.
    pub uncalibrated: Quality,
    /// The neural part alone, calibrated.
    pub neural: Quality,
    /// The linear part alone, calibrated: what judges when there is no trunk.
    pub lexical: Quality,
    /// The whole model on each fold.
    pub folds: Vec<Quality>,
}

/// Everything about the texts that stays the same however the network is trained.
pub struct Prepared {
    trunks: Vec<Trunk>,
    features: Vec<Vec<Feature>>,
    classes: Vec<Class>,
    base: Network,
}

/// Scores of one text by models that were trained without its fold.
pub type HeldOut = (Scores, Class);

impl Prepared {
    /// Runs the shared layers and extracts features, once.
    ///
    /// # Errors
    /// [`ModelError`] if the encoder fails.
    pub fn new(examples: &[Example], encoder: &MiniLm, layers: usize) -> Result<Self, ModelError> {
        let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
        let shared = LAYERS - layers.min(LAYERS);
        let extractor = Extractor::default();
        Ok(Self {
            trunks: encoder.trunks(&texts, shared)?,
            features: texts.iter().map(|text| extractor.features(text)).collect(),
            classes: examples.iter().map(|example| example.class).collect(),
            base: Network::from_base(&encoder.weights().layers[shared..]),
        })
    }

    /// [`Prepared::held_out`], or its checkpoint.
    fn fold(
        &self,
        fold_of: &[usize],
        fold: usize,
        options: &Options,
        trainer: &Trainer<'_>,
    ) -> Result<Vec<HeldOut>, TrainError> {
        (trainer.progress)(&format!("fold {} of {}", fold + 1, options.folds));
        let bytes = trainer.checkpoints.or_compute(&format!("fold-{fold}"), || {
            let scores = self.held_out(fold_of, fold, options, trainer)?;
            Ok(serde_json::to_vec(&scores).map_err(std::io::Error::from)?)
        })?;
        let held_out: Vec<HeldOut> = serde_json::from_slice(&bytes).map_err(std::io::Error::from)?;
        let network: Vec<HeldOut> = held_out.iter().map(|(scores, class)| (only(scores, true), *class)).collect();
        let quality = Quality::of(&judge(&Calibration::NONE, &network));
        (trainer.progress)(&format!(
            "network alone: accuracy {:.4}, macro-F1 {:.4}",
            quality.accuracy, quality.macro_f1
        ));
        Ok(held_out)
    }

    fn lexical(&self, chosen: &[usize], seed: u64) -> Lexical {
        let examples: Vec<(&[Feature], Class)> =
            chosen.iter().map(|i| (self.features[*i].as_slice(), self.classes[*i])).collect();
        Lexical::train(&examples, seed)
    }

    /// Scores of the texts of one fold by models trained on the others.
    ///
    /// # Errors
    /// [`TrainError::Candle`] if the arithmetic fails.
    pub fn held_out(
        &self,
        fold_of: &[usize],
        fold: usize,
        options: &Options,
        trainer: &Trainer<'_>,
    ) -> Result<Vec<HeldOut>, TrainError> {
        let (inside, outside): (Vec<usize>, Vec<usize>) = (0..self.classes.len()).partition(|i| fold_of[*i] == fold);
        let lexical = self.lexical(&outside, options.seed);
        let network = trainer.network(self, &outside, options)?;
        let trunks: Vec<&Trunk> = inside.iter().map(|i| &self.trunks[*i]).collect();
        let neural = quantised(&self.base, &network).logits(&trunks, trainer.compute);
        let scores = inside.iter().zip(neural).map(|(i, neural)| {
            let scores = Scores { neural: Some(neural), lexical: lexical.logits(&self.features[*i]) };
            (scores, self.classes[*i])
        });
        Ok(scores.collect())
    }
}

/// Trains networks and tells how far it is.
pub struct Trainer<'a> {
    /// Where to compute.
    pub compute: &'a Compute,
    /// Keeps what took long.
    pub checkpoints: &'a Checkpoints,
    /// Told one line at a time.
    pub progress: &'a (dyn Fn(&str) + Sync),
}

/// Learning rate at `step` of `total`: up for the first sixteenth, then down to zero in a line.
#[expect(clippy::cast_precision_loss, reason = "counts of steps")]
fn schedule(step: usize, total: usize) -> f32 {
    let warm = (total / 16).max(1);
    if step < warm { (step + 1) as f32 / warm as f32 } else { (total - step) as f32 / (total - warm).max(1) as f32 }
}

impl Trainer<'_> {
    /// Trains a network on the chosen texts.
    ///
    /// # Errors
    /// If candle refuses an operation.
    pub fn network(&self, data: &Prepared, chosen: &[usize], options: &Options) -> candle_core::Result<Network> {
        let trainable = Trainable::new(&data.base)?;
        let mut optimizer = AdamW::new(trainable.parameters(options.head_rate), options.weight_decay);
        let mut order = chosen.to_vec();
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let total = options.epochs * order.len().div_ceil(options.batch);
        let mut step = 0;
        for epoch in 1..=options.epochs {
            rng.shuffle(&mut order);
            let mut loss = 0.0;
            for batch in order.chunks(options.batch) {
                let shards: Vec<&[usize]> = batch.chunks(batch.len().div_ceil(self.compute.threads())).collect();
                let weight: f32 = batch.iter().map(|i| options.class_weights[data.classes[*i]]).sum();
                let seeds: Vec<u64> = shards.iter().map(|_| rng.u64(..)).collect();
                let losses = self.compute.install(|| {
                    let run = |(shard, seed): (&&[usize], &u64)| {
                        shard_loss(&trainable, data, shard, (options, weight, *seed))
                    };
                    shards.par_iter().zip(&seeds).map(run).collect::<candle_core::Result<Vec<_>>>()
                })?;
                loss += losses.iter().sum::<f32>();
                self.compute.install(|| optimizer.step(options.rate * schedule(step, total)))?;
                step += 1;
                if step.is_multiple_of(100) {
                    (self.progress)(&format!("step {step} of {total}"));
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "a count of steps")]
            let mean = loss / order.len().div_ceil(options.batch) as f32;
            (self.progress)(&format!("epoch {epoch} of {}: loss {mean:.4}", options.epochs));
        }
        trainable.export(&data.base)
    }
}

/// Loss of a part of a batch; its gradient is added to those of the parameters.
fn shard_loss(
    network: &Trainable,
    data: &Prepared,
    shard: &[usize],
    (options, batch_weight, seed): (&Options, f32, u64),
) -> candle_core::Result<f32> {
    let lengths: Vec<usize> = shard.iter().map(|i| data.trunks[*i].states.len() / WIDTH).collect();
    let states: Vec<f32> = shard.iter().flat_map(|i| data.trunks[*i].states.iter().copied()).collect();
    let states = Tensor::from_vec(states, (lengths.iter().sum::<usize>(), WIDTH), &Device::Cpu)?;
    #[expect(clippy::cast_precision_loss, reason = "three classes")]
    let spread = options.smoothing / CLASSES as f32;
    let targets: Vec<f32> = shard
        .iter()
        .flat_map(|i| {
            let class = data.classes[*i];
            let weight = options.class_weights[class] / batch_weight;
            (0..CLASSES).map(move |k| weight * (spread + if k == class { 1.0 - options.smoothing } else { 0.0 }))
        })
        .collect();
    let targets = Tensor::from_vec(targets, (shard.len(), CLASSES), &Device::Cpu)?;
    let logits = network.forward(states, &Arc::new(lengths), Some(seed))?;
    let loss = (candle_nn::ops::log_softmax(&logits, 1)? * targets)?.sum_all()?.neg()?;
    loss.backward()?;
    loss.to_scalar::<f32>()
}

/// Drops one part's scores.
fn only(scores: &Scores, neural: bool) -> Scores {
    if neural {
        Scores { neural: scores.neural, lexical: [0.0; CLASSES] }
    } else {
        Scores { neural: None, lexical: scores.lexical }
    }
}

fn judge(calibration: &Calibration, held_out: &[HeldOut]) -> Vec<([f32; CLASSES], Class)> {
    held_out.iter().map(|(scores, class)| (calibration.probabilities(scores), *class)).collect()
}

/// Measures each fold with a calibration fitted on the others.
fn cross_fitted(folds: &[Vec<HeldOut>], view: impl Fn(&Scores) -> Scores) -> (Quality, Vec<Quality>) {
    let seen = |fold: &[HeldOut]| fold.iter().map(|(scores, class)| (view(scores), *class)).collect::<Vec<_>>();
    let folds: Vec<Vec<HeldOut>> = folds.iter().map(|fold| seen(fold)).collect();
    // A single fold is measured by halves.
    let folds = match folds.as_slice() {
        [fold] => fold.chunks(fold.len().div_ceil(2)).map(<[HeldOut]>::to_vec).collect(),
        _ => folds,
    };
    let judged: Vec<Vec<_>> = (0..folds.len())
        .map(|fold| {
            let others: Vec<HeldOut> =
                folds.iter().enumerate().filter(|(i, _)| *i != fold).flat_map(|(_, f)| f.iter().copied()).collect();
            judge(&Calibration::fit(&others), &folds[fold])
        })
        .collect();
    (Quality::of(&judged.concat()), judged.iter().map(|fold| Quality::of(fold)).collect())
}

/// Figures of held-out scores, one list per fold.
pub fn report(folds: &[Vec<HeldOut>], options: &Options) -> Report {
    let (combined, per_fold) = cross_fitted(folds, |scores| *scores);
    Report {
        options: options.clone(),
        combined,
        uncalibrated: Quality::of(&judge(&Calibration::NONE, &folds.concat())),
        neural: cross_fitted(folds, |scores| only(scores, true)).0,
        lexical: cross_fitted(folds, |scores| only(scores, false)).0,
        folds: per_fold,
    }
}

/// Trains on all texts but the first fold for a first view, then on all, then cross-validates the rest; the result's
/// probabilities are calibrated on the held-out scores. `save` gets the model whenever there is a better one: after
/// the first fold and after every further one. What `checkpoints` has is not computed again.
///
/// # Errors
/// [`TrainError`] if the texts are too few, the encoder fails or `save` does.
pub fn train(
    examples: &[Example],
    encoder: &MiniLm,
    options: &Options,
    trainer: &Trainer<'_>,
    save: &mut dyn FnMut(&Weights, &Report) -> std::io::Result<()>,
) -> Result<Report, TrainError> {
    let fold_of = folds(examples, options.folds, options.seed)?;
    let say = trainer.progress;
    say(&format!("{} texts, computing the shared layers", examples.len()));
    let data = Prepared::new(examples, encoder, options.layers)?;
    let mut held_out = vec![data.fold(&fold_of, 0, options, trainer)?];
    let all: Vec<usize> = (0..examples.len()).collect();
    say("all texts");
    let bytes = trainer.checkpoints.or_compute("all", || {
        let network = trainer.network(&data, &all, options)?;
        let lexical = data.lexical(&all, options.seed);
        let header = header(&held_out, options, &report(&held_out, options));
        Ok(Weights { header, network, lexical }.to_bytes(&data.base).map_err(std::io::Error::from)?)
    })?;
    let packed = Packed::read(&bytes).map_err(|reason| std::io::Error::other(format!("checkpoint: {reason}")))?;
    let (network, lexical) =
        packed.unpack(Some(&data.base)).map_err(|reason| std::io::Error::other(format!("checkpoint: {reason}")))?;
    let mut weights = Weights { header: packed.header, network: network.unwrap_or(data.base.clone()), lexical };
    for fold in 1..=options.folds {
        let report = report(&held_out, options);
        weights.header = header(&held_out, options, &report);
        save(&weights, &report)?;
        say(&format!(
            "{} folds: accuracy {:.4}, macro-F1 {:.4}",
            held_out.len(),
            report.combined.accuracy,
            report.combined.macro_f1
        ));
        if fold == options.folds {
            return Ok(report);
        }
        held_out.push(data.fold(&fold_of, fold, options, trainer)?);
    }
    Ok(report(&held_out, options))
}

fn header(held_out: &[Vec<HeldOut>], options: &Options, report: &Report) -> Header {
    let scores = held_out.concat();
    let lexical: Vec<HeldOut> = scores.iter().map(|(scores, class)| (only(scores, false), *class)).collect();
    Header {
        name: MODEL_NAME.to_owned(),
        layers: options.layers,
        calibration: Calibration::fit(&scores),
        lexical_calibration: Calibration::fit(&lexical),
        quality: report.combined.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_nearly_nothing() {
        let rates: Vec<f32> = (0..160).map(|step| schedule(step, 160)).collect();
        assert!((rates[9] - 1.0).abs() < 1e-6 && rates[0] < 0.2 && rates[159] < 0.01);
        assert!(rates[10..].windows(2).all(|pair| pair[1] <= pair[0]));
    }
}
