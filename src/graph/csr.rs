//! A graph as compressed sparse rows: for each node its neighbours, sorted, in one array.
//!
//! 4 bytes a node, 4 bytes an arc, and 4 more where weights differ. An undirected edge is two arcs, a loop is one.

use super::error::GraphError;

/// A weighted graph, directed or not. Parallel edges are one edge with the sum of their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Csr {
    /// Where each node's arcs begin; one more at the end.
    offsets: Vec<u32>,
    /// Heads of the arcs, ascending within a node.
    targets: Vec<u32>,
    weights: Weights,
    directed: bool,
}

/// Weights of the arcs; those of most graphs are all the same and take no memory.
#[derive(Debug, Clone, PartialEq)]
enum Weights {
    Same(f32),
    Each(Vec<f32>),
}

impl Csr {
    /// Builds the graph in time linear in nodes and edges, but for the sorting of each node's neighbours.
    ///
    /// # Errors
    /// [`GraphError::UnknownNode`], [`GraphError::Weight`] with the edge's position, [`GraphError::TooLarge`].
    pub fn from_edges(nodes: usize, edges: &[(u32, u32, f32)], directed: bool) -> Result<Self, GraphError> {
        let offsets = count(nodes, edges, directed)?;
        let arcs = offsets[nodes] as usize;
        let mut rows: Vec<(u32, f32)> = vec![(0, 0.0); arcs];
        let mut next = offsets.clone();
        let mut put = |from: u32, to: u32, weight: f32| {
            let slot = &mut next[from as usize];
            rows[*slot as usize] = (to, weight);
            *slot += 1;
        };
        for &(from, to, weight) in edges {
            put(from, to, weight);
            if !directed && from != to {
                put(to, from, weight);
            }
        }
        Ok(merge(&offsets, rows, directed))
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of arcs: an undirected edge counts twice, a loop once.
    pub fn arcs(&self) -> usize {
        self.targets.len()
    }

    /// Whether an edge leads one way only.
    pub fn directed(&self) -> bool {
        self.directed
    }

    /// Whether the weights of arcs differ.
    pub fn weighted(&self) -> bool {
        matches!(self.weights, Weights::Each(_))
    }

    /// Number of arcs that leave `node`.
    pub fn degree(&self, node: u32) -> usize {
        let node = node as usize;
        (self.offsets[node + 1] - self.offsets[node]) as usize
    }

    /// Heads of the arcs that leave `node`, ascending.
    pub fn neighbours(&self, node: u32) -> &[u32] {
        &self.targets[self.arc_range(node)]
    }

    /// Weights of the arcs that leave `node`, in the order of [`neighbours`](Self::neighbours); `None` where all arcs of
    /// the graph weigh the same.
    pub fn weights(&self, node: u32) -> Option<&[f32]> {
        match &self.weights {
            Weights::Same(_) => None,
            Weights::Each(weights) => Some(&weights[self.arc_range(node)]),
        }
    }

    /// Weight of the arc from one node to another, `None` where there is none.
    pub fn weight(&self, from: u32, to: u32) -> Option<f32> {
        let place = self.neighbours(from).binary_search(&to).ok()?;
        Some(match &self.weights {
            Weights::Same(weight) => *weight,
            Weights::Each(weights) => weights[self.arc_range(from).start + place],
        })
    }

    /// Whether an arc leads from one node to another.
    pub fn has_arc(&self, from: u32, to: u32) -> bool {
        self.neighbours(from).binary_search(&to).is_ok()
    }

    /// Sum of the weights of the arcs that leave `node`.
    pub fn strength(&self, node: u32) -> f32 {
        match &self.weights {
            Weights::Same(weight) => {
                #[expect(clippy::cast_precision_loss, reason = "a degree of 2^24 and more is rounded by one in 2^24")]
                let degree = self.degree(node) as f32;
                degree * weight
            }
            Weights::Each(weights) => weights[self.arc_range(node)].iter().sum(),
        }
    }

    /// All edges once, with weights: every arc of a directed graph, from the smaller node to the larger of an undirected.
    pub fn edges(&self) -> impl Iterator<Item = (u32, u32, f32)> + '_ {
        let nodes = u32::try_from(self.nodes()).unwrap_or(u32::MAX);
        (0..nodes).flat_map(move |from| {
            let weights = self.weights(from);
            self.neighbours(from).iter().enumerate().filter_map(move |(place, &to)| {
                let weight = match (&self.weights, weights) {
                    (Weights::Same(weight), _) => *weight,
                    (Weights::Each(_), weights) => weights.map_or(1.0, |weights| weights[place]),
                };
                (self.directed || from <= to).then_some((from, to, weight))
            })
        })
    }

