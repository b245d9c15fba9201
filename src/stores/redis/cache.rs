//! The cache in Redis, shared by all daemons of an installation.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::Script;

use super::connection::Redis;
use crate::stores::cache::CacheBackend;
use crate::stores::documents::StoreError;

/// Keys the server looks at in one step of an invalidation: well under a millisecond of its time.
const SCAN_STEP: usize = 500;
/// Keys of one `MGET`, and entries of one write.
const CHUNK: usize = 256;

/// Counts changes; a counter that was lost begins at the server's time, so that no earlier value comes again.
static ADVANCE: LazyLock<Arc<Script>> = LazyLock::new(|| {
    Arc::new(Script::new(
        r"
        if redis.call('EXISTS', KEYS[1]) == 0 then
            local time = redis.call('TIME')
            redis.call('SET', KEYS[1], string.format('%.0f', time[1] * 1000000 + time[2]))
        end
        return redis.call('INCR', KEYS[1])
        ",
    ))
});

/// The cache.
#[derive(Debug, Clone)]
pub struct RedisCache {
    redis: Redis,
    /// Begins every key.
    prefix: String,
    /// Counts what changes the answers of searches.
    generation: String,
}

impl RedisCache {
    /// Over this connection.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        let (prefix, generation) = (redis.key("cache:"), redis.key("searches"));
        Self { redis, prefix, generation }
    }

    async fn scan(&self, pattern: &str) -> Result<u64, StoreError> {
        let (mut cursor, mut gone) = ("0".to_owned(), 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(format!("{}{pattern}", self.prefix)).arg("COUNT").arg(SCAN_STEP);
            let (next, keys): (String, Vec<Vec<u8>>) = self.redis.query("cache_scan", scan).await?;
            if !keys.is_empty() {
                // freed by the server's own background thread
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(keys);
                gone += self.redis.query::<u64>("cache_unlink", unlink).await?;
            }
            if next == "0" {
                return Ok(gone);
            }
            cursor = next;
        }
    }
}

impl CacheBackend for RedisCache {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn get(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        async move {
            let mut found = Vec::with_capacity(keys.len());
            for chunk in keys.chunks(CHUNK) {
                let mut command = redis::cmd("MGET");
                for key in chunk {
                    command.arg(format!("{}{key}", self.prefix));
                }
                found.extend(self.redis.query::<Vec<Option<Vec<u8>>>>("cache_get", command).await?);
            }
            Ok(found)
        }
        .boxed()
    }

    fn put(&self, entries: Vec<(String, Vec<u8>)>, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX >> 1).max(1);
            for chunk in entries.chunks(CHUNK) {
                let mut pipeline = redis::pipe();
                for (key, value) in chunk {
                    let command = pipeline.cmd("SET").arg(format!("{}{key}", self.prefix));
                    command.arg(value.as_slice()).arg("PX").arg(millis).ignore();
                }
                self.redis.pipeline::<()>("cache_put", pipeline).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn invalidate<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.scan(pattern).boxed()
    }

    fn generation(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let mut command = redis::cmd("GET");
            command.arg(&self.generation);
            match self.redis.query::<Option<u64>>("cache_generation", command).await? {
                Some(generation) => Ok(generation),
                // lost or never there: what was kept under an earlier one must not count again
                None => self.advance().await,
            }
        }
        .boxed()
    }

    fn advance(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.redis.script("cache_advance", &ADVANCE, vec![self.generation.clone()], Vec::new()).boxed()
    }

    fn size(&self) -> Option<(u64, u64)> {
        None
    }
}
