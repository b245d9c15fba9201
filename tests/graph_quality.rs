//! What judges vectors judges right, and what draws them puts together what belongs together.
#![expect(clippy::expect_used, clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "tests")]

use fastrand::Rng;
use proptest::prelude::*;
use tidemill::graph::communities::communities;
use tidemill::graph::csr::Csr;
use tidemill::graph::evaluation::auc::auc;
use tidemill::graph::evaluation::heuristics::Heuristic;
use tidemill::graph::evaluation::logistic::{Model, Samples};
use tidemill::graph::evaluation::split::LinkSplit;
use tidemill::graph::evaluation::{classify, link_auc};
use tidemill::graph::projection::project;

/// `groups` cliques of `size`, each joined to the next by one edge.
fn cliques(groups: u32, size: u32) -> Csr {
    let mut edges = Vec::new();
    for group in 0..groups {
        let first = group * size;
        for one in 0..size {
            edges.extend((0..one).map(|two| (first + one, first + two, 1.0)));
        }
        if group > 0 {
            edges.push((first - 1, first, 1.0));
        }
    }
    Csr::from_edges((groups * size) as usize, &edges, false).expect("edges name nodes of the graph")
}

/// Vectors of two numbers around a point of each group's own.
fn clouds(groups: usize, size: usize) -> (Vec<f32>, Vec<usize>) {
    let mut random = Rng::with_seed(3);
    let labels: Vec<usize> = (0..groups * size).map(|node| node / size).collect();
    let mut values = Vec::new();
    for &label in &labels {
        let angle = std::f32::consts::TAU * label as f32 / groups as f32;
        values.extend([angle.cos(), angle.sin()].map(|value| value + 0.2 * (random.f32() - 0.5)));
    }
    (values, labels)
}

proptest! {
    #[test]
    fn auc_is_the_share_of_pairs_in_order(scores in prop::collection::vec((0_u8..6, any::<bool>()), 0..40)) {
        let scores: Vec<(f64, bool)> = scores.into_iter().map(|(score, kind)| (f64::from(score), kind)).collect();
        let (mut won, mut pairs) = (0.0, 0.0);
        for high in scores.iter().filter(|score| score.1) {
            for low in scores.iter().filter(|score| !score.1) {
                pairs += 1.0;
                won += if high.0 > low.0 { 1.0 } else if high.0 < low.0 { 0.0 } else { 0.5 };
            }
        }
        let found = auc(&scores);
        prop_assert_eq!(found.is_some(), pairs > 0.0);
        prop_assert!(found.is_none_or(|found| (found - won / pairs).abs() < 1e-12));
    }

    #[test]
    fn a_split_keeps_what_was_connected(
        edges in prop::collection::vec((0_u32..12, 0_u32..12), 0..60),
        seed: u64,
        share in 0.0..1.0_f64,
    ) {
        let listed: Vec<_> = edges.iter().map(|&(from, to)| (from, to, 1.0)).collect();
        let graph = Csr::from_edges(12, &listed, false).expect("edges name nodes of the graph");
        let split = LinkSplit::new(&graph, share, seed);
        let shown = Csr::from_edges(12, &split.shown, false).expect("edges of the graph");
        prop_assert_eq!(components(&shown), components(&graph));
        prop_assert!(split.hidden.iter().all(|&(one, two)| graph.has_arc(one, two) && !shown.has_arc(one, two)));
        prop_assert!(split.absent.iter().all(|&(one, two)| one != two && !graph.has_arc(one, two)));
        prop_assert!(split.absent.len() <= split.hidden.len());
        let edges = graph.edges().filter(|(from, to, _)| from != to).count();
        prop_assert_eq!(split.shown.len() + split.hidden.len(), edges);
    }
}

/// The smallest node that each node is connected with.
fn components(graph: &Csr) -> Vec<u32> {
    let mut first: Vec<u32> = (0..graph.nodes() as u32).collect();
    for _ in 0..graph.nodes() {
        for (from, to, _) in graph.edges() {
            let least = first[from as usize].min(first[to as usize]);
            (first[from as usize], first[to as usize]) = (least, least);
        }
    }
    first
}

