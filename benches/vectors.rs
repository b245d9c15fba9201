//! The near-duplicate check on the embedded index at a million vectors: `cargo bench --bench vectors`.
//!
//! `TIDEMILL_BENCH_VECTORS` (default 1,000,000) says how many. They lie in clusters whose members are about 0.7 alike; each
//! question is a near copy of one of them, at a cosine of about 0.96, asked as the check asks: at most eight neighbours from
//! 0.95 on. Times are those of the asking thread on a processor, and by the clock.
#![allow(clippy::expect_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a benchmark")]
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_sign_loss, reason = "a benchmark")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::config::store::VectorsConfig;
use tidemill::stores::vector_index::EmbeddedIndex;
use tidemill::stores::vectors::{VectorEntry, VectorFilter};

const DIMENSION: usize = 384;
const QUERIES: usize = 500;
/// As `dedup.cosine_threshold`.
const THRESHOLD: f32 = 0.95;
/// Neighbours the check asks for.
const NEIGHBORS: usize = 8;

fn normalised(mut values: Vec<f32>) -> Vec<f32> {
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.iter_mut().for_each(|value| *value /= norm);
    values
}

fn random_vector(random: &mut fastrand::Rng) -> Vec<f32> {
    normalised((0..DIMENSION).map(|_| random.f32() - 0.5).collect())
}

/// A vector beside another, the farther the greater `share`.
fn beside(random: &mut fastrand::Rng, vector: &[f32], share: f32) -> Vec<f32> {
    let noise = random_vector(random);
    normalised(vector.iter().zip(noise).map(|(one, noise)| one + share * noise).collect())
}

/// Time this thread was on a processor; time by the clock where that is not told.
fn on_processor(since: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

/// Median and 99th percentile in milliseconds.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    (at(0.5), at(0.99))
}

fn main() {
    let count: usize = std::env::var("TIDEMILL_BENCH_VECTORS").map_or(1_000_000, |text| text.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(2);
    let centers: Vec<Vec<f32>> = (0..count / 50).map(|_| random_vector(&mut random)).collect();
    let directory = tempfile::tempdir().unwrap();
    // the check is a scan whether there is a graph or not, and this one is not to wait for it
    let config = VectorsConfig { graph_from: usize::MAX, ..VectorsConfig::default() };
    let (index, _) = EmbeddedIndex::open(&directory.path().join("v.index"), DIMENSION, &config).unwrap();
    let asked = (count / QUERIES).max(1);
    let mut originals: Vec<(Arc<str>, Vec<f32>)> = Vec::new();
    let started = Instant::now();
    for at in 0..count {
        let center = &centers[random.usize(0..centers.len())];
        let vector = beside(&mut random, center, 1.0);
        let id: Arc<str> = format!("doc-{at}").into();
        if at % asked == 0 {
            originals.push((Arc::clone(&id), vector.clone()));
        }
        let timestamp_ms = i64::try_from(at).unwrap();
        let (source, symbols) = ("news".into(), Vec::new().into());
        index.insert(VectorEntry { id, vector: vector.into(), timestamp_ms, source, symbols }).unwrap();
    }
    println!("{count} vectors made and inserted in {:.0} s", started.elapsed().as_secs_f64());
    let filter = VectorFilter { min_similarity: Some(THRESHOLD), ..VectorFilter::default() };
    let (mut processor, mut clock, mut found) = (Vec::new(), Vec::new(), 0);
    for (id, original) in &originals {
        let query = beside(&mut random, original, 0.29);
        let wall = Instant::now();
        let before = on_processor(wall);
        let neighbors = index.nearest(&query, NEIGHBORS, &filter).unwrap();
        processor.push(on_processor(wall).saturating_sub(before));
        clock.push(wall.elapsed());
        let similar = original.iter().zip(&query).map(|(one, two)| one * two).sum::<f32>() >= THRESHOLD;
        found += usize::from(!similar || neighbors.first().is_some_and(|nearest| nearest.id == *id));
    }
    let ((half, most), (half_clock, most_clock)) = (percentiles(processor), percentiles(clock));
    println!("near-duplicate check: recall {found}/{}", originals.len());
    println!(
        "processor time p50 {half:.2} ms, p99 {most:.2} ms; by the clock p50 {half_clock:.2} ms, p99 {most_clock:.2} ms"
    );
}
