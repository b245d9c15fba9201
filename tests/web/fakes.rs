//! In-memory stand-ins for everything behind the API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{self, BoxFuture, FutureExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tidemill::kafka::log::{Log, LogConsumer, LogError, PartitionLag};
use tidemill::messages::analysis::{Analysis, EmbeddingInfo, VerdictLabel};
use tidemill::messages::code::{ErrorCode, Rejection};
use tidemill::messages::correlation::CorrelationId;
use tidemill::messages::dead_letter::StoredDeadLetter;
use tidemill::messages::document::Document;
use tidemill::messages::pipeline::DuplicateRule;
use tidemill::messages::record::{NewRecord, Position};
use tidemill::models::{Encoded, Encoder, ModelError};
use tidemill::stores::documents::{
    DeadLetterFilter, DeliveryOutcome, DeliveryRow, DocumentFilter, DocumentStore, Page, RememberedDocument,
    StoreCounts, StoreError, StoredDocument, VerdictRow, WriteOutcome,
};
use tidemill::stores::vectors::{Neighbor, VectorEntry, VectorFilter, VectorIndex, VectorQuery};
use tidemill::web::state::{Dependency, InjectedFault, OperationError, Operations, Readiness, TopologyFormat};

/// How the fake log answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogMood {
    #[default]
    Well,
    Full,
    Away,
    /// Takes this many calls, then is away.
    AwayAfter(usize),
    Silent,
}

/// Keeps what is appended.
#[derive(Default)]
pub struct FakeLog {
    pub records: Mutex<Vec<NewRecord>>,
    pub calls: AtomicUsize,
    pub mood: Mutex<LogMood>,
}

impl Log for FakeLog {
    fn ensure_topics<'a>(&'a self, _: &'a [(String, i32)]) -> BoxFuture<'a, Result<(), LogError>> {
        future::ready(Ok(())).boxed()
    }

    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, LogError>> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let outcome = match *self.mood.lock() {
            LogMood::Well => Ok(()),
            LogMood::AwayAfter(calls) if call < calls => Ok(()),
            LogMood::Full => Err(LogError::Full("1000 records wait".to_owned())),
            LogMood::Away | LogMood::AwayAfter(_) => Err(LogError::Unavailable("the broker is gone".to_owned())),
            LogMood::Silent => return future::pending().boxed(),
        };
        let outcome = outcome.map(|()| {
            let mut kept = self.records.lock();
            let first = kept.len();
            let positions =
                (first..first + records.len()).map(|offset| position(i64::try_from(offset).unwrap())).collect();
            kept.extend(records);
            positions
        });
        future::ready(outcome).boxed()
    }

    fn consumer(&self, _: &str, _: &[String]) -> Result<Box<dyn LogConsumer>, LogError> {
        Err(LogError::Failed("the fake log has no consumers".to_owned()))
    }

    fn lag<'a>(&'a self, _: &'a str, _: &'a [String]) -> BoxFuture<'a, Result<Vec<PartitionLag>, LogError>> {
        future::ready(Ok(Vec::new())).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        future::ready(Ok(())).boxed()
    }
}

pub fn position(offset: i64) -> Position {
    Position { topic: "documents".into(), partition: 0, offset }
}

/// Keeps documents and dead letters in order of their keys; a cursor is the number of items before the page.
#[derive(Default)]
pub struct FakeStore {
    pub documents: Mutex<BTreeMap<String, StoredDocument>>,
    pub letters: Mutex<BTreeMap<String, StoredDeadLetter>>,
    pub away: AtomicBool,
}

impl FakeStore {
    fn answer<'a, T: Send + 'a>(&self, value: impl FnOnce() -> T) -> BoxFuture<'a, Result<T, StoreError>> {
        let result = if self.away.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("the disk is gone".to_owned()))
        } else {
            Ok(value())
        };
        future::ready(result).boxed()
    }
}

fn cloned<T: Clone>((key, item): (&String, &T)) -> (String, T) {
    (key.clone(), item.clone())
}

/// A page of items in the order of their keys; the cursor is the last key of the page before.
fn page<T>(all: Vec<(String, T)>, limit: usize, cursor: Option<&str>) -> Result<Page<T>, StoreError> {
    if cursor.is_some_and(|cursor| cursor.starts_with("zzz")) {
        return Err(StoreError::InvalidQuery(format!("cursor {cursor:?} is not ours")));
    }
    let mut rest: Vec<_> =
        all.into_iter().filter(|(key, _)| cursor.is_none_or(|cursor| key.as_str() > cursor)).collect();
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next_cursor = rest.last().filter(|_| more).map(|(key, _)| key.clone());
    Ok(Page { items: rest.into_iter().map(|(_, item)| item).collect(), next_cursor })
}

