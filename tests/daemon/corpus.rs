//! Invented documents with known copies, poison and invalid records, the same for the same seed.

use serde_json::{Value, json};

/// Text that makes the stage named by `faults.poison_stage` panic.
pub const POISON: &str = "POISON-PILL";

/// What must become of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Stored.
    Stored,
    /// A duplicate of this id.
    DuplicateOf(String),
    /// In the dead letters.
    Dead,
}

/// A document and what must become of it.
pub struct Sample {
    /// Its id.
    pub id: String,
    /// As it is sent.
    pub body: Value,
    /// What must become of it.
    pub expected: Expected,
}

const WORDS: &[&str] = &[
    "copper",
    "lithium",
    "freight",
    "harbour",
    "railway",
    "refinery",
    "turbine",
    "satellite",
    "orchard",
    "textile",
    "insurer",
    "lender",
    "grocer",
    "brewer",
    "shipyard",
    "airline",
    "foundry",
    "utility",
    "pipeline",
    "exchange",
    "raises",
    "cuts",
    "holds",
    "reports",
    "delays",
    "approves",
    "rejects",
    "expands",
    "closes",
    "opens",
    "acquires",
    "quarterly",
    "annual",
    "record",
    "modest",
    "sharp",
    "surprise",
    "steady",
    "weaker",
    "stronger",
    "northern",
    "southern",
    "coastal",
    "central",
    "global",
    "regional",
    "domestic",
    "margin",
    "forecast",
    "dividend",
    "output",
    "demand",
    "inventory",
    "shipment",
    "contract",
    "licence",
    "tariff",
    "subsidy",
    "merger",
    "venture",
    "audit",
];

/// `count` documents: mostly fresh, every seventh an exact copy of an earlier one under another id, every 50th poison.
pub fn corpus(count: usize, seed: u64) -> Vec<Sample> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut samples: Vec<Sample> = Vec::with_capacity(count);
    let mut stored: Vec<usize> = Vec::new();
    for index in 0..count {
        let id = format!("doc-{seed}-{index:06}");
        if index % 50 == 49 {
            let text = format!("{POISON} {}", sentence(&mut random, index));
            samples.push(Sample { body: body(&id, &text), id, expected: Expected::Dead });
        } else if index % 7 == 6 && !stored.is_empty() {
            let original = stored[random.usize(..stored.len())];
            let (text, of) = (samples[original].body["text"].clone(), samples[original].id.clone());
            samples.push(Sample {
                body: body(&id, text.as_str().unwrap_or_default()),
                id,
                expected: Expected::DuplicateOf(of),
            });
        } else {
            stored.push(index);
            let text = sentence(&mut random, index);
            samples.push(Sample { body: body(&id, &text), id, expected: Expected::Stored });
        }
    }
    samples
}

fn body(id: &str, text: &str) -> Value {
    json!({"id": id, "source": "news", "text": text})
}

/// Fourteen words by chance and the index spelled in words of its own, so that no two sentences are near copies.
fn sentence(random: &mut fastrand::Rng, index: usize) -> String {
    let mut words: Vec<String> = (0..14).map(|_| WORDS[random.usize(..WORDS.len())].to_owned()).collect();
    let tag: String = index.to_string().bytes().map(|digit| char::from(b'a' + (digit - b'0'))).collect();
    words.insert(5, format!("{tag}corp"));
    words.insert(11, format!("q{tag}"));
    words.join(" ")
}