    /// Bytes the graph takes.
    pub fn bytes(&self) -> usize {
        let weights = if self.weighted() { self.targets.len() } else { 0 };
        4 * (self.offsets.len() + self.targets.len() + weights)
    }

    /// Places of a node's arcs among all arcs.
    pub(super) fn arc_range(&self, node: u32) -> std::ops::Range<usize> {
        let node = node as usize;
        self.offsets[node] as usize..self.offsets[node + 1] as usize
    }

    /// Where each node's arcs begin.
    pub(super) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Heads of all arcs.
    pub(super) fn targets(&self) -> &[u32] {
        &self.targets
    }
}

/// Checks the edges and counts each node's arcs, as offsets.
fn count(nodes: usize, edges: &[(u32, u32, f32)], directed: bool) -> Result<Vec<u32>, GraphError> {
    let limit = u32::MAX as usize - 1;
    if nodes > limit {
        return Err(GraphError::TooLarge { what: "nodes", count: nodes, limit });
    }
    let per_edge = if directed { 1 } else { 2 };
    if edges.len() > limit / per_edge {
        return Err(GraphError::TooLarge { what: "edges", count: edges.len(), limit: limit / per_edge });
    }
    let mut offsets = vec![0_u32; nodes + 1];
    for (edge, &(from, to, weight)) in edges.iter().enumerate() {
        if let Some(node) = [from, to].into_iter().find(|&node| node as usize >= nodes) {
            return Err(GraphError::UnknownNode { edge, node, nodes });
        }
        if !(weight.is_finite() && weight > 0.0) {
            return Err(GraphError::Weight { edge, weight });
        }
        offsets[from as usize + 1] += 1;
        if !directed && from != to {
            offsets[to as usize + 1] += 1;
        }
    }
    let mut sum = 0;
    for offset in &mut offsets {
        sum += *offset;
        *offset = sum;
    }
    Ok(offsets)
}

/// Sorts each row, makes parallel arcs one and splits heads from weights.
fn merge(offsets: &[u32], mut rows: Vec<(u32, f32)>, directed: bool) -> Csr {
    let mut merged: Vec<u32> = Vec::with_capacity(offsets.len());
    merged.push(0);
    let mut kept = 0;
    for range in offsets.windows(2) {
        let (start, end) = (range[0] as usize, range[1] as usize);
        rows[start..end].sort_unstable_by_key(|&(target, _)| target);
        let first = kept;
        for place in start..end {
            let (target, weight) = rows[place];
            if kept > first && rows[kept - 1].0 == target {
                rows[kept - 1].1 += weight;
            } else {
                rows[kept] = (target, weight);
                kept += 1;
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "no more arcs than before, and those fitted")]
        merged.push(kept as u32);
    }
    rows.truncate(kept);
    let weight = rows.first().map_or(1.0, |&(_, weight)| weight);
    let weights = if rows.iter().all(|&(_, other)| other.to_bits() == weight.to_bits()) {
        Weights::Same(weight)
    } else {
        Weights::Each(rows.iter().map(|&(_, weight)| weight).collect())
    };
    Csr { offsets: merged, targets: rows.into_iter().map(|(target, _)| target).collect(), weights, directed }
}
