//! The daemon on Apache Kafka while broker, daemon or network fail: afterwards every acknowledged document has one
//! verdict, and a consumer of committed analyses sees each once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Isolation, each_once, produce, unique, whole};
use crate::corpus::{Expected, Sample, corpus};
use crate::kafka::{Kafka, Kind};
use crate::process::Daemon;
use crate::services::{PATIENCE, eventually, free_port};

const PARTITIONS: usize = 3;

/// Names and settings of one scenario.
pub struct Scenario {
    brokers: String,
    prefix: String,
    directory: tempfile::TempDir,
    /// Those of all its daemons.
    settings: Vec<String>,
}

impl Scenario {
    pub fn new(broker: &Kafka, further: &[&str]) -> Self {
        let (brokers, prefix) = (broker.brokers().to_owned(), unique("fault"));
        let mut settings = vec![
            "log.backend=kafka".to_owned(),
            format!("kafka.brokers={brokers}"),
            format!("kafka.group={prefix}"),
            format!("kafka.topics.partitions={PARTITIONS}"),
            "kafka.exactly_once=true".to_owned(),
            "kafka.session_timeout_ms=6000".to_owned(),
            "kafka.request_timeout_ms=3000".to_owned(),
            "log.source.commit_interval_ms=20".to_owned(),
            "encoder.kind=hashing".to_owned(),
        ];
        for topic in ["documents", "bars", "analyses", "signals", "backtests", "alerts", "dead_letters"] {
            settings.push(format!("kafka.topics.{topic}={prefix}-{topic}"));
        }
        settings.extend(further.iter().map(|setting| (*setting).to_owned()));
        Self { brokers, prefix, directory: tempfile::tempdir().unwrap(), settings }
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub async fn daemon(&self, name: &str, further: &[&str]) -> Daemon {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).chain(further.iter().copied()).collect();
        Daemon::start(&self.directory(name), &settings).await
    }

    fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub async fn produce(&self, samples: &[Sample]) {
        let records: Vec<_> = samples.iter().map(|sample| (sample.id.clone(), sample.body.to_string())).collect();
        produce(&self.brokers, &self.topic("documents"), &records).await;
    }

    /// Ids of the analyses that were published.
    fn published(&self, isolation: Isolation) -> Vec<String> {
        let all = tokio::task::block_in_place(|| whole(&self.brokers, &self.topic("analyses"), isolation));
        all.into_iter().map(|(key, _)| key).collect()
    }

    /// Waits until each document has one analysis, and no more come when the daemons have nothing to do any more.
    pub async fn each_is_published_once(&self, samples: &[Sample], daemons: &[&Daemon]) {
        let ids: Vec<&String> = samples.iter().map(|sample| &sample.id).collect();
        let logs = || daemons.iter().map(|daemon| daemon.log_tail()).collect::<Vec<_>>().join("\n---\n");
        let all_there = eventually(PATIENCE, async || {
            let found = self.published(Isolation::Committed);
            if found.len() >= ids.len() {
                Ok(())
            } else {
                Err(format!("{} of {} are published", found.len(), ids.len()))
            }
        });
        all_there.await.unwrap_or_else(|objection| panic!("{objection}\n{}", logs()));
        for daemon in daemons {
            daemon.drained().await;
        }
        each_once(ids, &self.published(Isolation::Committed)).unwrap_or_else(|what| panic!("{what}\n{}", logs()));
    }
}

/// Documents that are all new, so that their verdicts do not depend on the order of partitions.
pub fn fresh(count: usize, seed: u64) -> Vec<Sample> {
    let mut samples = corpus(count * 5 / 4, seed);
    samples.retain(|sample| sample.expected == Expected::Stored);
    samples.truncate(count);
    assert_eq!(samples.len(), count);
    samples
}

pub async fn each_is_stored(samples: &[Sample], daemon: &Daemon) {
    let stored: Vec<String> =
        daemon.all("/v1/documents").await.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    each_once(samples.iter().map(|sample| &sample.id), &stored).unwrap();
}

