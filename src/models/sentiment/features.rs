//! The lexical part's view of a text: hashed words, pairs, triples and character n-grams, and counts from the lexicon.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::lexicon::{GROUPS, Lexicon, NEGATING};

/// Places for hashed features.
pub const BUCKETS: usize = 1 << 16;
/// Places for lexicon features, after the hashed ones.
pub const DENSE: usize = 32;
/// All places.
pub const PLACES: usize = BUCKETS + DENSE;
/// Words a negation reaches.
const REACH: usize = 3;

/// A feature's place and value.
pub type Feature = (u32, f32);

/// Removes web addresses and repeated white space: what the encoder and this model are trained on.
pub fn clean(text: &str) -> String {
    let is_address = |word: &&str| word.starts_with("http://") || word.starts_with("https://");
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        // An address may stick to what comes before it.
        let cut = word.find("http://").or_else(|| word.find("https://")).unwrap_or(word.len());
        let word = if is_address(&word) { "" } else { &word[..cut] };
        if !word.is_empty() {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
    out
}

/// Lower-case words with names and figures made alike.
fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for raw in text.split_whitespace() {
        if let Some(word) = figure(raw) {
            out.push(word.to_owned());
            continue;
        }
        let lower = raw.to_lowercase();
        let keep = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '-' | '&');
        for piece in lower.split(|c| !keep(c)) {
            let piece = piece.trim_matches(['\'', '-']);
            if piece.is_empty() {
                continue;
            }
            let digits = piece.bytes().any(|b| b.is_ascii_digit());
            out.push(if digits { digits_alike(piece) } else { piece.to_owned() });
        }
        for mark in ['?', '!', ':'] {
            if raw.ends_with(mark) {
                out.push(mark.to_string());
            }
        }
    }
    out
}

/// `q3` → `q0`, `1.2` → `0.0`: the shape of a figure, not its value.
fn digits_alike(piece: &str) -> String {
    piece.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

/// The kind of a cashtag, an amount or a percentage.
fn figure(raw: &str) -> Option<&'static str> {
    let word = raw.trim_matches(|c: char| matches!(c, '(' | ')' | ',' | ';' | ':' | '.' | '"' | '\'' | '?' | '!'));
    let sign = word.chars().next()?;
    let body = word.trim_start_matches(['+', '-', '−', '–', '$', '€', '£', '~', '#']);
    let digits = body.starts_with(|c: char| c.is_ascii_digit())
        || (body.starts_with('.') && body[1..].starts_with(|c: char| c.is_ascii_digit()));
    let negative = matches!(sign, '-' | '−' | '–');
    match (digits, sign) {
        (false, '$') if body.starts_with(char::is_alphabetic) => Some("<cashtag>"),
        (true, _) if body.ends_with('%') && sign == '+' => Some("<percent-up>"),
        (true, _) if body.ends_with('%') && negative => Some("<percent-down>"),
        (true, _) if body.ends_with('%') => Some("<percent>"),
        (true, _) if word.contains(['$', '€', '£']) => Some("<money>"),
        _ => None,
    }
}

/// Extracts features.
#[derive(Debug, Default)]
pub struct Extractor {
    lexicon: Lexicon,
}

/// Collects hashed features of one kind.
struct Hashed<'a> {
    features: &'a mut Vec<Feature>,
}

impl Hashed<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "a place is below BUCKETS")]
    fn add(&mut self, feature: &str, seed: u64) {
        let place = xxh3_64_with_seed(feature.as_bytes(), seed) % BUCKETS as u64;
        self.features.push((place as u32, 1.0));
    }
}

/// Gives features from `first` on, each counted once, a share of `weight` that falls with their number.
#[expect(clippy::cast_precision_loss, reason = "a text has few features")]
fn share(features: &mut Vec<Feature>, first: usize, weight: f32) {
    features[first..].sort_unstable_by_key(|feature| feature.0);
    let mut kept = first;
    for at in first..features.len() {
        if at == first || features[at].0 != features[kept - 1].0 {
            features[kept] = features[at];
            kept += 1;
        }
    }
    features.truncate(kept);
    let value = weight / ((kept - first).max(1) as f32).sqrt();
    features[first..].iter_mut().for_each(|feature| feature.1 = value);
}

