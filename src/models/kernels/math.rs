//! Scalar functions written so that the compiler turns loops over them into vector code.

/// 1.5 · 2^23: adding it to a small float leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `a · b + c`, in one instruction where `FMA` says the processor has it.
#[inline(always)]
pub fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^x with a relative error below 2e-7 for x from -87 to 88; held at the ends beyond.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = madd::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = madd::<FMA>(n, -LN2_LOW, madd::<FMA>(n, -LN2_HIGH, x));
    let mut p = 1.987_569_1e-4;
    p = madd::<FMA>(p, r, 1.398_2e-3);
    p = madd::<FMA>(p, r, 8.333_452e-3);
    p = madd::<FMA>(p, r, 4.166_579_6e-2);
    p = madd::<FMA>(p, r, 1.666_666_5e-1);
    p = madd::<FMA>(p, r, 0.5);
    let y = madd::<FMA>(p * r, r, r + 1.0);
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    y * power
}

/// The error function with an absolute error below 3e-7 (Abramowitz and Stegun, formula 7.1.26).
#[inline(always)]
pub fn erf<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / madd::<FMA>(0.327_591_1, a, 1.0);
    let mut p = 1.061_405_4;
    p = madd::<FMA>(p, t, -1.453_152);
    p = madd::<FMA>(p, t, 1.421_413_8);
    p = madd::<FMA>(p, t, -0.284_496_74);
    p = madd::<FMA>(p, t, 0.254_829_6);
    let y = madd::<FMA>(-p * t, exp::<FMA>(-a * a), 1.0);
    y.copysign(x)
}

/// Sum in eight lanes, so that it vectorises and the order of additions never changes.
#[inline(always)]
pub fn sum<const FMA: bool>(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (blocks, rest) = values.as_chunks::<16>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += term(*value);
        }
    }
    let tail: f32 = rest.iter().map(|value| term(*value)).sum();
    lanes.iter().sum::<f32>() + tail
}

/// Dot product, in lanes as [`sum`].
#[inline(always)]
pub fn dot<const FMA: bool>(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a, a_rest) = left.as_chunks::<16>();
    let (b, b_rest) = right.as_chunks::<16>();
    for (x, y) in a.iter().zip(b) {
        for lane in 0..16 {
            lanes[lane] = madd::<FMA>(x[lane], y[lane], lanes[lane]);
        }
    }
    let tail: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_a_few_units_in_the_last_place() {
        for step in 0..8_000 {
            let x = -80.0 + 0.02 * step as f32;
            let want = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                assert!((f64::from(got) / want - 1.0).abs() < 3e-7, "exp({x}) = {got}, want {want}");
            }
        }
    }

    #[test]
    fn erf_agrees_with_its_series() {
        // Maclaurin series in f64: exact to 1e-12 for |x| <= 3.
        let series = |x: f64| {
            let (mut term, mut total) = (x, x);
            for n in 1..120 {
                let n = f64::from(n);
                term *= -x * x / n;
                total += term / (2.0 * n + 1.0);
            }
            total * std::f64::consts::FRAC_2_SQRT_PI
        };
        for step in -300..=300 {
            let x = step as f32 / 100.0;
            let got = f64::from(erf::<false>(x));
            assert!((got - series(f64::from(x))).abs() < 5e-7, "erf({x}) = {got}");
        }
        assert!((erf::<false>(20.0) - 1.0).abs() < 1e-7);
        assert!((erf::<false>(-20.0) + 1.0).abs() < 1e-7);
    }
}