impl DocumentStore for FakeStore {
    fn write(&self, _: Vec<VerdictRow>) -> BoxFuture<'_, Result<Vec<WriteOutcome>, StoreError>> {
        self.answer(Vec::new)
    }

    fn note_deliveries(&self, _: Vec<DeliveryRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.answer(|| ())
    }

    fn deliveries_of<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<DeliveryRow>, StoreError>> {
        self.answer(|| {
            let documents = self.documents.lock();
            let matching = documents.values().filter(|stored| &*stored.document.id == id);
            matching
                .map(|stored| DeliveryRow {
                    origin: stored.analysis.origin.clone(),
                    document_id: stored.document.id.clone(),
                    correlation_id: stored.analysis.correlation_id.clone(),
                    outcome: DeliveryOutcome::Stored,
                    processed_at: stored.analysis.processed_at,
                })
                .collect()
        })
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredDocument>, StoreError>> {
        self.answer(|| self.documents.lock().get(id).cloned())
    }

    fn get_many<'a>(&'a self, ids: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<StoredDocument>, StoreError>> {
        self.answer(|| ids.iter().filter_map(|id| self.documents.lock().get(&**id).cloned()).collect())
    }

    fn by_correlation<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<StoredDocument>, StoreError>> {
        self.answer(|| {
            let documents = self.documents.lock();
            documents.values().filter(|stored| stored.analysis.correlation_id.as_str() == id).cloned().collect()
        })
    }

    fn list(&self, filter: DocumentFilter) -> BoxFuture<'_, Result<Page<StoredDocument>, StoreError>> {
        let documents = self.documents.lock();
        let matching = documents.iter().filter(|(_, stored)| {
            filter.verdict.is_none_or(|verdict| stored.analysis.verdict == verdict)
                && filter.source.as_ref().is_none_or(|source| **source == *stored.document.source)
                && filter.symbol.as_ref().is_none_or(|symbol| stored.analysis.symbols.contains(symbol))
                && filter.since.is_none_or(|since| stored.analysis.processed_at >= since)
        });
        future::ready(page(matching.map(cloned).collect(), filter.limit, filter.cursor.as_deref())).boxed()
    }

    fn remember<'a>(
        &'a self,
        _: i64,
        _: Box<dyn FnMut(RememberedDocument) + Send + 'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.answer(|| ())
    }

    fn write_dead_letter(&self, letter: StoredDeadLetter) -> BoxFuture<'_, Result<(), StoreError>> {
        self.answer(|| {
            self.letters.lock().insert(letter.id.to_string(), letter);
        })
    }

    fn dead_letters(&self, filter: DeadLetterFilter) -> BoxFuture<'_, Result<Page<StoredDeadLetter>, StoreError>> {
        let letters = self.letters.lock();
        let matching = letters.iter().filter(|(_, letter)| {
            filter.stage.as_ref().is_none_or(|stage| **stage == *letter.stage)
                && filter.code.as_ref().is_none_or(|code| code == letter.code.as_str())
                && filter.replayed.is_none_or(|replayed| replayed == letter.replayed_at.is_some())
        });
        future::ready(page(matching.map(cloned).collect(), filter.limit, filter.cursor.as_deref())).boxed()
    }

    fn dead_letter<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<StoredDeadLetter>, StoreError>> {
        self.answer(|| self.letters.lock().get(id).cloned())
    }

    fn dead_letters_of<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<StoredDeadLetter>, StoreError>> {
        self.answer(|| {
            let letters = self.letters.lock();
            let of =
                |letter: &&StoredDeadLetter| letter.correlation_id == id || letter.document_id.as_deref() == Some(id);
            letters.values().filter(of).cloned().collect()
        })
    }

    fn mark_replayed<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.answer(|| {
            let mut letters = self.letters.lock();
            letters.get_mut(id).map(|letter| letter.replayed_at = Some(chrono::Utc::now())).is_some()
        })
    }

    fn purge_dead_letters<'a>(&'a self, id: Option<&'a str>) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.answer(|| {
            let mut letters = self.letters.lock();
            let before = letters.len();
            match id {
                Some(id) => drop(letters.remove(id)),
                None => letters.clear(),
            }
            (before - letters.len()) as u64
        })
    }

    fn counts(&self) -> BoxFuture<'_, Result<StoreCounts, StoreError>> {
        self.answer(|| StoreCounts { dead_letters: self.letters.lock().len() as u64, ..StoreCounts::default() })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.answer(|| ())
    }

    fn fail_for(&self, _: Duration) {}
}

