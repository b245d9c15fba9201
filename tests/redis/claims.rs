//! Claims that daemons share: the same promises as one daemon's memory, and what several daemons need beyond.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::config::dedup::DedupConfig;
use tidemill::config::redis::RedisConfig;
use tidemill::messages::pipeline::Sighting;
use tidemill::messages::record::Position;
use tidemill::stores::claims::{Claim, Claims};
use tidemill::stores::redis::Redis;
use tidemill::stores::redis::claims::SharedClaims;
use tidemill::text::fingerprint::fingerprint;
use tidemill::text::near_duplicates::{DuplicateMemory, Standing};

use crate::server::{self, Server};
use crate::{eventually, settings, suite};

/// An entry without operations: the log has begun, so nobody has to wait for others to publish again.
async fn begin_log(settings: &RedisConfig) {
    let redis = Redis::open(settings).unwrap();
    let mut command = redis::cmd("XADD");
    command.arg(redis.key("claims")).arg("1-1").arg("b").arg(&b"\x01"[..]);
    redis.query::<String>("begin", command).await.unwrap();
}

fn daemon(settings: &RedisConfig) -> Arc<SharedClaims> {
    let config = DedupConfig::default();
    Arc::new(SharedClaims::new(&Redis::open(settings).unwrap(), DuplicateMemory::new(&config), &config))
}

fn claim(id: &str, text: &str, partition: i32, offset: i64) -> Claim {
    let origin = Position { topic: "documents".into(), partition, offset };
    Claim { id: id.into(), fingerprint: fingerprint(None, text), origin, timestamp_ms: 0 }
}

fn origin(partition: i32, offset: i64) -> Position {
    Position { topic: "documents".into(), partition, offset }
}

fn story(number: usize) -> String {
    // long enough that two more words never make it another story
    let words = ["harbour", "railway", "town", "mill", "bank", "field", "river", "tower", "market", "bridge"];
    let told: Vec<String> = words.iter().map(|word| format!("{word}{number} near {word}ers of {word}land")).collect();
    format!("Story {number}: {}", told.join(" and "))
}

fn original(sighting: &Sighting) -> Option<&str> {
    match sighting {
        Sighting::Copy(copy) => Some(&copy.of),
        Sighting::Fresh | Sighting::Same => None,
    }
}

