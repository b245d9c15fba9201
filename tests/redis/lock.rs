//! The cluster lock, of one process and over Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tidemill::stores::lock::{ClusterLock, LocalLock, LockRequest};
use tidemill::stores::redis::Redis;
use tidemill::stores::redis::lock::RedisLock;

use crate::server::{self, Server};
use crate::settings;

fn request(name: &str) -> LockRequest<'_> {
    LockRequest { name, lease: Duration::from_secs(10), patience: Duration::from_secs(20) }
}

/// Every kind of lock, each as two daemons would hold it.
fn locks(test: &str) -> (Vec<server::Target>, Vec<[Arc<dyn ClusterLock>; 2]>) {
    let targets = server::targets(test);
    let over_redis = targets.iter().map(|target| {
        let settings = settings(&target.url);
        [(); 2].map(|()| Arc::new(RedisLock::new(Redis::open(&settings).unwrap())) as Arc<dyn ClusterLock>)
    });
    let local: Arc<dyn ClusterLock> = Arc::new(LocalLock::default());
    let locks = over_redis.chain([[Arc::clone(&local), local]]).collect();
    (targets, locks)
}

#[tokio::test]
async fn one_holder_at_a_time_and_fences_grow() {
    let (_targets, all) = locks("one_holder_at_a_time_and_fences_grow");
    for pair in all {
        let (inside, last) = (Arc::new(AtomicU32::new(0)), Arc::new(parking_lot::Mutex::new(0)));
        let workers = (0..8).map(|worker| {
            let (lock, inside, last) = (Arc::clone(&pair[worker % 2]), Arc::clone(&inside), Arc::clone(&last));
            tokio::spawn(async move {
                for _ in 0..10 {
                    let lease = lock.acquire(request("section")).await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "alone inside");
                    let earlier = std::mem::replace(&mut *last.lock(), lease.fence());
                    assert!(lease.fence() > earlier, "{} after {earlier}", lease.fence());
                    tokio::task::yield_now().await;
                    assert!(lease.still_held());
                    inside.fetch_sub(1, Ordering::SeqCst);
                    assert!(lease.release().await.unwrap());
                }
            })
        });
        for worker in futures_util::future::join_all(workers).await {
            worker.unwrap();
        }
    }
}

#[tokio::test]
async fn held_lock_is_waited_for_only_as_long_as_asked_and_others_are_free() {
    let (_targets, all) = locks("held_lock_is_waited_for_only_as_long_as_asked_and_others_are_free");
    for [one, two] in all {
        let held = one.acquire(request("a")).await.unwrap();
        let started = Instant::now();
        let impatient = LockRequest { patience: Duration::from_millis(100), ..request("a") };
        let error = two.acquire(impatient).await.unwrap_err();
        assert!(error.is_retriable() && error.to_string().contains("lock a"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5));
        two.acquire(request("b")).await.unwrap().release().await.unwrap();
        drop(held);
        two.acquire(request("a")).await.unwrap();
    }
}

#[tokio::test]
async fn lease_of_a_dead_holder_ends_by_time_and_is_not_given_back_twice() {
    for target in server::targets("lease_of_a_dead_holder_ends_by_time_and_is_not_given_back_twice") {
        let settings = settings(&target.url);
        let [one, two] = [(); 2].map(|()| RedisLock::new(Redis::open(&settings).unwrap()));
        let short = LockRequest { lease: Duration::from_millis(150), ..request("a") };
        let mut old = one.acquire(short).await.unwrap();
        let new = two.acquire(request("a")).await.unwrap();
        assert!(!old.still_held() && new.still_held());
        assert!(new.fence() > old.fence());
        assert!(old.extend(Duration::from_secs(5)).await.is_err(), "it is another's by now");
        assert!(!old.release().await.unwrap(), "and stays another's");
        let impatient = LockRequest { patience: Duration::from_millis(50), ..request("a") };
        assert!(one.acquire(impatient).await.is_err());
        assert!(new.release().await.unwrap());
    }
}

#[tokio::test]
async fn extended_lease_outlives_its_first_end() {
    for target in server::targets("extended_lease_outlives_its_first_end") {
        let lock = RedisLock::new(Redis::open(&settings(&target.url)).unwrap());
        let mut lease = lock.acquire(LockRequest { lease: Duration::from_millis(200), ..request("a") }).await.unwrap();
        lease.extend(Duration::from_secs(20)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(lease.still_held());
        assert!(lease.release().await.unwrap());
    }
}

#[tokio::test]
async fn fence_grows_even_over_a_loss_of_data() {
    let Some(program) = server::program("fence_grows_even_over_a_loss_of_data") else { return };
    let server = Server::start(&program, &[]);
    let lock = RedisLock::new(Redis::open(&settings(&server.url())).unwrap());
    let before = lock.acquire(request("a")).await.unwrap().fence();
    assert!(server.command("FLUSHALL").starts_with("+OK"));
    assert!(lock.acquire(request("a")).await.unwrap().fence() > before);
}
