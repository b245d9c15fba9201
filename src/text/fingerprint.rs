//! Fingerprints: the exact hash of a document's content and the `MinHash` signature of its words.
//!
//! Both are made of the same normalised words, so that what differs in case, punctuation, links or typography
//! alone is the same. Numbers keep what gives them their meaning: sign, decimal point, percent and currency.

mod critical;
mod minhash;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::critical::is_critical;
use super::clean::{is_invisible, with_title, without_urls};
use crate::messages::document::Document;

/// Permutations of a signature.
pub const PERMUTATIONS: usize = 128;

/// Texts of at least this many words are compared by their shingles alone: one number more or less among hundreds of
/// words does not make another story. Shorter texts must agree in all their critical words.
const LONG_TEXT_WORDS: usize = 64;

/// `MinHash` signature of a text, 16 bits per permutation, with a digest of its critical words.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// Low 16 bits of the minimum under each permutation.
    values: [u16; PERMUTATIONS],
    /// Digest of numbers, cashtags and [critical words](self::critical) whatever their order; 0 for long texts.
    critical: u64,
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Signature({:04x}{:04x}…, {:016x})", self.values[0], self.values[1], self.critical)
    }
}

impl Signature {
    /// Length in bytes of its written form.
    pub const BYTES: usize = size_of::<u64>() + PERMUTATIONS * size_of::<u16>();

    /// The signature's values, for banding.
    pub(super) fn values(&self) -> &[u16; PERMUTATIONS] {
        &self.values
    }

    /// Digest of the critical words; 0 for long texts.
    pub(super) fn critical(&self) -> u64 {
        self.critical
    }

    /// Appends the signature's [`Signature::BYTES`] bytes, little-endian.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.critical.to_le_bytes());
        for value in &self.values {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Reads what [`Signature::write`] wrote.
    #[must_use]
    pub fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let (critical, values) = bytes.split_at(size_of::<u64>());
        let pair = |index: usize| u16::from_le_bytes([values[2 * index], values[2 * index + 1]]);
        let critical = critical.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { values: std::array::from_fn(pair), critical }
    }

    /// Estimated Jaccard similarity of the shingles, 0 to 1; 0 if critical words differ.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f32 {
        if self.critical != other.critical {
            return 0.0;
        }
        let equal: u16 = self.values.iter().zip(&other.values).map(|(one, two)| u16::from(one == two)).sum();
        f32::from(equal) / 128.0
    }
}

/// Both fingerprints of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// SHA-256 of the normalised content.
    pub content_hash: [u8; 32],
    /// `MinHash` signature of the normalised content.
    pub signature: Signature,
}

/// Hash of what the document says: title and text, case-folded, without punctuation and links. Id and source don't count.
#[must_use]
pub fn content_hash(document: &Document) -> [u8; 32] {
    hash_words(&Words::of(document.title.as_deref(), &document.text))
}

/// Both fingerprints of a cleaned title and text.
#[must_use]
pub fn fingerprint(title: Option<&str>, text: &str) -> Fingerprint {
    let words = Words::of(title, text);
    Fingerprint { content_hash: hash_words(&words), signature: sign(&words) }
}

/// The `MinHash` signature of a cleaned title and text.
#[must_use]
pub fn signature(title: Option<&str>, text: &str) -> Signature {
    sign(&Words::of(title, text))
}

fn hash_words(words: &Words) -> [u8; 32] {
    Sha256::digest(words.text.as_bytes()).into()
}

/// A text as normalised words, each followed by one space.
struct Words {
    text: String,
    /// Byte ranges of the words in `text`.
    ranges: Vec<(u32, u32)>,
    /// Order-free digest of the critical words.
    critical: u64,
}

impl Words {
    fn of(title: Option<&str>, text: &str) -> Self {
        let whole = with_title(title, text);
        let kept = without_urls(&whole);
        let words = Self::split(&kept);
        if !words.ranges.is_empty() {
            return words;
        }
        // Nothing but links or punctuation: then these are the content.
        let raw = whole.to_lowercase();
        let mut words = Self { text: String::with_capacity(raw.len() + 1), ranges: Vec::new(), critical: 0 };
        for word in raw.split_whitespace() {
            words.text.push_str(word);
            words.end_word(false);
        }
        words
    }

    fn split(text: &str) -> Self {
        let ranges = Vec::with_capacity(text.len() / 5 + 1);
        let mut words = Self { text: String::with_capacity(text.len() + 8), ranges, critical: 0 };
        if text.is_ascii() {
            words.scan_ascii(&text.to_ascii_lowercase());
        } else {
            words.scan(text.nfkc());
        }
        words
    }

