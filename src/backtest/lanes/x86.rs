//! Lanes of x86-64 processors: AVX2 (4) and AVX-512 (8).
//!
//! The types are made and used only inside the kernels that `lanes` compiles for the feature and enters after it has
//! found it: that is what makes each `unsafe` block here sound.

use std::arch::x86_64::{
    __m256d, __m512d, _CMP_EQ_OQ, _CMP_LE_OQ, _CMP_LT_OQ, _mm256_add_pd, _mm256_and_si256, _mm256_blendv_pd,
    _mm256_castsi256_pd, _mm256_cmp_pd, _mm256_cmpeq_epi64, _mm256_div_pd, _mm256_loadu_pd, _mm256_max_pd,
    _mm256_min_pd, _mm256_movemask_pd, _mm256_mul_pd, _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_set1_pd,
    _mm256_storeu_pd, _mm256_sub_pd, _mm512_add_pd, _mm512_cmp_pd_mask, _mm512_div_pd, _mm512_kunpackb,
    _mm512_kunpackd, _mm512_kunpackw, _mm512_loadu_pd, _mm512_mask_blend_pd, _mm512_max_pd, _mm512_min_pd,
    _mm512_mul_pd, _mm512_set1_pd, _mm512_storeu_pd, _mm512_sub_pd,
};

use super::vector::Vector;

/// Four lanes of AVX2.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(__m256d);

/// Eight lanes of AVX-512 (F and BW).
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(__m512d);

/// A lane-wise operation on two groups, by the processor's instruction for it.
macro_rules! pairwise {
    ($type:ident: $($name:ident = $instruction:ident),* $(,)?) => {$(
        #[inline(always)]
        fn $name(self, other: Self) -> Self {
            // SAFETY: the kernel around runs only where its feature was found.
            $type(unsafe { $instruction(self.0, other.0) })
        }
    )*};
}

/// A comparison of two groups, as one bit per lane.
macro_rules! compared {
    (Avx2: $($name:ident = $kind:ident),*) => {$(
        #[inline(always)]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "four bits")]
        fn $name(self, other: Self) -> u8 {
            // SAFETY: the kernel around runs only where its feature was found.
            unsafe { _mm256_movemask_pd(_mm256_cmp_pd::<$kind>(self.0, other.0)) as u8 }
        }
    )*};
    (Avx512: $($name:ident = $kind:ident),*) => {$(
        #[inline(always)]
        fn $name(self, other: Self) -> u8 {
            // SAFETY: the kernel around runs only where its feature was found.
            unsafe { _mm512_cmp_pd_mask::<$kind>(self.0, other.0) }
        }
    )*};
}

impl Vector for Avx2 {
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        // SAFETY: the kernel around runs only where its feature was found.
        Self(unsafe { _mm256_set1_pd(value) })
    }

    #[inline(always)]
    fn load(from: &[f64]) -> Self {
        // SAFETY: as above; the slice has at least four values.
        Self(unsafe { _mm256_loadu_pd(from[..4].as_ptr()) })
    }

    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        // SAFETY: as above; the slice has at least four places.
        unsafe { _mm256_storeu_pd(to[..4].as_mut_ptr(), self.0) }
    }

    pairwise!(Avx2: add = _mm256_add_pd, sub = _mm256_sub_pd, mul = _mm256_mul_pd, div = _mm256_div_pd,
        min = _mm256_min_pd, max = _mm256_max_pd);
    compared!(Avx2: lt = _CMP_LT_OQ, le = _CMP_LE_OQ, eq = _CMP_EQ_OQ);

    #[inline(always)]
    fn select(mask: u8, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let lanes = _mm256_set_epi64x(8, 4, 2, 1);
            let chosen = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(i64::from(mask)), lanes), lanes);
            Self(_mm256_blendv_pd(no.0, yes.0, _mm256_castsi256_pd(chosen)))
        }
    }
}

impl Vector for Avx512 {
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        // SAFETY: the kernel around runs only where its feature was found.
        Self(unsafe { _mm512_set1_pd(value) })
    }

    #[inline(always)]
    fn load(from: &[f64]) -> Self {
        // SAFETY: as above; the slice has at least eight values.
        Self(unsafe { _mm512_loadu_pd(from[..8].as_ptr()) })
    }

    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        // SAFETY: as above; the slice has at least eight places.
        unsafe { _mm512_storeu_pd(to[..8].as_mut_ptr(), self.0) }
    }

    pairwise!(Avx512: add = _mm512_add_pd, sub = _mm512_sub_pd, mul = _mm512_mul_pd, div = _mm512_div_pd,
        min = _mm512_min_pd, max = _mm512_max_pd);
    compared!(Avx512: lt = _CMP_LT_OQ, le = _CMP_LE_OQ, eq = _CMP_EQ_OQ);

    #[inline(always)]
    fn select(mask: u8, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_mask_blend_pd(mask, no.0, yes.0) })
    }

    #[inline(always)]
    fn lt64(left: &[f64], right: &[f64]) -> u64 {
        let (low, high) = (Self::lt32(&left[..32], &right[..32]), Self::lt32(&left[32..], &right[32..]));
        // SAFETY: as above.
        unsafe { _mm512_kunpackd(u64::from(high), u64::from(low)) }
    }
}

// Masks are put together where they are made: by way of other registers it takes longer.
impl Avx512 {
    /// Where 16 values lie below 16 others.
    #[inline(always)]
    fn lt16(left: &[f64], right: &[f64]) -> u16 {
        let low = Self::load(left).lt(Self::load(right));
        let high = Self::load(&left[8..]).lt(Self::load(&right[8..]));
        // SAFETY: the kernel around runs only where its features were found.
        unsafe { _mm512_kunpackb(u16::from(high), u16::from(low)) }
    }

    /// Where 32 values lie below 32 others.
    #[inline(always)]
    fn lt32(left: &[f64], right: &[f64]) -> u32 {
        let (low, high) = (Self::lt16(left, right), Self::lt16(&left[16..], &right[16..]));
        // SAFETY: as above.
        unsafe { _mm512_kunpackw(u32::from(high), u32::from(low)) }
    }
}
