//! Speed of the text engines on headlines of the bundled feed's kind. Run: `cargo bench --bench text`.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use tidemill::config::dedup::DedupConfig;
use tidemill::config::documents::DocumentsConfig;
use tidemill::messages::document::Document;
use tidemill::messages::record::Position;
use tidemill::text::category::categorise;
use tidemill::text::clean::model_text;
use tidemill::text::decode::decode;
use tidemill::text::entities::entities;
use tidemill::text::fingerprint::fingerprint;
use tidemill::text::near_duplicates::DuplicateMemory;

const FEED: &str = include_str!("../assets/sample_feed.ndjson");
/// Headlines of one round through the duplicate memory.
const HEADLINES: usize = 100_000;

fn main() {
    divan::main();
}

fn documents() -> Vec<Document> {
    let limits = DocumentsConfig::default();
    FEED.lines().filter_map(|line| decode(line.as_bytes(), &limits, chrono::Utc::now()).ok()).collect()
}

/// Headlines of ten words, all different.
fn headlines() -> Vec<(Arc<str>, String)> {
    let mut random = fastrand::Rng::with_seed(1);
    let words: Vec<String> =
        (0..8000).map(|_| (0..random.usize(3..9)).map(|_| random.lowercase()).collect::<String>()).collect();
    (0..HEADLINES)
        .map(|index| {
            let text: Vec<&str> = (0..10).map(|_| words[random.usize(0..words.len())].as_str()).collect();
            (format!("doc-{index}").into(), text.join(" "))
        })
        .collect()
}

#[divan::bench]
fn decode_feed(bencher: Bencher) {
    let (limits, now) = (DocumentsConfig::default(), chrono::Utc::now());
    let lines: Vec<&str> = FEED.lines().collect();
    bencher
        .counter(ItemsCount::new(lines.len()))
        .bench(|| lines.iter().filter(|line| decode(black_box(line.as_bytes()), &limits, now).is_ok()).count());
}

#[divan::bench]
fn fingerprint_feed(bencher: Bencher) {
    let documents = documents();
    bencher.counter(ItemsCount::new(documents.len())).bench(|| {
        for document in &documents {
            black_box(fingerprint(document.title.as_deref(), &document.text));
        }
    });
}

/// Cleaned headline to answer: normalise, hash, sign, look up, record.
#[divan::bench(sample_count = 5)]
fn fingerprint_and_sight_headlines(bencher: Bencher) {
    let headlines = headlines();
    let topic: Arc<str> = "documents".into();
    bencher
        .counter(ItemsCount::new(headlines.len()))
        .with_inputs(|| DuplicateMemory::new(&DedupConfig::default()))
        .bench_local_values(|mut memory| {
            for (offset, (id, text)) in (0..).zip(&headlines) {
                let origin = Position { topic: Arc::clone(&topic), partition: 0, offset };
                black_box(memory.sight(id, &fingerprint(None, text), &origin, 0));
            }
            memory
        });
}

#[divan::bench]
fn entities_feed(bencher: Bencher) {
    let documents = documents();
    bencher
        .counter(ItemsCount::new(documents.len()))
        .bench(|| documents.iter().map(|document| entities(black_box(&document.text)).len()).sum::<usize>());
}

#[divan::bench]
fn categorise_feed(bencher: Bencher) {
    let documents = documents();
    bencher.counter(ItemsCount::new(documents.len())).bench(|| {
        for document in &documents {
            black_box(categorise(document));
        }
    });
}

#[divan::bench]
fn model_text_feed(bencher: Bencher) {
    let documents = documents();
    bencher.counter(ItemsCount::new(documents.len())).bench(|| {
        for document in &documents {
            black_box(model_text(document));
        }
    });
}
