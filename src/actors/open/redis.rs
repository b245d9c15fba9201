//! What daemons share over Redis: the connection, the lock, the cache.

use std::sync::Arc;

use super::OpenError;
use crate::config::Config;
use crate::config::cache::CacheBackendKind;
use crate::config::dedup::Sharing;
use crate::config::store::VectorsBackend;
use crate::stores::cache::memory::MemoryCache;
use crate::stores::cache::{Cache, CacheBackend};
use crate::stores::lock::{ClusterLock, LocalLock};
use crate::stores::redis::Redis;
use crate::stores::redis::cache::RedisCache;
use crate::stores::redis::lock::RedisLock;

/// Prepares the connection to Redis where one is configured. The server may still be away.
pub(super) fn open_redis(config: &Config) -> Result<Option<Redis>, OpenError> {
    if config.dedup.shared == Sharing::On && !config.redis.is_used() {
        return Err(OpenError::WithoutRedis("dedup.shared: on"));
    }
    Ok(if config.redis.is_used() { Some(Redis::open(&config.redis)?) } else { None })
}

/// Opens the connection to Redis and asks the server, for checks. `None` where none is configured.
///
/// # Errors
/// Why it does not answer, or takes no writes.
pub async fn try_redis(config: &Config) -> Result<Option<String>, OpenError> {
    let Some(redis) = open_redis(config)? else { return Ok(None) };
    Ok(Some(redis.usable().await?))
}

/// The lock of the installation: Redis' where there is one, else this process is the installation.
pub(super) fn cluster_lock(config: &Config, redis: Option<&Redis>) -> Arc<dyn ClusterLock> {
    if let Some(redis) = redis {
        return Arc::new(RedisLock::new(redis.clone()));
    }
    if config.store.vectors.backend == VectorsBackend::Qdrant {
        tracing::warn!(
            "without [redis] near copies are told apart in this daemon only: no other may use its collection"
        );
    }
    Arc::new(LocalLock::default())
}

/// The cache the configuration asks for.
pub(super) fn cache(config: &Config, redis: Option<&Redis>) -> Result<Cache, OpenError> {
    let memory = || Arc::new(MemoryCache::new(config.cache.memory_mib << 20)) as Arc<dyn CacheBackend>;
    let shared = redis.map(|redis| Arc::new(RedisCache::new(redis.clone())) as Arc<dyn CacheBackend>);
    let backend = match config.cache.backend {
        CacheBackendKind::Auto => Some(shared.unwrap_or_else(memory)),
        CacheBackendKind::Memory => Some(memory()),
        CacheBackendKind::Redis => Some(shared.ok_or(OpenError::WithoutRedis("cache.backend: redis"))?),
        CacheBackendKind::Off => None,
    };
    Ok(Cache::new(backend, &config.cache))
}
