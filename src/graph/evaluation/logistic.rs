//! Logistic regression with a quadratic penalty, fitted by Newton's method.

/// Most steps; a convex loss of a few dozen coefficients takes fewer than ten.
const STEPS: usize = 50;
/// Penalty on a squared coefficient, halved: the usual one of 1 against a summed loss.
const PENALTY: f64 = 1.0;
/// The largest change of a coefficient that ends the fit.
const SETTLED: f64 = 1e-8;

/// Rows of features, each with a 1 behind it for the intercept.
#[derive(Debug, Clone)]
pub struct Samples {
    features: usize,
    values: Vec<f64>,
}

impl Samples {
    /// No rows yet.
    pub fn new(features: usize) -> Self {
        Self { features, values: Vec::new() }
    }

    /// Adds a row; what it has beyond the number of features is left out.
    pub fn push(&mut self, row: impl Iterator<Item = f64>) {
        let end = self.values.len() + self.features;
        self.values.extend(row.take(self.features));
        self.values.resize(end, 0.0);
        self.values.push(1.0);
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / (self.features + 1)
    }

    /// A row with the 1 at its end.
    pub fn row(&self, place: usize) -> &[f64] {
        &self.values[place * (self.features + 1)..][..=self.features]
    }

    /// Gives every feature mean 0 and variance 1, so that the penalty treats vectors of any scale alike. A feature that
    /// never changes becomes 0.
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    pub fn standardise(&mut self) {
        let (rows, width) = (self.rows().max(1) as f64, self.features + 1);
        for feature in 0..self.features {
            let column = || self.values.iter().skip(feature).step_by(width);
            let mean = column().sum::<f64>() / rows;
            let deviation = (column().map(|value| (value - mean).powi(2)).sum::<f64>() / rows).sqrt();
            let scale = if deviation > 0.0 { 1.0 / deviation } else { 0.0 };
            for value in self.values.iter_mut().skip(feature).step_by(width) {
                *value = (*value - mean) * scale;
            }
        }
    }
}

/// Fitted coefficients, the intercept last.
#[derive(Debug, Clone)]
pub struct Model {
    coefficients: Vec<f64>,
}

impl Model {
    /// Fits the rows at `places`, `labels[i]` for row `places[i]`. The intercept is not penalised.
    pub fn fit(samples: &Samples, places: &[usize], labels: &[bool]) -> Self {
        let width = samples.features + 1;
        let mut model = Self { coefficients: vec![0.0; width] };
        for _ in 0..STEPS {
            let mut gradient: Vec<f64> = model.coefficients.iter().map(|value| PENALTY * value).collect();
            gradient[width - 1] = 0.0;
            let mut curvature = vec![0.0; width * width];
            for feature in 0..width {
                // The intercept's own is tiny: it keeps the matrix invertible where all labels are the same.
                curvature[feature * width + feature] = if feature + 1 < width { PENALTY } else { 1e-6 };
            }
            for (&place, &label) in places.iter().zip(labels) {
                let row = samples.row(place);
                let probability = 1.0 / (1.0 + (-model.score(row)).exp());
                let error = probability - f64::from(u8::from(label));
                let weight = probability * (1.0 - probability);
                for (one, &value) in row.iter().enumerate() {
                    gradient[one] += error * value;
                    let scaled = weight * value;
                    for (cell, &other) in curvature[one * width..][..=one].iter_mut().zip(row) {
                        *cell += scaled * other;
                    }
                }
            }
            let change = solve(&mut curvature, gradient);
            for (coefficient, change) in model.coefficients.iter_mut().zip(&change) {
                *coefficient -= change;
            }
            if change.iter().all(|change| change.abs() < SETTLED) {
                break;
            }
        }
        model
    }

    /// Log-odds of a row with the 1 at its end.
    pub fn score(&self, row: &[f64]) -> f64 {
        self.coefficients.iter().zip(row).map(|(one, two)| one * two).sum()
    }
}

/// Solves a symmetric positive definite system, of which the lower triangle is given, by Cholesky's decomposition.
fn solve(matrix: &mut [f64], mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for row in 0..size {
        for column in 0..=row {
            let known: f64 = (0..column).map(|k| matrix[row * size + k] * matrix[column * size + k]).sum();
            let rest = matrix[row * size + column] - known;
            matrix[row * size + column] =
                if row == column { rest.max(1e-12).sqrt() } else { rest / matrix[column * size + column] };
        }
    }
    for row in 0..size {
        let known: f64 = (0..row).map(|k| matrix[row * size + k] * right[k]).sum();
        right[row] = (right[row] - known) / matrix[row * size + row];
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|k| matrix[k * size + row] * right[k]).sum();
        right[row] = (right[row] - known) / matrix[row * size + row];
    }
    right
}