#[test]
fn heuristics_are_those_of_their_definitions() {
    // 0 and 1 share 2 (degree 3) and 3 (degree 2); 1 has 4 besides, and 2 has 4 too.
    let edges = [(0, 2), (0, 3), (1, 2), (1, 3), (1, 4), (2, 4)].map(|(one, two)| (one, two, 1.0));
    let graph = Csr::from_edges(5, &edges, false).expect("edges name nodes of the graph");
    let scores = Heuristic::ALL.map(|heuristic| heuristic.score(&graph, 0, 1));
    let adamic_adar = 1.0 / 3.0_f64.ln() + 1.0 / 2.0_f64.ln();
    for (score, expected) in scores.iter().zip([2.0, 2.0 / 3.0, adamic_adar, 6.0]) {
        assert!((score - expected).abs() < 1e-12, "{scores:?}");
    }
}

/// At the minimum of the penalised loss its gradient is zero.
#[test]
fn logistic_regression_ends_where_the_gradient_is_zero() {
    let mut random = Rng::with_seed(5);
    let mut samples = Samples::new(3);
    let mut labels = Vec::new();
    for _ in 0..60 {
        let row = [random.f64() - 0.5, random.f64() * 4.0, random.f64() - 2.0];
        labels.push(row[0] * 3.0 - row[1] + random.f64() > 0.0);
        samples.push(row.into_iter());
    }
    let places: Vec<usize> = (0..60).collect();
    let model = Model::fit(&samples, &places, &labels);
    let zero = model.score(&[0.0; 4]);
    assert!(zero.abs() < 1e-12);
    for feature in 0..4 {
        let mut unit = [0.0; 4];
        unit[feature] = 1.0;
        let penalty = if feature < 3 { model.score(&unit) } else { 0.0 };
        let data: f64 = places
            .iter()
            .map(|&place| {
                let row = samples.row(place);
                (1.0 / (1.0 + (-model.score(row)).exp()) - f64::from(u8::from(labels[place]))) * row[feature]
            })
            .sum();
        assert!((penalty + data).abs() < 1e-5, "feature {feature}: {penalty} and {data}");
    }
}

#[test]
fn vectors_that_tell_are_told_from_vectors_that_do_not() {
    let (values, labels) = clouds(3, 12);
    let found = classify(&values, 2, &labels, 1);
    assert!(found.accuracy > 0.95 && found.macro_f1 > 0.95, "{found:?}");
    let graph = cliques(3, 12);
    let split = LinkSplit::new(&graph, 0.5, 1);
    let good = link_auc(&values, 2, &split, 1).expect("both kinds");
    let mut random = Rng::with_seed(1);
    let noise: Vec<f32> = values.iter().map(|_| random.f32() - 0.5).collect();
    let bad = link_auc(&noise, 2, &split, 1).expect("both kinds");
    assert!(good > 0.8 && (0.3..0.7).contains(&bad), "{good} and {bad}");
}

#[test]
fn communities_are_the_cliques() {
    let found = communities(&cliques(5, 8), 1);
    assert_eq!(found.count, 5);
    for node in 0..40 {
        assert_eq!(found.labels[node], found.labels[node / 8 * 8]);
    }
    // Five cliques of 28 edges and 4 bridges: 144 edges, 140 of them inside.
    let sums = [57.0, 58.0, 58.0, 58.0, 57.0].map(|sum: f64| (sum / 288.0).powi(2)).iter().sum::<f64>();
    assert!((found.modularity - (140.0 / 144.0 - sums)).abs() < 1e-12, "{}", found.modularity);
    let apart = communities(&Csr::from_edges(3, &[], false).expect("no edges"), 1);
    assert_eq!((apart.count, apart.modularity), (3, 0.0));
}

#[test]
fn a_picture_puts_groups_together() {
    let (values, labels) = clouds(4, 10);
    let points = project(&values, 2, 1);
    assert_eq!(points, project(&values, 2, 1));
    assert!(points.iter().flatten().all(|value| value.is_finite() && value.abs() <= 1.0001));
    let distance = |one: usize, two: usize| (points[one][0] - points[two][0]).hypot(points[one][1] - points[two][1]);
    for node in 0..points.len() {
        let nearest = (0..points.len())
            .filter(|&other| other != node)
            .min_by(|&one, &two| distance(node, one).total_cmp(&distance(node, two)))
            .expect("others");
        assert_eq!(labels[nearest], labels[node]);
    }
    for few in 0..4 {
        assert_eq!(project(&values[..few * 2], 2, 1).len(), few);
    }
}
