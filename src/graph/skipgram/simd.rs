//! Sixteen numbers at once, as the processor can: AVX-512, AVX2 with FMA, or plain code.

#![expect(
    clippy::inline_always,
    reason = "a kernel is compiled for a processor's features only where its body is inlined into the function that has them"
)]

use super::desk::Cell;
use super::table::{LANES, Line};

/// What the processor can, asked once a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Anything.
    Plain,
}

impl Level {
    /// All the processor can, the fastest first.
    pub(super) fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let fused = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
            if fused && std::arch::is_x86_feature_detected!("avx512f") {
                levels.push(Self::Avx512);
            }
            if fused {
                levels.push(Self::Avx2);
            }
        }
        levels.push(Self::Plain);
        levels
    }
}

/// Sixteen numbers.
///
/// # Safety
/// Functions of an implementation may be called only on a processor that has its features.
pub(super) unsafe trait Wide: Copy {
    /// Sixteen times the same.
    unsafe fn splat(value: f32) -> Self;
    /// A line of a shared table.
    unsafe fn load(line: &Line) -> Self;
    /// Replaces a line of a shared table.
    unsafe fn store(self, line: &Line);
    /// Copied numbers.
    unsafe fn get(cell: &Cell) -> Self;
    /// Replaces copied numbers.
    unsafe fn put(self, cell: &mut Cell);
    /// `self + one * two`.
    unsafe fn add_product(self, one: Self, two: Self) -> Self;
    /// `self + other`.
    unsafe fn plus(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn minus(self, other: Self) -> Self;
    /// Sum of all.
    unsafe fn sum(self) -> f32;
}

/// Plain code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain([f32; LANES]);

// SAFETY: it needs no feature.
unsafe impl Wide for Plain {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    unsafe fn load(line: &Line) -> Self {
        Self(line.get())
    }

    #[inline(always)]
    unsafe fn store(self, line: &Line) {
        line.set(self.0);
    }

    #[inline(always)]
    unsafe fn get(cell: &Cell) -> Self {
        Self(cell.0)
    }

    #[inline(always)]
    unsafe fn put(self, cell: &mut Cell) {
        cell.0 = self.0;
    }

