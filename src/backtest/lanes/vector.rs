//! Groups of `f64` lanes: the few operations that the kernel is written in, once for every width.
//!
//! A mask is a byte with one bit per lane, lowest lane first; bits beyond the width mean nothing.

/// A group of lanes. Every operation works lane by lane and rounds as IEEE 754 says, so that all widths give the same
/// bits. `min` and `max` are asked only of numbers, never of NaN.
pub(super) trait Vector: Copy {
    /// Lanes of the group: 8 at most.
    const LANES: usize;

    /// The same value in every lane.
    fn splat(value: f64) -> Self;
    /// The first `LANES` values of `from`.
    fn load(from: &[f64]) -> Self;
    /// Writes to the first `LANES` places of `to`.
    fn store(self, to: &mut [f64]);
    /// Sum.
    fn add(self, other: Self) -> Self;
    /// Difference.
    fn sub(self, other: Self) -> Self;
    /// Product.
    fn mul(self, other: Self) -> Self;
    /// Quotient.
    fn div(self, other: Self) -> Self;
    /// The smaller.
    fn min(self, other: Self) -> Self;
    /// The larger.
    fn max(self, other: Self) -> Self;
    /// Lanes where this is less; none where either is NaN.
    fn lt(self, other: Self) -> u8;
    /// Lanes where this is less or equal; none where either is NaN.
    fn le(self, other: Self) -> u8;
    /// Lanes where both are equal; none where either is NaN.
    fn eq(self, other: Self) -> u8;
    /// `yes` in the lanes of `mask`, else `no`.
    fn select(mask: u8, yes: Self, no: Self) -> Self;

    /// Where 64 values lie below 64 others, lowest bit first.
    #[inline(always)]
    fn lt64(left: &[f64], right: &[f64]) -> u64 {
        let mut below = 0;
        for start in (0..64).step_by(Self::LANES) {
            below |= u64::from(Self::load(&left[start..]).lt(Self::load(&right[start..]))) << start;
        }
        below
    }
}

/// Lanes for any processor: the compiler makes of it what the target has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable<const N: usize>([f64; N]);

impl<const N: usize> Portable<N> {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f64, f64) -> f64) -> Self {
        let mut out = self.0;
        for (lane, right) in out.iter_mut().zip(other.0) {
            *lane = operation(*lane, right);
        }
        Self(out)
    }

    #[inline(always)]
    fn compare(self, other: Self, holds: impl Fn(f64, f64) -> bool) -> u8 {
        let mut bits = 0;
        for (lane, (left, right)) in self.0.into_iter().zip(other.0).enumerate() {
            bits |= u8::from(holds(left, right)) << lane;
        }
        bits
    }
}

impl<const N: usize> Vector for Portable<N> {
    const LANES: usize = N;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        Self([value; N])
    }

    #[inline(always)]
    fn load(from: &[f64]) -> Self {
        let mut out = [0.0; N];
        out.copy_from_slice(&from[..N]);
        Self(out)
    }

    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        to[..N].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |left, right| left + right)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |left, right| left - right)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |left, right| left * right)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |left, right| left / right)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |left, right| if left < right { left } else { right })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |left, right| if left > right { left } else { right })
    }

    #[inline(always)]
    fn lt(self, other: Self) -> u8 {
        self.compare(other, |left, right| left < right)
    }

    #[inline(always)]
    fn le(self, other: Self) -> u8 {
        self.compare(other, |left, right| left <= right)
    }

    #[inline(always)]
    fn eq(self, other: Self) -> u8 {
        self.compare(other, |left, right| left == right)
    }

    #[inline(always)]
    fn select(mask: u8, yes: Self, no: Self) -> Self {
        let mut out = no.0;
        for (lane, (to, from)) in out.iter_mut().zip(yes.0).enumerate() {
            if mask >> lane & 1 == 1 {
                *to = from;
            }
        }
        Self(out)
    }
}