impl Extractor {
    /// The features of a text; those of one kind are together and have a common weight.
    pub fn features(&self, text: &str) -> Vec<Feature> {
        let text = clean(text);
        let words = words(&text);
        let mut features = Vec::with_capacity(12 * words.len());
        let mut padded: Vec<&str> = vec!["<s>"];
        padded.extend(words.iter().map(String::as_str));
        padded.push("</s>");
        for (length, weight) in [(1, 1.0), (2, 1.0), (3, 0.6)] {
            let first = features.len();
            for gram in padded.windows(length) {
                Hashed { features: &mut features }.add(&gram.join(" "), length as u64);
            }
            share(&mut features, first, weight);
        }
        let first = features.len();
        for word in words.iter().filter(|word| !word.starts_with('<')) {
            let letters: Vec<char> = std::iter::once(' ').chain(word.chars()).chain([' ']).collect();
            for length in 3..=5 {
                for gram in letters.windows(length) {
                    Hashed { features: &mut features }.add(&gram.iter().collect::<String>(), 9);
                }
            }
        }
        share(&mut features, first, 0.8);
        self.add_counts(&words, &text, &mut features);
        features
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small counts and places")]
    fn add_counts(&self, words: &[String], text: &str, features: &mut Vec<Feature>) {
        let mut counts = [0.0f32; DENSE];
        let mut negated_until = 0;
        for (at, word) in words.iter().enumerate() {
            let lists = self.lexicon.lists(word);
            if lists & (1 << NEGATING) != 0 || word.ends_with("n't") {
                negated_until = at + 1 + REACH;
            }
            for group in (0..GROUPS).filter(|group| lists & (1 << group) != 0) {
                let negated = at < negated_until && group < NEGATING;
                counts[if negated { GROUPS + group } else { group }] += 1.0;
            }
        }
        let good = counts[0] + counts[2] + counts[GROUPS + 1] + counts[GROUPS + 3];
        let bad = counts[1] + counts[3] + counts[GROUPS] + counts[GROUPS + 2];
        let has = |word: &str| f32::from(u8::from(words.iter().any(|w| w == word)));
        let extra = [
            (good - bad).clamp(-3.0, 3.0),
            f32::from(u8::from(good + bad == 0.0)),
            f32::from(u8::from(good > 0.0 && bad > 0.0)),
            has("<percent-up>"),
            has("<percent-down>"),
            has("<percent>"),
            has("<money>"),
            has("<cashtag>"),
            has("?"),
            has("!"),
            f32::from(u8::from(text.contains(" - "))),
            (words.len() as f32 / 20.0).min(3.0),
            f32::from(u8::from(text.contains('#'))),
            f32::from(u8::from(text.contains('@'))),
        ];
        counts[2 * GROUPS..2 * GROUPS + extra.len()].copy_from_slice(&extra);
        for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count != 0.0) {
            features.push(((BUCKETS + at) as u32, 0.3 * count.clamp(-3.0, 3.0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_white_space_go() {
        assert_eq!(clean(" a  https://t.co/x b\nhttp://y c:https://z"), "a b c:");
    }

    #[test]
    fn figures_are_made_alike() {
        assert_eq!(
            words("$AAPL up +5.2%, Q3 EPS $1.20 vs. -3% (12%)"),
            ["<cashtag>", "up", "<percent-up>", "q0", "eps", "<money>", "vs", "<percent-down>", "<percent>"]
        );
        assert_eq!(words("Don't sell?"), ["don't", "sell", "?"]);
    }

    #[test]
    fn negation_moves_a_count() {
        let dense = |text: &str| {
            let features = Extractor::default().features(text);
            features.into_iter().filter(|f| f.0 as usize >= BUCKETS).map(|f| f.0 as usize - BUCKETS).collect::<Vec<_>>()
        };
        assert!(dense("results beat").contains(&0));
        let negated = dense("results did not beat");
        assert!(!negated.contains(&0) && negated.contains(&GROUPS));
    }

    #[test]
    fn odd_texts_have_features_or_none_but_never_fail() {
        for text in ["", "$", "%", "+", ".", "🚀", "'", "--", "İstanbul"] {
            for (place, value) in Extractor::default().features(text) {
                assert!((place as usize) < PLACES && value.is_finite());
            }
        }
    }
}
