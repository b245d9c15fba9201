//! Two real daemons of one consumer group on everything they share, while each service and one of them fails in turn:
//! Apache Kafka, PostgreSQL, Redis and Qdrant's protocol. Afterwards every acknowledged document has one verdict.
//!
//! `TIDEMILL_SOAK_OUTAGE_SECONDS` makes the outages longer (`make soak` takes 60 seconds).
#![allow(
    clippy::type_complexity,
    clippy::expect_used,
    clippy::new_without_default,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "tests"
)]
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests")]

#[path = "daemon/corpus.rs"]
mod corpus;
#[path = "support/services/kafka.rs"]
mod kafka;
#[path = "support/services/postgres.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod postgres;
#[path = "daemon/process.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "support/services/qdrant.rs"]
mod qdrant;
#[path = "support/services/redis.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod redis;
#[path = "support/services.rs"]
mod services;
#[path = "daemon/verdicts.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod verdicts;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use corpus::{Expected, POISON, Sample, corpus};
use process::Daemon;
use verdicts::{Verdict, verdicts};

/// Documents in a request.
const CHUNK: usize = 20;
/// Requests before the first fault at most: until then both daemons must have had work.
const WARM_UP: usize = 60;
/// Requests while something is away, and until it is back.
const CHUNKS_PER_FAULT: usize = 8;
/// How long verdicts may stand still before they count as lost: longer than a dead member's session and a transaction.
const STANDSTILL: Duration = Duration::from_mins(2);

/// Everything the daemons share.
struct Shared {
    kafka: kafka::Kafka,
    postgres: postgres::Server,
    redis: redis::Server,
    qdrant: qdrant::QdrantTestServer,
}

impl Shared {
    /// `None`, with a line that says so, where one of them can't be had.
    fn start(test: &str) -> Option<Self> {
        let users_own =
            ["kafka", "postgres", "redis", "qdrant"].into_iter().find(|it| services::users_own(it).is_some());
        if let Some(service) = users_own {
            services::skip(service, "the user's own server must not be stopped");
            return None;
        }
        let kafka = kafka::Kafka::own(kafka::Kind::Plain).inspect_err(|why| services::skip("kafka", why)).ok()?;
        let postgres = postgres::breakable(&[]).inspect_err(|why| services::skip("postgres", why)).ok()?;
        let redis = redis::Server::start(&redis::program(test)?, &["--maxmemory-policy", "noeviction"]);
        Some(Self { kafka, postgres, redis, qdrant: qdrant::QdrantTestServer::start() })
    }

    fn settings(&self, database: &str) -> Vec<String> {
        let fixed = [
            "log.backend=kafka",
            "kafka.exactly_once=true",
            "kafka.topics.partitions=6",
            "kafka.session_timeout_ms=6000",
            "kafka.request_timeout_ms=3000",
            "kafka.transaction_timeout_ms=10000",
            "kafka_listener.enabled=false",
            "log.source.commit_interval_ms=50",
            "encoder.kind=hashing",
            "store.backend=postgres",
            "store.vectors.backend=qdrant",
            "jobs.backend=redis",
            "dedup.shared=on",
            "redis.command_timeout_ms=500",
            "redis.connect_timeout_ms=500",
            "redis.backoff_max_ms=200",
            "postgres.connect_timeout_ms=500",
            "postgres.call_timeout_ms=3000",
            "faults.poison_stage=embedder",
            "supervision.max_restarts=1000",
        ];
        let own = [
            format!("kafka.brokers={}", self.kafka.brokers()),
            format!("postgres.url={database}"),
            format!("redis.url={}", self.redis.url()),
            format!("qdrant.url={}", self.qdrant.url()),
            format!("faults.poison_marker={POISON}"),
        ];
        let waits = process::ACTORS.iter().filter(|actor| **actor != "source");
        let waits = waits.map(|actor| format!("actors.{actor}.backoff_max_ms=200"));
        fixed.into_iter().map(str::to_owned).chain(own).chain(waits).collect()
    }
}

