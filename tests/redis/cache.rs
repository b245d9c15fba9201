//! What every cache promises, in memory and in Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::config::cache::{CacheConfig, TtlConfig};
use tidemill::stores::cache::memory::MemoryCache;
use tidemill::stores::cache::{Cache, CacheBackend, CacheKind};
use tidemill::stores::redis::Redis;
use tidemill::stores::redis::cache::RedisCache;

use crate::server::{self, Server};
use crate::{eventually, open, settings};

/// Every kind of cache, empty.
fn backends(test: &str) -> (Vec<server::Target>, Vec<Arc<dyn CacheBackend>>) {
    let targets = server::targets(test);
    let over_redis = targets.iter().map(|target| Arc::new(RedisCache::new(open(&target.url))) as Arc<dyn CacheBackend>);
    let memory: Arc<dyn CacheBackend> = Arc::new(MemoryCache::new(1 << 20));
    let all = over_redis.chain([memory]).collect();
    (targets, all)
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn entry(name: &str, value: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), value.to_vec())
}

#[tokio::test]
async fn entries_are_kept_by_kind_and_name_and_counted() {
    let (_targets, all) = backends("entries_are_kept_by_kind_and_name_and_counted");
    for backend in all {
        let cache = Cache::new(Some(backend), &CacheConfig::default());
        cache.put(CacheKind::Embedding, vec![entry("a", b"1"), entry("b", &[0, 255, 10])]).await;
        let found = cache.get(CacheKind::Embedding, &named(&["b", "x", "a"])).await;
        assert_eq!(found, [Some(vec![0, 255, 10]), None, Some(b"1".to_vec())]);
        assert_eq!(cache.get(CacheKind::Quality, &named(&["a"])).await, [None], "another kind");
        cache.put(CacheKind::Embedding, vec![entry("a", b"2")]).await;
        assert_eq!(cache.get(CacheKind::Embedding, &named(&["a"])).await, [Some(b"2".to_vec())]);
        let stats = cache.kind_stats(CacheKind::Embedding);
        assert_eq!((stats.hits, stats.misses, stats.errors, stats.ttl_seconds), (3, 1, 0, 3600));
        assert!((stats.hit_ratio - 0.75).abs() < 1e-9);
    }
}

#[tokio::test]
async fn entries_go_when_their_kinds_time_is_over() {
    let (_targets, all) = backends("entries_go_when_their_kinds_time_is_over");
    for backend in all {
        let ttl = TtlConfig { other: 1, resource: 0, ..TtlConfig::default() };
        let cache = Cache::new(Some(backend), &CacheConfig { ttl, ..CacheConfig::default() });
        for kind in CacheKind::ALL {
            cache.put(kind, vec![entry("a", b"1")]).await;
        }
        let get = async |kind| cache.get(kind, &named(&["a"])).await.remove(0).is_some();
        assert!(get(CacheKind::Other).await);
        assert!(!get(CacheKind::Resource).await, "none of this kind is kept");
        eventually("the end", || async { !get(CacheKind::Other).await }).await;
        assert!(get(CacheKind::Search).await);
    }
}

#[tokio::test]
async fn pattern_takes_what_fits_and_nothing_else() {
    let (targets, all) = backends("pattern_takes_what_fits_and_nothing_else");
    for backend in all {
        let cache = Cache::new(Some(Arc::clone(&backend)), &CacheConfig::default());
        let many = |from: usize| (from..from + 700).map(|index| entry(&format!("n{index}"), b"1")).collect();
        cache.put(CacheKind::Search, many(0)).await;
        cache.put(CacheKind::Embedding, many(700)).await;
        assert_eq!(cache.invalidate("search:n1?").await.unwrap(), 10);
        assert_eq!(cache.invalidate("search:*").await.unwrap(), 690);
        assert_eq!(cache.get(CacheKind::Search, &named(&["n5"])).await, [None]);
        assert_eq!(cache.invalidate("[^e]*").await.unwrap(), 0);
        assert_eq!(cache.invalidate("*").await.unwrap(), 700);
        assert_eq!(cache.stats()["invalidated"], 1400);
    }
    for target in targets {
        // nobody else's keys, whatever the pattern
        let redis = open(&target.url);
        let mut command = redis::cmd("SET");
        command.arg(redis.key("jobs:1")).arg("mine");
        redis.query::<()>("set", command).await.unwrap();
        Cache::new(Some(Arc::new(RedisCache::new(redis.clone()))), &CacheConfig::default())
            .invalidate("*")
            .await
            .unwrap();
        let mut command = redis::cmd("GET");
        command.arg(redis.key("jobs:1"));
        assert_eq!(redis.query::<String>("get", command).await.unwrap(), "mine");
    }
}

