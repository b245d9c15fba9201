//! Layer normalisation with the residual (and a bias) added on the way, and its gradient.

use super::accelerated;
use super::math::{madd, sum};

/// Added to the variance, as in BERT.
pub const EPSILON: f32 = 1e-12;

#[inline(always)]
fn normalise<const FMA: bool>(row: &mut [f32], gamma: &[f32], beta: &[f32]) {
    let width = row.len() as f32;
    let mean = sum::<FMA>(row, |x| x) / width;
    let variance = sum::<FMA>(row, |x| (x - mean) * (x - mean)) / width;
    let scale = 1.0 / (variance + EPSILON).sqrt();
    for ((x, g), b) in row.iter_mut().zip(gamma).zip(beta) {
        *x = madd::<FMA>((*x - mean) * scale, *g, *b);
    }
}

/// Scale and shift of one layer normalisation.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// Factor per column.
    pub gamma: &'a [f32],
    /// Summand per column.
    pub beta: &'a [f32],
}

#[inline(always)]
fn norm_body<const FMA: bool>(rows: &mut [f32], affine: Affine<'_>) {
    for row in rows.chunks_exact_mut(affine.gamma.len()) {
        normalise::<FMA>(row, affine.gamma, affine.beta);
    }
}

#[inline(always)]
fn residual_norm_body<const FMA: bool>(states: &mut [f32], update: &[f32], bias: &[f32], affine: Affine<'_>) {
    let width = bias.len();
    for (row, added) in states.chunks_exact_mut(width).zip(update.chunks_exact(width)) {
        for ((x, a), b) in row.iter_mut().zip(added).zip(bias) {
            *x += *a + *b;
        }
        normalise::<FMA>(row, affine.gamma, affine.beta);
    }
}

/// Where the gradients of a layer normalisation go.
#[derive(Debug)]
pub struct NormGradients<'a> {
    /// In: the gradient of the output. Out: that of the input.
    pub rows: &'a mut [f32],
    /// Gradient of gamma, added to.
    pub gamma: &'a mut [f32],
    /// Gradient of beta, added to.
    pub beta: &'a mut [f32],
}

#[inline(always)]
fn norm_backward_body<const FMA: bool>(input: &[f32], gamma: &[f32], grads: &mut NormGradients<'_>) {
    let width = gamma.len();
    let mut hat = vec![0.0f32; width];
    for (x, g) in input.chunks_exact(width).zip(grads.rows.chunks_exact_mut(width)) {
        let mean = sum::<FMA>(x, |v| v) / width as f32;
        let variance = sum::<FMA>(x, |v| (v - mean) * (v - mean)) / width as f32;
        let scale = 1.0 / (variance + EPSILON).sqrt();
        for (h, v) in hat.iter_mut().zip(x) {
            *h = (*v - mean) * scale;
        }
        for column in 0..width {
            grads.gamma[column] = madd::<FMA>(g[column], hat[column], grads.gamma[column]);
            grads.beta[column] += g[column];
            g[column] *= gamma[column];
        }
        let mean_grad = sum::<FMA>(g, |v| v) / width as f32;
        let mean_product = super::math::dot::<FMA>(g, &hat) / width as f32;
        for (v, h) in g.iter_mut().zip(&hat) {
            *v = scale * (*v - mean_grad - *h * mean_product);
        }
    }
}

accelerated!(
    /// Normalises every row in place.
    pub fn norm(rows: &mut [f32], affine: Affine<'_>) = norm_body
);
accelerated!(
    /// `states = norm(states + update + bias)`, row by row.
    pub fn residual_norm(states: &mut [f32], update: &[f32], bias: &[f32], affine: Affine<'_>) = residual_norm_body
);
accelerated!(
    /// The gradients of [`norm`] for what it was given.
    pub fn norm_backward(input: &[f32], gamma: &[f32], grads: &mut NormGradients<'_>) = norm_backward_body
);

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..n).map(|_| rng.f32() * 2.0 - 1.0).collect()
    }

    #[test]
    fn rows_get_mean_beta_and_deviation_gamma() {
        let mut states = sample(3 * 40, 1);
        residual_norm(&mut states, &sample(3 * 40, 2), &sample(40, 3), Affine { gamma: &[2.0; 40], beta: &[0.5; 40] });
        for row in states.chunks(40) {
            let mean = row.iter().sum::<f32>() / 40.0;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 40.0;
            assert!((mean - 0.5).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4);
        }
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let (width, rows) = (20, 2);
        let (input, gamma, weight) = (sample(width * rows, 4), sample(width, 5), sample(width * rows, 6));
        let beta = vec![0.0; width];
        let loss = |input: &[f32], gamma: &[f32]| {
            let mut out = input.to_vec();
            norm(&mut out, Affine { gamma, beta: &beta });
            out.iter().zip(&weight).map(|(a, b)| f64::from(a * b)).sum::<f64>()
        };
        let (mut grad, mut grad_gamma, mut grad_beta) = (weight.clone(), vec![0.0; width], vec![0.0; width]);
        norm_backward(
            &input,
            &gamma,
            &mut NormGradients { rows: &mut grad, gamma: &mut grad_gamma, beta: &mut grad_beta },
        );
        let h = 1e-2f32;
        for at in 0..input.len() {
            let (mut up, mut down) = (input.clone(), input.clone());
            up[at] += h;
            down[at] -= h;
            let want = (loss(&up, &gamma) - loss(&down, &gamma)) / f64::from(2.0 * h);
            assert!((f64::from(grad[at]) - want).abs() < 2e-3, "input {at}: {} {want}", grad[at]);
        }
        for at in 0..width {
            let (mut up, mut down) = (gamma.clone(), gamma.clone());
            up[at] += h;
            down[at] -= h;
            let want = (loss(&input, &up) - loss(&input, &down)) / f64::from(2.0 * h);
            assert!((f64::from(grad_gamma[at]) - want).abs() < 2e-3, "gamma {at}");
        }
    }
}
