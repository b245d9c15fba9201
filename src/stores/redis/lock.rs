//! The cluster lock in Redis: a key with a random token and an end by time.
//!
//! Correct as long as one server answers for the key. After a failover to a replica that had not heard of the key yet,
//! two holders are possible until the older one's lease ends: [`Lease::fence`] tells them apart.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::Script;

use super::connection::Redis;
use crate::stores::documents::StoreError;
use crate::stores::lock::{ClusterLock, Lease, LeaseKeeper, LockRequest, held_by_another};

/// First and longest wait between two attempts; each is drawn at random up to a bound that doubles.
const RETRY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Takes a free lock, or one that an earlier attempt of the same token took without hearing of it. The fence is the
/// server's time where that is larger, so that it grows even if the server lost its data.
static ACQUIRE: LazyLock<Arc<Script>> = LazyLock::new(|| {
    Arc::new(Script::new(
        r"
        local mine = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
        if not mine then
            if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
            redis.call('PEXPIRE', KEYS[1], ARGV[2])
        end
        local time = redis.call('TIME')
        local fence = time[1] * 1000000 + time[2]
        local last = tonumber(redis.call('GET', KEYS[2]) or '0')
        if fence <= last then fence = last + 1 end
        redis.call('SET', KEYS[2], string.format('%.0f', fence))
        return fence
        ",
    ))
});

static EXTEND: LazyLock<Arc<Script>> = LazyLock::new(|| {
    Arc::new(Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0",
    ))
});

static RELEASE: LazyLock<Arc<Script>> = LazyLock::new(|| {
    Arc::new(Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
    ))
});

/// The lock.
#[derive(Debug, Clone)]
pub struct RedisLock {
    redis: Redis,
}

impl RedisLock {
    /// Over this connection.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }
}

impl ClusterLock for RedisLock {
    fn acquire<'a>(&'a self, request: LockRequest<'a>) -> BoxFuture<'a, Result<Lease, StoreError>> {
        async move {
            let deadline = Instant::now() + request.patience;
            // braces: both keys live in one slot of a cluster
            let key = self.redis.key(&format!("lock:{{{}}}", request.name));
            let keeper = Keeper { redis: self.redis.clone(), key, token: token() };
            let mut bound = RETRY.0;
            loop {
                let asked = Instant::now();
                let keys = vec![keeper.key.clone(), format!("{}:fence", keeper.key)];
                let arguments = vec![keeper.token.clone(), millis(request.lease)];
                let fence: u64 = match self.redis.script("lock", &ACQUIRE, keys, arguments).await {
                    Ok(fence) => fence,
                    Err(error) => {
                        // the answer may be what was lost, not the lock
                        keeper.abandon();
                        return Err(error);
                    }
                };
                if fence > 0 {
                    return Ok(Lease::new(Box::new(keeper), fence, Some(asked + request.lease)));
                }
                let wait = bound.mul_f64(fastrand::f64());
                if Instant::now() + wait >= deadline {
                    return Err(held_by_another(request.name));
                }
                tokio::time::sleep(wait).await;
                bound = (bound * 2).min(RETRY.1);
            }
        }
        .boxed()
    }
}

/// One lease: its key, and the token that says it is ours.
struct Keeper {
    redis: Redis,
    key: String,
    token: Vec<u8>,
}

impl LeaseKeeper for Keeper {
    fn extend(&self, lease: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        let arguments = vec![self.token.clone(), millis(lease)];
        self.redis.script("lock_extend", &EXTEND, vec![self.key.clone()], arguments).boxed()
    }

    fn release(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.redis.script("lock_release", &RELEASE, vec![self.key.clone()], vec![self.token.clone()]).boxed()
    }

    fn abandon(&self) {
        let (redis, key, token) = (self.redis.clone(), self.key.clone(), self.token.clone());
        self.redis.background(async move {
            // if it fails, the lease ends by time
            let _ = redis.script::<bool>("lock_release", &RELEASE, vec![key], vec![token]).await;
        });
    }
}

fn token() -> Vec<u8> {
    uuid::Uuid::new_v4().as_bytes().to_vec()
}

fn millis(duration: Duration) -> Vec<u8> {
    duration.as_millis().max(1).to_string().into_bytes()
}
