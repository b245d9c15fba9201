//! Two pipelines over one Redis and one document store, as two daemons of a group are: copies reach both at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde_json::json;
use tidemill::actors::fingerprinter::Fingerprinter;
use tidemill::actors::shared::{PendingVectors, Recall, bury};
use tidemill::actors::sql_writer::SqlWriter;
use tidemill::config::dedup::DedupConfig;
use tidemill::config::documents::DocumentsConfig;
use tidemill::config::redis::RedisConfig;
use tidemill::config::store::{StoreConfig, VectorsConfig};
use tidemill::messages::analysis::EmbeddingInfo;
use tidemill::messages::code::ErrorCode;
use tidemill::messages::document::Document;
use tidemill::messages::pipeline::{Fingerprinted, Judged, Sighting};
use tidemill::models::Encoder;
use tidemill::models::hashing::HashingEncoder;
use tidemill::stores::documents::DocumentStore;
use tidemill::stores::redis::Redis;
use tidemill::stores::redis::claims::SharedClaims;
use tidemill::stores::sqlite::SqliteStore;
use tidemill::stores::vector_index::{EmbeddedIndex, PooledIndex};
use tidemill::supervisors::{
    Actor, BatchPolicy, ChildSpec, Context, Fault, Mailbox, Options, SupervisorSpec, Tree, mailbox, start,
};
use tidemill::text::decode::decode;
use tidemill::text::near_duplicates::DuplicateMemory;

use crate::server::{self, Server};
use crate::settings;
use crate::two_daemons::{End, Graves, Outcome, Source, judged_once};

/// Groups of copies, each with one document at each daemon.
const GROUPS: usize = 240;
/// One group in so many has poison at the first daemon.
const POISON_EVERY: usize = 12;

/// Stands for embedder, near-duplicate check and sentiment: takes its time, and dies of poison.
struct Middle {
    encoder: HashingEncoder,
    sql_writer: Mailbox<Judged>,
    random: fastrand::Rng,
}

impl Actor for Middle {
    type Message = Fingerprinted;

    async fn handle(&mut self, batch: Vec<Fingerprinted>, ctx: &Context<Fingerprinted>) -> Result<(), Fault> {
        for Fingerprinted { delivery, document, content_hash, sighting, timings } in batch {
            if self.random.u8(..8) == 0 {
                tokio::time::sleep(Duration::from_millis(self.random.u64(1..25))).await;
            }
            let fresh = sighting == Sighting::Fresh;
            if fresh && document.id.ends_with("poison") {
                return Err(Fault::reject(ErrorCode::EncodingFailed, "poison"));
            }
            let encoded = fresh.then(|| self.encoder.encode(&[&document.text]).unwrap().remove(0));
            let judged = Judged { delivery, document, content_hash, sighting, encoded, opinion: None, timings };
            ctx.send(&self.sql_writer, judged).await?;
            ctx.done(1);
        }
        Ok(())
    }
}

/// One daemon's part of the document path.
struct Daemon {
    tree: Tree,
    source: Source,
    outcome: Arc<Outcome>,
    recall: Recall,
}

impl Daemon {
    async fn start(redis: &RedisConfig, store: &Arc<dyn DocumentStore>, directory: &std::path::Path) -> Self {
        let dedup = DedupConfig::default();
        let claims = SharedClaims::new(&Redis::open(redis).unwrap(), DuplicateMemory::new(&dedup), &dedup);
        let index = EmbeddedIndex::open(directory, 384, &VectorsConfig::default()).unwrap().0;
        let index = Arc::new(PooledIndex::new(index));
        let recall = Recall {
            claims: Arc::new(claims),
            waiting: Arc::default(),
            pending: Arc::new(Mutex::new(PendingVectors::default())),
            vectors: index.clone(),
        };
        let outcome = Arc::new(Outcome::default());
        let (fingerprinter, fingerprinter_in) = mailbox("fingerprinter", 64);
        let (middle, middle_in) = mailbox("middle", 64);
        let (sql_writer, sql_writer_in) = mailbox("sql_writer", 16);
        let (end, end_in) = mailbox("end", 64);
        let (graves, graves_in) = mailbox("graves", 64);
        let grave_for = (Arc::clone(store), Arc::clone(&outcome));
        let end_for = Arc::clone(&outcome);
        let spec = SupervisorSpec::new("root")
            .child(ChildSpec::actor("graves", graves_in, move || Graves(Arc::clone(&grave_for.0), grave_for.1.clone())))
            .child(ChildSpec::actor("end", end_in, move || End(Arc::clone(&end_for))))
            .child({
                let (documents, recall, itself) = (Arc::clone(store), recall.clone(), sql_writer.clone());
                ChildSpec::actor("sql_writer", sql_writer_in, move || SqlWriter {
                    documents: Arc::clone(&documents),
                    vectors: index.clone(),
                    embedding: EmbeddingInfo { model: "hashing-v1".into(), dimension: 384 },
                    recall: recall.clone(),
                    dedup: Arc::new(arc_swap::ArcSwap::from_pointee(DedupConfig::default())),
                    itself: itself.clone(),
                    vector_writer: end.clone(),
                })
                .batch(BatchPolicy::of(16))
            })
            .child({
                let (sql_writer, recall) = (sql_writer.clone(), recall.clone());
                ChildSpec::actor("middle", middle_in, move || Middle {
                    encoder: HashingEncoder::default(),
                    sql_writer: sql_writer.clone(),
                    random: fastrand::Rng::new(),
                })
                .on_dead(move |message, death| bury(message, death, recall.clone(), graves.clone()).boxed())
            })
            .child({
                let (recall, embedder) = (recall.clone(), middle.clone());
                ChildSpec::actor("fingerprinter", fingerprinter_in, move || Fingerprinter {
                    recall: recall.clone(),
                    embedder: embedder.clone(),
                })
                .batch(BatchPolicy::of(8))
            });
        let tree = start(spec, Options::default()).await.unwrap();
        Self { tree, source: Source::new(fingerprinter), outcome, recall }
    }
}

