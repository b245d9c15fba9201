//! Walks follow the second-order probabilities of their definition, and training finds what a graph shows.
#![expect(clippy::expect_used, reason = "tests")]

use std::collections::HashMap;
use std::ops::ControlFlow;

use fastrand::Rng;
use tidemill::graph::csr::Csr;
use tidemill::graph::error::GraphError;
use tidemill::graph::node2vec::{Embeddings, Node2VecConfig, Objective, Trainer, train};
use tidemill::graph::walks::{Walker, Walks};

/// A graph with a triangle, a tail, a loop and weights of all sizes.
const EDGES: [(u32, u32, f32); 9] = [
    (0, 1, 1.0),
    (1, 2, 0.5),
    (2, 0, 2.0),
    (2, 3, 3.0),
    (3, 4, 1.0),
    (4, 2, 0.25),
    (3, 5, 4.0),
    (5, 5, 1.0),
    (1, 5, 0.75),
];
const NODES: usize = 7;
/// Walks drawn for a comparison with probabilities.
const DRAWN: usize = 20_000;

fn graph(weighted: bool, directed: bool) -> Csr {
    let edges: Vec<_> =
        EDGES.iter().map(|&(from, to, weight)| (from, to, if weighted { weight } else { 1.0 })).collect();
    Csr::from_edges(NODES, &edges, directed).expect("edges name nodes of the graph")
}

fn learn(graph: &Csr, config: &Node2VecConfig) -> Embeddings {
    train(graph, config, &mut |_| ControlFlow::Continue(())).expect("the parameters are valid")
}

fn small() -> Node2VecConfig {
    Node2VecConfig {
        dimension: 16,
        walk_length: 10,
        context_size: 5,
        walks_per_node: 4,
        epochs: 5,
        learning_rate: 0.05,
        threads: 1,
        ..Node2VecConfig::default()
    }
}

/// Two cliques of ten joined by one edge.
fn cliques() -> Csr {
    let mut edges = vec![(9, 10, 1.0)];
    for clique in [0, 10] {
        for one in 0..10_u32 {
            edges.extend((0..one).map(|two| (clique + one, clique + two, 1.0)));
        }
    }
    Csr::from_edges(20, &edges, false).expect("edges name nodes of the graph")
}

/// Probability of each next node after `from` and `at`, straight from the definition.
fn exact(graph: &Csr, (from, at): (u32, u32), p: f64, q: f64) -> HashMap<u32, f64> {
    let shares: HashMap<u32, f64> = graph
        .neighbours(at)
        .iter()
        .map(|&next| {
            let bias = if next == from {
                1.0 / p
            } else if graph.has_arc(from, next) {
                1.0
            } else {
                1.0 / q
            };
            (next, bias * f64::from(graph.weight(at, next).expect("a neighbour")))
        })
        .collect();
    let all: f64 = shares.values().sum();
    shares.into_iter().map(|(next, share)| (next, share / all)).collect()
}

/// Counts the third nodes of walks by their first two, and compares with the definition by chi-square.
fn assert_second_order(graph: &Csr, p: f32, q: f32) {
    let walker = Walker::new(graph, 3, p, q).expect("valid parameters");
    let (mut walks, mut random) = (Walks::default(), Rng::with_seed(7));
    let mut seen: HashMap<(u32, u32), HashMap<u32, f64>> = HashMap::new();
    for start in 0..6 {
        walker.walk(std::iter::repeat_n(start, DRAWN), &mut random, &mut walks);
        for walk in walks.iter().filter(|walk| walk.len() == 3) {
            *seen.entry((walk[0], walk[1])).or_default().entry(walk[2]).or_default() += 1.0;
        }
    }
    assert!(seen.len() > 6);
    for (pair, counts) in seen {
        let drawn: f64 = counts.values().sum();
        let expected = exact(graph, pair, f64::from(p), f64::from(q));
        assert!(counts.keys().all(|next| expected.contains_key(next)), "an arc that is not there after {pair:?}");
        let mut chi_square = 0.0;
        for (next, probability) in &expected {
            let expected = probability * drawn;
            chi_square += (counts.get(next).copied().unwrap_or(0.0) - expected).powi(2) / expected;
        }
        // Four degrees of freedom at most: above 23.5 with probability 1e-4.
        assert!(
            chi_square < 23.5,
            "p {p} q {q} after {pair:?}: chi-square {chi_square:.1}, {counts:?} of {expected:?}"
        );
    }
}

#[test]
fn steps_follow_second_order_probabilities() {
    for (weighted, directed) in [(false, false), (true, false), (false, true), (true, true)] {
        let graph = graph(weighted, directed);
        for (p, q) in [(1.0, 1.0), (0.25, 4.0), (4.0, 0.25), (0.5, 0.5), (2.0, 1.0)] {
            assert_second_order(&graph, p, q);
        }
    }
}

#[test]
fn extreme_parameters_still_follow_the_definition() {
    for weighted in [false, true] {
        let graph = graph(weighted, false);
        for (p, q) in [(0.02, 1.0), (50.0, 50.0), (50.0, 0.02), (0.02, 50.0)] {
            assert_second_order(&graph, p, q);
        }
    }
}

