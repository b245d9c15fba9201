//! How fast walks and training are, and what a large graph takes.

use std::ops::ControlFlow;
use std::time::Instant;

use fastrand::Rng;
use tidemill::graph::csr::Csr;
use tidemill::graph::node2vec::{Embeddings, Node2VecConfig, train};
use tidemill::graph::walks::{Walker, Walks};

use crate::generate::{barabasi_albert, peak_mib};

/// Runs of a measurement; the shortest counts.
const RUNS: usize = 3;

/// Walks and training on the graph that peers are measured on.
pub fn run() {
    let graph = graph(10_000);
    for (p, q) in [(1.0, 1.0), (0.5, 2.0), (2.0, 0.5), (0.05, 1.0)] {
        let seconds = (0..RUNS).map(|_| walk_seconds(&graph, p, q)).fold(f64::INFINITY, f64::min);
        let steps = graph.nodes() as f64 * 10.0 * 19.0;
        println!("walks, p {p}, q {q}, one thread: {:.1} million steps/s", steps / seconds / 1e6);
    }
    for threads in [1, 0] {
        let config = Node2VecConfig { threads, ..Node2VecConfig::default() };
        let (seconds, vectors) = learn(&graph, &config);
        println!(
            "training with walks, {}: {seconds:.2} s, {:.1} million pairs/s, loss {:.4}",
            if threads == 1 { "one thread" } else { "all threads" },
            vectors.pairs as f64 / seconds / 1e6,
            vectors.losses.last().unwrap().loss
        );
    }
}

/// A million nodes and five million edges, one epoch with all walks of the defaults.
pub fn memory() {
    let edges = barabasi_albert(1_000_000, 5, 7);
    let before = peak_mib();
    let started = Instant::now();
    let graph = Csr::from_edges(1_000_000, &edges, false).unwrap();
    let built = started.elapsed().as_secs_f64();
    drop(edges);
    let config = Node2VecConfig { epochs: 1, ..Node2VecConfig::default() };
    let (seconds, vectors) = learn(&graph, &config);
    println!(
        "{} nodes, {} arcs in {} MiB, built in {built:.2} s; ten walks a node learned in {seconds:.1} s, {:.1} million \
         pairs/s; peak {:.0} MiB, of which {before:.0} MiB were reached while the edges were made",
        graph.nodes(),
        graph.arcs(),
        graph.bytes() >> 20,
        vectors.pairs as f64 / seconds / 1e6,
        peak_mib()
    );
}

/// A Barabási–Albert graph with three edges a node.
pub fn graph(nodes: u32) -> Csr {
    Csr::from_edges(nodes as usize, &barabasi_albert(nodes, 3, 7), false).unwrap()
}

/// Seconds of a training, and what came of it.
pub fn learn(graph: &Csr, config: &Node2VecConfig) -> (f64, Embeddings) {
    let started = Instant::now();
    let vectors = train(graph, config, &mut |_| ControlFlow::Continue(())).unwrap();
    (started.elapsed().as_secs_f64(), vectors)
}

/// Seconds of ten walks of 20 nodes from every node.
fn walk_seconds(graph: &Csr, p: f32, q: f32) -> f64 {
    let walker = Walker::new(graph, 20, p, q).unwrap();
    let (mut walks, mut random) = (Walks::default(), Rng::with_seed(1));
    let nodes: Vec<u32> = (0..graph.nodes() as u32).collect();
    let started = Instant::now();
    for _ in 0..10 {
        for batch in nodes.chunks(128) {
            walker.walk(batch.iter().copied(), &mut random, &mut walks);
            divan::black_box(&walks);
        }
    }
    started.elapsed().as_secs_f64()
}
