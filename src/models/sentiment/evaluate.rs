//! How good probabilities are, measured on texts the model has not seen.

use serde::{Deserialize, Serialize};

use super::CLASSES;
use super::dataset::Class;

/// Quality of probabilities for labelled texts. Classes are in the order negative, positive, neutral.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Labelled texts.
    pub texts: usize,
    /// Share of texts whose most probable class is right.
    pub accuracy: f64,
    /// Mean of the classes' F1.
    pub macro_f1: f64,
    /// Of the texts given a class, the share that has it.
    pub precision: [f64; CLASSES],
    /// Of the texts that have a class, the share given it.
    pub recall: [f64; CLASSES],
    /// `confusion[true class][given class]`.
    pub confusion: [[usize; CLASSES]; CLASSES],
    /// Expected calibration error over 15 bins of equal width.
    pub calibration_error: f64,
    /// Mean negative log probability of the right class.
    pub log_loss: f64,
}

/// The most probable class.
pub fn best(probabilities: &[f32; CLASSES]) -> Class {
    (0..CLASSES).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b])).unwrap_or_default()
}

fn ratio(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of texts")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Quality {
    /// Measures probabilities against the right classes.
    pub fn of(judged: &[([f32; CLASSES], Class)]) -> Self {
        let mut confusion = [[0; CLASSES]; CLASSES];
        for (probabilities, class) in judged {
            confusion[*class][best(probabilities)] += 1;
        }
        let right = |k: usize| confusion[k][k];
        let precision = std::array::from_fn(|k| ratio(right(k), confusion.iter().map(|row| row[k]).sum()));
        let recall: [f64; CLASSES] = std::array::from_fn(|k| ratio(right(k), confusion[k].iter().sum()));
        let f1 = |k: usize| {
            let given: usize = confusion.iter().map(|row| row[k]).sum();
            ratio(2 * right(k), given + confusion[k].iter().sum::<usize>())
        };
        let losses: f64 =
            judged.iter().map(|(probabilities, class)| -f64::from(probabilities[*class].max(1e-9)).ln()).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts")]
        Self {
            texts: judged.len(),
            accuracy: ratio((0..CLASSES).map(right).sum(), judged.len()),
            macro_f1: (0..CLASSES).map(f1).sum::<f64>() / CLASSES as f64,
            precision,
            recall,
            confusion,
            calibration_error: calibration_error(judged),
            log_loss: losses / judged.len().max(1) as f64,
        }
    }
}

/// Mean distance between confidence and accuracy over bins of confidence.
fn calibration_error(judged: &[([f32; CLASSES], Class)]) -> f64 {
    const BINS: usize = 15;
    let mut bins = [(0.0f64, 0usize); BINS];
    for (probabilities, class) in judged {
        let given = best(probabilities);
        let confidence = f64::from(probabilities[given]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "confidence is from 0 to 1")]
        let bin = ((confidence * 15.0) as usize).min(BINS - 1);
        bins[bin].0 += confidence - f64::from(u8::from(given == *class));
        bins[bin].1 += 1;
    }
    let gaps: f64 = bins.iter().map(|(gap, _)| gap.abs()).sum();
    #[expect(clippy::cast_precision_loss, reason = "a number of texts")]
    let total = judged.len().max(1) as f64;
    gaps / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_small_case_worked_by_hand() {
        let sure = |k: usize| std::array::from_fn(|i| if i == k { 0.8 } else { 0.1 });
        let judged = [(sure(0), 0), (sure(0), 1), (sure(1), 1), (sure(2), 2)];
        let q = Quality::of(&judged);
        assert_eq!(q.confusion, [[1, 0, 0], [1, 1, 0], [0, 0, 1]]);
        assert!((q.accuracy - 0.75).abs() < 1e-12);
        assert!((q.macro_f1 - (2.0 / 3.0 + 2.0 / 3.0 + 1.0) / 3.0).abs() < 1e-12);
        assert!((q.precision[0] - 0.5).abs() < 1e-12 && (q.recall[1] - 0.5).abs() < 1e-12);
        // Confidence 0.8 on all four, of which 0.75 are right.
        assert!((q.calibration_error - 0.05).abs() < 1e-6);
    }
}