/// Answers whatever is in it, in the order of insertion.
#[derive(Default)]
pub struct FakeVectors {
    pub neighbors: Mutex<Vec<Neighbor>>,
    pub filters: Mutex<Vec<VectorFilter>>,
}

impl VectorIndex for FakeVectors {
    fn upsert(&self, _: Vec<VectorEntry>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove(&self, _: Vec<Arc<str>>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn nearest_many(&self, queries: Vec<VectorQuery>) -> BoxFuture<'_, Result<Vec<Vec<Neighbor>>, StoreError>> {
        let answer = |query: VectorQuery| {
            self.filters.lock().push(query.filter);
            self.neighbors.lock().iter().take(query.k).cloned().collect()
        };
        Box::pin(std::future::ready(Ok(queries.into_iter().map(answer).collect())))
    }

    fn len(&self) -> usize {
        self.neighbors.lock().len()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        Box::pin(std::future::ready(Ok("fake".to_owned())))
    }
}

/// Encodes a text as its length and its number of words.
pub struct FakeEncoder(pub EmbeddingInfo);

impl Default for FakeEncoder {
    fn default() -> Self {
        Self(EmbeddingInfo { model: "fake-encoder".into(), dimension: 2 })
    }
}

#[expect(clippy::cast_precision_loss, reason = "texts of tests are short")]
pub fn fake_vector(text: &str) -> Vec<f32> {
    vec![text.len() as f32, text.split_whitespace().count() as f32]
}

impl Encoder for FakeEncoder {
    fn info(&self) -> &EmbeddingInfo {
        &self.0
    }

    fn count_tokens(&self, text: &str) -> usize {
        text.split_whitespace().count() + 2
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<Encoded>, ModelError> {
        let encode = |text: &&str| Encoded {
            vector: fake_vector(text).into(),
            tokens: u32::try_from(self.count_tokens(text)).unwrap(),
            trunk: None,
        };
        Ok(texts.iter().map(encode).collect())
    }
}

/// An operator's view that remembers what was asked of it.
pub struct FakeOperations {
    pub store: Arc<FakeStore>,
    pub backlog: AtomicU64,
    pub ready: AtomicBool,
    pub stopping: AtomicBool,
    pub asked: Mutex<Vec<String>>,
}

impl Operations for FakeOperations {
    fn actors(&self) -> Value {
        json!({ "actors": [{ "name": "embedder", "state": "running" }] })
    }

    fn topology(&self, format: TopologyFormat) -> String {
        match format {
            TopologyFormat::Json => json!({ "stages": ["embedder"] }).to_string(),
            TopologyFormat::Mermaid => "flowchart LR".to_owned(),
            TopologyFormat::Text => "embedder".to_owned(),
        }
    }

    fn restart(&self, name: &str) -> Result<(), OperationError> {
        if name != "embedder" {
            return Err(OperationError::NotFound(format!("actor {name:?}")));
        }
        self.asked.lock().push(format!("restart {name}"));
        Ok(())
    }

    fn inject(&self, name: &str, fault: InjectedFault) -> Result<(), OperationError> {
        self.asked.lock().push(format!("inject {name} {}", serde_json::to_string(&fault).unwrap()));
        Ok(())
    }

    fn fail_store(&self, duration: Duration) {
        self.asked.lock().push(format!("fail store {}", duration.as_secs_f64()));
    }

    fn fail_log(&self, duration: Duration) {
        self.asked.lock().push(format!("fail log {}", duration.as_secs_f64()));
    }

    fn reload(&self) -> BoxFuture<'_, Result<Value, OperationError>> {
        let result = if self.ready.load(Ordering::SeqCst) {
            Ok(json!({ "applied": ["embedder.batch"] }))
        } else {
            Err(OperationError::Refused("http.listen: must be an address".to_owned()))
        };
        future::ready(result).boxed()
    }

    fn metrics_text(&self) -> String {
        "tidemill_build_info 1\n".to_owned()
    }

    fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::SeqCst)
    }

    fn readiness(&self) -> Readiness {
        let ready = self.ready.load(Ordering::SeqCst);
        let log = Dependency { name: "log".to_owned(), healthy: ready, detail: "embedded".to_owned() };
        Readiness { ready, stopping: self.stopping.load(Ordering::SeqCst), dependencies: vec![log] }
    }

    fn replay_dead_letter<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, OperationError>> {
        async move {
            if id.starts_with("stuck") {
                return Err(OperationError::Unavailable("the broker is gone".to_owned()));
            }
            self.asked.lock().push(format!("replay {id}"));
            self.store.mark_replayed(id).await.map_err(|error| OperationError::Unavailable(error.to_string()))
        }
        .boxed()
    }

    fn worker_status(&self) -> Option<Value> {
        Some(json!({ "pools": [] }))
    }
}

