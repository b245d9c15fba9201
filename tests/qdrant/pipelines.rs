//! Two pipelines over one Qdrant and one document store, as two daemons of a group are: near copies reach both at once.
//! Their texts have nothing in common: only the check by meaning can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chrono::Utc;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::json;
use tidemill::actors::deduplicator::Deduplicator;
use tidemill::actors::fingerprinter::Fingerprinter;
use tidemill::actors::shared::{PendingVectors, Recall, bury};
use tidemill::actors::sql_writer::SqlWriter;
use tidemill::actors::vector_writer::VectorWriter;
use tidemill::config::cache::CacheConfig;
use tidemill::config::dedup::DedupConfig;
use tidemill::config::documents::DocumentsConfig;
use tidemill::messages::code::ErrorCode;
use tidemill::messages::document::Document;
use tidemill::messages::pipeline::{Embedded, Fingerprinted, Judged, Sighting};
use tidemill::models::Encoded;
use tidemill::stores::cache::Cache;
use tidemill::stores::claims::LocalClaims;
use tidemill::stores::documents::StoreError;
use tidemill::stores::lock::{ClusterLock, Lease, LeaseKeeper, LocalLock, LockRequest};
use tidemill::stores::qdrant::QdrantIndex;
use tidemill::stores::vectors::VectorIndex;
use tidemill::supervisors::{
    Actor, BatchPolicy, ChildSpec, Context, Fault, Intensity, Mailbox, Options, SupervisorSpec, Tree, mailbox, start,
};
use tidemill::text::decode::decode;
use tidemill::text::near_duplicates::DuplicateMemory;

use crate::server::QdrantTestServer;
use crate::suite::{DIMENSION, near, random_vector};
use crate::two_daemons::{End, Graves, Group, Outcome, Source, judged_once};
use crate::{Place, embedding};

/// One group in so many has poison at the first daemon, behind the check.
const POISON_EVERY: usize = 10;

/// Stands for the embedder: the vectors of a group are near copies of each other.
struct Embedder {
    groups: Arc<Vec<Arc<[f32]>>>,
    deduplicator: Mailbox<Embedded>,
    random: fastrand::Rng,
}

fn group_of(id: &str) -> usize {
    id.split('@').next().unwrap().parse().unwrap()
}

impl Actor for Embedder {
    type Message = Fingerprinted;

    async fn handle(&mut self, batch: Vec<Fingerprinted>, ctx: &Context<Fingerprinted>) -> Result<(), Fault> {
        for Fingerprinted { delivery, document, content_hash, sighting, timings } in batch {
            if self.random.u8(..8) == 0 {
                tokio::time::sleep(Duration::from_millis(self.random.u64(1..15))).await;
            }
            // the same document has the same vector whenever it comes
            let seed = document.id.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let mut own = fastrand::Rng::with_seed(seed);
            let vector = near(&mut own, &self.groups[group_of(&document.id)], 0.99);
            let encoded = (sighting == Sighting::Fresh).then_some(Encoded { vector, tokens: 1, trunk: None });
            ctx.send(&self.deduplicator, Embedded { delivery, document, content_hash, sighting, encoded, timings })
                .await?;
            ctx.done(1);
        }
        Ok(())
    }
}

/// Stands for the sentiment analyzer: dies of poison that passed the check.
struct Analyzer(Mailbox<Judged>);

impl Actor for Analyzer {
    type Message = Judged;

    async fn handle(&mut self, batch: Vec<Judged>, ctx: &Context<Judged>) -> Result<(), Fault> {
        for judged in batch {
            if judged.sighting == Sighting::Fresh && judged.document.id.ends_with("poison") {
                return Err(Fault::reject(ErrorCode::EncodingFailed, "poison"));
            }
            ctx.send(&self.0, judged).await?;
            ctx.done(1);
        }
        Ok(())
    }
}

/// A lock that now and then is no lock: the lease it gives has ended, and another holder may be in at the same time.
struct ForgetfulLock(LocalLock);

struct NoKeeper;

impl LeaseKeeper for NoKeeper {
    fn extend(&self, _: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        std::future::ready(Ok(false)).boxed()
    }
    fn release(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        std::future::ready(Ok(false)).boxed()
    }
    fn abandon(&self) {}
}

impl ClusterLock for ForgetfulLock {
    fn acquire<'a>(&'a self, request: LockRequest<'a>) -> BoxFuture<'a, Result<Lease, StoreError>> {
        if fastrand::u8(..3) == 0 {
            return std::future::ready(Ok(Lease::new(Box::new(NoKeeper), 0, Some(Instant::now())))).boxed();
        }
        self.0.acquire(request)
    }
}

/// What two daemons share.
struct Installation {
    place: Place,
    lock: Arc<dyn ClusterLock>,
    groups: Arc<Vec<Arc<[f32]>>>,
    seed: u64,
}

