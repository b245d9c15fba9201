//! The thread that brings vectors into the graph, so that inserting never waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::graph::{Graph, GraphError, Packed};
use super::slots::Slots;
use crate::config::store::VectorsConfig;

/// Vectors added between two looks at the list of what is pending.
const STEP: usize = 32;
/// How long the thread sleeps at most before it looks again.
const IDLE: Duration = Duration::from_mins(1);

/// What index and thread share.
pub(super) struct Shared {
    pub(super) config: VectorsConfig,
    pub(super) dimension: usize,
    pub(super) slots: RwLock<Slots>,
    /// `None` below the switch and after a failure: then everything is scanned.
    pub(super) graph: RwLock<Option<Arc<Graph>>>,
    /// Held while the graph changes; saving takes it, too.
    pub(super) building: Mutex<()>,
    /// Set once the graph failed; it is not tried again in this process.
    broken: AtomicBool,
    stop: AtomicBool,
    /// Wakes the thread.
    work: (Mutex<bool>, Condvar),
    /// Wakes those who wait for the graph.
    done: (Mutex<()>, Condvar),
}

impl Shared {
    /// Shared state around what was loaded.
    pub(super) fn new(config: VectorsConfig, dimension: usize, slots: Slots, graph: Option<Graph>) -> Self {
        Self {
            config,
            dimension,
            slots: RwLock::new(slots),
            graph: RwLock::new(graph.map(Arc::new)),
            building: Mutex::new(()),
            broken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            work: (Mutex::new(true), Condvar::new()),
            done: (Mutex::new(()), Condvar::new()),
        }
    }

    /// Tells the thread that vectors came.
    pub(super) fn wake(&self) {
        *self.work.0.lock() = true;
        self.work.1.notify_one();
    }

    /// Ends the thread soon.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits until the graph has every vector or is not wanted; false when that takes longer.
    pub(super) fn wait_until_built(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut guard = self.done.0.lock();
        while self.has_work() {
            if self.done.1.wait_until(&mut guard, deadline).timed_out() {
                return !self.has_work();
            }
        }
        true
    }

    /// The thread's life.
    pub(super) fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            if self.has_work() {
                if let Err(error) = self.step() {
                    tracing::warn!(%error, "vector graph failed, every vector is scanned from now on");
                    self.broken.store(true, Ordering::Release);
                    *self.graph.write() = None;
                }
                continue;
            }
            {
                let _guard = self.done.0.lock();
                self.done.1.notify_all();
            }
            let mut woken = self.work.0.lock();
            if !*woken {
                self.work.1.wait_for(&mut woken, IDLE);
            }
            *woken = false;
        }
    }

    fn has_work(&self) -> bool {
        if self.broken.load(Ordering::Acquire) || self.stop.load(Ordering::Acquire) {
            return false;
        }
        let slots = self.slots.read();
        let wanted = self.graph.read().is_some() || slots.len() >= self.config.graph_from;
        wanted && slots.pending.iter().any(|&key| slots.live(key).is_some())
    }

    fn step(&self) -> Result<(), GraphError> {
        let _building = self.building.lock();
        let graph = self.usable_graph()?;
        let batch: Vec<(u64, Packed)> = {
            let slots = self.slots.read();
            let live = slots.pending.iter().filter_map(|&key| Some((key, slots.live(key)?)));
            live.take(STEP).map(|(key, slot)| (key, Packed::new(slots.codes(slot)))).collect()
        };
        for (key, packed) in &batch {
            graph.add(*key, packed)?;
        }
        let mut slots = self.slots.write();
        for (key, _) in &batch {
            if let Some(meta) = slots.live(*key).and_then(|slot| slots.meta_mut(slot)) {
                meta.in_graph = true;
            }
        }
        while let Some(&key) = slots.pending.front() {
            let waits = slots.live(key).and_then(|slot| slots.meta(slot)).is_some_and(|meta| !meta.in_graph);
            if waits {
                break;
            }
            slots.pending.pop_front();
        }
        Ok(())
    }

    /// The graph, made anew where there is none or most of it is gone.
    fn usable_graph(&self) -> Result<Arc<Graph>, GraphError> {
        let current = self.graph.read().clone();
        if let Some(graph) = current {
            let live = self.slots.read().len();
            if graph.size() <= 1024 || graph.size() <= live.saturating_mul(2) {
                return Ok(graph);
            }
        }
        let graph = Arc::new(Graph::new(self.dimension, &self.config)?);
        let mut slots = self.slots.write();
        let all: Vec<u32> = slots.iter().map(|(slot, _)| slot).collect();
        slots.pending = all.iter().map(|&slot| slots.key(slot)).collect();
        for slot in all {
            if let Some(meta) = slots.meta_mut(slot) {
                meta.in_graph = false;
            }
        }
        *self.graph.write() = Some(Arc::clone(&graph));
        Ok(graph)
    }
}
