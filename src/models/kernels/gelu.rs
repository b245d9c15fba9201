//! The exact (erf) GELU with the bias added on the way, and its derivative.

use super::accelerated;
use super::math::{erf, exp, madd};

/// x · Φ(x), Φ being the normal distribution function.
#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    let half = 0.5 * x;
    madd::<FMA>(half, erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2), half)
}

#[inline(always)]
fn bias_gelu_body<const FMA: bool>(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x = gelu::<FMA>(*x + *b);
        }
    }
}

#[inline(always)]
fn gelu_forward_body<const FMA: bool>(input: &[f32], output: &mut [f32]) {
    for (y, x) in output.iter_mut().zip(input) {
        *y = gelu::<FMA>(*x);
    }
}

#[inline(always)]
fn gelu_backward_body<const FMA: bool>(input: &[f32], grad: &mut [f32]) {
    const INV_SQRT_TAU: f32 = 0.398_942_3;
    for (g, x) in grad.iter_mut().zip(input) {
        let cdf = 0.5 * (1.0 + erf::<FMA>(*x * std::f32::consts::FRAC_1_SQRT_2));
        let pdf = INV_SQRT_TAU * exp::<FMA>(-0.5 * *x * *x);
        *g *= madd::<FMA>(*x, pdf, cdf);
    }
}

accelerated!(
    /// Adds `bias` to every row and applies GELU, in place.
    pub fn bias_gelu(rows: &mut [f32], bias: &[f32]) = bias_gelu_body
);
accelerated!(
    /// GELU of every value.
    pub fn gelu_forward(input: &[f32], output: &mut [f32]) = gelu_forward_body
);
accelerated!(
    /// Turns the gradient of the output into that of the input, in place.
    pub fn gelu_backward(input: &[f32], grad: &mut [f32]) = gelu_backward_body
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Φ(1) = 0.8413447, Φ(-2) = 0.0227501
        let mut rows = [0.5, -2.5, 0.0, 0.0];
        bias_gelu(&mut rows, &[0.5, 0.5]);
        for (got, want) in rows.iter().zip([0.841_344_7, -0.045_500_2, 0.345_731_2, 0.345_731_2]) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn derivative_agrees_with_differences() {
        let input: Vec<f32> = (-40..=40).map(|i| i as f32 * 0.1).collect();
        let mut grad = vec![1.0; input.len()];
        gelu_backward(&input, &mut grad);
        for (x, g) in input.iter().zip(&grad) {
            let h = 1e-2;
            let difference = (gelu::<false>(x + h) - gelu::<false>(x - h)) / (2.0 * h);
            assert!((difference - g).abs() < 1e-3, "at {x}: {g}, differences say {difference}");
        }
    }
}
