//! Hides edges of an undirected graph, to see whether they can be found again.

use std::collections::HashSet;

use fastrand::Rng;

use crate::graph::csr::Csr;

/// Draws that may miss before pairs without an edge are taken to have run out.
const MISSES: usize = 200;

/// A graph's edges divided in those that are shown and those that are hidden, with as many pairs that have none.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkSplit {
    /// Edges to learn from, with weights. They connect what the whole graph connects.
    pub shown: Vec<(u32, u32, f32)>,
    /// Hidden edges.
    pub hidden: Vec<(u32, u32)>,
    /// Pairs without an edge in the whole graph, no more than hidden edges; fewer where there are not as many.
    pub absent: Vec<(u32, u32)>,
}

impl LinkSplit {
    /// Hides `share` (0 to 1) of the edges that join two different nodes, fewer where more would break a component apart.
    /// A directed graph is taken as undirected by its arcs.
    pub fn new(graph: &Csr, share: f64, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut edges: Vec<(u32, u32, f32)> = graph.edges().filter(|(from, to, _)| from != to).collect();
        random.shuffle(&mut edges);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share between 0 and 1 of a count"
        )]
        let wanted = (edges.len() as f64 * share.clamp(0.0, 1.0)).round() as usize;
        let mut forest = Forest::new(graph.nodes());
        let (mut shown, mut spare) = (Vec::new(), Vec::new());
        for edge in edges {
            if forest.join(edge.0, edge.1) { shown.push(edge) } else { spare.push(edge) }
        }
        shown.extend(spare.split_off(wanted.min(spare.len())));
        let hidden: Vec<(u32, u32)> = spare.into_iter().map(|(from, to, _)| (from, to)).collect();
        let absent = absent(graph, hidden.len(), &mut random);
        Self { shown, hidden, absent }
    }
}

/// Different pairs without an edge.
fn absent(graph: &Csr, count: usize, random: &mut Rng) -> Vec<(u32, u32)> {
    let nodes = u32::try_from(graph.nodes()).unwrap_or(u32::MAX);
    let (mut pairs, mut seen) = (Vec::with_capacity(count), HashSet::with_capacity(count));
    let mut misses = 0;
    while pairs.len() < count && misses < MISSES * count {
        let (one, two) = (random.u32(0..nodes), random.u32(0..nodes));
        let pair = (one.min(two), one.max(two));
        if one == two || graph.has_arc(one, two) || graph.has_arc(two, one) || !seen.insert(pair) {
            misses += 1;
        } else {
            pairs.push(pair);
        }
    }
    pairs
}

/// Which nodes are connected so far.
struct Forest {
    parents: Vec<u32>,
}

impl Forest {
    fn new(nodes: usize) -> Self {
        Self { parents: (0..u32::try_from(nodes).unwrap_or(u32::MAX)).collect() }
    }

    fn root(&mut self, mut node: u32) -> u32 {
        while self.parents[node as usize] != node {
            let above = self.parents[self.parents[node as usize] as usize];
            self.parents[node as usize] = above;
            node = above;
        }
        node
    }

    /// Connects two nodes; false where they already were.
    fn join(&mut self, one: u32, two: u32) -> bool {
        let (one, two) = (self.root(one), self.root(two));
        self.parents[one as usize] = two;
        one != two
    }
}