#[test]
fn walks_end_where_no_arc_leaves() {
    let graph = Csr::from_edges(4, &[(0, 1, 1.0), (1, 2, 1.0)], true).expect("a path");
    let walker = Walker::new(&graph, 10, 0.5, 2.0).expect("valid parameters");
    let mut walks = Walks::default();
    walker.walk([0, 3], &mut Rng::with_seed(1), &mut walks);
    assert_eq!(walks.iter().collect::<Vec<_>>(), [&[0, 1, 2][..], &[3]]);
    assert_eq!(walks.steps(), 2);
}

#[test]
fn one_seed_and_one_thread_give_the_same_vectors() {
    for objective in [Objective::SingleTable, Objective::SkipGram] {
        let config = Node2VecConfig { objective, p: 0.5, q: 2.0, ..small() };
        let (graph, other) = (cliques(), Node2VecConfig { seed: 2, ..config.clone() });
        assert_eq!(learn(&graph, &config), learn(&graph, &config));
        assert_ne!(learn(&graph, &config).values, learn(&graph, &other).values);
    }
}

#[test]
fn two_cliques_come_apart() {
    for objective in [Objective::SingleTable, Objective::SkipGram] {
        let vectors = learn(&cliques(), &Node2VecConfig { objective, learning_rate: 0.1, ..small() });
        for node in 0..20 {
            let near = vectors.nearest(node, 9);
            let own = near.iter().filter(|(other, _)| (*other < 10) == (node < 10)).count();
            assert!(own >= 8, "{objective:?}: {own} of 9 nearest to {node} are of its clique: {near:?}");
        }
    }
}

#[test]
fn loss_falls() {
    for objective in [Objective::SingleTable, Objective::SkipGram] {
        let losses = learn(&cliques(), &Node2VecConfig { objective, ..small() }).losses;
        assert_eq!(losses.iter().map(|loss| loss.epoch).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(losses[4].loss < losses[0].loss, "{losses:?}");
    }
}

/// The hand-written steps are those that candle derives: from the same vectors, walks and negatives both have the same
/// losses, nearer to each other in every epoch than those of other seeds are to their mean.
#[test]
fn both_trainers_lose_alike() {
    for (objective, offset) in
        [(Objective::SingleTable, 0.0), (Objective::SingleTable, -6.0), (Objective::SkipGram, 0.0)]
    {
        let config = Node2VecConfig { objective, offset, ..small() };
        let ours = learn(&cliques(), &config);
        let reference = learn(&cliques(), &Node2VecConfig { trainer: Trainer::Reference, ..config.clone() });
        assert_eq!((ours.steps, ours.pairs), (reference.steps, reference.pairs));
        let others: Vec<_> =
            (1..=10).map(|seed| learn(&cliques(), &Node2VecConfig { seed, ..config.clone() }).losses).collect();
        for (epoch, (one, two)) in ours.losses.iter().zip(&reference.losses).enumerate() {
            let mean = others.iter().map(|losses| losses[epoch].loss).sum::<f64>() / 10.0;
            let noise = (others.iter().map(|losses| (losses[epoch].loss - mean).powi(2)).sum::<f64>() / 9.0).sqrt();
            let apart = (one.loss - two.loss).abs();
            assert!(apart < noise, "{objective:?}, offset {offset}: {one:?} beside {two:?}, noise {noise}");
        }
    }
}

#[test]
fn nodes_without_edges_keep_a_finite_vector() {
    let empty = learn(&Csr::from_edges(3, &[], false).expect("no edges"), &small());
    assert_eq!((empty.nodes(), empty.losses.len(), empty.pairs), (3, 0, 0));
    assert!(empty.values.iter().all(|value| value.is_finite() && *value != 0.0));
    assert_eq!(learn(&Csr::from_edges(0, &[], false).expect("no nodes"), &small()).nodes(), 0);
}

#[test]
fn progress_is_told_and_break_ends_training() {
    let graph = cliques();
    let mut told = Vec::new();
    let config = Node2VecConfig { epochs: 7, ..small() };
    train(&graph, &config, &mut |progress| {
        told.push(progress);
        ControlFlow::Continue(())
    })
    .expect("the parameters are valid");
    let losses: Vec<usize> = told.iter().filter(|told| told.loss.is_some()).map(|told| told.epoch).collect();
    assert_eq!(losses, [5, 7]);
    assert!(told.is_sorted_by(|one, two| one.done <= two.done));
    assert!((told.last().expect("progress").done - 1.0).abs() < 1e-12);
    let stopped = train(&graph, &config, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(GraphError::Cancelled { epoch: 1 })), "{stopped:?}");
}

#[test]
fn parameters_out_of_range_are_named() {
    let wrong = [
        Node2VecConfig { dimension: 0, ..small() },
        Node2VecConfig { context_size: 11, ..small() },
        Node2VecConfig { p: 0.0, ..small() },
        Node2VecConfig { q: f32::NAN, ..small() },
        Node2VecConfig { learning_rate: f32::INFINITY, ..small() },
        Node2VecConfig { offset: f32::NAN, ..small() },
    ];
    for (config, name) in wrong.iter().zip(["dimension", "context_size", "p", "q", "learning_rate", "offset"]) {
        let refused = train(&cliques(), config, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(refused, Err(GraphError::Parameter { name: found, .. }) if found == name), "{refused:?}");
    }
}
