//! What tests of two daemons over one store share: the end of the document path, deliveries that come back, and what
//! must hold of groups of copies afterwards. An id begins with its group and `@`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use parking_lot::Mutex;
use tidemill::actors::sql_writer::Verdict;
use tidemill::messages::analysis::VerdictLabel;
use tidemill::messages::dead_letter::{DeadLetter, StoredDeadLetter};
use tidemill::messages::delivery::{Delivery, Ledger};
use tidemill::messages::document::Document;
use tidemill::messages::pipeline::Intake;
use tidemill::messages::record::{Position, Record};
use tidemill::stores::documents::DocumentStore;
use tidemill::supervisors::{Actor, Context, Fault, Mailbox};
use tokio::sync::mpsc;

/// How long the documents of a test may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Most deliveries that have come back and are not delivered again yet.
const RETURNED: usize = 10_000;

/// What became durable, in order.
#[derive(Default)]
pub struct Outcome {
    verdicts: Mutex<Vec<Arc<str>>>,
    dead: Mutex<Vec<Arc<str>>>,
}

/// The end of the way.
pub struct End(pub Arc<Outcome>);

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
pub struct Graves(pub Arc<dyn DocumentStore>, pub Arc<Outcome>);

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

/// The source of one daemon.
pub struct Source {
    intake: Mailbox<Intake>,
    ledger: Arc<Again>,
    returned: mpsc::Receiver<Record>,
}

impl Source {
    pub fn new(intake: Mailbox<Intake>) -> Self {
        let (sender, returned) = mpsc::channel(RETURNED);
        Self { intake, ledger: Arc::new(Again(sender, Mutex::new(0))), returned }
    }

    /// Delivers these documents, and again what comes back, until each has its verdict.
    pub async fn work(&mut self, partition: i32, documents: &[Arc<Document>]) {
        let deliver = |offset: i64| {
            let position = Position { topic: "documents".into(), partition, offset };
            let record =
                Record { position, timestamp_ms: 0, key: None, value: bytes::Bytes::new(), headers: Vec::new() };
            let delivery = Delivery::new(record, 0, self.ledger.clone());
            Intake { delivery, document: Arc::clone(&documents[usize::try_from(offset).unwrap()]) }
        };
        for offset in 0..documents.len() {
            self.intake.send(deliver(i64::try_from(offset).unwrap())).await.unwrap();
        }
        let started = Instant::now();
        while *self.ledger.1.lock() < documents.len() {
            assert!(started.elapsed() < PATIENCE, "{} of {}", self.ledger.1.lock(), documents.len());
            while let Ok(record) = self.returned.try_recv() {
                self.intake.send(deliver(record.position.offset)).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Documents that are copies of each other and did not die.
pub struct Group {
    /// The one that is stored.
    pub original: Arc<str>,
    /// The others.
    pub copies: Vec<Arc<str>>,
}

/// Every document has exactly one verdict, and of each group exactly one is stored, which the others name.
pub async fn judged_once(store: &dyn DocumentStore, outcomes: &[&Outcome], documents: usize) -> Vec<Group> {
    let mut times: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for outcome in outcomes {
        for id in outcome.verdicts.lock().iter().chain(outcome.dead.lock().iter()) {
            *times.entry(Arc::clone(id)).or_default() += 1;
        }
    }
    assert_eq!(times.len(), documents, "every document has a verdict");
    assert!(times.values().all(|count| *count == 1), "each once: {times:?}");
    let ids: Vec<Arc<str>> = times.into_keys().collect();
    let mut groups: HashMap<String, Vec<(Arc<str>, VerdictLabel, Option<Arc<str>>)>> = HashMap::new();
    for stored in store.get_many(&ids).await.unwrap() {
        let group = stored.document.id.split('@').next().unwrap().to_owned();
        let verdict = (Arc::clone(&stored.document.id), stored.analysis.verdict, stored.analysis.duplicate_of);
        groups.entry(group).or_default().push(verdict);
    }
    let judged = |(group, verdicts): (String, Vec<(Arc<str>, VerdictLabel, Option<Arc<str>>)>)| {
        let (stored, copies): (Vec<_>, Vec<_>) =
            verdicts.iter().partition(|(_, label, _)| *label == VerdictLabel::Stored);
        assert_eq!(stored.len(), 1, "group {group}: {verdicts:?}");
        let original = Arc::clone(&stored[0].0);
        assert!(copies.iter().all(|(_, _, of)| of.as_ref() == Some(&original)), "group {group}: {verdicts:?}");
        Group { original, copies: copies.into_iter().map(|(id, ..)| Arc::clone(id)).collect() }
    };
    groups.into_iter().map(judged).collect()
}
