//! What one thread does with a batch: walks, windows on them, negatives, and a count of what was learned.

use fastrand::Rng;

use super::kernel::{self, Window};
use super::simd::Level;
use super::table::Table;
use crate::graph::node2vec::Node2VecConfig;
use crate::graph::walks::{NodeAlias, Walker, Walks, below};

/// Least probability in a loss; without it one pair could make the mean infinite.
const LEAST: f64 = 1e-15;

/// One thread's part.
pub(super) struct Lesson<'a> {
    config: &'a Node2VecConfig,
    own: &'a Table,
    context: &'a Table,
    negatives: Option<&'a NodeAlias>,
    nodes: u32,
    level: Level,
    walks: Walks,
    /// Nodes of the window being learned, and of the next one, whose memory is on its way.
    others: [Vec<u32>; 2],
    scores: Vec<f32>,
    tally: Tally,
}

/// What was learned, and how well it was known before.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) steps: u64,
    near: (u64, f64),
    far: (u64, f64),
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.near = (self.near.0 + other.near.0, self.near.1 + other.near.1);
        self.far = (self.far.0 + other.far.0, self.far.1 + other.far.1);
    }

    pub(super) fn pairs(&self) -> u64 {
        self.near.0 + self.far.0
    }

    /// Mean over near pairs plus mean over random ones; nothing without pairs.
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    pub(super) fn loss(&self) -> Option<f64> {
        (self.near.0 > 0).then(|| self.near.1 / self.near.0 as f64 + self.far.1 / self.far.0.max(1) as f64)
    }
}

impl<'a> Lesson<'a> {
    pub(super) fn new(
        config: &'a Node2VecConfig,
        own: &'a Table,
        context: Option<&'a Table>,
        negatives: Option<&'a NodeAlias>,
    ) -> Self {
        Self {
            config,
            own,
            context: context.unwrap_or(own),
            negatives,
            nodes: own.rows(),
            level: Level::available()[0],
            walks: Walks::default(),
            others: [Vec::new(), Vec::new()],
            scores: Vec::new(),
            tally: Tally::default(),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Draws a walk from each start and learns all of them.
    pub(super) fn learn(&mut self, walker: &Walker, starts: impl Iterator<Item = u32>, rate: f32, random: &mut Rng) {
        let mut walks = std::mem::take(&mut self.walks);
        walker.walk(starts, random, &mut walks);
        self.tally.steps += walks.steps() as u64;
        for (walk, next) in walks.iter().zip(walks.iter().skip(1).chain([&[][..]])) {
            for &node in next {
                self.own.prefetch(node);
                if !std::ptr::eq(self.own, self.context) {
                    self.context.prefetch(node);
                }
            }
            self.learn_walk(walk, rate, random);
        }
        self.walks = walks;
    }

    /// Learns the windows of one walk: full ones, or the one from its start where the walk is shorter than that.
    fn learn_walk(&mut self, walk: &[u32], rate: f32, random: &mut Rng) {
        let size = self.config.context_size.min(walk.len());
        if size < 2 {
            return;
        }
        let mut windows = walk.windows(size).peekable();
        let [mut others, mut coming] = std::mem::take(&mut self.others);
        if let Some(window) = windows.peek() {
            self.gather(window, &mut others, random);
        }
        while let Some(window) = windows.next() {
            if let Some(next) = windows.peek() {
                self.gather(next, &mut coming, random);
            }
            let near = window.len() - 1;
            let step = Window {
                own: self.own,
                context: self.context,
                node: window[0],
                others: &others,
                near,
                offset: self.config.product_offset(),
                rate,
            };
            kernel::learn(self.level, &step, &mut self.scores);
            self.count(near, others.len());
            std::mem::swap(&mut others, &mut coming);
        }
        self.others = [others, coming];
    }

    /// Puts a window's nodes and its negatives into `others`, and asks for the negatives' memory.
    fn gather(&self, window: &[u32], others: &mut Vec<u32>, random: &mut Rng) {
        others.clear();
        others.extend_from_slice(&window[1..]);
        for _ in 0..(window.len() - 1) * self.config.negatives {
            let node = match self.negatives {
                Some(alias) => alias.draw(random),
                None => below(random, self.nodes),
            };
            self.context.prefetch(node);
            others.push(node);
        }
    }

    /// Adds the window's loss. Logarithms are slow, products are not: sixteen factors of 1e-15 still fit in an `f64`.
    fn count(&mut self, near: usize, all: usize) {
        let loss = |scores: &[f32]| -> f64 {
            scores
                .chunks(16)
                .map(|part| -part.iter().map(|&score| f64::from(score) + LEAST).product::<f64>().ln())
                .sum()
        };
        self.tally.near.0 += near as u64;
        self.tally.near.1 += loss(&self.scores[..near]);
        self.tally.far.0 += (all - near) as u64;
        self.tally.far.1 += loss(&self.scores[near..all]);
    }
}