/// What fails, and how it comes back.
struct Fault {
    name: &'static str,
    begin: fn(&mut Shared),
    end: fn(&mut Shared),
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "PostgreSQL is killed",
        begin: |shared| shared.postgres.kill(),
        end: |shared| shared.postgres.restart().unwrap(),
    },
    Fault { name: "Redis is killed", begin: |shared| shared.redis.kill(), end: |shared| shared.redis.restart() },
    Fault { name: "Qdrant is killed", begin: |shared| shared.qdrant.stop(), end: |shared| shared.qdrant.restart() },
    Fault {
        name: "Kafka is killed",
        begin: |shared| shared.kafka.kill(),
        end: |shared| shared.kafka.restart().unwrap(),
    },
    Fault {
        name: "PostgreSQL stands still",
        begin: |shared| shared.postgres.pause(),
        end: |shared| shared.postgres.resume(),
    },
];

fn outage() -> Duration {
    let seconds = std::env::var("TIDEMILL_SOAK_OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// Sends chunks, each to the next daemon, until every one is acknowledged.
async fn post(daemons: &[Daemon], chunks: &[Vec<&Sample>]) {
    let started = Instant::now();
    let patience = outage() + STANDSTILL;
    for (turn, chunk) in chunks.iter().enumerate() {
        let body = serde_json::Value::Array(chunk.iter().map(|sample| sample.body.clone()).collect());
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let mut tries = turn;
        loop {
            tick.tick().await;
            let daemon = &daemons[tries % daemons.len()];
            if let Some((202, _)) = daemon.try_post("/v1/documents", &body).await {
                break;
            }
            tries += 1;
            assert!(started.elapsed() < patience, "nothing is acknowledged:\n{}", daemon.log_tail());
        }
    }
}

/// Sends chunks while the group hands out partitions; every daemon has to get some.
async fn post_until_all_work(daemons: &[Daemon], chunks: &[Vec<&Sample>]) {
    for (index, chunk) in chunks.iter().enumerate() {
        post(daemons, std::slice::from_ref(chunk)).await;
        for daemon in daemons {
            if judged(daemon).await == 0.0 {
                assert!(index + 1 < chunks.len(), "a daemon has no work:\n{}", daemon.log_tail());
                daemons[0].wait_for("/health", "all is judged", |health| health["backlog_records"] == 0).await;
                break;
            }
        }
    }
}

/// Verdicts that a daemon has come to since its start.
async fn judged(daemon: &Daemon) -> f64 {
    let (_, text) = daemon.get_text("/metrics").await;
    let counts = text.lines().filter(|line| line.starts_with("tidemill_documents_total{"));
    counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Waits until as many documents have a verdict as were acknowledged.
async fn all_judged(daemons: &[Daemon], samples: &[Sample]) -> BTreeMap<String, Verdict> {
    let (mut most, mut progress) = (0, Instant::now());
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        let found = verdicts(&daemons[0]).await;
        if found.len() == samples.len() {
            return found;
        }
        if found.len() > most {
            (most, progress) = (found.len(), Instant::now());
        }
        let logs = || daemons.iter().map(Daemon::log_tail).collect::<Vec<_>>().join("\n---\n");
        assert!(
            progress.elapsed() < STANDSTILL,
            "{} of {} documents have verdicts\n{}",
            found.len(),
            samples.len(),
            logs()
        );
    }
}

/// Of each document and its copies exactly one is stored, and the others name it; which of them came first is open, as
/// partitions are read at once. Poison is dead.
fn each_group_is_stored_once(samples: &[Sample], verdicts: &BTreeMap<String, Verdict>) {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Sample { id, expected, .. } in samples {
        match expected {
            Expected::Stored => groups.entry(id).or_default().push(id),
            Expected::DuplicateOf(original) => groups.entry(original).or_default().push(id),
            Expected::Dead => assert_eq!(verdicts[id].label, "dead", "poison {id}"),
        }
    }
    for members in groups.values() {
        let stored: Vec<&&str> = members.iter().filter(|id| verdicts[**id].label == "stored").collect();
        let [stored] = stored[..] else { panic!("of {members:?} these are stored: {stored:?}") };
        for id in members.iter().filter(|id| *id != stored) {
            assert_eq!(verdicts[*id].of.as_deref(), Some(*stored), "{id} is a copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_on_shared_services_keep_every_verdict_while_each_of_them_fails() {
    let test = "daemons_on_shared_services_keep_every_verdict_while_each_of_them_fails";
    let Some(mut shared) = tokio::task::block_in_place(|| Shared::start(test)) else { return };
    let database = tokio::task::block_in_place(|| shared.postgres.database("cluster"));
    let settings = shared.settings(&database);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let directory = tempfile::tempdir().unwrap();
    let mut daemons = Vec::new();
    for name in ["one", "two"] {
        daemons.push(start(&directory.path().join(name), &settings).await);
    }
    let samples = corpus(CHUNK * (WARM_UP + CHUNKS_PER_FAULT * (FAULTS.len() + 1)), 31);
    let chunks: Vec<Vec<&Sample>> = samples.chunks(CHUNK).map(|chunk| chunk.iter().collect()).collect();
    let (warm_up, faulty) = chunks.split_at(WARM_UP);

    post_until_all_work(&daemons, warm_up).await;
    for (fault, chunks) in FAULTS.iter().zip(faulty.chunks(CHUNKS_PER_FAULT)) {
        let started = Instant::now();
        tokio::task::block_in_place(|| (fault.begin)(&mut shared));
        let comes_back = async {
            // the length of the outage, not a wait for something
            tokio::time::sleep(outage()).await;
            tokio::task::block_in_place(|| (fault.end)(&mut shared));
        };
        tokio::join!(post(&daemons, chunks), comes_back);
        for daemon in &mut daemons {
            daemon.wait_ready().await;
        }
        println!("{}: all acknowledged and ready after {:.1} s", fault.name, started.elapsed().as_secs_f64());
    }
    let last = &faulty[CHUNKS_PER_FAULT * FAULTS.len()..];
    post(&daemons, &last[..CHUNKS_PER_FAULT / 2]).await;
    daemons[0].kill_and_restart().await;
    post(&daemons, &last[CHUNKS_PER_FAULT / 2..]).await;

    let found = all_judged(&daemons, &samples).await;
    each_group_is_stored_once(&samples, &found);
    let rows = postgres::sql_at(&database, "SELECT count(*) FROM raw.documents");
    let alive = found.values().filter(|verdict| verdict.label != "dead").count();
    assert_eq!(rows[0][0], alive.to_string(), "one row a document");
    for mut daemon in daemons {
        assert!(daemon.stop().await.success(), "drains in order:\n{}", daemon.log_tail());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_daemons_divide_the_work_and_write_each_record_once() {
    let test = "four_daemons_divide_the_work_and_write_each_record_once";
    let Some(shared) = tokio::task::block_in_place(|| Shared::start(test)) else { return };
    let database = tokio::task::block_in_place(|| shared.postgres.database("four"));
    let mut settings = shared.settings(&database);
    settings.extend(["encoder.kind=none", "store.vectors.backend=embedded"].map(str::to_owned));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let directory = tempfile::tempdir().unwrap();
    let starts = (0..4).map(|index| {
        let directory = directory.path().join(format!("daemon-{index}"));
        let settings = &settings;
        async move { start(&directory, settings).await }
    });
    let daemons: Vec<Daemon> = futures_util::future::join_all(starts).await;
    let samples = corpus(CHUNK * WARM_UP, 32);
    let chunks: Vec<Vec<&Sample>> = samples.chunks(CHUNK).map(|chunk| chunk.iter().collect()).collect();
    post_until_all_work(&daemons, &chunks).await;

    let found = all_judged(&daemons, &samples).await;
    each_group_is_stored_once(&samples, &found);
    let alive = found.values().filter(|verdict| verdict.label != "dead").count().to_string();
    for table in ["raw.documents", "analytics.analyses", "analytics.deliveries"] {
        let rows = postgres::sql_at(&database, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(rows[0][0], alive, "one row a record in {table}");
    }
    for mut daemon in daemons {
        assert!(daemon.stop().await.success(), "drains in order:\n{}", daemon.log_tail());
    }
}

async fn start(directory: &Path, settings: &[&str]) -> Daemon {
    Daemon::start(directory, settings).await
}