    fn scan(&mut self, characters: impl Iterator<Item = char>) {
        let mut characters = characters.peekable();
        let mut before = ' ';
        let mut cashtag = false;
        while let Some(character) = characters.next() {
            let next = characters.peek().copied().unwrap_or(' ');
            cashtag = self.step(role(before, character, next), character, cashtag);
            before = character;
        }
        self.end_word(cashtag);
    }

    /// As [`Words::scan`], of ASCII alone and lower-cased already: runs of letters and digits are taken as they are.
    fn scan_ascii(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut cashtag = false;
        let mut at = 0;
        while let Some(rest) = bytes.get(at..) {
            let run = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            self.text.push_str(&text[at..at + run]);
            at += run;
            let Some(&byte) = bytes.get(at) else { break };
            let before = if at == 0 { b' ' } else { bytes[at - 1] };
            let next = bytes.get(at + 1).copied().unwrap_or(b' ');
            cashtag = self.step(role(before.into(), byte.into(), next.into()), byte.into(), cashtag);
            at += 1;
        }
        self.end_word(cashtag);
    }

    /// Does what a character's role says; returns whether the word it begins or goes on with is a cashtag.
    fn step(&mut self, role: Role, character: char, cashtag: bool) -> bool {
        match role {
            Role::Letter => {
                self.text.extend(character.to_lowercase());
                cashtag
            }
            Role::Alone => {
                self.end_word(cashtag);
                self.text.extend(character.to_lowercase());
                self.end_word(false);
                false
            }
            Role::Cashtag | Role::Gap => {
                self.end_word(cashtag);
                matches!(role, Role::Cashtag)
            }
            Role::Nothing => cashtag,
        }
    }

    /// Ends the word written last, if there is one.
    fn end_word(&mut self, cashtag: bool) {
        let start = self.ranges.last().map_or(0, |&(_, end)| end as usize + 1);
        if self.text.len() <= start {
            return;
        }
        let word = &self.text[start..];
        if cashtag || word.bytes().any(|byte| byte.is_ascii_digit()) || is_critical(word) {
            // A sum of odd squares: order does not count, how often a word comes does.
            let hash = xxh3_64_with_seed(word.as_bytes(), 0x51) | 1;
            self.critical = self.critical.wrapping_add(hash.wrapping_mul(hash));
        }
        let end = self.text.len();
        self.ranges.push((start.try_into().unwrap_or(u32::MAX), end.try_into().unwrap_or(u32::MAX)));
        self.text.push(' ');
    }
}

/// What a character does to the words around it.
#[derive(Clone, Copy)]
enum Role {
    Letter,
    Alone,
    Cashtag,
    Gap,
    Nothing,
}

fn role(before: char, character: char, next: char) -> Role {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => Role::Letter,
        '.' if before.is_ascii_digit() && next.is_ascii_digit() => Role::Letter,
        ',' if before.is_ascii_digit() && next.is_ascii_digit() => Role::Nothing,
        '\'' | '’' if before.is_alphanumeric() && next.is_alphanumeric() => Role::Nothing,
        '$' if next.is_ascii_alphabetic() => Role::Cashtag,
        '%' | '$' | '€' | '£' | '¥' | '₹' | '₿' => Role::Alone,
        '+' | '-' | '−' if !before.is_alphanumeric() && (next.is_ascii_digit() || "$€£¥₹".contains(next)) => {
            Role::Alone
        }
        _ if character.is_ascii() => Role::Gap,
        _ if is_invisible(character) || matches!(character, '\u{fe00}'..='\u{fe0f}') => Role::Nothing,
        _ if character.is_whitespace() || is_punctuation(character) => Role::Gap,
        _ if is_unspaced(character) => Role::Alone,
        _ if character.is_alphanumeric() || is_combining_mark(character) => Role::Letter,
        _ => Role::Alone,
    }
}

/// Punctuation outside ASCII, after compatibility normalisation.
fn is_punctuation(character: char) -> bool {
    matches!(character,
        '\u{a1}' | '\u{a7}' | '\u{ab}' | '\u{ad}' | '\u{b4}'..='\u{b8}' | '\u{bb}' | '\u{bf}' | '\u{2010}'..='\u{205e}'
        | '\u{2e00}'..='\u{2e5d}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}'
        | '\u{30fb}' | '\u{60c}' | '\u{61b}' | '\u{61f}' | '\u{6d4}' | '\u{964}' | '\u{965}')
}

