//! How good vectors of nodes are: do they tell hidden edges from pairs without one, and nodes of one class from others?
//!
//! The protocol of Grover and Leskovec (2016): half of the edges are hidden so that what was connected stays connected,
//! vectors are learned from the rest, a pair is described by the product of its vectors number by number (Hadamard), and
//! logistic regression with five folds judges pairs it was not fitted on.

pub mod auc;
pub mod heuristics;
pub mod logistic;
pub mod split;

use fastrand::Rng;

use self::logistic::{Model, Samples};
use self::split::LinkSplit;

/// Parts the samples are divided in; each is judged by a model fitted on the others.
const FOLDS: usize = 5;

/// Area under the ROC curve of hidden edges against pairs without one, by logistic regression on products of vectors;
/// mean over the folds. `values` has `dimension` numbers a node. `None` where a fold lacks one of the two kinds.
pub fn link_auc(values: &[f32], dimension: usize, split: &LinkSplit, seed: u64) -> Option<f64> {
    let pairs: Vec<((u32, u32), bool)> =
        split.hidden.iter().map(|&pair| (pair, true)).chain(split.absent.iter().map(|&pair| (pair, false))).collect();
    let row = |node: u32| &values[node as usize * dimension..][..dimension];
    let mut samples = Samples::new(dimension);
    for &((one, two), _) in &pairs {
        samples.push(row(one).iter().zip(row(two)).map(|(one, two)| f64::from(one * two)));
    }
    samples.standardise();
    let folds = folds(pairs.len(), seed);
    let mut sum = 0.0;
    for fold in 0..FOLDS {
        let (fit, judged): (Vec<usize>, Vec<usize>) = (0..pairs.len()).partition(|&place| folds[place] != fold);
        let labels: Vec<bool> = fit.iter().map(|&place| pairs[place].1).collect();
        let model = Model::fit(&samples, &fit, &labels);
        let scores: Vec<(f64, bool)> =
            judged.iter().map(|&place| (model.score(samples.row(place)), pairs[place].1)).collect();
        sum += auc::auc(&scores)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "five")]
    Some(sum / FOLDS as f64)
}

/// Share of nodes whose class is found, and mean over classes of F1, by one-against-rest logistic regression on vectors
/// with five folds.
pub fn classify(values: &[f32], dimension: usize, labels: &[usize], seed: u64) -> Classification {
    let mut samples = Samples::new(dimension);
    for row in values.chunks_exact(dimension) {
        samples.push(row.iter().map(|&value| f64::from(value)));
    }
    samples.standardise();
    let folds = folds(labels.len(), seed);
    let classes = labels.iter().max().map_or(0, |most| most + 1);
    let mut found = vec![0; labels.len()];
    for fold in 0..FOLDS {
        let (fit, judged): (Vec<usize>, Vec<usize>) = (0..labels.len()).partition(|&place| folds[place] != fold);
        let models: Vec<Model> = (0..classes)
            .map(|class| {
                let own: Vec<bool> = fit.iter().map(|&place| labels[place] == class).collect();
                Model::fit(&samples, &fit, &own)
            })
            .collect();
        for place in judged {
            let scores = models.iter().map(|model| model.score(samples.row(place)));
            found[place] = scores.enumerate().max_by(|one, two| one.1.total_cmp(&two.1)).map_or(0, |best| best.0);
        }
    }
    Classification::of(labels, &found, classes)
}

/// How well classes were found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classification {
    /// Share of nodes whose class was found.
    pub accuracy: f64,
    /// Mean over classes of the harmonic mean of precision and recall.
    pub macro_f1: f64,
}

impl Classification {
    #[expect(clippy::cast_precision_loss, reason = "counts of nodes")]
    fn of(labels: &[usize], found: &[usize], classes: usize) -> Self {
        let pairs = || labels.iter().zip(found);
        let right = pairs().filter(|(label, found)| label == found).count();
        let f1 = |class: usize| {
            let both = pairs().filter(|&(&label, &found)| label == class && found == class).count();
            let either = pairs().map(|(&label, &found)| usize::from(label == class) + usize::from(found == class));
            2.0 * both as f64 / (either.sum::<usize>() as f64).max(1.0)
        };
        Self {
            accuracy: right as f64 / labels.len().max(1) as f64,
            macro_f1: (0..classes).map(f1).sum::<f64>() / classes.max(1) as f64,
        }
    }
}

/// A fold for each sample, as even as can be.
fn folds(samples: usize, seed: u64) -> Vec<usize> {
    let mut folds: Vec<usize> = (0..samples).map(|place| place % FOLDS).collect();
    Rng::with_seed(seed).shuffle(&mut folds);
    folds
}
