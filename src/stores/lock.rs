//! A lock for short critical sections of the whole installation.
//!
//! With one daemon [`LocalLock`] does; with several, [`super::redis::lock::RedisLock`]. A lease that a daemon holds ends
//! by time if the daemon dies or stands still. A section that ran into that must not write: it asks
//! [`Lease::still_held`] before, and where the write itself can compare, [`Lease::fence`] tells an older holder's write.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::documents::StoreError;

/// How a lock is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRequest<'a> {
    /// Which lock: few, short names of our own.
    pub name: &'a str,
    /// How long the lease lasts unless it is extended. Several times what the section takes.
    pub lease: Duration,
    /// How long to wait for another holder.
    pub patience: Duration,
}

/// Mutual exclusion by name.
pub trait ClusterLock: Send + Sync {
    /// Waits for the lock and takes it.
    ///
    /// Fails as [`StoreError::Unavailable`] if it stays held for all of the patience, or the server is away.
    fn acquire<'a>(&'a self, request: LockRequest<'a>) -> BoxFuture<'a, Result<Lease, StoreError>>;
}

/// What a backend does for a lease it gave.
pub trait LeaseKeeper: Send + Sync {
    /// Lengthens the lease to `lease` from now. False if it is another's by now.
    fn extend(&self, lease: Duration) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// Gives the lock back; nothing happens if it is another's by now. False in that case.
    fn release(&self) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// Gives it back soon, without waiting; for a lease that was dropped.
    fn abandon(&self);
}

/// The lock, held. Dropping it gives it back without waiting for that.
pub struct Lease {
    keeper: Box<dyn LeaseKeeper>,
    fence: u64,
    /// End by our own clock, counted from before it was asked for; `None`: it has no end.
    until: Option<Instant>,
    released: bool,
}

impl Lease {
    /// A lease as a backend gives it.
    #[must_use]
    pub fn new(keeper: Box<dyn LeaseKeeper>, fence: u64, until: Option<Instant>) -> Self {
        Self { keeper, fence, until, released: false }
    }

    /// Grows with every holder of this lock.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether the lease can't have ended yet, by our own clock. Costs nothing.
    #[must_use]
    pub fn still_held(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    /// Lengthens the lease to `lease` from now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it is lost, or the server is away.
    pub async fn extend(&mut self, lease: Duration) -> Result<(), StoreError> {
        let asked = Instant::now();
        if !self.keeper.extend(lease).await? {
            self.until = Some(asked);
            return Err(StoreError::Unavailable("the lock was lost to another holder".to_owned()));
        }
        self.until = self.until.map(|_| asked + lease);
        Ok(())
    }

    /// Gives the lock back and tells whether it was held to the end.
    ///
    /// # Errors
    /// If the server is away; the lease then ends by time.
    pub async fn release(mut self) -> Result<bool, StoreError> {
        self.released = true;
        self.keeper.release().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.released {
            self.keeper.abandon();
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Lease")
            .field("fence", &self.fence)
            .field("still_held", &self.still_held())
            .finish_non_exhaustive()
    }
}

/// The lock within one process. Leases have no end: a holder that panics drops its lease.
#[derive(Default)]
pub struct LocalLock {
    by_name: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    fence: AtomicU64,
}

struct LocalKeeper {
    held: Mutex<Option<tokio::sync::OwnedMutexGuard<()>>>,
}

impl ClusterLock for LocalLock {
    fn acquire<'a>(&'a self, request: LockRequest<'a>) -> BoxFuture<'a, Result<Lease, StoreError>> {
        let mutex = Arc::clone(self.by_name.lock().entry(request.name.to_owned()).or_default());
        async move {
            let Ok(guard) = tokio::time::timeout(request.patience, mutex.lock_owned()).await else {
                return Err(held_by_another(request.name));
            };
            let fence = self.fence.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(Lease::new(Box::new(LocalKeeper { held: Mutex::new(Some(guard)) }), fence, None))
        }
        .boxed()
    }
}

impl LeaseKeeper for LocalKeeper {
    fn extend(&self, _: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        std::future::ready(Ok(true)).boxed()
    }

    fn release(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        std::future::ready(Ok(self.held.lock().take().is_some())).boxed()
    }

    fn abandon(&self) {
        self.held.lock().take();
    }
}

/// The patience ended.
pub(super) fn held_by_another(name: &str) -> StoreError {
    StoreError::Unavailable(format!("lock {name} is held by another"))
}