fn signal(directory: &Path, signal: &str) {
    let endpoints: Value =
        serde_json::from_str(&std::fs::read_to_string(directory.join("endpoints.json")).unwrap()).unwrap();
    let kill = format!("kill -{signal} {}", endpoints["pid"]);
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

fn log_of(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("daemon.log")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_the_broker_and_its_death_and_silence_under_load_lose_nothing() {
    let mut broker = given!(Kafka::stopped(Kind::Plain));
    if crate::services::users_own("kafka").is_some() {
        return crate::services::skip("kafka", "the user's own server must not be stopped");
    }
    let port = free_port();
    let listen = format!("http.listen=127.0.0.1:{port}");
    let scenario = std::sync::Arc::new(Scenario::new(&broker, &[&listen]));
    let starting = tokio::spawn({
        let scenario = std::sync::Arc::clone(&scenario);
        async move { scenario.daemon("daemon", &[]).await }
    });
    tidemill::tls::install_provider();
    let client = reqwest::Client::new();
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let waits = eventually(PATIENCE, async || {
        let answer = client.get(at("/health/ready")).send().await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.map_err(|error| error.to_string())?;
        assert_eq!((status, &body["ready"]), (503, &Value::Bool(false)), "{body}");
        let detail = body["dependencies"][0]["detail"].as_str().unwrap_or_default();
        if detail.contains("unavailable") { Ok(()) } else { Err(format!("{body}")) }
    });
    waits.await.unwrap();
    assert_eq!(client.get(at("/health/live")).send().await.unwrap().status().as_u16(), 200);
    let refused = client.post(at("/v1/documents")).json(&serde_json::json!({})).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 503);
    assert!(log_of(&scenario.directory("daemon")).contains("the service does not answer, the start waits for it"));

    let started = Instant::now();
    tokio::task::block_in_place(|| broker.restart()).unwrap();
    println!("the broker is ready after {:.1} s", started.elapsed().as_secs_f64());
    let daemon = starting.await.unwrap();

    let samples = fresh(1_500, 11);
    let (producing, samples) = {
        let (scenario, samples) = (std::sync::Arc::clone(&scenario), std::sync::Arc::new(samples));
        let its = std::sync::Arc::clone(&samples);
        (tokio::spawn(async move { scenario.produce(&its).await }), samples)
    };
    eventually(PATIENCE, async || {
        let (_, health) = daemon.get("/health").await;
        if health["counts"]["stored"].as_u64() > Some(200) { Ok(()) } else { Err(health.to_string()) }
    })
    .await
    .unwrap();
    broker.kill();
    daemon.wait_for("/health/ready", "readiness ends", |ready| ready["ready"] == Value::Bool(false)).await;
    let down = Instant::now();
    tokio::task::block_in_place(|| broker.restart()).unwrap();
    println!("the broker was down for {:.1} s", down.elapsed().as_secs_f64());
    // and now it answers nobody for longer than a request may take
    eventually(PATIENCE, async || {
        let (_, health) = daemon.get("/health").await;
        if health["counts"]["stored"].as_u64() > Some(600) { Ok(()) } else { Err(health.to_string()) }
    })
    .await
    .unwrap();
    broker.pause();
    tokio::time::sleep(Duration::from_secs(4)).await;
    broker.resume();
    producing.await.unwrap();
    scenario.each_is_published_once(&samples, &[&daemon]).await;
    each_is_stored(&samples, &daemon).await;
    let ready = daemon.wait_for("/health/ready", "ready again", |ready| ready["ready"] == Value::Bool(true)).await;
    assert_eq!(ready["stopping"], Value::Bool(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_with_a_transaction_open_publishes_each_analysis_once() {
    let broker = given!(Kafka::shared());
    let scenario = Scenario::new(broker, &["log.source.commit_interval_ms=10"]);
    let mut daemon = scenario.daemon("daemon", &[]).await;
    let mut samples = Vec::new();
    let mut kills = 0;
    // until a kill has met an open transaction whose records reached the log
    loop {
        let more = fresh(300, 100 + kills);
        scenario.produce(&more).await;
        samples.extend(more);
        let enough = samples.len() - 150;
        eventually(PATIENCE, async || {
            let (_, health) = daemon.get("/health").await;
            if health["counts"]["stored"].as_u64() > Some(enough as u64) { Ok(()) } else { Err(health.to_string()) }
        })
        .await
        .unwrap();
        let killed = Instant::now();
        daemon.kill_and_restart().await;
        println!("ready again {:.1} s after kill -9", killed.elapsed().as_secs_f64());
        kills += 1;
        scenario.each_is_published_once(&samples, &[&daemon]).await;
        let aborted = scenario.published(Isolation::Uncommitted).len() - samples.len();
        println!("kill {kills}: {aborted} records of aborted transactions");
        if aborted > 0 || kills == 6 {
            break;
        }
    }
    each_is_stored(&samples, &daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_paused_beyond_max_poll_interval_is_no_zombie_and_its_work_is_done_once() {
    let broker = given!(Kafka::shared());
    let short = ["kafka.session_timeout_ms=2000", "kafka.max_poll_interval_ms=2000"];
    let scenario = Scenario::new(broker, &short);
    let (first, second) = tokio::join!(scenario.daemon("first", &[]), scenario.daemon("second", &[]));
    let samples = fresh(1_200, 21);
    let (early, late) = samples.split_at(600);
    scenario.produce(early).await;
    signal(&scenario.directory("first"), "STOP");
    scenario.produce(late).await;
    // the other one takes over what the paused one had
    let taken_over = eventually(PATIENCE, async || {
        let found = scenario.published(Isolation::Committed).len();
        if found == samples.len() { Ok(()) } else { Err(format!("{found} of {} are published", samples.len())) }
    });
    taken_over.await.unwrap_or_else(|objection| panic!("{objection}\n{}", second.log_tail()));
    signal(&scenario.directory("first"), "CONT");
    let back = first.wait_for("/health/ready", "ready again", |ready| ready["ready"] == Value::Bool(true)).await;
    assert_eq!(back["stopping"], Value::Bool(false));
    let more = fresh(200, 22);
    scenario.produce(&more).await;
    let all: Vec<Sample> = samples.into_iter().chain(more).collect();
    scenario.each_is_published_once(&all, &[&first, &second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_slower_than_max_poll_interval_costs_no_partition() {
    let broker = given!(Kafka::shared());
    let slow = ["faults.delayed_stage=embedder", "faults.delay_ms=2500"];
    let short = ["kafka.session_timeout_ms=1500", "kafka.max_poll_interval_ms=1500"];
    let scenario = Scenario::new(broker, &[slow[0], slow[1], short[0], short[1]]);
    let daemon = scenario.daemon("daemon", &[]).await;
    let samples = fresh(60, 31);
    scenario.produce(&samples).await;
    scenario.each_is_published_once(&samples, &[&daemon]).await;
    let log = log_of(&scenario.directory("daemon"));
    assert!(log.contains("partitions assigned") && !log.contains("partitions revoked"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_fewer_partitions_than_asked_for_is_used_and_said() {
    let broker = given!(Kafka::shared());
    let scenario = Scenario::new(broker, &[]);
    let documents = (scenario.topic("documents"), 1);
    crate::client::open(&crate::client::config(broker.brokers()), &[documents]).await;
    let daemon = scenario.daemon("daemon", &[]).await;
    let log = log_of(&scenario.directory("daemon"));
    assert!(log.contains("fewer partitions than kafka.topics.partitions"), "{log}");
    let samples = fresh(20, 41);
    scenario.produce(&samples).await;
    scenario.each_is_published_once(&samples, &[&daemon]).await;
}