    #[inline(always)]
    unsafe fn add_product(self, one: Self, two: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + one.0[lane] * two.0[lane]))
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.0.iter().sum()
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m256, __m512, _mm_add_ps, _mm_cvtss_f32, _mm_hadd_ps, _mm256_add_ps, _mm256_castps256_ps128,
        _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_load_ps, _mm256_set1_ps, _mm256_store_ps, _mm256_sub_ps,
        _mm512_add_ps, _mm512_fmadd_ps, _mm512_load_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_store_ps,
        _mm512_sub_ps,
    };

    use super::{Cell, LANES, Line, Wide};

    // Rows are shared between threads without locks, so they may only be touched atomically. The language has no atomic
    // access to vectors; the processor reads and writes each aligned number of a vector whole, as a relaxed atomic access
    // would, and that is what these four instructions stand for.

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_512(line: &Line) -> __m512 {
        let value;
        // SAFETY: a line is 64 bytes aligned to 64, and each number of it is read as a relaxed atomic.
        unsafe {
            asm!("vmovaps {value}, [{line}]", value = lateout(zmm_reg) value, line = in(reg) line,
                options(pure, readonly, nostack, preserves_flags));
        }
        value
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store_512(line: &Line, value: __m512) {
        // SAFETY: as in `load_512`; a line's numbers are atomic and may be written through a shared reference.
        unsafe {
            asm!("vmovaps [{line}], {value}", value = in(zmm_reg) value, line = in(reg) line,
                options(nostack, preserves_flags));
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load_256(line: &Line) -> [__m256; 2] {
        let (low, high);
        // SAFETY: as in `load_512`, in two halves.
        unsafe {
            asm!("vmovaps {low}, [{line}]", "vmovaps {high}, [{line} + 32]",
                low = out(ymm_reg) low, high = lateout(ymm_reg) high, line = in(reg) line,
                options(pure, readonly, nostack, preserves_flags));
        }
        [low, high]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store_256(line: &Line, [low, high]: [__m256; 2]) {
        // SAFETY: as in `store_512`, in two halves.
        unsafe {
            asm!("vmovaps [{line}], {low}", "vmovaps [{line} + 32], {high}",
                low = in(ymm_reg) low, high = in(ymm_reg) high, line = in(reg) line,
                options(nostack, preserves_flags));
        }
    }

    /// AVX-512.
    #[derive(Debug, Clone, Copy)]
    pub(in super::super) struct Avx512(__m512);

    // SAFETY: called only where the processor has avx512f, as the trait asks.
    unsafe impl Wide for Avx512 {
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller's processor has the feature.
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(line: &Line) -> Self {
            // SAFETY: the caller's processor has the feature.
            Self(unsafe { load_512(line) })
        }

        #[inline(always)]
        unsafe fn store(self, line: &Line) {
            // SAFETY: the caller's processor has the feature.
            unsafe { store_512(line, self.0) };
        }

        #[inline(always)]
        unsafe fn get(cell: &Cell) -> Self {
            // SAFETY: the caller's processor has the feature; a cell is 64 bytes aligned to 64.
            Self(unsafe { _mm512_load_ps(cell.0.as_ptr()) })
        }

        #[inline(always)]
        unsafe fn put(self, cell: &mut Cell) {
            // SAFETY: as in `get`.
            unsafe { _mm512_store_ps(cell.0.as_mut_ptr(), self.0) };
        }

        #[inline(always)]
        unsafe fn add_product(self, one: Self, two: Self) -> Self {
            // SAFETY: the caller's processor has the feature.
            Self(unsafe { _mm512_fmadd_ps(one.0, two.0, self.0) })
        }

        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: the caller's processor has the feature.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            // SAFETY: the caller's processor has the feature.
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            // SAFETY: the caller's processor has the feature.
            unsafe { _mm512_reduce_add_ps(self.0) }
        }
    }

    /// AVX2 with FMA, in two halves.
    #[derive(Debug, Clone, Copy)]
    pub(in super::super) struct Avx2([__m256; 2]);

    // SAFETY: called only where the processor has avx2 and fma, as the trait asks.
    unsafe impl Wide for Avx2 {
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller's processor has the feature.
            Self([unsafe { _mm256_set1_ps(value) }; 2])
        }

        #[inline(always)]
        unsafe fn load(line: &Line) -> Self {
            // SAFETY: the caller's processor has the feature.
            Self(unsafe { load_256(line) })
        }

        #[inline(always)]
        unsafe fn store(self, line: &Line) {
            // SAFETY: the caller's processor has the feature.
            unsafe { store_256(line, self.0) };
        }

        #[inline(always)]
        unsafe fn get(cell: &Cell) -> Self {
            let (low, high) = cell.0.split_at(LANES / 2);
            // SAFETY: the caller's processor has the feature; both halves of a cell are 32 bytes aligned to 32.
            Self(unsafe { [_mm256_load_ps(low.as_ptr()), _mm256_load_ps(high.as_ptr())] })
        }

        #[inline(always)]
        unsafe fn put(self, cell: &mut Cell) {
            let (low, high) = cell.0.split_at_mut(LANES / 2);
            // SAFETY: as in `get`.
            unsafe {
                _mm256_store_ps(low.as_mut_ptr(), self.0[0]);
                _mm256_store_ps(high.as_mut_ptr(), self.0[1]);
            }
        }

        #[inline(always)]
        unsafe fn add_product(self, one: Self, two: Self) -> Self {
            // SAFETY: the caller's processor has the features.
            unsafe {
                Self([_mm256_fmadd_ps(one.0[0], two.0[0], self.0[0]), _mm256_fmadd_ps(one.0[1], two.0[1], self.0[1])])
            }
        }

        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: the caller's processor has the feature.
            unsafe { Self([_mm256_add_ps(self.0[0], other.0[0]), _mm256_add_ps(self.0[1], other.0[1])]) }
        }

        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            // SAFETY: the caller's processor has the feature.
            unsafe { Self([_mm256_sub_ps(self.0[0], other.0[0]), _mm256_sub_ps(self.0[1], other.0[1])]) }
        }

        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            // SAFETY: the caller's processor has the feature.
            unsafe {
                let eight = _mm256_add_ps(self.0[0], self.0[1]);
                let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_hadd_ps(four, four);
                _mm_cvtss_f32(_mm_hadd_ps(two, two))
            }
        }
    }
}
