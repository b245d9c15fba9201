//! Documents with known duplicates and poison, while actors are panicked, hung and killed at random, stores fail for
//! seconds and the process is killed: afterwards the verdicts equal the acknowledged documents, each once, and a replay
//! into empty stores gives the same verdicts. `make soak` runs it long (`TIDEMILL_SOAK_DOCUMENTS`, `TIDEMILL_SOAK_KILLS`).

use std::collections::BTreeMap;

use crate::corpus::{POISON, Sample, corpus};
use crate::process::{ACTORS, Daemon};
use crate::verdicts::{Verdict, check, post_until_acknowledged, verdicts};
use serde_json::json;

const CHUNK: usize = 20;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn settings(poison: &str) -> Vec<String> {
    let stage = std::env::var("TIDEMILL_SOAK_POISON_STAGE").unwrap_or_else(|_| "embedder".to_owned());
    let encoder = std::env::var("TIDEMILL_SOAK_ENCODER").unwrap_or_else(|_| "hashing".to_owned());
    let actors = ACTORS.iter().filter(|actor| **actor != "source");
    let stuck = actors.flat_map(|actor| {
        [format!("actors.{actor}.stuck_after_seconds=1"), format!("actors.{actor}.backoff_max_ms=50")]
    });
    let others = vec![
        format!("encoder.kind={encoder}"),
        format!("faults.poison_marker={poison}"),
        format!("faults.poison_stage={stage}"),
        "supervision.max_restarts=1000".to_owned(),
        "supervision.heartbeat_ms=100".to_owned(),
        "supervision.backoff_max_ms=100".to_owned(),
        "supervision.max_hung_threads=1000".to_owned(),
    ];
    stuck.chain(others).collect()
}

async fn inject(daemon: &Daemon, random: &mut fastrand::Rng) {
    let actor = ACTORS[random.usize(..ACTORS.len())];
    let request = match random.u8(..12) {
        0..=3 => (format!("/v1/faults/actors/{actor}"), json!({"kind": "panic"})),
        4..=5 => (format!("/v1/faults/actors/{actor}"), json!({"kind": "hang_async"})),
        6 => (format!("/v1/faults/actors/{actor}"), json!({"kind": "hang", "seconds": 3})),
        7..=9 => (format!("/v1/actors/{actor}/restart"), json!({})),
        10 => ("/v1/faults/store".to_owned(), json!({"seconds": 1})),
        _ => ("/v1/faults/log".to_owned(), json!({"seconds": 1})),
    };
    if let Some((status, answer)) = daemon.try_post(&request.0, &request.1).await {
        assert!(status < 300 || status == 409, "{request:?} answered {status}: {answer}");
    }
}

#[tokio::test]
async fn verdicts_equal_acknowledged_documents_through_panics_hangs_and_kills() {
    let documents = number("TIDEMILL_SOAK_DOCUMENTS", 600);
    let kills = number("TIDEMILL_SOAK_KILLS", 2);
    let seed = number("TIDEMILL_SOAK_SEED", 7) as u64;
    let samples = corpus(documents, seed);
    let chunks = samples.len().div_ceil(CHUNK);
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(POISON);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(&directory.path().join("first"), &settings).await;
    let mut killed = 0;
    for (index, chunk) in samples.chunks(CHUNK).enumerate() {
        // every chunk carries an earlier document once more, as a sender does that saw no answer
        let again = &samples[random.usize(..=index * CHUNK)];
        let chunk: Vec<&Sample> = chunk.iter().chain([again]).collect();
        post_until_acknowledged(&mut daemon, &chunk).await;
        if random.u8(..3) == 0 {
            inject(&daemon, &mut random).await;
        }
        if index * (kills + 1) / chunks > killed {
            killed += 1;
            daemon.kill_and_restart().await;
        }
    }
    assert_eq!(killed, kills.min(chunks - 1), "the process was killed as often as asked");
    daemon.drained().await;
    let first = verdicts(&daemon).await;
    check(&samples, &first);
    println!("{documents} documents, {kills} kills: {} verdicts", first.len());

    assert!(daemon.stop().await.success(), "drains in order:\n{}", daemon.log_tail());
    replay_gives_the_same_verdicts(directory.path(), &settings, &first).await;
}

/// The log alone, under a new group, into empty stores.
async fn replay_gives_the_same_verdicts(
    directory: &std::path::Path,
    settings: &[&str],
    first: &BTreeMap<String, Verdict>,
) {
    let (old, new) = (directory.join("first"), directory.join("second"));
    std::fs::create_dir_all(&new).unwrap();
    for file in std::fs::read_dir(&old).unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        if name.starts_with("log.db") {
            std::fs::copy(file.path(), new.join(name)).unwrap();
        }
    }
    let settings: Vec<&str> = settings.iter().copied().chain(["kafka.group=replay"]).collect();
    let daemon = Daemon::start(&new, &settings).await;
    daemon.drained().await;
    let second = verdicts(&daemon).await;
    assert_eq!(second.len(), first.len());
    for (id, verdict) in first {
        let again = &second[id];
        assert_eq!((&again.label, &again.of), (&verdict.label, &verdict.of), "a replay gives {id} the same verdict");
        let scores = [again.score, verdict.score].map(Option::unwrap_or_default);
        assert!((scores[0] - scores[1]).abs() <= 1e-6, "a replay gives {id} the same score: {scores:?}");
    }
}
