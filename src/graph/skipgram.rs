//! The default trainer: skip-gram with negative sampling by gradient steps on shared tables, on all threads, without
//! locks.
//!
//! Batches of start nodes are taken by whichever thread is free. A batch draws its walks and negatives from random
//! numbers of its own, so that the walks of a seed are the same on any number of threads.

mod desk;
mod kernel;
mod lesson;
mod simd;
mod table;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use self::lesson::{Lesson, Tally};
use self::table::Table;
use super::csr::Csr;
use super::error::GraphError;
use super::node2vec::negatives::Negatives;
use super::node2vec::plan::{Order, Plan};
use super::node2vec::{Embeddings, EpochLoss, Node2VecConfig, Objective, Observer};
use super::walks::Walker;

/// How often the observer is told how far an epoch is.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// What all threads share.
struct Shared<'a> {
    config: &'a Node2VecConfig,
    plan: Plan<'a>,
    walker: Walker<'a>,
    /// Vectors of nodes as such.
    own: Table,
    /// Vectors of nodes as contexts, where they are others.
    context: Option<Table>,
    negatives: Negatives,
    next: AtomicUsize,
    stop: AtomicBool,
}

/// Learns with `config`, which is valid.
pub(super) fn train(graph: &Csr, config: &Node2VecConfig, observer: Observer) -> Result<Embeddings, GraphError> {
    let shared = Shared::new(graph, config)?;
    let mut total = Tally::default();
    let mut losses = Vec::with_capacity(config.epochs);
    for epoch in 0..config.epochs {
        let tally = shared.epoch(epoch, observer)?;
        let loss = tally.loss();
        if let Some(loss) = loss {
            if !loss.is_finite() {
                return Err(GraphError::Diverged { epoch: epoch + 1 });
            }
            losses.push(EpochLoss { epoch: epoch + 1, loss });
        }
        total.add(&tally);
        if observer(shared.plan.ended(epoch, loss)).is_break() && epoch + 1 < config.epochs {
            return Err(GraphError::Cancelled { epoch: epoch + 1 });
        }
    }
    let (steps, pairs, values) = (total.steps, total.pairs(), shared.own.values());
    if !values.iter().all(|value| value.is_finite()) {
        return Err(GraphError::Diverged { epoch: config.epochs });
    }
    Ok(Embeddings { dimension: config.dimension, values, losses, steps, pairs })
}

impl<'a> Shared<'a> {
    fn new(graph: &'a Csr, config: &'a Node2VecConfig) -> Result<Self, GraphError> {
        let walker = Walker::new(graph, config.walk_length, config.p, config.q)?;
        let plan = Plan::new(graph, config);
        let own = Table::filled(graph.nodes(), config.dimension, plan.initial());
        let context = match config.objective {
            Objective::SingleTable => None,
            Objective::SkipGram => Some(Table::zero(graph.nodes(), config.dimension)),
        };
        Ok(Self {
            config,
            plan,
            walker,
            own,
            context,
            negatives: Negatives::new(graph, config.objective),
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        })
    }

    /// One epoch on all threads; the calling thread works too, and tells the observer in between.
    fn epoch(&self, epoch: usize, observer: Observer) -> Result<Tally, GraphError> {
        self.next.store(0, Ordering::Relaxed);
        let order = self.plan.order(epoch);
        let helpers = self.config.thread_count().min(self.plan.batches).saturating_sub(1);
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..helpers)
                .map(|_| {
                    std::thread::Builder::new()
                        .name("node2vec".to_owned())
                        .spawn_scoped(scope, || self.work(epoch, &order, &mut |_| ControlFlow::Continue(())))
                })
                .collect();
            let mut told = Instant::now();
            let mut tally = self.work(epoch, &order, &mut |batch| {
                if told.elapsed() < TELL_EVERY {
                    return ControlFlow::Continue(());
                }
                told = Instant::now();
                observer(self.plan.progress(epoch, batch, None))
            });
            for handle in handles {
                match handle.map_err(GraphError::Thread)?.join() {
                    Ok(more) => tally.add(&more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(GraphError::Cancelled { epoch: epoch + 1 });
            }
            Ok(tally)
        })
    }

    /// Takes batches until there are none or someone says stop.
    fn work(&self, epoch: usize, order: &Order, tell: &mut dyn FnMut(usize) -> ControlFlow<()>) -> Tally {
        let mut lesson = Lesson::new(self.config, &self.own, self.context.as_ref(), &self.negatives);
        loop {
            let batch = self.next.fetch_add(1, Ordering::Relaxed);
            if batch >= self.plan.batches {
                return lesson.tally();
            }
            let mut random = self.plan.random(epoch, batch);
            for round in 0..self.config.walks_per_node {
                if self.stop.load(Ordering::Relaxed) {
                    return lesson.tally();
                }
                let rate = self.plan.rate(epoch, batch, round);
                lesson.learn(&self.walker, order.batch(batch, self.config.batch_size), rate, &mut random);
                if tell(batch).is_break() {
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}
