//! The cache in this process's memory, bounded in bytes; what was not asked for longest goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::CacheBackend;
use super::glob::fits;
use crate::stores::documents::StoreError;

/// What an entry takes besides key and value: its places in map and order.
const OVERHEAD: usize = 160;
/// Keys looked at in one step of an invalidation.
const STEP: usize = 1000;

/// The cache.
pub struct MemoryCache {
    state: Mutex<State>,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    entries: HashMap<Arc<str>, Entry>,
    /// Keys by when they were last used.
    order: BTreeMap<u64, Arc<str>>,
    clock: u64,
    bytes: usize,
    generation: u64,
}

struct Entry {
    value: Vec<u8>,
    until: Instant,
    used: u64,
}

impl State {
    fn remove(&mut self, key: &str) -> bool {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return false };
        self.order.remove(&entry.used);
        self.bytes -= weight(&key, &entry.value);
        true
    }

    fn get(&mut self, key: &str, now: Instant) -> Option<Vec<u8>> {
        let entry = self.entries.get_mut(key)?;
        if entry.until <= now {
            self.remove(key);
            return None;
        }
        let value = entry.value.clone();
        self.clock += 1;
        if let Some(key) = self.order.remove(&entry.used) {
            self.order.insert(self.clock, key);
        }
        entry.used = self.clock;
        Some(value)
    }

    fn put(&mut self, key: Arc<str>, value: Vec<u8>, until: Instant, max_bytes: usize) {
        self.remove(&key);
        let weight = weight(&key, &value);
        if weight > max_bytes {
            return;
        }
        while self.bytes + weight > max_bytes {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        self.clock += 1;
        self.bytes += weight;
        self.order.insert(self.clock, Arc::clone(&key));
        self.entries.insert(key, Entry { value, until, used: self.clock });
    }
}

fn weight(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

impl MemoryCache {
    /// An empty cache of at most so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { state: Mutex::default(), max_bytes }
    }

    fn remove_fitting(&self, pattern: &str, keys: &[Arc<str>]) -> u64 {
        let mut state = self.state.lock();
        keys.iter().filter(|key| fits(pattern, key) && state.remove(key)).count() as u64
    }
}

impl CacheBackend for MemoryCache {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn get(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let found = keys.iter().map(|key| state.get(key, now)).collect();
        std::future::ready(Ok(found)).boxed()
    }

    fn put(&self, entries: Vec<(String, Vec<u8>)>, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        let until = Instant::now() + ttl;
        let mut state = self.state.lock();
        for (key, value) in entries {
            state.put(key.into(), value, until, self.max_bytes);
        }
        std::future::ready(Ok(())).boxed()
    }

    fn invalidate<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        async move {
            let keys: Vec<Arc<str>> = self.state.lock().entries.keys().cloned().collect();
            let mut gone = 0;
            for step in keys.chunks(STEP) {
                gone += self.remove_fitting(pattern, step);
                tokio::task::yield_now().await;
            }
            Ok(gone)
        }
        .boxed()
    }

    fn generation(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        std::future::ready(Ok(self.state.lock().generation)).boxed()
    }

    fn advance(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        let mut state = self.state.lock();
        state.generation += 1;
        std::future::ready(Ok(state.generation)).boxed()
    }

    fn size(&self) -> Option<(u64, u64)> {
        let state = self.state.lock();
        Some((state.entries.len() as u64, state.bytes as u64))
    }
}