/// Scripts written without spaces: every character is a word.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{e00}'..='\u{eff}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Signs word pairs and triples; a single word stands for itself.
fn sign(words: &Words) -> Signature {
    let ranges = &words.ranges;
    let span = |first: usize, last: usize| shingle(&words.text[ranges[first].0 as usize..ranges[last].1 as usize]);
    let mut hashes = Vec::with_capacity(2 * ranges.len());
    if ranges.len() == 1 {
        hashes.push(span(0, 0));
    }
    for first in 0..ranges.len().saturating_sub(1) {
        hashes.push(span(first, first + 1));
        if first + 2 < ranges.len() {
            hashes.push(span(first, first + 2));
        }
    }
    let critical = if ranges.len() < LONG_TEXT_WORDS { words.critical } else { 0 };
    #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are what is kept")]
    Signature { values: minhash::minima(&hashes).map(|minimum| minimum as u16), critical }
}

fn shingle(words: &str) -> u32 {
    u32::try_from(xxh3_64_with_seed(words.as_bytes(), 0x7d) >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(text: &str) -> [u8; 32] {
        fingerprint(None, text).content_hash
    }

    #[test]
    fn case_punctuation_links_and_typography_do_not_count() {
        let one = hash("Apple’s profit — UP 5.1%! https://t.co/a");
        assert_eq!(one, hash("apple's profit - up 5.1% (www.example.com/b)"));
        assert_eq!(hash("Ｔｏｋｙｏ　１２３"), hash("tokyo 123"));
        assert_eq!(hash("sales of 1,234,567"), hash("Sales of 1234567."));
    }

    #[test]
    fn numbers_keep_sign_point_percent_and_currency() {
        for (one, two) in [
            ("up 5%", "up 7%"),
            ("EPS +5", "EPS -5"),
            ("5.1 points", "51 points"),
            ("$5 fee", "€5 fee"),
            ("5% fee", "5 fee"),
        ] {
            assert_ne!(hash(one), hash(two), "{one} / {two}");
        }
    }

    #[test]
    fn title_counts_once() {
        let whole = fingerprint(None, "Rates up. The bank moved.");
        assert_eq!(fingerprint(Some("Rates up"), "The bank moved."), whole);
        assert_eq!(fingerprint(Some("Rates up"), "Rates up. The bank moved."), whole);
    }

    #[test]
    fn links_and_pictures_alone_are_content() {
        assert_ne!(hash("https://t.co/a"), hash("https://t.co/b"));
        assert_ne!(hash("🚀🚀"), hash("📉"));
        assert_ne!(hash("!!!"), hash("???"));
    }

    #[test]
    fn scripts_without_spaces_are_split_by_character() {
        let similarity = signature(None, "日本銀行は金融政策決定会合で政策金利を据え置くことを全員一致で決定した")
            .similarity(&signature(None, "日本銀行は金融政策決定会合で政策金利を据え置くことを全員一致で決定した模様"));
        assert!(similarity > 0.85, "{similarity}");
    }

    #[test]
    fn estimate_is_near_the_true_similarity() {
        use std::collections::BTreeSet;
        let mut random = fastrand::Rng::with_seed(7);
        let (mut total, mut square, rounds) = (0.0_f64, 0.0_f64, 300);
        for round in 0..rounds {
            let words: Vec<String> = (0..70).map(|index| format!("w{}", round * 1000 + index)).collect();
            let mut other = words.clone();
            for _ in 0..random.usize(0..12) {
                let at = random.usize(0..other.len());
                other[at] = format!("x{}", random.u32(..));
            }
            let shingles = |words: &[String]| -> BTreeSet<String> {
                words.windows(2).chain(words.windows(3)).map(|shingle| shingle.join(" ")).collect()
            };
            let (one, two) = (shingles(&words), shingles(&other));
            #[expect(clippy::cast_precision_loss, reason = "small sets")]
            let truth = one.intersection(&two).count() as f64 / one.union(&two).count() as f64;
            let estimate = f64::from(signature(None, &words.join(" ")).similarity(&signature(None, &other.join(" "))));
            total += estimate - truth;
            square += (estimate - truth).powi(2);
        }
        let (bias, error) = (total / f64::from(rounds), (square / f64::from(rounds)).sqrt());
        assert!(bias.abs() < 0.01, "bias {bias}");
        assert!(error < 0.045, "root mean square error {error}");
    }

    proptest! {
        #[test]
        fn ascii_is_split_like_any_text(text in "[ -~]{0,60}") {
            let mut any = Words { text: String::new(), ranges: Vec::new(), critical: 0 };
            any.scan(text.chars());
            let quick = Words::split(&text);
            prop_assert_eq!((quick.text, quick.ranges, quick.critical), (any.text, any.ranges, any.critical));
        }

        #[test]
        fn a_text_is_its_own_copy(text in ".{1,120}") {
            let one = fingerprint(None, &text);
            prop_assert!(one.signature.similarity(&one.signature) > 0.999);
            prop_assert_eq!(one.clone(), fingerprint(None, &text));
        }
    }
}