fn documents(daemon: usize, random: &mut fastrand::Rng) -> Vec<Arc<Document>> {
    let mut groups: Vec<usize> = (0..GROUPS).collect();
    // nearly the same order at both, so that copies are in flight together, and either may be the first
    for at in 0..GROUPS - 6 {
        groups.swap(at, at + random.usize(0..6));
    }
    let document = |group: usize| {
        let poison = if daemon == 0 && group.is_multiple_of(POISON_EVERY) { "-poison" } else { "" };
        let text = format!("Story {group} of harbour{group} and railway{group} near town{group}");
        let body = json!({ "id": format!("{group}@{daemon}{poison}"), "source": "news", "text": text });
        Arc::new(decode(body.to_string().as_bytes(), &DocumentsConfig::default(), Utc::now()).unwrap())
    };
    groups.into_iter().map(document).collect()
}

/// Runs two daemons; `meanwhile` is done while they work, and told when they are done.
fn two_daemons<T, R: Future<Output = T>>(redis: &RedisConfig, meanwhile: impl FnOnce(Arc<AtomicBool>) -> R) {
    actix::System::new().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store"), &StoreConfig::default()).unwrap();
        let store: Arc<dyn DocumentStore> = Arc::new(store);
        let mut one = Daemon::start(redis, &store, &directory.path().join("one")).await;
        let mut two = Daemon::start(redis, &store, &directory.path().join("two")).await;
        let mut random = fastrand::Rng::with_seed(5);
        let (first, second) = (documents(0, &mut random), documents(1, &mut random));
        let done = Arc::new(AtomicBool::new(false));
        let work = async {
            tokio::join!(one.source.work(0, &first), two.source.work(1, &second));
            done.store(true, Ordering::Relaxed);
        };
        // what it gives back, such as the server, is kept until the end
        let ((), _kept) = tokio::join!(work, meanwhile(Arc::clone(&done)));
        for daemon in [&one, &two] {
            assert!(daemon.recall.waiting.is_empty(), "nobody waits any more");
        }
        check(&*store, &[&one.outcome, &two.outcome]).await;
        assert!(one.tree.stop().await.is_clean() && two.tree.stop().await.is_clean());
    });
}

/// Every document has exactly one verdict, and of each group exactly one is stored, which the others name.
async fn check(store: &dyn DocumentStore, outcomes: &[&Outcome]) {
    let groups = judged_once(store, outcomes, 2 * GROUPS).await;
    assert_eq!(groups.len(), GROUPS);
    assert!(groups.iter().all(|group| !group.original.ends_with("poison")));
    let across: usize = groups.iter().map(|group| group.copies.len()).sum();
    let dead: usize = groups.iter().map(|group| 1 - group.copies.len()).sum();
    println!("{across} copies name an original at the other daemon, {dead} originals died");
}

#[test]
fn copies_at_two_daemons_at_once_are_stored_once_even_if_the_original_dies() {
    for target in server::targets("copies_at_two_daemons_at_once_are_stored_once_even_if_the_original_dies") {
        two_daemons(&settings(&target.url), |_| std::future::ready(()));
    }
}

#[test]
fn two_daemons_keep_it_while_redis_is_killed_stands_still_and_is_full() {
    let Some(program) = server::program("two_daemons_keep_it_while_redis_is_killed_stands_still_and_is_full") else {
        return;
    };
    let mut server = Server::start(&program, &["--maxmemory-policy", "noeviction"]);
    let settings = settings(&server.url());
    let pause = |millis| tokio::time::sleep(Duration::from_millis(millis));
    two_daemons(&settings, |done| async move {
        let mut rounds = 0;
        while !done.load(Ordering::Relaxed) {
            server.kill();
            pause(50).await;
            server.restart();
            pause(150).await;
            server.pause();
            pause(1200).await;
            server.resume();
            pause(150).await;
            server.command("CONFIG SET maxmemory 1");
            pause(150).await;
            server.command("CONFIG SET maxmemory 0");
            pause(150).await;
            rounds += 1;
        }
        println!("{rounds} rounds of kill, standstill and refused writes");
        server
    });
}
