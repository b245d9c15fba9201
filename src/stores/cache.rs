//! The cache: answers kept for a while, in this process or in Redis.
//!
//! A cache may forget anything at any time. Whatever goes wrong in it is a miss, counted, and never an error; only
//! [`Cache::invalidate`] says when it could not do what it was asked.

pub mod glob;
pub mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::documents::StoreError;
use crate::config::cache::{CacheConfig, TtlConfig};
use crate::telemetry::metrics::cache_requests;

/// What an entry is; decides how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheKind {
    /// Vectors of texts.
    Embedding,
    /// Sentiment, category and entities of texts.
    Quality,
    /// Search answers.
    Search,
    /// What was fetched from elsewhere.
    Resource,
    /// Everything else.
    Other,
}

impl CacheKind {
    /// Every kind, in the order of the status page.
    pub const ALL: [Self; 5] = [Self::Embedding, Self::Quality, Self::Search, Self::Resource, Self::Other];

    /// First part of its keys, and its label in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Quality => "quality",
            Self::Search => "search",
            Self::Resource => "resource",
            Self::Other => "other",
        }
    }

    fn ttl(self, config: &TtlConfig) -> Duration {
        Duration::from_secs(match self {
            Self::Embedding => config.embedding,
            Self::Quality => config.quality,
            Self::Search => config.search,
            Self::Resource => config.resource,
            Self::Other => config.other,
        })
    }
}

/// Where entries are kept. Keys are `KIND:NAME`.
pub trait CacheBackend: Send + Sync {
    /// Its name for the status page.
    fn name(&self) -> &'static str;

