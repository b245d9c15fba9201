//! Drawing by weight in constant time: alias tables (Walker 1977, built as Vose 1991 does).

use fastrand::Rng;

use super::{below, prefetch};
use crate::graph::csr::Csr;

/// One column of a table: it keeps its own outcome with `keep`, else it gives `other`.
#[derive(Debug, Clone, Copy)]
struct Column {
    keep: f32,
    other: u32,
}

/// Fills the table of one distribution. `columns[i].other` is a place in `weights`.
fn fill(weights: &[f32], columns: &mut Vec<Column>, stacks: &mut (Vec<u32>, Vec<u32>)) {
    let (small, large) = stacks;
    small.clear();
    large.clear();
    let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a degree of 2^52 fits no memory")]
    let scale = weights.len() as f64 / sum;
    let first = columns.len();
    for (place, &weight) in (0..).zip(weights) {
        #[expect(clippy::cast_possible_truncation, reason = "a share of the mean, near 1 in f32 as well")]
        let keep = (f64::from(weight) * scale) as f32;
        columns.push(Column { keep, other: place });
        if keep < 1.0 { small.push(place) } else { large.push(place) }
    }
    let table = &mut columns[first..];
    while let (Some(&less), Some(&more)) = (small.last(), large.last()) {
        small.pop();
        table[less as usize].other = more;
        let rest = table[more as usize].keep + table[less as usize].keep - 1.0;
        table[more as usize].keep = rest;
        if rest < 1.0 {
            large.pop();
            small.push(more);
        }
    }
    // Rounding leaves some on one of the stacks; each of them is full.
    for place in small.drain(..).chain(large.drain(..)) {
        table[place as usize].keep = 1.0;
    }
}

/// For each node a table over its arcs.
#[derive(Debug)]
pub(super) struct ArcAlias {
    /// In the order of the graph's arcs; `other` is a place among the node's own.
    columns: Vec<Column>,
}

impl ArcAlias {
    pub(super) fn new(graph: &Csr) -> Self {
        let mut columns = Vec::with_capacity(graph.arcs());
        let mut stacks = (Vec::new(), Vec::new());
        for node in 0..u32::try_from(graph.nodes()).unwrap_or(u32::MAX) {
            let weights = graph.weights(node).unwrap_or_default();
            let first = columns.len();
            fill(weights, &mut columns, &mut stacks);
            let heads = graph.neighbours(node);
            for column in &mut columns[first..] {
                column.other = heads[column.other as usize];
            }
        }
        Self { columns }
    }

    /// The head of a uniformly drawn arc, made one drawn by weight.
    pub(super) fn head(&self, graph: &Csr, arc: u32, random: &mut Rng) -> u32 {
        let column = self.columns[arc as usize];
        if random.f32() < column.keep { graph.targets()[arc as usize] } else { column.other }
    }

    pub(super) fn prefetch(&self, arc: u32) {
        prefetch(&self.columns, arc as usize);
    }
}

/// Draws nodes by weight.
#[derive(Debug)]
pub(in crate::graph) struct NodeAlias {
    columns: Vec<Column>,
}

impl NodeAlias {
    /// A table over all nodes; `None` where no weight is above 0.
    pub(in crate::graph) fn new(weights: &[f32]) -> Option<Self> {
        if !weights.iter().any(|&weight| weight > 0.0) {
            return None;
        }
        let mut columns = Vec::with_capacity(weights.len());
        fill(weights, &mut columns, &mut (Vec::new(), Vec::new()));
        Some(Self { columns })
    }

    pub(in crate::graph) fn draw(&self, random: &mut Rng) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "a graph has fewer than 2^32 nodes")]
        let place = below(random, self.columns.len() as u32);
        let column = self.columns[place as usize];
        if random.f32() < column.keep { place } else { column.other }
    }
}