#[tokio::test]
async fn large_invalidation_never_holds_up_the_server() {
    let Some(program) = server::program("large_invalidation_never_holds_up_the_server") else { return };
    let server = Server::start(&program, &["--appendonly", "no", "--slowlog-log-slower-than", "20000"]);
    let redis = open(&server.url());
    let backend = RedisCache::new(redis.clone());
    let entries: Vec<_> = (0..60_000).map(|index| entry(&format!("other:{index}"), &[0; 100])).collect();
    for chunk in entries.chunks(10_000) {
        backend.put(chunk.to_vec(), Duration::from_mins(5)).await.unwrap();
    }
    let invalidation = async { backend.invalidate("other:*").await.unwrap() };
    let others = async {
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let started = Instant::now();
            redis.query::<String>("ping", redis::cmd("PING")).await.unwrap();
            longest = longest.max(started.elapsed());
        }
        longest
    };
    let (gone, longest) = tokio::join!(invalidation, others);
    println!("{gone} entries gone, a call beside it took at most {longest:?}");
    assert_eq!(gone, 60_000);
    assert_eq!(server.command("SLOWLOG LEN").lines().next(), Some(":0"), "no step took the server 20 ms");
}

#[tokio::test]
async fn search_answer_counts_until_something_searches_see_has_changed() {
    let (_targets, all) = backends("search_answer_counts_until_something_searches_see_has_changed");
    for backend in all {
        // as two daemons over one cache
        let [one, two] = [(); 2].map(|()| Cache::new(Some(Arc::clone(&backend)), &CacheConfig::default()));
        let (nothing, generation) = one.get_search("q").await;
        assert_eq!(nothing, None);
        one.put_search("q", generation.unwrap(), b"answer").await;
        assert_eq!(two.get_search("q").await.0, Some(b"answer".to_vec()));
        let (_, before) = one.get_search("other").await;
        two.searches_changed().await;
        assert_eq!(one.get_search("q").await.0, None);
        one.put_search("other", before.unwrap(), b"worked out before the change").await;
        assert_eq!(one.get_search("other").await.0, None);
    }
}

#[tokio::test]
async fn memory_stays_bounded_and_what_is_used_stays() {
    let cache = Cache::new(Some(Arc::new(MemoryCache::new(100_000))), &CacheConfig::default());
    cache.put(CacheKind::Other, vec![entry("kept", &[1; 100])]).await;
    for index in 0..2000 {
        cache.put(CacheKind::Other, vec![entry(&format!("n{index}"), &[0; 100])]).await;
        assert!(cache.get(CacheKind::Other, &named(&["kept"])).await[0].is_some());
    }
    let stats = cache.stats();
    assert!(stats["bytes"].as_u64().unwrap() <= 100_000 && stats["entries"].as_u64().unwrap() > 100, "{stats}");
    cache.put(CacheKind::Other, vec![entry("huge", &[0; 200_000])]).await;
    assert_eq!(cache.get(CacheKind::Other, &named(&["huge"])).await, [None]);
    assert!(cache.get(CacheKind::Other, &named(&["kept"])).await[0].is_some(), "it pushed nothing out");
}

#[tokio::test]
async fn cache_that_fails_is_a_miss_in_time_and_changes_meanwhile_are_made_up_for() {
    let Some(program) = server::program("cache_that_fails_is_a_miss") else { return };
    let mut server = Server::start(&program, &[]);
    let settings = settings(&server.url());
    let [one, two] = [(); 2].map(|()| {
        let backend = RedisCache::new(Redis::open(&settings).unwrap());
        Cache::new(Some(Arc::new(backend)), &CacheConfig::default())
    });
    let (_, generation) = one.get_search("q").await;
    one.put_search("q", generation.unwrap(), b"old").await;
    one.put(CacheKind::Other, vec![entry("a", b"1")]).await;
    for away in ["kill", "pause"] {
        if away == "kill" {
            server.kill();
        } else {
            server.pause();
        }
        let started = Instant::now();
        assert_eq!(one.get(CacheKind::Other, &named(&["a"])).await, [None]);
        one.put(CacheKind::Other, vec![entry("b", b"1")]).await;
        one.searches_changed().await;
        assert!(started.elapsed() < Duration::from_secs(1), "{away}: {:?}", started.elapsed());
        assert!(one.invalidate("*").await.is_err(), "{away}");
        if away == "kill" {
            server.restart();
        } else {
            server.resume();
        }
        eventually("an answer", || async { two.get(CacheKind::Other, &named(&["a"])).await[0].is_some() }).await;
        assert_eq!(one.get_search("q").await.0, None, "{away}: changed since, although nobody was told");
        eventually("the telling", || async {
            one.catch_up().await;
            one.get_search("q").await.1.is_some()
        })
        .await;
        assert_eq!(two.get_search("q").await.0, None, "{away}");
        let (_, generation) = one.get_search("q").await;
        one.put_search("q", generation.unwrap(), b"old").await;
    }
    assert!(one.kind_stats(CacheKind::Other).errors >= 2);
}