    /// The values of these keys, in order.
    fn get(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>>;

    /// Keeps entries for `ttl`.
    fn put(&self, entries: Vec<(String, Vec<u8>)>, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes the entries whose key fits the pattern (`*`, `?`, `[a-z]`, `\`); how many went. May take long, but never
    /// holds up others.
    fn invalidate<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// How often what searches see has changed, as all users of this cache know it.
    fn generation(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// What searches see has changed.
    fn advance(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Entries and bytes held, where that is known without asking.
    fn size(&self) -> Option<(u64, u64)>;
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
}

/// Numbers of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KindStats {
    /// Asked for and there.
    pub hits: u64,
    /// Asked for and not there, errors included.
    pub misses: u64,
    /// Misses and writes lost because the cache did not answer.
    pub errors: u64,
    /// Hits of all requests, 0 to 1; 0 before the first.
    pub hit_ratio: f64,
    /// Seconds an entry is kept.
    pub ttl_seconds: u64,
}

/// The cache, with its counts.
pub struct Cache {
    backend: Option<Arc<dyn CacheBackend>>,
    ttl: TtlConfig,
    timeout: Duration,
    max_entry_bytes: usize,
    counts: [Counts; CacheKind::ALL.len()],
    invalidated: AtomicU64,
    /// A change of what searches see that the backend has not heard of yet.
    untold: AtomicBool,
}

impl Cache {
    /// Over a backend; `None` keeps nothing.
    #[must_use]
    pub fn new(backend: Option<Arc<dyn CacheBackend>>, config: &CacheConfig) -> Self {
        Self {
            backend,
            ttl: config.ttl.clone(),
            timeout: config.timeout(),
            max_entry_bytes: config.max_entry_kib * 1024,
            counts: std::array::from_fn(|_| Counts::default()),
            invalidated: AtomicU64::new(0),
            untold: AtomicBool::new(false),
        }
    }

    /// A cache that keeps nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::new(None, &CacheConfig::default())
    }

    fn counts(&self, kind: CacheKind) -> &Counts {
        &self.counts[kind as usize]
    }

    fn used(&self, kind: CacheKind) -> Option<(&Arc<dyn CacheBackend>, Duration)> {
        let ttl = kind.ttl(&self.ttl);
        self.backend.as_ref().map(|backend| (backend, ttl)).filter(|_| !ttl.is_zero())
    }

    async fn within<T>(&self, kind: CacheKind, work: BoxFuture<'_, Result<T, StoreError>>) -> Option<T> {
        let error = match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.counts(kind).errors.fetch_add(1, Ordering::Relaxed);
        cache_requests(kind.as_str(), "error", 1);
        tracing::debug!(cache = kind.as_str(), error, "cache did not answer");
        None
    }

    /// The values of these names, in order; `None` where there is none.
    pub async fn get(&self, kind: CacheKind, names: &[String]) -> Vec<Option<Vec<u8>>> {
        let nothing = || vec![None; names.len()];
        let Some((backend, _)) = self.used(kind) else { return nothing() };
        let keys = names.iter().map(|name| key(kind, name)).collect();
        let found = self.within(kind, backend.get(keys)).await;
        let found = found.filter(|found| found.len() == names.len()).unwrap_or_else(nothing);
        let hits = found.iter().flatten().count() as u64;
        self.count(kind, hits, names.len() as u64 - hits);
        found
    }

    fn count(&self, kind: CacheKind, hits: u64, misses: u64) {
        for (count, outcome, counter) in
            [(hits, "hit", &self.counts(kind).hits), (misses, "miss", &self.counts(kind).misses)]
        {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
                cache_requests(kind.as_str(), outcome, count);
            }
        }
    }

    /// Keeps values by name for as long as their kind is kept. Values that are too large are not.
    pub async fn put(&self, kind: CacheKind, entries: Vec<(String, Vec<u8>)>) {
        let Some((backend, ttl)) = self.used(kind) else { return };
        let fit = entries.into_iter().filter(|(_, value)| value.len() <= self.max_entry_bytes);
        let entries: Vec<_> = fit.map(|(name, value)| (key(kind, &name), value)).collect();
        if !entries.is_empty() {
            self.within(kind, backend.put(entries, ttl)).await;
        }
    }

    /// The search answer of this name, if nothing that searches see has changed since it was put; and the generation to
    /// put a new one under, `None` if it can't be kept.
    pub async fn get_search(&self, name: &str) -> (Option<Vec<u8>>, Option<u64>) {
        let kind = CacheKind::Search;
        let Some((backend, _)) = self.used(kind).filter(|_| !self.untold.load(Ordering::SeqCst)) else {
            return (None, None);
        };
        // before the answer is worked out: a change meanwhile then makes it stale
        let Some(generation) = self.within(kind, backend.generation()).await else {
            self.count(kind, 0, 1);
            return (None, None);
        };
        let found = self.within(kind, backend.get(vec![key(kind, name)])).await;
        let entry = found.and_then(|mut found| found.pop()).flatten();
        let current = entry.and_then(|entry| {
            let (of, answer) = entry.split_first_chunk()?;
            (u64::from_le_bytes(*of) == generation).then(|| answer.to_vec())
        });
        self.count(kind, u64::from(current.is_some()), u64::from(current.is_none()));
        (current, Some(generation))
    }

    /// Keeps a search answer that was worked out after [`Cache::get_search`] gave this generation.
    pub async fn put_search(&self, name: &str, generation: u64, answer: &[u8]) {
        let entry = [&generation.to_le_bytes(), answer].concat();
        self.put(CacheKind::Search, vec![(name.to_owned(), entry)]).await;
    }

    /// What searches see has changed: search answers kept so far count no more. If the backend can't be told, this
    /// process uses no search answers until it could.
    pub async fn searches_changed(&self) {
        let Some((backend, _)) = self.used(CacheKind::Search) else { return };
        self.untold.store(true, Ordering::SeqCst);
        if self.within(CacheKind::Search, backend.advance()).await.is_some() {
            self.untold.store(false, Ordering::SeqCst);
        }
    }

    /// Tells the backend of a change that it has not heard of yet; called now and then.
    pub async fn catch_up(&self) {
        if self.untold.load(Ordering::SeqCst) {
            self.searches_changed().await;
        }
    }

    /// Removes the entries whose key `KIND:NAME` fits the pattern (`*`, `?`, `[a-z]`, `\`); how many went.
    ///
    /// # Errors
    /// If the backend does not answer; part of them may be gone.
    pub async fn invalidate(&self, pattern: &str) -> Result<u64, StoreError> {
        let Some(backend) = &self.backend else { return Ok(0) };
        let count = backend.invalidate(pattern).await?;
        self.invalidated.fetch_add(count, Ordering::Relaxed);
        let kind = pattern.split_once(':').and_then(|(kind, _)| CacheKind::ALL.into_iter().find(|k| k.as_str() == kind));
        cache_requests(kind.map_or("any", CacheKind::as_str), "invalidated", count);
        Ok(count)
    }

    /// Numbers for the status page.
    #[must_use]
    pub fn stats(&self) -> serde_json::Value {
        let kinds: serde_json::Map<String, serde_json::Value> = CacheKind::ALL
            .into_iter()
            .map(|kind| (kind.as_str().to_owned(), serde_json::json!(self.kind_stats(kind))))
            .collect();
        let size = self.backend.as_ref().and_then(|backend| backend.size());
        serde_json::json!({
            "backend": self.backend.as_ref().map_or("off", |backend| backend.name()),
            "entries": size.map(|(entries, _)| entries),
            "bytes": size.map(|(_, bytes)| bytes),
            "invalidated": self.invalidated.load(Ordering::Relaxed),
            "kinds": kinds,
        })
    }

    /// Numbers of one kind since the start of this process.
    #[must_use]
    pub fn kind_stats(&self, kind: CacheKind) -> KindStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = self.counts(kind);
        let (hits, misses) = (load(&counts.hits), load(&counts.misses));
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let hit_ratio = if hits + misses == 0 { 0.0 } else { hits as f64 / (hits + misses) as f64 };
        KindStats { hits, misses, errors: load(&counts.errors), hit_ratio, ttl_seconds: kind.ttl(&self.ttl).as_secs() }
    }
}

fn key(kind: CacheKind, name: &str) -> String {
    format!("{}:{name}", kind.as_str())
}