impl Installation {
    fn new(groups: usize, seed: u64, lock: Arc<dyn ClusterLock>) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let groups = (0..groups).map(|_| random_vector(&mut random, DIMENSION)).collect();
        Self { place: Place::with_server(QdrantTestServer::start()), lock, groups: Arc::new(groups), seed }
    }

    /// Documents for one daemon, in nearly the same order at both, so that copies are in flight together and either may
    /// be the first; every group twice at each daemon.
    fn documents(&self, daemon: usize) -> Vec<Arc<Document>> {
        let mut random = fastrand::Rng::with_seed(self.seed * 2 + daemon as u64);
        let mut order: Vec<usize> = (0..2 * self.groups.len()).map(|at| at / 2).collect();
        for at in 0..order.len() - 6 {
            order.swap(at, at + random.usize(0..6));
        }
        let document = |(at, group): (usize, usize)| {
            let poison = if daemon == 0 && group.is_multiple_of(POISON_EVERY) { "-poison" } else { "" };
            let words: Vec<String> = (0..12).map(|_| format!("w{}", random.u64(..))).collect();
            let body =
                json!({ "id": format!("{group}@{daemon}-{at}{poison}"), "source": "news", "text": words.join(" ") });
            Arc::new(decode(body.to_string().as_bytes(), &DocumentsConfig::default(), Utc::now()).unwrap())
        };
        order.into_iter().enumerate().map(document).collect()
    }
}

/// One daemon's part of the document path.
struct Daemon {
    tree: Tree,
    source: Source,
    outcome: Arc<Outcome>,
}

impl Daemon {
    async fn start(installation: &Installation) -> Self {
        let store = &installation.place.store;
        let info = embedding("suite-v1", DIMENSION);
        let index = QdrantIndex::open(&installation.place.config, &info, Arc::clone(store)).await.unwrap();
        let index: Arc<dyn VectorIndex> = Arc::new(index);
        let dedup = Arc::new(ArcSwap::from_pointee(DedupConfig::default()));
        let recall = Recall {
            claims: Arc::new(LocalClaims::new(DuplicateMemory::new(&DedupConfig::default()))),
            waiting: Arc::default(),
            pending: Arc::new(Mutex::new(PendingVectors::default())),
            vectors: Arc::clone(&index),
        };
        let outcome = Arc::new(Outcome::default());
        let (fingerprinter, fingerprinter_in) = mailbox("fingerprinter", 64);
        let (embedder, embedder_in) = mailbox("embedder", 64);
        let (deduplicator, deduplicator_in) = mailbox("deduplicator", 32);
        let (analyzer, analyzer_in) = mailbox("analyzer", 16);
        let (sql_writer, sql_writer_in) = mailbox("sql_writer", 16);
        let (vector_writer, vector_writer_in) = mailbox("vector_writer", 16);
        let (end, end_in) = mailbox("end", 64);
        let (graves, graves_in) = mailbox("graves", 64);
        let grave_for = (Arc::clone(store), Arc::clone(&outcome));
        let end_for = Arc::clone(&outcome);
        let buries = {
            let (recall, graves) = (recall.clone(), graves.clone());
            move |message: Judged, death| bury(message, death, recall.clone(), graves.clone()).boxed()
        };
        let spec = SupervisorSpec::new("root")
            .intensity(Intensity { max_restarts: 1000, ..Intensity::default() })
            .child(ChildSpec::actor("graves", graves_in, move || Graves(Arc::clone(&grave_for.0), grave_for.1.clone())))
            .child(ChildSpec::actor("end", end_in, move || End(Arc::clone(&end_for))))
            .child({
                let (vectors, recall) = (Arc::clone(&index), recall.clone());
                let cache = Arc::new(Cache::new(None, &CacheConfig::default()));
                ChildSpec::actor("vector_writer", vector_writer_in, move || VectorWriter {
                    vectors: Arc::clone(&vectors),
                    recall: recall.clone(),
                    cache: Arc::clone(&cache),
                    publisher: end.clone(),
                })
                .batch(BatchPolicy::of(16))
            })
            .child({
                let (documents, recall, itself) = (Arc::clone(store), recall.clone(), sql_writer.clone());
                let (vectors, dedup, info) = (Arc::clone(&index), Arc::clone(&dedup), info.clone());
                ChildSpec::actor("sql_writer", sql_writer_in, move || SqlWriter {
                    documents: Arc::clone(&documents),
                    vectors: Arc::clone(&vectors),
                    embedding: info.clone(),
                    recall: recall.clone(),
                    dedup: Arc::clone(&dedup),
                    itself: itself.clone(),
                    vector_writer: vector_writer.clone(),
                })
                .batch(BatchPolicy::of(16))
            })
            .child(ChildSpec::actor("analyzer", analyzer_in, move || Analyzer(sql_writer.clone())).on_dead(buries))
            .child({
                let (vectors, recall, dedup) = (Arc::clone(&index), recall.clone(), Arc::clone(&dedup));
                let lock = Arc::clone(&installation.lock);
                ChildSpec::actor("deduplicator", deduplicator_in, move || Deduplicator {
                    config: Arc::clone(&dedup),
                    vectors: Arc::clone(&vectors),
                    lock: Arc::clone(&lock),
                    recall: recall.clone(),
                    sentiment_analyzer: analyzer.clone(),
                })
                .batch(BatchPolicy::of(8))
            })
            .child({
                let groups = Arc::clone(&installation.groups);
                ChildSpec::actor("embedder", embedder_in, move || Embedder {
                    groups: Arc::clone(&groups),
                    deduplicator: deduplicator.clone(),
                    random: fastrand::Rng::new(),
                })
            })
            .child({
                let (recall, embedder) = (recall.clone(), embedder.clone());
                ChildSpec::actor("fingerprinter", fingerprinter_in, move || Fingerprinter {
                    recall: recall.clone(),
                    embedder: embedder.clone(),
                })
                .batch(BatchPolicy::of(8))
            });
        let tree = start(spec, Options::default()).await.unwrap();
        Self { tree, source: Source::new(fingerprinter), outcome }
    }
}

