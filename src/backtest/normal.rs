//! The normal distribution, to the last digits of `f64`.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Probability that a standard normal variable is at most `x`.
pub fn cumulative(x: f64) -> f64 {
    0.5 * complementary_error(-x * FRAC_1_SQRT_2)
}

/// The `x` with `cumulative(x) == probability`; infinite at 0 and 1, NaN outside.
pub fn quantile(probability: f64) -> f64 {
    if !(0.0..=1.0).contains(&probability) {
        return f64::NAN;
    }
    if probability == 0.0 {
        return f64::NEG_INFINITY;
    }
    if probability >= 1.0 {
        return f64::INFINITY;
    }
    if probability > 0.5 {
        return -quantile(1.0 - probability);
    }
    // Below one half: a first guess from the tail's logarithm, then Halley's iteration.
    let tail = (-2.0 * probability.ln()).sqrt();
    let mut x = -(tail - (tail.ln() + 0.5 * (2.0 * PI).ln()) / tail.max(1.0)).max(0.0);
    for _ in 0..60 {
        let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
        let step = (cumulative(x) - probability) / density;
        let change = step / (1.0 + 0.5 * x * step);
        x -= change;
        if change.abs() <= 1e-16 * x.abs().max(1e-3) {
            break;
        }
    }
    x
}

/// `erfc`: Taylor's series near 0, Lentz's continued fraction in the tail.
fn complementary_error(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x < 0.0 {
        return 2.0 - complementary_error(-x);
    }
    if x < 2.0 {
        let mut term = x;
        let mut sum = x;
        let mut n = 0.0;
        while term.abs() > 1e-17 * sum.abs() {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 1.0 - 2.0 / PI.sqrt() * sum;
    }
    if x > 40.0 {
        return 0.0;
    }
    // erfc(x) = exp(-x²)/√π · 1/(x + ½/(x + 1/(x + 3⁄2/(x + …)))), from the inside out.
    let mut fraction = x;
    for step in (1..=200).rev() {
        fraction = x + f64::from(step) / 2.0 / fraction;
    }
    (-x * x).exp() / PI.sqrt() / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    // Values of the error function and quantiles as tables have them.
    #[test]
    fn tables_are_met() {
        for (x, expected) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.0, 0.158_655_253_931_457_05),
            (1.959_963_984_540_054, 0.975),
            (-3.0, 0.001_349_898_031_630_094_6),
            (-6.0, 9.865_876_450_376_946e-10),
        ] {
            assert!((cumulative(x) / expected - 1.0).abs() < 1e-13, "{x}: {}", cumulative(x));
        }
        assert!((quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-13);
        assert!((quantile(0.9) - 1.281_551_565_544_600_4).abs() < 1e-13);
        assert!((quantile(1e-9) + 5.997_807_015_007_686).abs() < 1e-12);
        assert!(quantile(0.5).abs() < 1e-15);
    }

    #[test]
    fn quantile_undoes_cumulative() {
        for step in 1..200 {
            let probability = f64::from(step) / 200.0;
            assert!((cumulative(quantile(probability)) - probability).abs() < 1e-14, "{probability}");
        }
        assert!(quantile(1.5).is_nan());
        assert_eq!(quantile(0.0).total_cmp(&f64::NEG_INFINITY), std::cmp::Ordering::Equal);
    }
}
