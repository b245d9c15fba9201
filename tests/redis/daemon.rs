//! The whole daemon with its duplicate memory in a real Redis, through everything that can happen to that.

use std::time::Duration;

use crate::corpus::{POISON, Sample, corpus};
use crate::process::Daemon;
use crate::server::{self, Server};
use crate::verdicts::{check, post_until_acknowledged, verdicts};

const CHUNK: usize = 20;

fn settings(server: &Server, prefix: &str) -> Vec<String> {
    let fixed = [
        "encoder.kind=hashing",
        "dedup.shared=on",
        "redis.command_timeout_ms=500",
        "redis.connect_timeout_ms=500",
        "redis.backoff_max_ms=200",
        "faults.poison_stage=embedder",
        "actors.fingerprinter.backoff_max_ms=50",
        "actors.embedder.backoff_max_ms=50",
        "supervision.max_restarts=1000",
    ];
    let fixed = fixed.into_iter().map(str::to_owned);
    let own = [
        format!("redis.url={}", server.url()),
        format!("redis.key_prefix={prefix}"),
        format!("faults.poison_marker={POISON}"),
    ];
    fixed.chain(own).collect()
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// One outage: how it begins, what readiness must say, how it ends.
struct Outage {
    begin: fn(&mut Server),
    says: &'static str,
    end: fn(&mut Server),
}

const OUTAGES: &[Outage] = &[
    Outage { begin: Server::kill, says: "", end: Server::restart },
    Outage { begin: |server| server.pause(), says: "does not answer in time", end: |server| server.resume() },
    Outage {
        begin: |server| {
            server.command("CONFIG SET maxmemory 1");
        },
        says: "",
        end: |server| {
            server.command("CONFIG SET maxmemory 0");
        },
    },
    Outage {
        begin: |server| {
            server.command("REPLICAOF 127.0.0.1 1");
        },
        says: "read-only",
        end: |server| {
            server.command("REPLICAOF NO ONE");
        },
    },
    Outage {
        begin: |server| {
            // a password nobody told us: connections are cut, new ones refused
            server.command("CONFIG SET requirepass geheim\r\nCLIENT KILL TYPE normal SKIPME yes");
        },
        says: "password",
        end: |server| {
            server.command("AUTH geheim\r\nCONFIG SET requirepass \"\"");
        },
    },
    Outage {
        begin: |server| {
            server.command("FLUSHALL");
        },
        says: "",
        end: |_| {},
    },
];

#[tokio::test]
async fn verdicts_equal_acknowledged_documents_whatever_happens_to_redis() {
    let Some(program) = server::program("verdicts_equal_acknowledged_documents_whatever_happens_to_redis") else {
        return;
    };
    let samples = corpus(CHUNK * (1 + 4 * OUTAGES.len()), 11);
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::absent(&program, &["--maxmemory-policy", "noeviction"]);
    let settings = settings(&server, "daemon");
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    // down at the start: it runs, takes documents, says what is missing, and goes on once that is there
    let mut daemon = Daemon::start_unready(&directory.path().join("data"), &settings).await;
    let port = server.port().to_string();
    daemon
        .wait_for("/health/ready", "the reason", |answer| {
            answer["ready"] == false && answer["dependencies"].to_string().contains(&port)
        })
        .await;
    let chunks: Vec<Vec<&Sample>> = samples.chunks(CHUNK).map(|chunk| chunk.iter().collect()).collect();
    post_until_acknowledged(&mut daemon, &chunks[0]).await;
    server.restart();
    daemon.wait_ready().await;
    let per_outage = (chunks.len() - 1) / OUTAGES.len();
    assert_eq!(per_outage * OUTAGES.len() + 1, chunks.len(), "every outage has its documents");
    for (outage, chunks) in OUTAGES.iter().zip(chunks[1..].chunks(per_outage)) {
        let half = chunks.len() / 2;
        for chunk in &chunks[..half] {
            post_until_acknowledged(&mut daemon, chunk).await;
        }
        (outage.begin)(&mut server);
        for chunk in &chunks[half..] {
            post_until_acknowledged(&mut daemon, chunk).await;
        }
        if outage.says.is_empty() {
            pause(700).await;
        } else {
            let says = |answer: &serde_json::Value| {
                answer["ready"] == false && answer["dependencies"].to_string().contains(outage.says)
            };
            daemon.wait_for("/health/ready", outage.says, says).await;
        }
        (outage.end)(&mut server);
        daemon.wait_ready().await;
    }
    daemon.drained().await;
    for letter in daemon.all("/v1/dead-letters").await {
        let error = letter["error"].as_str().unwrap();
        assert!(error.contains(POISON), "only poison dies: {letter}\n{}", daemon.log_tail());
    }
    check(&samples, &verdicts(&daemon).await);
    let (_, stats) = daemon.get("/cache/stats").await;
    assert_eq!(stats["duplicate_memory"]["shared"], true, "{stats}");
    println!("{} connections to redis were made", stats["redis_connections"]);
    assert!(daemon.stop().await.success(), "drains in order:\n{}", daemon.log_tail());
}

#[tokio::test]
async fn kill_of_the_daemon_keeps_its_claims_and_loses_nothing() {
    let Some(program) = server::program("kill_of_the_daemon_keeps_its_claims_and_loses_nothing") else { return };
    let samples = corpus(200, 12);
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&program, &[]);
    let settings = settings(&server, "killed");
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(&directory.path().join("data"), &settings).await;
    for (index, chunk) in samples.chunks(CHUNK).enumerate() {
        let chunk: Vec<&Sample> = chunk.iter().collect();
        post_until_acknowledged(&mut daemon, &chunk).await;
        if index % 4 == 3 {
            daemon.kill_and_restart().await;
        }
    }
    daemon.drained().await;
    check(&samples, &verdicts(&daemon).await);
}

#[tokio::test]
async fn wrong_settings_end_the_start_with_a_word_on_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let tried = |name: &str, settings: &[&str]| Daemon::fails_to_start(&directory.path().join(name), settings);
    let (status, log) = tried("shared", &["encoder.kind=hashing", "dedup.shared=on"]);
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("redis.url"), "{log}");
    let (status, log) = tried("plain", &["encoder.kind=hashing", "redis.url=redis://redis.example.com:6379"]);
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("allow_plaintext"), "{log}");
}