/// Claims until it works, as the pipeline does.
async fn claimed(claims: &dyn Claims, wanted: &[Claim]) -> Vec<Sighting> {
    let started = Instant::now();
    loop {
        match claims.claim(wanted.to_vec()).await {
            Ok(sightings) => return sightings,
            Err(error) => assert!(error.is_retriable() && started.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn shared_memory_keeps_every_promise_of_a_daemons_own() {
    for target in server::targets("shared_memory_keeps_every_promise_of_a_daemons_own") {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let make = |memory: DuplicateMemory, config: &DedupConfig| -> Arc<dyn Claims> {
            let settings = settings(&target.url);
            runtime.block_on(begin_log(&settings));
            Arc::new(SharedClaims::new(&Redis::open(&settings).unwrap(), memory, config))
        };
        for (name, promise) in suite::ALL {
            println!("{}: {name}", target.name);
            promise(&make);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_copies_at_several_daemons_at_once_exactly_one_is_fresh_and_the_others_name_it() {
    const DAEMONS: usize = 4;
    const STORIES: usize = 400;
    for target in server::targets("of_copies_at_several_daemons_at_once_exactly_one_is_fresh") {
        let settings = settings(&target.url);
        begin_log(&settings).await;
        let daemons = (0..DAEMONS).map(|number| {
            let claims = daemon(&settings);
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(number as u64);
                let mut stories: Vec<usize> = (0..STORIES).collect();
                // nearly the same order everywhere, so that copies really meet
                for at in 0..STORIES - 8 {
                    stories.swap(at, at + random.usize(0..8));
                }
                let wanted: Vec<Claim> = stories
                    .into_iter()
                    .map(|story_number| {
                        let text = story(story_number);
                        let text = if number % 2 == 0 { text } else { format!("{text} - Reuters") };
                        let offset = i64::try_from(story_number).unwrap();
                        claim(&format!("{story_number}@{number}"), &text, i32::try_from(number).unwrap(), offset)
                    })
                    .collect();
                let mut told = Vec::new();
                for batch in wanted.chunks(5) {
                    let sightings = claimed(&*claims, batch).await;
                    told.extend(batch.iter().map(|claim| claim.id.to_string()).zip(sightings));
                }
                told
            })
        });
        let mut fresh: HashMap<String, String> = HashMap::new();
        let mut copies = Vec::new();
        for told in futures_util::future::join_all(daemons).await {
            for (id, sighting) in told.unwrap() {
                let number = id.split('@').next().unwrap().to_owned();
                match original(&sighting) {
                    Some(of) => copies.push((number, of.to_owned())),
                    None => assert_eq!(fresh.insert(number, id.clone()), None, "{id} is the only fresh one"),
                }
            }
        }
        assert_eq!((fresh.len(), copies.len()), (STORIES, STORIES * (DAEMONS - 1)), "{}", target.name);
        for (number, of) in copies {
            assert_eq!(fresh[&number], of);
        }
    }
}

#[tokio::test]
async fn record_taken_over_by_another_daemon_gets_the_first_answer_again() {
    for target in server::targets("record_taken_over_by_another_daemon_gets_the_first_answer_again") {
        let settings = settings(&target.url);
        begin_log(&settings).await;
        let (first, copy) = (claim("a", &story(1), 0, 0), claim("b", &story(1), 0, 1));
        {
            let dies = daemon(&settings);
            assert_eq!(claimed(&*dies, std::slice::from_ref(&first)).await, [Sighting::Fresh]);
            assert_eq!(original(&claimed(&*dies, std::slice::from_ref(&copy)).await[0]), Some("a"));
        }
        let takes_over = daemon(&settings);
        let other = claim("c", &story(1), 1, 0);
        assert_eq!(original(&claimed(&*takes_over, &[other]).await[0]), Some("a"), "still claimed");
        let again = claimed(&*takes_over, &[first.clone(), copy]).await;
        assert_eq!((&again[0], original(&again[1])), (&Sighting::Fresh, Some("a")));
        takes_over.settle(&"a".into(), &origin(0, 0), None);
        let third = daemon(&settings);
        claimed(&*takes_over, &[claim("z", &story(9), 1, 1)]).await;
        assert_eq!(claimed(&*third, &[first]).await, [Sighting::Same], "its verdict is durable");
    }
}

#[tokio::test]
async fn withdrawn_claim_frees_its_content_everywhere() {
    for target in server::targets("withdrawn_claim_frees_its_content_everywhere") {
        let settings = settings(&target.url);
        begin_log(&settings).await;
        let (one, two) = (daemon(&settings), daemon(&settings));
        claimed(&*one, &[claim("a", &story(1), 0, 0)]).await;
        let copy = claim("b", &story(1), 1, 0);
        assert_eq!(original(&claimed(&*two, std::slice::from_ref(&copy)).await[0]), Some("a"));
        assert_eq!(two.standing("a"), Standing::Pending);
        one.forget(&"a".into(), &origin(0, 0));
        // nobody claims anything: the background tells
        eventually("the withdrawal", || async { two.standing("a") == Standing::Unknown }).await;
        assert_eq!(two.standing("b"), Standing::Unknown, "what counted on it is withdrawn with it");
        assert_eq!(claimed(&*two, &[copy]).await, [Sighting::Fresh]);
        assert_eq!(original(&claimed(&*one, &[claim("c", &story(1), 0, 1)]).await[0]), Some("b"));
    }
}

#[tokio::test]
async fn verdicts_and_later_findings_reach_the_other_daemons() {
    for target in server::targets("verdicts_and_later_findings_reach_the_other_daemons") {
        let settings = settings(&target.url);
        begin_log(&settings).await;
        let (one, two) = (daemon(&settings), daemon(&settings));
        claimed(&*one, &[claim("a", &story(1), 0, 0), claim("b", &story(2), 0, 1)]).await;
        one.settle(&"a".into(), &origin(0, 0), None);
        one.redirect(&"b".into(), &origin(0, 1), &"a".into());
        eventually("the verdict", || async { two.standing("a") == Standing::Durable }).await;
        assert_eq!(&*two.root(&"b".into()), "a");
        assert_eq!(original(&claimed(&*two, &[claim("c", &story(2), 1, 0)]).await[0]), Some("a"), "names the root");
    }
}

#[tokio::test]
async fn claims_outlive_a_kill_of_the_server() {
    let Some(program) = server::program("claims_outlive_a_kill_of_the_server") else { return };
    let mut server = Server::start(&program, &[]);
    let settings = settings(&server.url());
    begin_log(&settings).await;
    let (one, two) = (daemon(&settings), daemon(&settings));
    for round in 0..3_usize {
        let offset = i64::try_from(round).unwrap();
        let text = story(round);
        assert_eq!(claimed(&*one, &[claim(&format!("a{round}"), &text, 0, offset)]).await, [Sighting::Fresh]);
        server.kill();
        assert!(two.claim(vec![claim(&format!("b{round}"), &text, 1, offset)]).await.unwrap_err().is_retriable());
        server.restart();
        let sightings = claimed(&*two, &[claim(&format!("b{round}"), &text, 1, offset)]).await;
        assert_eq!(original(&sightings[0]), Some(format!("a{round}").as_str()));
    }
}

#[tokio::test]
async fn flushed_server_learns_the_claims_in_flight_again() {
    let Some(program) = server::program("flushed_server_learns_the_claims_in_flight_again") else { return };
    for loses in ["FLUSHALL", "kill"] {
        let mut server = Server::start_forgetful(&program);
        let settings = settings(&server.url());
        let (one, two) = (daemon(&settings), daemon(&settings));
        assert_eq!(claimed(&*one, &[claim("a", &story(1), 0, 0)]).await, [Sighting::Fresh]);
        assert_eq!(claimed(&*two, &[claim("x", &story(5), 1, 0)]).await, [Sighting::Fresh]);
        if loses == "kill" {
            server.kill();
            server.restart();
        } else {
            assert!(server.command("FLUSHALL").starts_with("+OK"));
        }
        // a third one never heard of them: it begins with an empty log
        let three = daemon(&settings);
        let copies = [claim("b", &story(1), 2, 0), claim("y", &story(5), 2, 1)];
        let sightings = claimed(&*three, &copies).await;
        assert_eq!(sightings.iter().map(original).collect::<Vec<_>>(), [Some("a"), Some("x")], "{loses}");
        assert_eq!(original(&claimed(&*one, &[claim("z", &story(5), 0, 1)]).await[0]), Some("x"), "{loses}");
    }
}

#[tokio::test]
async fn answer_that_was_lost_changes_nothing() {
    let Some(program) = server::program("answer_that_was_lost_changes_nothing") else { return };
    let server = Server::start(&program, &[]);
    let settings = settings(&server.url());
    begin_log(&settings).await;
    let (one, two) = (daemon(&settings), daemon(&settings));
    claimed(&*one, &[claim("a", &story(1), 0, 0)]).await;
    one.settle(&"a".into(), &origin(0, 0), None);
    server.pause();
    // sent to a server that stands still: it is carried out once that goes on, and nobody hears of it
    let wanted = [claim("b", &story(2), 0, 1), claim("c", &story(1), 0, 2)];
    assert!(one.claim(wanted.to_vec()).await.unwrap_err().is_retriable());
    server.resume();
    let sightings = claimed(&*one, &wanted).await;
    assert_eq!((&sightings[0], original(&sightings[1])), (&Sighting::Fresh, Some("a")));
    let copies = claimed(&*two, &[claim("d", &story(2), 1, 0), claim("e", &story(1), 1, 1)]).await;
    assert_eq!(copies.iter().map(original).collect::<Vec<_>>(), [Some("b"), Some("a")]);
    assert_eq!(two.standing("a"), Standing::Durable);
}

#[tokio::test]
async fn full_and_read_only_servers_are_waited_for() {
    let Some(program) = server::program("full_and_read_only_servers_are_waited_for") else { return };
    let server = Server::start(&program, &["--maxmemory-policy", "noeviction"]);
    let settings = settings(&server.url());
    begin_log(&settings).await;
    let (one, two) = (daemon(&settings), daemon(&settings));
    let wanted = claim("a", &story(1), 0, 0);
    for (breaks, mends) in
        [("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"), ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")]
    {
        assert!(server.command(breaks).starts_with("+OK"));
        assert!(one.claim(vec![wanted.clone()]).await.unwrap_err().is_retriable(), "{breaks}");
        assert!(server.command(mends).starts_with("+OK"));
        assert_eq!(claimed(&*one, std::slice::from_ref(&wanted)).await, [Sighting::Fresh]);
        assert_eq!(original(&claimed(&*two, &[claim("b", &story(1), 1, 0)]).await[0]), Some("a"));
    }
}

#[tokio::test]
async fn log_stays_bounded_and_goes_when_nobody_uses_it() {
    let Some(program) = server::program("log_stays_bounded_and_goes_when_nobody_uses_it") else { return };
    let server = Server::start(&program, &["--appendonly", "no"]);
    let settings = settings(&server.url());
    begin_log(&settings).await;
    // fewer than the log keeps at least
    let config = DedupConfig { capacity: 1000, ..DedupConfig::default() };
    let claims = SharedClaims::new(&Redis::open(&settings).unwrap(), DuplicateMemory::new(&config), &config);
    let words = fingerprint(None, "one and the same");
    for first in 0..120 {
        // the same record again: a retry, which costs the memory nothing and the log as much as any other
        let claim =
            Claim { id: "a".into(), fingerprint: words.clone(), origin: origin(0, first), timestamp_ms: 0 };
        claimed(&claims, &vec![claim; 2000]).await;
    }
    let redis = Redis::open(&settings).unwrap();
    let mut command = redis::cmd("XLEN");
    command.arg(redis.key("claims"));
    let entries: i64 = redis.query("length", command).await.unwrap();
    assert!((50..=52).contains(&entries), "{entries} entries of 2000: the last 100000 sightings, a sixty-fourth more");
    let mut command = redis::cmd("PTTL");
    command.arg(redis.key("claims"));
    let left: i64 = redis.query("ttl", command).await.unwrap();
    let window = DedupConfig::default().window_ms();
    assert!((window - 60_000..=window).contains(&left), "{left}");
}

/// `TIDEMILL_BENCH_CLAIMS=1 CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --test redis claim_rate -- --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_rate() {
    let documents = if std::env::var_os("TIDEMILL_BENCH_CLAIMS").is_some() { 200_000 } else { 2_000 };
    for target in server::targets("claim_rate") {
        for (batch, daemons) in [(64, 1), (256, 1), (256, 2)] {
            let settings = settings(&target.url);
            begin_log(&settings).await;
            let runs = (0..daemons).map(|number| {
                let claims = daemon(&settings);
                tokio::spawn(async move {
                    let wanted: Vec<Claim> = (0..documents / daemons)
                        .map(|index| {
                            // three in ten are copies
                            let text = story(if index % 10 < 3 { index / 10 } else { index * daemons + number });
                            let partition = i32::try_from(number).unwrap();
                            claim(&format!("{index}@{number}"), &text, partition, i64::try_from(index).unwrap())
                        })
                        .collect();
                    let started = Instant::now();
                    for chunk in wanted.chunks(batch) {
                        claimed(&*claims, chunk).await;
                    }
                    started.elapsed()
                })
            });
            let times = futures_util::future::join_all(runs).await;
            let slowest = times.into_iter().map(Result::unwrap).max().unwrap();
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let rate = documents as f64 / slowest.as_secs_f64();
            println!("{}: {daemons} daemons, batches of {batch}: {rate:.0} claims/s", target.name);
        }
    }
}
