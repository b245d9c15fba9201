//! The sentiment model as the pipeline uses it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tidemill::config::encoder::{EncoderConfig, EncoderKind};
use tidemill::config::sentiment::SentimentConfig;
use tidemill::messages::analysis::{Sentiment, SentimentLabel};
use tidemill::models::sentiment::BUILT_IN;
use tidemill::models::{Encoded, ModelError, Models, SentimentInput};

fn encoder_config() -> EncoderConfig {
    let root = std::env::var_os("TIDEMILL_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), PathBuf::from);
    EncoderConfig { model_dir: root.join("all-minilm-l6-v2"), threads: 2, ..EncoderConfig::default() }
}

static MODELS: LazyLock<Models> =
    LazyLock::new(|| match Models::open(&encoder_config(), &SentimentConfig::default()) {
        Ok(models) => models,
        Err(error) => panic!("{error} (run: make model)"),
    });

fn judge_with(models: &Models, texts: &[&str], min_confidence: f32) -> Vec<Sentiment> {
    let encoded: Vec<Encoded> = models.encoder.encode(texts).unwrap();
    let inputs: Vec<SentimentInput<'_>> =
        texts.iter().zip(&encoded).map(|(text, encoded)| SentimentInput { text, encoded }).collect();
    models.sentiment.judge(&inputs, min_confidence).unwrap()
}

fn hashing() -> Models {
    let config = EncoderConfig { kind: EncoderKind::Hashing, threads: 1, ..EncoderConfig::default() };
    Models::open(&config, &SentimentConfig::default()).unwrap()
}

/// Headlines whose direction no one would argue about.
const CLEAR: &[(&str, SentimentLabel)] = &[
    ("Acme upgraded to buy from hold at a large broker", SentimentLabel::Positive),
    ("Acme shares surge after earnings beat estimates", SentimentLabel::Positive),
    ("Analyst raises Acme stock price target to $120 from $95", SentimentLabel::Positive),
    ("Acme stock jumps 8% after strong quarterly results", SentimentLabel::Positive),
    ("Acme downgraded to sell from neutral at a large broker", SentimentLabel::Negative),
    ("Acme shares plunge after profit warning", SentimentLabel::Negative),
    ("Acme stock price target cut to $40 from $65", SentimentLabel::Negative),
    ("Acme shares fall 9% as revenue misses expectations", SentimentLabel::Negative),
    ("Acme to present at the annual technology conference on Tuesday", SentimentLabel::Neutral),
    ("Acme Corp. 2019 Q3 - Results - Earnings Call Presentation", SentimentLabel::Neutral),
];

#[test]
fn clear_headlines_get_their_label() {
    let texts: Vec<&str> = CLEAR.iter().map(|(text, _)| *text).collect();
    let judged = judge_with(&MODELS, &texts, 0.0);
    let wrong: Vec<_> = judged.iter().zip(CLEAR).filter(|(s, (_, label))| s.label != *label).collect();
    assert!(wrong.len() <= 1, "{wrong:#?}");
}

#[test]
fn probabilities_sum_to_one_and_the_score_follows_from_them() {
    for sentiment in judge_with(&MODELS, &["", "Oil falls", "🚀", "Fed holds rates steady; markets rally"], 0.0) {
        let p = sentiment.probabilities;
        assert!((p.positive + p.neutral + p.negative - 1.0).abs() < 1e-5);
        assert!((sentiment.score - (p.positive - p.negative)).abs() < 1e-6);
        assert!(!sentiment.abstained);
        assert_eq!(&sentiment.model, MODELS.sentiment.name());
    }
}

#[test]
fn low_confidence_abstains_to_neutral_and_keeps_the_probabilities() {
    let texts = ["Acme shares plunge after profit warning"];
    let sure = judge_with(&MODELS, &texts, 0.0).remove(0);
    let unsure = judge_with(&MODELS, &texts, 1.01).remove(0);
    assert!(unsure.abstained && unsure.label == SentimentLabel::Neutral);
    assert_eq!(unsure.probabilities, sure.probabilities);
    assert!((unsure.score - sure.score).abs() < 1e-6);
}

#[test]
fn the_batch_does_not_change_a_judgement() {
    let mut texts: Vec<String> = CLEAR.iter().map(|(text, _)| (*text).to_owned()).collect();
    texts.extend([1, 7, 20].map(|i| "guidance cut again ".repeat(i)));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (together, text) in judge_with(&MODELS, &texts, 0.4).iter().zip(&texts) {
        let alone = judge_with(&MODELS, &[text], 0.4).remove(0);
        let (a, b) = (together.probabilities, alone.probabilities);
        for (x, y) in [(a.positive, b.positive), (a.neutral, b.neutral), (a.negative, b.negative)] {
            assert!((x - y).abs() < 1e-6, "{x} {y} for {text:?}");
        }
    }
    assert!(judge_with(&MODELS, &[], 0.4).is_empty());
}

#[test]
fn without_a_trunk_words_decide_and_the_name_says_so() {
    let models = hashing();
    let judged = judge_with(&models, &["Acme upgraded to buy", "Acme shares plunge after profit warning"], 0.0);
    assert_eq!(judged[0].label, SentimentLabel::Positive);
    assert_eq!(judged[1].label, SentimentLabel::Negative);
    assert!(judged[0].model.ends_with("/lexical"));
    assert_eq!(models.sentiment.name(), &judged[0].model);
}

#[test]
fn damaged_weights_are_refused_with_their_path() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let open = |bytes: &[u8]| {
        std::fs::write(file.path(), bytes).unwrap();
        let config = SentimentConfig { weights: Some(file.path().to_owned()), ..SentimentConfig::default() };
        let encoder = EncoderConfig { kind: EncoderKind::Hashing, threads: 1, ..EncoderConfig::default() };
        Models::open(&encoder, &config).map(|_| ())
    };
    open(BUILT_IN).unwrap();
    let mut flipped = BUILT_IN.to_vec();
    flipped[100_000] ^= 4;
    for bytes in [&flipped[..], &BUILT_IN[..BUILT_IN.len() - 1], b"", b"TMSENT1\n"] {
        let error = open(bytes).unwrap_err();
        assert!(matches!(&error, ModelError::Weights { path, .. } if *path == file.path().display().to_string()));
    }
}

#[test]
fn the_weights_fit_their_budget() {
    assert!(BUILT_IN.len() <= 8_000_000, "{} bytes", BUILT_IN.len());
}
