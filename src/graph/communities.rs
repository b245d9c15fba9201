//! Communities: groups of nodes with more edges among them than chance would give (Louvain, Blondel et al. 2008).

use std::collections::HashMap;

use fastrand::Rng;

use super::csr::Csr;

/// Gains below this are rounding.
const LEAST_GAIN: f64 = 1e-9;
/// Passes over all nodes of a level; they settle long before.
const PASSES: usize = 100;

/// A division of the nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Communities {
    /// Community of each node; 0 is the largest. Nodes without edges are communities of one.
    pub labels: Vec<u32>,
    /// Number of communities.
    pub count: usize,
    /// Share of the weight inside communities above what chance would put there, -0.5 to 1.
    pub modularity: f64,
}

/// One level: nodes that stand for groups of nodes of the graph.
struct Level {
    /// For each node its neighbours with weights; an edge is at both ends, a loop once with double weight.
    rows: Vec<Vec<(u32, f64)>>,
    /// Sum of each row.
    strengths: Vec<f64>,
    /// Sum of all rows: twice the weight of all edges.
    total: f64,
}

/// Finds communities; arcs count as edges whichever way they lead. The same seed gives the same ones.
pub fn communities(graph: &Csr, seed: u64) -> Communities {
    let mut random = Rng::with_seed(seed);
    let mut level = Level::of(graph);
    let whole = Level::of(graph);
    let mut labels: Vec<u32> = (0..u32::try_from(graph.nodes()).unwrap_or(u32::MAX)).collect();
    loop {
        let groups = level.settle(&mut random);
        let (groups, count) = renumber(&groups);
        for label in &mut labels {
            *label = groups[*label as usize];
        }
        if count == level.rows.len() {
            break;
        }
        level = level.merged(&groups, count);
    }
    let (labels, count) = by_size(&labels, level.rows.len());
    let modularity = whole.modularity(&labels, count);
    Communities { labels, count, modularity }
}

impl Level {
    fn of(graph: &Csr) -> Self {
        let mut rows = vec![Vec::new(); graph.nodes()];
        for (from, to, weight) in graph.edges() {
            let weight = f64::from(weight);
            if from == to {
                rows[from as usize].push((from, 2.0 * weight));
            } else {
                rows[from as usize].push((to, weight));
                rows[to as usize].push((from, weight));
            }
        }
        Self::new(rows)
    }

    fn new(rows: Vec<Vec<(u32, f64)>>) -> Self {
        let strengths: Vec<f64> = rows.iter().map(|row| row.iter().map(|&(_, weight)| weight).sum()).collect();
        let total = strengths.iter().sum();
        Self { rows, strengths, total }
    }

    /// Moves nodes to the community of a neighbour where that gains most, until none gains.
    fn settle(&self, random: &mut Rng) -> Vec<u32> {
        let nodes = self.rows.len();
        let mut groups: Vec<u32> = (0..u32::try_from(nodes).unwrap_or(u32::MAX)).collect();
        let mut sums = self.strengths.clone();
        let mut order: Vec<usize> = (0..nodes).collect();
        random.shuffle(&mut order);
        // Weight from the node in hand to each community, and which have any.
        let (mut ties, mut near) = (vec![0.0; nodes], Vec::new());
        for _ in 0..PASSES {
            let mut moved = false;
            for &node in &order {
                let old = groups[node];
                for &(other, weight) in &self.rows[node] {
                    if other as usize != node {
                        let group = groups[other as usize];
                        if ties[group as usize] == 0.0 {
                            near.push(group);
                        }
                        ties[group as usize] += weight;
                    }
                }
                sums[old as usize] -= self.strengths[node];
                let gain = |group: u32| {
                    ties[group as usize] - sums[group as usize] * self.strengths[node] / self.total.max(LEAST_GAIN)
                };
                let mut best = (gain(old) + LEAST_GAIN, old);
                for &group in &near {
                    if gain(group) > best.0 {
                        best = (gain(group), group);
                    }
                }
                sums[best.1 as usize] += self.strengths[node];
                groups[node] = best.1;
                moved |= best.1 != old;
                for group in near.drain(..) {
                    ties[group as usize] = 0.0;
                }
            }
            if !moved {
                break;
            }
        }
        groups
    }

    /// Makes each community one node.
    fn merged(&self, groups: &[u32], count: usize) -> Self {
        let mut ties: Vec<HashMap<u32, f64>> = vec![HashMap::new(); count];
        for (node, row) in self.rows.iter().enumerate() {
            for &(other, weight) in row {
                *ties[groups[node] as usize].entry(groups[other as usize]).or_default() += weight;
            }
        }
        let sorted = |ties: HashMap<u32, f64>| {
            let mut row: Vec<(u32, f64)> = ties.into_iter().collect();
            row.sort_unstable_by_key(|&(other, _)| other);
            row
        };
        Self::new(ties.into_iter().map(sorted).collect())
    }

    fn modularity(&self, labels: &[u32], count: usize) -> f64 {
        let (mut inside, mut sums) = (0.0, vec![0.0; count]);
        for (node, row) in self.rows.iter().enumerate() {
            sums[labels[node] as usize] += self.strengths[node];
            let own = row.iter().filter(|&&(other, _)| labels[other as usize] == labels[node]);
            inside += own.map(|&(_, weight)| weight).sum::<f64>();
        }
        if self.total <= 0.0 {
            return 0.0;
        }
        inside / self.total - sums.iter().map(|sum| (sum / self.total).powi(2)).sum::<f64>()
    }
}

/// Numbers groups from 0 in the order they appear.
fn renumber(groups: &[u32]) -> (Vec<u32>, usize) {
    let mut numbers = HashMap::new();
    let labels = groups
        .iter()
        .map(|&group| {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            *numbers.entry(group).or_insert(next)
        })
        .collect();
    (labels, numbers.len())
}

/// Numbers communities by size, the largest first, equal ones by their first node.
fn by_size(labels: &[u32], count: usize) -> (Vec<u32>, usize) {
    let mut sizes = vec![0_usize; count];
    for &label in labels {
        sizes[label as usize] += 1;
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&label| std::cmp::Reverse(sizes[label]));
    let mut ranks = vec![0; count];
    for (rank, label) in (0..).zip(order) {
        ranks[label] = rank;
    }
    (labels.iter().map(|&label| ranks[label as usize]).collect(), count)
}
