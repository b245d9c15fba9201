//! The bias of a step by where the walk came from.

use fastrand::Rng;

use crate::graph::csr::Csr;
use crate::graph::error::GraphError;

/// Neighbours tried by rejection before all are weighed. With the degree added, weighing costs no more than the trials.
const TRIALS: usize = 32;

/// The three biases, and what they are accepted against.
#[derive(Debug)]
pub(super) struct Bias {
    /// `1/p`: back to where the walk came from.
    back: f32,
    /// `1/q`: away from it.
    away: f32,
    /// The largest bias of any step but back.
    most: f32,
    /// What `1/p` is above `most`. Each trial draws that share of the way back first: were it part of the bound, a
    /// small `p` would make nearly every trial a rejection.
    excess: f32,
    /// Sums of the weights each node's arcs have, where weights differ and there is an excess.
    strengths: Vec<f32>,
}

impl Bias {
    /// Nothing where `p` and `q` are 1.
    pub(super) fn new(graph: &Csr, p: f32, q: f32) -> Result<Option<Self>, GraphError> {
        for (name, value) in [("p", p), ("q", q)] {
            if !(value.is_finite() && value > 0.0 && (1.0 / value).is_finite()) {
                return Err(GraphError::parameter(name, value, "a finite number above 0"));
            }
        }
        if p.to_bits() == 1.0_f32.to_bits() && q.to_bits() == 1.0_f32.to_bits() {
            return Ok(None);
        }
        let (back, away) = (1.0 / p, 1.0 / q);
        let most = away.max(1.0);
        let excess = (back - most).max(0.0);
        let nodes = u32::try_from(graph.nodes()).unwrap_or(u32::MAX);
        let strengths = if excess > 0.0 && graph.weighted() {
            (0..nodes).map(|node| graph.strength(node)).collect()
        } else {
            Vec::new()
        };
        Ok(Some(Self { back, away, most, excess, strengths }))
    }

    /// How many proposals to try at a node.
    pub(super) fn trials(graph: &Csr, at: u32) -> usize {
        TRIALS + graph.degree(at)
    }

    /// Whether a trial ends with the way back, by the share of its bias that lies above the bound.
    pub(super) fn returns(&self, graph: &Csr, (from, at): (u32, u32), random: &mut Rng) -> bool {
        if self.excess <= 0.0 {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "a degree of 2^24 and more is rounded by one in 2^24")]
        let (way_back, all) = match self.strengths.get(at as usize) {
            Some(&strength) => (graph.weight(at, from).unwrap_or(0.0), strength),
            None if !graph.directed() || graph.has_arc(at, from) => (1.0, graph.degree(at) as f32),
            None => return false,
        };
        let excess = self.excess * way_back;
        random.f32() * (excess + self.most * all) < excess
    }

    /// Whether a proposal drawn by weight stands.
    pub(super) fn accepts(&self, graph: &Csr, from: u32, proposal: u32, random: &mut Rng) -> bool {
        let bar = random.f32() * self.most;
        if proposal == from {
            return bar < self.back;
        }
        if bar < self.away.min(1.0) {
            return true;
        }
        bar < if near(graph, from, proposal) { 1.0 } else { self.away }
    }

    /// Draws among all neighbours of `at`, each weighed.
    pub(super) fn exact(&self, graph: &Csr, (from, at): (u32, u32), random: &mut Rng) -> u32 {
        let (heads, weights) = (graph.neighbours(at), graph.weights(at));
        let share = |place: usize| {
            let head = heads[place];
            let bias = if head == from {
                self.back
            } else if near(graph, from, head) {
                1.0
            } else {
                self.away
            };
            f64::from(bias * weights.map_or(1.0, |weights| weights[place]))
        };
        let all: f64 = (0..heads.len()).map(share).sum();
        let mut left = random.f64() * all;
        for (place, &head) in heads.iter().enumerate() {
            left -= share(place);
            if left < 0.0 {
                return head;
            }
        }
        heads[heads.len() - 1]
    }
}

/// Whether an arc leads from where the walk came from to the proposal. In an undirected graph the shorter of the two
/// lists is searched.
fn near(graph: &Csr, from: u32, proposal: u32) -> bool {
    if !graph.directed() && graph.degree(proposal) < graph.degree(from) {
        graph.has_arc(proposal, from)
    } else {
        graph.has_arc(from, proposal)
    }
}
