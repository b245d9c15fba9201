//! The encoder against its golden vectors, and the promises its users rely on.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use tidemill::models::compute::Compute;
use tidemill::models::hashing::cosine;
use tidemill::models::minilm::MiniLm;
use tidemill::models::{Encoder, ModelError};

#[derive(Deserialize)]
struct Golden {
    items: Vec<GoldenItem>,
}

#[derive(Deserialize)]
struct GoldenItem {
    text: String,
    ids: Vec<u32>,
    embedding: Vec<f32>,
}

fn model_dir() -> PathBuf {
    let root = std::env::var_os("TIDEMILL_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), PathBuf::from);
    root.join("all-minilm-l6-v2")
}

fn open() -> MiniLm {
    match MiniLm::open(&model_dir(), Compute::new(2).unwrap()) {
        Ok(model) => model.with_trunk(2),
        Err(error) => panic!("{error} (run: make model)"),
    }
}

static MODEL: LazyLock<MiniLm> = LazyLock::new(open);

fn golden() -> Vec<GoldenItem> {
    serde_json::from_str::<Golden>(include_str!("fixtures/golden_minilm.json")).unwrap().items
}

#[test]
fn vectors_equal_the_golden_ones() {
    for item in golden() {
        assert_eq!(MODEL.ids(&item.text).unwrap(), item.ids, "{}", item.text);
        let encoded = MODEL.encode(&[&item.text]).unwrap().remove(0);
        assert_eq!(encoded.tokens as usize, item.ids.len());
        let similarity = cosine(&encoded.vector, &item.embedding.as_slice().into());
        assert!(similarity > 0.999_999, "{}: {similarity}", item.text);
    }
}

/// Texts of many lengths, some repeated.
fn mixed() -> Vec<String> {
    let words = ["shares", "rise", "after", "Q3", "$AAPL", "guidance", "cut", "analysts", "unexpectedly", "—", "4.5%"];
    (0..24usize)
        .map(|i| (0..(i * 7) % 90).map(|j| words[(i + j * j) % words.len()]).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn the_batch_does_not_change_a_vector() {
    let texts = mixed();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let together = MODEL.encode(&texts).unwrap();
    assert_eq!(together.len(), texts.len());
    for (batched, text) in together.iter().zip(&texts) {
        let alone = MODEL.encode(&[text]).unwrap().remove(0);
        let worst = batched.vector.iter().zip(alone.vector.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{worst} for {text:?}");
    }
    let mut reversed: Vec<&str> = texts.clone();
    reversed.reverse();
    for (a, b) in together.iter().zip(MODEL.encode(&reversed).unwrap().iter().rev()) {
        assert!(a.vector.iter().zip(b.vector.iter()).all(|(x, y)| (x - y).abs() < 1e-6));
    }
}

#[test]
fn the_trunk_holds_one_state_per_token() {
    let encoded = MODEL.encode(&["Oil falls below $70"]).unwrap().remove(0);
    let trunk = encoded.trunk.unwrap();
    assert_eq!(trunk.states.len(), trunk.width * encoded.tokens as usize);
    let same = MODEL.trunks(&["Oil falls below $70"], 2).unwrap().remove(0);
    assert!(trunk.states.iter().zip(&same.states).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn odd_texts_are_encoded_and_long_ones_are_cut_at_256_tokens() {
    let long = "volatility ".repeat(5_000);
    let texts = ["", " ", "\u{0}", "🚀🚀🚀", "ﬁnancial", "a\u{301}", &long];
    for (encoded, text) in MODEL.encode(&texts).unwrap().iter().zip(texts) {
        assert!(encoded.vector.iter().all(|x| x.is_finite()));
        assert!((cosine(&encoded.vector, &encoded.vector) - 1.0).abs() < 1e-5);
        assert_eq!(encoded.tokens as usize, MODEL.count_tokens(text));
    }
    assert_eq!(MODEL.count_tokens(&long), 256);
    assert!(MODEL.encode(&[]).unwrap().is_empty());
}

#[test]
fn a_missing_model_names_the_file_and_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let error = MiniLm::open(directory.path(), Compute::new(1).unwrap()).unwrap_err();
    assert!(matches!(error, ModelError::Missing { .. }));
    let message = error.to_string();
    assert!(message.contains("model.safetensors") && message.contains("make model"), "{message}");
}

#[test]
fn a_damaged_model_is_refused_whatever_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let _ = &*MODEL;
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        std::fs::copy(model_dir().join(name), directory.path().join(name)).unwrap();
    }
    let tokenizer = directory.path().join("tokenizer.json");
    let mut bytes = std::fs::read(&tokenizer).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(&tokenizer, &bytes).unwrap();
    let error = MiniLm::open(directory.path(), Compute::new(1).unwrap()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("sha-256"), "{error}");
    std::fs::write(&tokenizer, &bytes[..last]).unwrap();
    let error = MiniLm::open(directory.path(), Compute::new(1).unwrap()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("bytes"), "{error}");
}
