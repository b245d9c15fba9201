//! How fast the encoder is, and where its time goes.
//!
//! `cargo bench --bench encoder`. Environment: `TIDEMILL_BENCH_TEXTS` a file with one text a line (default: 1,000
//! invented headlines with the lengths of finance tweets), `TIDEMILL_BENCH_DUMP` a file to write those texts to (for the
//! peer in `benches/peers/encoder_peer.py`), `TIDEMILL_BENCH_THREADS` (default: all cores), `TIDEMILL_BENCH_BATCH` texts
//! a call (default 128). Prints one JSON object.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tidemill::models::Encoder;
use tidemill::models::compute::Compute;
use tidemill::models::hashing::HashingEncoder;
use tidemill::models::kernels::attention::{Scratch, attention};
use tidemill::models::kernels::gelu::bias_gelu;
use tidemill::models::kernels::linear::{View, multiply};
use tidemill::models::kernels::norm::residual_norm;
use tidemill::models::minilm::MiniLm;
use tidemill::models::minilm::weights::{INNER, WIDTH};

const WORDS: &[&str] = &[
    "shares",
    "stock",
    "price",
    "target",
    "raised",
    "cut",
    "to",
    "from",
    "at",
    "the",
    "after",
    "earnings",
    "quarterly",
    "revenue",
    "beats",
    "misses",
    "estimates",
    "analysts",
    "market",
    "oil",
    "falls",
    "rises",
    "fed",
    "rates",
    "inflation",
    "bank",
    "upgrade",
    "downgraded",
    "outlook",
    "guidance",
    "profit",
    "loss",
    "deal",
    "merger",
    "acquisition",
    "of",
    "CEO",
    "says",
    "growth",
    "slows",
    "in",
    "China",
    "trade",
    "tariffs",
    "bond",
    "yields",
    "dollar",
    "euro",
    "gold",
    "and",
];

/// Headlines of 4 to 36 words with cashtags and percentages, about 28 tokens each.
fn invented(count: usize) -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(7);
    let text = |_| {
        let length = 4 + (rng.usize(0..13) + rng.usize(0..13) + rng.usize(0..9));
        let mut words = vec![format!("${}", (0..rng.usize(2..5)).map(|_| rng.uppercase()).collect::<String>())];
        words.extend((0..length).map(|_| WORDS[rng.usize(0..WORDS.len())].to_owned()));
        words.push(format!("{:.1}%", rng.f32() * 20.0));
        words.join(" ")
    };
    (0..count).map(text).collect()
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// The shortest of several runs: the one other work on the machine disturbed least.
fn best(runs: usize, mut work: impl FnMut()) -> Duration {
    let once = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..runs).map(|_| once(&mut work)).min().unwrap()
}

/// Microseconds per token of each kernel on one thread, at the shapes of the model.
fn profile(model: &MiniLm, texts: &[&str]) -> serde_json::Value {
    let ids: Vec<usize> = texts.iter().take(16).map(|text| model.count_tokens(text)).collect();
    let tokens: usize = ids.iter().sum();
    let per_token = |time: Duration| (time.as_secs_f64() * 1e6 / tokens as f64 * 100.0).round() / 100.0;
    let layer = &model.weights().layers[0];
    let states = vec![0.1f32; tokens * WIDTH];
    let mut qkv: Vec<f32> = (0..tokens * 3 * WIDTH).map(|i| (i % 97) as f32 * 0.01).collect();
    let mut context = vec![0.0f32; tokens * WIDTH];
    let mut inner = vec![0.0f32; tokens * INNER];
    let mut scratch = Scratch::default();
    let dense = |out: &mut [f32], input: &[f32], weight: &[f32], inputs: usize| {
        best(20, || multiply(out, View::new(input, inputs), View::new(weight, inputs).t(), false, 1))
    };
    let attend = best(20, || {
        let mut first = 0;
        for length in &ids {
            let next = first + length;
            let (from, to) = (&qkv[first * 3 * WIDTH..next * 3 * WIDTH], &mut context[first * WIDTH..next * WIDTH]);
            attention(from, to, WIDTH, &mut scratch);
            first = next;
        }
    });
    let product_qkv = dense(&mut qkv, &states, &layer.qkv.weight, WIDTH);
    let product_out = dense(&mut context, &states, &layer.out.weight, WIDTH);
    let product_up = dense(&mut inner, &states, &layer.up.weight, WIDTH);
    let product_down = dense(&mut context, &inner.clone(), &layer.down.weight, INNER);
    let gelu = best(20, || bias_gelu(&mut inner, &layer.up.bias));
    let mut residual = states.clone();
    let norm = best(20, || residual_norm(&mut residual, &states, &layer.down.bias, layer.output_norm.affine()));
    let tokenize = best(5, || texts.iter().take(16).for_each(|text| drop(model.ids(text))));
    json!({
        "products": 6.0 * per_token(product_qkv + product_out + product_up + product_down),
        "product_gflops": (2.0 * tokens as f64 * (WIDTH * 4 * WIDTH + 2 * WIDTH * INNER) as f64
            / (product_qkv + product_out + product_up + product_down).as_secs_f64() / 1e9).round(),
        "attention": 6.0 * per_token(attend),
        "gelu": 6.0 * per_token(gelu),
        "residual_norm": 12.0 * per_token(norm),
        "tokenizer": per_token(tokenize),
    })
}

fn main() {
    let owned = match std::env::var("TIDEMILL_BENCH_TEXTS") {
        Ok(path) => std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect(),
        Err(_) => invented(1_000),
    };
    if let Ok(path) = std::env::var("TIDEMILL_BENCH_DUMP") {
        std::fs::write(path, owned.join("\n")).unwrap();
    }
    let texts: Vec<&str> = owned.iter().map(String::as_str).collect();
    let compute = Compute::new(number("TIDEMILL_BENCH_THREADS", 0)).unwrap();
    let threads = compute.threads();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/all-minilm-l6-v2");
    let model = MiniLm::open(&directory, compute).unwrap();
    let tokens: usize = texts.iter().map(|text| model.count_tokens(text)).sum();
    let batch = number("TIDEMILL_BENCH_BATCH", 128);
    model.encode(&texts[..texts.len().min(64)]).unwrap();
    let time = best(3, || texts.chunks(batch).for_each(|part| drop(model.encode(part).unwrap()))).as_secs_f64();
    let single = best(30, || drop(model.encode(&texts[..1]).unwrap())).as_secs_f64();
    let hashing = HashingEncoder::default();
    let hashed = best(3, || drop(hashing.encode(&texts).unwrap())).as_secs_f64();
    let result = json!({
        "engine": "tidemill", "threads": threads, "batch": batch, "texts": texts.len(), "tokens": tokens,
        "seconds": time, "texts_per_second": texts.len() as f64 / time, "tokens_per_second": tokens as f64 / time,
        "single_text_ms": single * 1e3, "hashing_texts_per_second": texts.len() as f64 / hashed, "microseconds_per_token": profile(&model, &texts),
    });
    println!("{result:#}");
}
