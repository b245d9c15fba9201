//! Two pipelines over one Redis and one document store, as two daemons of a group are: copies reach both at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde_json::json;
use tidemill::actors::fingerprinter::Fingerprinter;
use tidemill::actors::shared::{PendingVectors, Recall, bury};
use tidemill::actors::sql_writer::{SqlWriter, Verdict};
use tidemill::config::dedup::DedupConfig;
use tidemill::config::documents::DocumentsConfig;
use tidemill::config::redis::RedisConfig;
use tidemill::config::store::{StoreConfig, VectorsConfig};
use tidemill::messages::analysis::{EmbeddingInfo, VerdictLabel};
use tidemill::messages::code::ErrorCode;
use tidemill::messages::dead_letter::{DeadLetter, StoredDeadLetter};
use tidemill::messages::delivery::{Delivery, Ledger};
use tidemill::messages::document::Document;
use tidemill::messages::pipeline::{Fingerprinted, Intake, Judged, Sighting};
use tidemill::messages::record::{Position, Record};
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
use tokio::sync::mpsc;

use crate::server::{self, Server};
use crate::settings;

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

/// What became durable, in order.
#[derive(Default)]
struct Outcome {
    verdicts: Mutex<Vec<Arc<str>>>,
    dead: Mutex<Vec<Arc<str>>>,
}

/// The end of the way.
struct End(Arc<Outcome>);

impl Actor for End {
    type Message = Verdict;

    async fn handle(&mut self, batch: Vec<Verdict>, _: &Context<Verdict>) -> Result<(), Fault> {
        for verdict in batch {
            self.0.verdicts.lock().push(Arc::clone(&verdict.analysis.document_id));
            verdict.judged.delivery.complete();
        }
        Ok(())
    }
}

/// Keeps dead letters in the store, as the daemon does.
struct Graves(Arc<dyn DocumentStore>, Arc<Outcome>);

impl Actor for Graves {
    type Message = DeadLetter;

    async fn handle(&mut self, batch: Vec<DeadLetter>, _: &Context<DeadLetter>) -> Result<(), Fault> {
        for letter in batch {
            let Position { topic, partition, offset } = letter.delivery.position().clone();
            let stored = StoredDeadLetter {
                id: StoredDeadLetter::id_of(&topic, partition, offset),
                document_id: letter.document_id.clone(),
                correlation_id: letter.delivery.correlation_id().to_string(),
                stage: letter.stage,
                code: letter.code,
                error: letter.error,
                attempts: letter.attempts,
                history: letter.history,
                topic,
                partition,
                offset,
                first_seen: Utc::now(),
                dead_at: Utc::now(),
                replayed_at: None,
                key: None,
                value: Vec::new(),
                headers: Vec::new(),
            };
            self.0.write_dead_letter(stored).await.unwrap();
            self.1.dead.lock().extend(letter.document_id);
            letter.delivery.complete();
        }
        Ok(())
    }
}

/// Delivers what comes back again.
struct Again(mpsc::Sender<Record>, Mutex<usize>);

impl Ledger for Again {
    fn completed(&self, _: &Position, _: u64) {
        *self.1.lock() += 1;
    }
    fn returned(&self, record: Record, _: u64) {
        let _ = self.0.try_send(record);
    }
}

/// One daemon's part of the document path.
struct Daemon {
    tree: Tree,
    fingerprinter: Mailbox<Intake>,
    ledger: Arc<Again>,
    returned: mpsc::Receiver<Record>,
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
        let (sender, returned) = mpsc::channel(10 * GROUPS);
        let ledger = Arc::new(Again(sender, Mutex::new(0)));
        Self { tree, fingerprinter, ledger, returned, outcome, recall }
    }

    /// Delivers these documents, and again what comes back, until each has its verdict.
    async fn work(&mut self, partition: i32, documents: &[Arc<Document>]) {
        let deliver = |offset: i64| {
            let position = Position { topic: "documents".into(), partition, offset };
            let record =
                Record { position, timestamp_ms: 0, key: None, value: bytes::Bytes::new(), headers: Vec::new() };
            let delivery = Delivery::new(record, 0, self.ledger.clone());
            Intake { delivery, document: Arc::clone(&documents[usize::try_from(offset).unwrap()]) }
        };
        for offset in 0..documents.len() {
            self.fingerprinter.send(deliver(i64::try_from(offset).unwrap())).await.unwrap();
        }
        let started = Instant::now();
        while *self.ledger.1.lock() < documents.len() {
            assert!(started.elapsed() < Duration::from_mins(1), "{} of {}", self.ledger.1.lock(), documents.len());
            while let Ok(record) = self.returned.try_recv() {
                self.fingerprinter.send(deliver(record.position.offset)).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
            tokio::join!(one.work(0, &first), two.work(1, &second));
            done.store(true, Ordering::Relaxed);
        };
        // what it gives back, such as the server, is kept until the end
        let ((), _kept) = tokio::join!(work, meanwhile(Arc::clone(&done)));
        for daemon in [&one, &two] {
            assert!(daemon.recall.waiting.is_empty(), "nobody waits any more");
        }
        check(&store, &[one.outcome.clone(), two.outcome.clone()]).await;
        assert!(one.tree.stop().await.is_clean() && two.tree.stop().await.is_clean());
    });
}

/// Every document has exactly one verdict, and of each group exactly one is stored, which the others name.
async fn check(store: &Arc<dyn DocumentStore>, outcomes: &[Arc<Outcome>]) {
    let mut times: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for outcome in outcomes {
        for id in outcome.verdicts.lock().iter().chain(outcome.dead.lock().iter()) {
            *times.entry(Arc::clone(id)).or_default() += 1;
        }
    }
    assert_eq!(times.len(), 2 * GROUPS, "every document has a verdict");
    assert!(times.values().all(|count| *count == 1), "each once: {times:?}");
    let ids: Vec<Arc<str>> = times.into_keys().collect();
    let mut groups: HashMap<String, Vec<(Arc<str>, VerdictLabel, Option<Arc<str>>)>> = HashMap::new();
    for stored in store.get_many(&ids).await.unwrap() {
        let group = stored.document.id.split('@').next().unwrap().to_owned();
        let verdict = (stored.document.id, stored.analysis.verdict, stored.analysis.duplicate_of);
        groups.entry(group).or_default().push(verdict);
    }
    assert_eq!(groups.len(), GROUPS);
    let (mut dead, mut across) = (0, 0);
    for (group, verdicts) in groups {
        let stored: Vec<_> = verdicts.iter().filter(|(_, label, _)| *label == VerdictLabel::Stored).collect();
        assert_eq!(stored.len(), 1, "group {group}: {verdicts:?}");
        assert!(!stored[0].0.ends_with("poison"));
        for (_, label, of) in &verdicts {
            if *label == VerdictLabel::Duplicate {
                assert_eq!(of.as_ref(), Some(&stored[0].0), "group {group}");
                across += 1;
            }
        }
        dead += 2 - verdicts.len();
    }
    println!("{across} copies name an original at the other daemon, {dead} originals died");
    assert_eq!(dead + across, GROUPS);
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
