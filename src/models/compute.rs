//! The threads the models compute on, and how a batch is divided among them.

use std::sync::Arc;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::ModelError;

/// Tokens of one part of a batch: enough for the matrix products to be efficient, few enough to stay in the caches.
const PART_TOKENS: usize = 512;

/// A pool of threads of its own, so that models never compute on the threads that serve.
#[derive(Debug, Clone)]
pub struct Compute {
    pool: Arc<ThreadPool>,
}

impl Compute {
    /// A pool of `threads` threads; 0 means one per core.
    ///
    /// # Errors
    /// [`ModelError::Encoding`] if the system gives no threads.
    pub fn new(threads: usize) -> Result<Self, ModelError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("model-{index}"))
            .build()
            .map_err(|error| ModelError::Encoding(format!("no compute threads: {error}")))?;
        Ok(Self { pool: Arc::new(pool) })
    }

    /// Threads of the pool.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on the pool.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Divides `items` into neighbouring parts of like cost and runs `work` on each; gives it the threads it may use
    /// itself, more than one only when there are fewer parts than threads. Results are in order.
    pub fn run<I: Sync, T: Send>(
        &self,
        items: &[I],
        cost: impl Fn(&I) -> usize,
        work: impl Fn(&[I], usize) -> T + Sync,
    ) -> Vec<T> {
        let parts = divide(items, cost, self.threads());
        let threads = (self.threads() / parts.len().max(1)).max(1);
        self.install(|| parts.into_par_iter().map(|part| work(part, threads)).collect())
    }
}

/// Neighbouring parts of `items`, as many as a multiple of `threads` where there are enough items.
fn divide<I>(items: &[I], cost: impl Fn(&I) -> usize, threads: usize) -> Vec<&[I]> {
    let total: usize = items.iter().map(&cost).sum();
    let wanted = total.div_ceil(PART_TOKENS).next_multiple_of(threads).max(1);
    let target = total.div_ceil(wanted).max(1);
    let mut parts = Vec::with_capacity(wanted);
    let (mut first, mut sum, mut done) = (0, 0, 0);
    for (index, item) in items.iter().enumerate() {
        sum += cost(item);
        // Measured from the start, so that what one part has too much the next has less.
        if done + sum >= target * (parts.len() + 1) {
            parts.push(&items[first..=index]);
            done += sum;
            (first, sum) = (index + 1, 0);
        }
    }
    if first < items.len() {
        parts.push(&items[first..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_lose_nothing() {
        let items: Vec<usize> = (0..1000).map(|i| 5 + i % 50).collect();
        let parts = divide(&items, |cost| *cost, 2);
        assert_eq!(parts.concat(), items);
        assert_eq!(parts.len() % 2, 0);
        let costs: Vec<usize> = parts.iter().map(|part| part.iter().sum()).collect();
        assert!(costs.iter().all(|cost| *cost <= PART_TOKENS + 55 && *cost > PART_TOKENS / 2), "{costs:?}");
    }

    #[test]
    fn one_item_is_one_part_and_none_is_no_part() {
        assert_eq!(divide(&[30], |cost| *cost, 4).len(), 1);
        assert!(divide(&[], |cost: &usize| *cost, 4).is_empty());
    }
}
