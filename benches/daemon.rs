//! The whole daemon at full speed: documents per second, resident memory and latency percentiles.
//!
//! `cargo bench --bench daemon`. Texts come from the `text` column of the CSV named by `TIDEMILL_BENCH_CSV`, else they are
//! invented; `TIDEMILL_BENCH_DOCUMENTS` (default 24,000) says how many, `TIDEMILL_BENCH_ENCODER` which encoder
//! (default `minilm`), `TIDEMILL_BENCH_RATE` documents per second to hold instead of full speed.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "../tests/daemon/corpus.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod corpus;
#[path = "../tests/daemon/process.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod process;

use std::time::{Duration, Instant};

use process::Daemon;
use serde_json::{Value, json};

const BATCH: usize = 200;

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Bodies of `count` documents; a text that comes by again gets its round's number, so that it is not a copy.
fn documents(count: usize) -> Vec<Value> {
    let Some(path) = setting("TIDEMILL_BENCH_CSV") else {
        return corpus::corpus(count, 1).into_iter().map(|sample| sample.body).collect();
    };
    let texts = csv_texts(&std::fs::read_to_string(path).unwrap());
    (0..count)
        .map(|index| {
            let round = index / texts.len();
            let text = &texts[index % texts.len()];
            let text = if round == 0 { text.clone() } else { format!("round {round} desk {round}{round} {text}") };
            json!({"id": format!("b{index}"), "source": "news", "text": text})
        })
        .collect()
}

/// First column of a CSV with quoted fields, header left out.
fn csv_texts(csv: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut field = String::new();
    let (mut quoted, mut column) = (false, 0);
    let mut characters = csv.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                if column == 0 {
                    field.push('"');
                }
            }
            '"' => quoted = !quoted,
            ',' if !quoted => column += 1,
            '\n' if !quoted => {
                texts.push(std::mem::take(&mut field));
                column = 0;
            }
            _ if column == 0 => field.push(character),
            _ => {}
        }
    }
    texts.drain(..1.min(texts.len()));
    texts
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[index]
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn run() {
    let count = setting("TIDEMILL_BENCH_DOCUMENTS").map_or(24_000, |text| text.parse().unwrap());
    let rate: Option<f64> = setting("TIDEMILL_BENCH_RATE").map(|text| text.parse().unwrap());
    let encoder = setting("TIDEMILL_BENCH_ENCODER").unwrap_or_else(|| "minilm".to_owned());
    let bodies = documents(count);
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path(), &[&format!("encoder.kind={encoder}"), "logging.level=warn"]).await;
    let idle = daemon.resident_bytes();
    let mut peak = idle;
    let started = Instant::now();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let batch = rate.map_or(BATCH, |rate| ((rate / 20.0) as usize).clamp(1, BATCH));
    let mut tick = tokio::time::interval(
        rate.map_or(Duration::from_millis(20), |rate| Duration::from_secs_f64(batch as f64 / rate)),
    );
    for chunk in bodies.chunks(batch) {
        let body = Value::Array(chunk.to_vec());
        loop {
            if rate.is_some() {
                tick.tick().await;
            }
            match daemon.post("/v1/documents", &body).await {
                (202, _) => break,
                (429, _) => {
                    tick.tick().await;
                }
                (status, answer) => panic!("{status}: {answer}"),
            }
            peak = peak.max(daemon.resident_bytes());
        }
        peak = peak.max(daemon.resident_bytes());
    }
    while daemon.get("/health").await.1["backlog_records"] != 0 {
        tick.tick().await;
        peak = peak.max(daemon.resident_bytes());
    }
    let elapsed = started.elapsed().as_secs_f64();
    println!("encoder {encoder}, {count} documents in {elapsed:.1} s: {:.0} documents/s", count as f64 / elapsed);
    println!("resident: {} MiB idle, {} MiB peak", idle >> 20, peak >> 20);
    report_latency(&daemon).await;
}

/// Pipeline latency (source to durable verdict) per stage and in all, from the analyses themselves.
async fn report_latency(daemon: &Daemon) {
    let mut stages: std::collections::BTreeMap<String, Vec<f64>> = std::collections::BTreeMap::new();
    for item in daemon.all("/v1/documents").await {
        let timings = item["analysis"]["timings_ms"].as_object().unwrap().clone();
        let total = timings.values().map(|value| value.as_f64().unwrap()).sum();
        stages.entry("total".to_owned()).or_default().push(total);
        for (stage, value) in timings {
            stages.entry(stage).or_default().push(value.as_f64().unwrap());
        }
    }
    println!("{:<14} {:>9} {:>9} {:>9} {:>9}", "stage (ms)", "p50", "p95", "p99", "max");
    for (stage, mut values) in stages {
        values.sort_by(f64::total_cmp);
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|share| percentile(&values, share));
        println!("{stage:<14} {p50:>9.2} {p95:>9.2} {p99:>9.2} {max:>9.2}");
    }
}

fn main() {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run());
}
