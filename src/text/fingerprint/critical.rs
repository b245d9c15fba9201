//! Words that turn the meaning of a headline around. Short texts that differ in any are no copies.

use std::sync::LazyLock;

/// In the order of their bytes.
const CRITICAL_WORDS: &[&str] = &[
    "above",
    "accelerate",
    "accelerates",
    "accept",
    "accepts",
    "add",
    "adds",
    "against",
    "approve",
    "approved",
    "approves",
    "ask",
    "bear",
    "bearish",
    "beat",
    "beats",
    "below",
    "block",
    "blocked",
    "blocks",
    "bull",
    "bullish",
    "buy",
    "buys",
    "call",
    "calls",
    "cancel",
    "cancels",
    "climb",
    "climbs",
    "close",
    "closes",
    "crash",
    "crashes",
    "cut",
    "cuts",
    "decline",
    "declines",
    "decrease",
    "decreases",
    "denied",
    "denies",
    "deny",
    "down",
    "downgrade",
    "downgraded",
    "downgrades",
    "drop",
    "dropped",
    "drops",
    "end",
    "ends",
    "fail",
    "fails",
    "fall",
    "falling",
    "falls",
    "fell",
    "first",
    "fourth",
    "gain",
    "gains",
    "growth",
    "halt",
    "halts",
    "higher",
    "hike",
    "hikes",
    "hold",
    "holds",
    "increase",
    "increases",
    "jump",
    "jumps",
    "lift",
    "lifts",
    "long",
    "lose",
    "loses",
    "loss",
    "losses",
    "lower",
    "lowered",
    "lowers",
    "miss",
    "missed",
    "misses",
    "narrows",
    "negative",
    "never",
    "no",
    "not",
    "open",
    "opens",
    "outperform",
    "overweight",
    "pause",
    "pauses",
    "plunge",
    "plunges",
    "positive",
    "profit",
    "put",
    "puts",
    "raise",
    "raised",
    "raises",
    "rallies",
    "rally",
    "reduce",
    "reduces",
    "reject",
    "rejected",
    "rejects",
    "resume",
    "resumes",
    "rise",
    "rises",
    "rising",
    "rose",
    "second",
    "sell",
    "sells",
    "short",
    "shrinks",
    "sink",
    "sinks",
    "slide",
    "slides",
    "slow",
    "slows",
    "slump",
    "slumps",
    "soar",
    "soars",
    "start",
    "starts",
    "stop",
    "stops",
    "surge",
    "surges",
    "third",
    "top",
    "tops",
    "tumble",
    "tumbles",
    "under",
    "underperform",
    "underweight",
    "up",
    "upgrade",
    "upgraded",
    "upgrades",
    "widens",
    "win",
    "wins",
    "without",
];

/// Bits of [`SIEVE`]; few enough for the first-level cache, many enough that most other words fall through.
const SIEVE_BITS: usize = 4096;

/// A bit for each critical word: most words have none, which saves the search.
static SIEVE: LazyLock<[u64; SIEVE_BITS / 64]> = LazyLock::new(|| {
    let mut sieve = [0; SIEVE_BITS / 64];
    for word in CRITICAL_WORDS {
        let bit = bit_of(word);
        sieve[bit / 64] |= 1 << (bit % 64);
    }
    sieve
});

/// Whether it is one of them.
pub(super) fn is_critical(word: &str) -> bool {
    let bit = bit_of(word);
    SIEVE[bit / 64] >> (bit % 64) & 1 == 1 && CRITICAL_WORDS.binary_search(&word).is_ok()
}

/// From the length and the first eight bytes.
fn bit_of(word: &str) -> usize {
    let mut first = [0; 8];
    let length = word.len().min(8);
    first[..length].copy_from_slice(&word.as_bytes()[..length]);
    let hash = (u64::from_le_bytes(first) ^ word.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 32) as usize % SIEVE_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_words_are_sorted_for_binary_search() {
        let sorted = CRITICAL_WORDS.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(sorted, "{:?}", CRITICAL_WORDS.windows(2).find(|pair| pair[0] >= pair[1]));
    }

    #[test]
    fn sieve_lets_every_critical_word_through_and_no_other() {
        assert!(CRITICAL_WORDS.iter().all(|word| is_critical(word)));
        assert!(["", "a", "copper", "upgraded2", "ups", "underperforming"].iter().all(|word| !is_critical(word)));
    }
}
