//! Which partition a record goes to: the same as Kafka's default partitioner chooses for a key.

/// The 32-bit `MurmurHash2` with Kafka's seed, as its Java client computes it.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    #[expect(clippy::cast_possible_truncation, reason = "keys are far under 4 GiB; Java's length is 32 bits as well")]
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (index, byte) in tail.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a record with this key among `partitions`; 0 if there are none.
#[must_use]
pub fn partition_of_key(key: &[u8], partitions: usize) -> usize {
    let positive = (murmur2(key) & 0x7fff_ffff) as usize;
    positive.checked_rem(partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_equal_those_of_the_java_client() {
        // Kafka's own test vectors (UtilsTest), as signed 32-bit numbers.
        for (text, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn a_key_keeps_its_partition_and_all_partitions_are_used() {
        let mut seen = [false; 6];
        for index in 0..200 {
            let key = format!("key-{index}");
            let partition = partition_of_key(key.as_bytes(), 6);
            assert_eq!(partition, partition_of_key(key.as_bytes(), 6));
            seen[partition] = true;
        }
        assert_eq!(seen, [true; 6]);
        assert_eq!(partition_of_key(b"any", 0), 0);
    }
}