/// Counts calls; the text `wait` is held until the gate opens, the text `crash` panics.
#[derive(Default)]
pub struct FakeAnalyst {
    pub gate: Mutex<()>,
    pub begun: AtomicUsize,
}

impl FakeAnalyst {
    pub fn analyze(&self, texts: Vec<String>) -> Vec<Value> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if texts.iter().any(|text| text == "wait") {
            drop(self.gate.lock());
        }
        assert!(!texts.iter().any(|text| text == "crash"), "asked to");
        texts.into_iter().map(|text| json!({ "text": text })).collect()
    }
}

/// As strict as these tests need: an object with a source and a text, nested at most 32 deep.
pub fn decode(bytes: &[u8]) -> Result<Document, Rejection> {
    let text = std::str::from_utf8(bytes).map_err(|error| Rejection::new(ErrorCode::InvalidUtf8, error.to_string()))?;
    let depth = text.bytes().fold((0_usize, 0_usize), |(now, most), byte| match byte {
        b'[' | b'{' => (now + 1, most.max(now + 1)),
        b']' | b'}' => (now.saturating_sub(1), most),
        _ => (now, most),
    });
    if depth.1 > 32 {
        return Err(Rejection::new(ErrorCode::TooDeep, "nested too deeply"));
    }
    let value: Value =
        serde_json::from_str(text).map_err(|error| Rejection::new(ErrorCode::InvalidJson, error.to_string()))?;
    let field = |name: &str| match &value[name] {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Err(Rejection::field(ErrorCode::MissingField, name, format!("{name} is missing"))),
        _ => Err(Rejection::field(ErrorCode::WrongType, name, format!("{name} must be a string"))),
    };
    assert_ne!(field("text").as_deref(), Ok("panic"), "asked to");
    let text = field("text")?;
    if text.trim().is_empty() {
        return Err(Rejection::field(ErrorCode::EmptyText, "text", "the text is empty"));
    }
    let id = value["id"].as_str().map_or_else(|| format!("id-of-{text}"), str::to_owned);
    Ok(document(&id, &field("source")?, &text))
}

pub fn document(id: &str, source: &str, text: &str) -> Document {
    Document {
        id: id.into(),
        source: source.into(),
        url: None,
        title: Some(format!("title of {id}")),
        text: text.to_owned(),
        author: None,
        published_at: None,
        symbols: vec!["AAPL".to_owned()],
        lang: None,
        metadata: serde_json::Map::new(),
    }
}

pub fn stored(id: &str, source: &str, verdict: VerdictLabel) -> StoredDocument {
    let document = document(id, source, "some text");
    let duplicate = verdict == VerdictLabel::Duplicate;
    let analysis = Analysis {
        document_id: document.id.clone(),
        correlation_id: CorrelationId::parse(&format!("correlation-{id}")).unwrap(),
        source: document.source.clone(),
        symbols: document.symbols.clone(),
        verdict,
        duplicate_of: duplicate.then(|| "original".into()),
        rule: duplicate.then_some(DuplicateRule::Cosine),
        similarity: duplicate.then_some(0.97),
        sentiment: None,
        category: None,
        entities: Vec::new(),
        embedding: Some(EmbeddingInfo { model: "fake-encoder".into(), dimension: 2 }),
        published_at: None,
        processed_at: "2026-02-03T04:05:06Z".parse().unwrap(),
        timings_ms: [("embedder".into(), 2.0), ("fingerprinter".into(), 1.0)].into(),
        origin: position(7),
    };
    StoredDocument { document, analysis }
}

pub fn letter(id: &str, code: ErrorCode, value: &[u8]) -> StoredDeadLetter {
    StoredDeadLetter {
        id: id.into(),
        document_id: None,
        correlation_id: format!("correlation-{id}"),
        stage: "source".into(),
        code,
        error: "broken".to_owned(),
        attempts: 1,
        history: vec!["attempt 1: broken".to_owned()],
        topic: "documents".into(),
        partition: 0,
        offset: 3,
        first_seen: "2026-02-03T04:05:06Z".parse().unwrap(),
        dead_at: "2026-02-03T04:05:07Z".parse().unwrap(),
        replayed_at: None,
        key: Some(b"key".to_vec()),
        value: value.to_vec(),
        headers: vec![("source".to_owned(), b"wire".to_vec())],
    }
}
