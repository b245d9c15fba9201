//! The minima of a set of hashes under many permutations, as wide as the processor computes.

use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::PERMUTATIONS;

/// Permutations whose minima stay in registers while all hashes pass by: four vectors of AVX-512, eight of AVX2.
const LANES: usize = 64;

/// Multipliers and addends of the permutations `x → a·x + b (mod 2³²)`, drawn once from a fixed hash.
static PERMUTATION: LazyLock<([u32; PERMUTATIONS], [u32; PERMUTATIONS])> = LazyLock::new(|| {
    let draw = |index: usize, seed: u64| {
        let hash = xxh3_64_with_seed(&(index as u64).to_le_bytes(), seed);
        u32::try_from(hash >> 32).unwrap_or_default()
    };
    (std::array::from_fn(|index| draw(index, 0xa) | 1), std::array::from_fn(|index| draw(index, 0xb)))
});

/// The least place of any hash under each permutation; the highest number where there is no hash.
pub(super) fn minima(hashes: &[u32]) -> [u32; PERMUTATIONS] {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512, as was just asked.
            return unsafe { minima_avx512(hashes) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as was just asked.
            return unsafe { minima_avx2(hashes) };
        }
    }
    minima_plain(hashes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn minima_avx512(hashes: &[u32]) -> [u32; PERMUTATIONS] {
    minima_plain(hashes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn minima_avx2(hashes: &[u32]) -> [u32; PERMUTATIONS] {
    minima_plain(hashes)
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled once per instruction set, by inlining into its caller")]
fn minima_plain(hashes: &[u32]) -> [u32; PERMUTATIONS] {
    let (multipliers, addends) = &*PERMUTATION;
    let mut minima = [u32::MAX; PERMUTATIONS];
    let constants = multipliers.as_chunks::<LANES>().0.iter().zip(addends.as_chunks::<LANES>().0);
    for (lowest, (multipliers, addends)) in minima.as_chunks_mut::<LANES>().0.iter_mut().zip(constants) {
        let mut kept = *lowest;
        for hash in hashes {
            for lane in 0..LANES {
                kept[lane] = kept[lane].min(mix(hash.wrapping_mul(multipliers[lane]).wrapping_add(addends[lane])));
            }
        }
        *lowest = kept;
    }
    minima
}

/// Spreads the high bits over the low ones, a bijection: a linear permutation alone orders close values alike.
#[inline]
fn mix(value: u32) -> u32 {
    value ^ (value >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_finds_the_minima_of_the_definition() {
        let mut random = fastrand::Rng::with_seed(7);
        let (multipliers, addends) = &*PERMUTATION;
        for count in [0, 1, 2, 29, 500] {
            let hashes: Vec<u32> = (0..count).map(|_| random.u32(..)).collect();
            let place = |lane: usize, hash: u32| mix(hash.wrapping_mul(multipliers[lane]).wrapping_add(addends[lane]));
            let defined: [u32; PERMUTATIONS] =
                std::array::from_fn(|lane| hashes.iter().map(|hash| place(lane, *hash)).min().unwrap_or(u32::MAX));
            assert_eq!(minima(&hashes), defined);
            assert_eq!(minima_plain(&hashes), defined);
        }
    }
}
