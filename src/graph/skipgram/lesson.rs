//! What one thread does with a batch: walks, passages of them, negatives, and a count of what was learned.

use fastrand::Rng;

use super::desk::{Desk, Task};
use super::kernel::{self, Lecture, Loss};
use super::simd::Level;
use super::table::Table;
use crate::graph::node2vec::Node2VecConfig;
use crate::graph::node2vec::negatives::{Negatives, Passage};
use crate::graph::walks::{Walker, Walks};

/// One thread's part.
pub(super) struct Lesson<'a> {
    config: &'a Node2VecConfig,
    own: &'a Table,
    context: Option<&'a Table>,
    negatives: &'a Negatives,
    level: Level,
    walks: Walks,
    /// The passage being learned, and the next one, whose memory is on its way.
    tasks: [Task; 2],
    desk: Desk,
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

    fn count(&mut self, task: &Task, loss: Loss) {
        let windows = task.firsts.len();
        self.near.0 += (windows * task.near) as u64;
        self.near.1 += f64::from(loss.near);
        self.far.0 += (windows * task.far.len()) as u64;
        self.far.1 += f64::from(loss.far);
    }
}

impl<'a> Lesson<'a> {
    pub(super) fn new(
        config: &'a Node2VecConfig,
        own: &'a Table,
        context: Option<&'a Table>,
        negatives: &'a Negatives,
    ) -> Self {
        Self {
            config,
            own,
            context,
            negatives,
            level: Level::available()[0],
            walks: Walks::default(),
            tasks: [Task::default(), Task::default()],
            desk: Desk::default(),
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
        let context = self.context.unwrap_or(self.own);
        let offset = self.config.product_offset();
        let mut passages = walks.iter().flat_map(|walk| Passage::of(walk, self.config));
        let mut has_task = false;
        loop {
            let next = passages.next();
            let [now, coming] = &mut self.tasks;
            if let Some(passage) = next {
                let negatives = (0..passage.far(self.config)).map(|_| self.negatives.draw(random));
                coming.set(passage.nodes, passage.near(), negatives, self.context.is_some());
            }
            if has_task {
                let coming = next.is_some().then_some(&*coming);
                let lecture = Lecture { own: self.own, context, offset, rate, coming };
                let loss = kernel::learn(self.level, lecture, now, &mut self.desk);
                self.tally.count(now, loss);
            }
            if next.is_none() {
                break;
            }
            std::mem::swap(now, coming);
            has_task = true;
        }
        drop(passages);
        self.walks = walks;
    }
}