/// Runs two daemons; `meanwhile` is done to the server while they work.
fn two_daemons(groups: usize, seed: u64, lock: Arc<dyn ClusterLock>, meanwhile: impl Fn(&mut QdrantTestServer, usize)) {
    actix::System::new().block_on(async {
        let mut installation = Installation::new(groups, seed, lock);
        let (mut one, mut two) = (Daemon::start(&installation).await, Daemon::start(&installation).await);
        let (first, second) = (installation.documents(0), installation.documents(1));
        let done = AtomicBool::new(false);
        let work = async {
            tokio::join!(one.source.work(0, &first), two.source.work(1, &second));
            done.store(true, Ordering::Relaxed);
        };
        let server = installation.place.server();
        let faults = async {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                meanwhile(server, round);
                round += 1;
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        };
        tokio::join!(work, faults);
        check(&mut installation, &[&one.outcome, &two.outcome], 2 * first.len()).await;
        assert!(one.tree.stop().await.is_clean() && two.tree.stop().await.is_clean());
    });
}

/// Every document has exactly one verdict, of each group exactly one is stored, which the others name, and the vectors
/// are those of the stored documents, with no claim left.
async fn check(installation: &mut Installation, outcomes: &[&Outcome], documents: usize) {
    let groups = judged_once(&*installation.place.store, outcomes, documents).await;
    assert_eq!(groups.len(), installation.groups.len());
    let daemon = |id: &str| id.split(['@', '-']).nth(1).unwrap().to_owned();
    let elsewhere = |group: &Group| group.copies.iter().filter(|copy| daemon(copy) != daemon(&group.original)).count();
    let across: usize = groups.iter().map(elsewhere).sum();
    let name = installation.place.config.collection.clone();
    let mut store = installation.place.server().shared.store.lock();
    let points: Vec<u128> = store
        .collection(&name)
        .unwrap()
        .points
        .keys()
        .map(|name| match name {
            crate::server::Name::Uuid(uuid) => *uuid,
            crate::server::Name::Number(_) => unreachable!(),
        })
        .collect();
    let mut expected: Vec<u128> =
        groups.iter().map(|group| tidemill::stores::qdrant::point_id(&group.original).as_u128()).collect();
    expected.sort_unstable();
    assert_eq!(points, expected, "vectors equal stored documents, no claim is left");
    println!("{} groups, {across} copies name an original at the other daemon", groups.len());
}

fn local() -> Arc<dyn ClusterLock> {
    Arc::new(LocalLock::default())
}

#[test]
fn of_near_copies_at_two_daemons_at_once_exactly_one_is_stored() {
    for seed in 1..=6 {
        two_daemons(40, seed, local(), |_, _| {});
    }
}

#[test]
fn two_daemons_keep_it_while_their_lock_does_not_last() {
    for seed in 11..=14 {
        two_daemons(40, seed, Arc::new(ForgetfulLock(LocalLock::default())), |_, _| {});
    }
}

#[test]
fn two_daemons_keep_it_while_qdrant_is_killed_slow_full_and_loses_answers() {
    two_daemons(80, 21, local(), |server, round| match round % 12 {
        1 => server.faults(|faults| faults.lost_answers = 6),
        3 => server.faults(|faults| faults.delay = Duration::from_millis(30)),
        4 => server.faults(|faults| (faults.delay, faults.disk_full) = (Duration::ZERO, true)),
        6 => server.faults(|faults| (faults.disk_full, faults.unavailable) = (false, true)),
        8 => {
            server.faults(|faults| faults.unavailable = false);
            server.stop();
        }
        9 => server.restart(),
        _ => {}
    });
}
