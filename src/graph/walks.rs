//! Second-order biased random walks of `Node2Vec` (Grover and Leskovec 2016) by rejection sampling.
//!
//! From node `v`, reached from `t`, neighbour `x` is chosen with probability proportional to `w(v,x)·b`, where `b` is
//! `1/p` if `x` is `t`, 1 if an arc leads from `t` to `x`, else `1/q`. No table of pairs of arcs is kept: a neighbour is
//! drawn by weight alone and accepted with probability `b / max(b)`, so memory stays linear in the edges. Many walks go
//! on in step, so that one waits for memory while others compute.

mod alias;
mod second_order;

use fastrand::Rng;

use self::alias::ArcAlias;
use self::second_order::Bias;
use super::csr::Csr;
use super::error::GraphError;

pub(super) use self::alias::NodeAlias;

/// Marks the end of a walk that stopped before its full length.
const END: u32 = u32::MAX;

/// Draws walks on one graph.
#[derive(Debug)]
pub struct Walker<'a> {
    graph: &'a Csr,
    /// Draws an arc by weight; nothing is needed where all weigh the same.
    alias: Option<ArcAlias>,
    /// Nothing where `p` and `q` are 1: then the walk does not remember where it came from.
    bias: Option<Bias>,
    length: usize,
}

/// Walks of one length limit, one after the other. Used again and again, it allocates once.
#[derive(Debug, Default)]
pub struct Walks {
    /// Walk `i` has nodes `i * length..`, the end of a short one filled up with [`END`].
    nodes: Vec<u32>,
    /// Places of the arcs chosen for the step all walks are in.
    arcs: Vec<u32>,
    length: usize,
}

impl Walks {
    /// Each walk: its nodes, the first of them its start.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> + '_ {
        self.nodes.chunks_exact(self.length.max(1)).map(|walk| {
            let end = walk.iter().rposition(|&node| node != END).map_or(0, |last| last + 1);
            &walk[..end]
        })
    }

    /// Steps taken in all walks.
    pub fn steps(&self) -> usize {
        self.iter().map(|walk| walk.len().saturating_sub(1)).sum()
    }
}

impl<'a> Walker<'a> {
    /// Walks of up to `length` nodes with return parameter `p` and in-out parameter `q`. Takes 8 bytes an arc where
    /// weights differ, else nothing.
    ///
    /// # Errors
    /// [`GraphError::Parameter`] if `length` is 0, or `p` or `q` is not a finite number above 0.
    pub fn new(graph: &'a Csr, length: usize, p: f32, q: f32) -> Result<Self, GraphError> {
        if length == 0 {
            return Err(GraphError::parameter("walk_length", length, "1 and more"));
        }
        let bias = Bias::new(graph, p, q)?;
        let alias = graph.weighted().then(|| ArcAlias::new(graph));
        Ok(Self { graph, alias, bias, length })
    }

    /// Draws a walk from each of `starts`. A walk ends early at a node that no arc leaves.
    pub fn walk(&self, starts: impl IntoIterator<Item = u32>, random: &mut Rng, walks: &mut Walks) {
        walks.length = self.length;
        walks.nodes.clear();
        for start in starts {
            walks.nodes.push(start);
            walks.nodes.resize(walks.nodes.len() + self.length - 1, END);
        }
        let count = walks.nodes.len() / self.length;
        walks.arcs.clear();
        walks.arcs.resize(count, END);
        for step in 1..self.length {
            self.choose_arcs(step, random, walks);
            self.follow_arcs(step, random, walks);
        }
    }

    /// Draws for each walk the arc it would take by weight alone, and asks for the memory that holds its head.
    fn choose_arcs(&self, step: usize, random: &mut Rng, walks: &mut Walks) {
        for (arc, walk) in walks.arcs.iter_mut().zip(walks.nodes.chunks_exact(self.length)) {
            *arc = match walk[step - 1] {
                END => END,
                node => self.draw(node, random),
            };
            if *arc != END {
                self.prefetch_arc(*arc);
            }
        }
    }

    /// A uniformly drawn arc of `node`, [`END`] if it has none.
    fn draw(&self, node: u32, random: &mut Rng) -> u32 {
        let offsets = self.graph.offsets();
        let (start, end) = (offsets[node as usize], offsets[node as usize + 1]);
        if start == end { END } else { start + below(random, end - start) }
    }

    /// The head of a uniformly drawn arc, made one drawn by weight.
    fn head(&self, arc: u32, random: &mut Rng) -> u32 {
        match &self.alias {
            None => self.graph.targets()[arc as usize],
            Some(alias) => alias.head(self.graph, arc, random),
        }
    }

    /// Takes the chosen arcs, or others where the bias rejects them.
    fn follow_arcs(&self, step: usize, random: &mut Rng, walks: &mut Walks) {
        for (&arc, walk) in walks.arcs.iter().zip(walks.nodes.chunks_exact_mut(self.length)) {
            if arc == END {
                continue;
            }
            let proposal = self.head(arc, random);
            let next = match &self.bias {
                Some(bias) if step > 1 => self.biased(bias, (walk[step - 2], walk[step - 1]), proposal, random),
                _ => proposal,
            };
            walk[step] = next;
            prefetch(self.graph.offsets(), next as usize);
        }
    }

    /// The next node after `from` and `at`, given a first proposal drawn by weight.
    fn biased(&self, bias: &Bias, (from, at): (u32, u32), mut proposal: u32, random: &mut Rng) -> u32 {
        for _ in 0..Bias::trials(self.graph, at) {
            if bias.returns(self.graph, (from, at), random) {
                return from;
            }
            if bias.accepts(self.graph, from, proposal, random) {
                return proposal;
            }
            proposal = self.head(self.draw(at, random), random);
        }
        bias.exact(self.graph, (from, at), random)
    }

    fn prefetch_arc(&self, arc: u32) {
        prefetch(self.graph.targets(), arc as usize);
        if let Some(alias) = &self.alias {
            alias.prefetch(arc);
        }
    }
}

/// A number below `bound`, off from uniform by less than `bound` in 2^32.
pub(super) fn below(random: &mut Rng, bound: u32) -> u32 {
    let upper_half = random.u64(..) >> 32;
    ((upper_half * u64::from(bound)) >> 32) as u32
}

/// Asks for the memory of `slice[place]` before it is needed.
#[inline]
fn prefetch<T>(slice: &[T], place: usize) {
    #[cfg(target_arch = "x86_64")]
    if place < slice.len() {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is inside the slice, and a prefetch changes nothing that a program can see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(slice.as_ptr().add(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, place);
}
