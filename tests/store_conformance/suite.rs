//! The cases, written against the trait alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use tidemill::messages::analysis::{
    Analysis, Category, EmbeddingInfo, Entity, Probabilities, Sentiment, SentimentLabel, VerdictLabel,
};
use tidemill::messages::code::ErrorCode;
use tidemill::messages::correlation::CorrelationId;
use tidemill::messages::dead_letter::StoredDeadLetter;
use tidemill::messages::document::Document;
use tidemill::messages::pipeline::DuplicateRule;
use tidemill::messages::record::Position;
use tidemill::stores::documents::{
    DeadLetterFilter, DeliveryOutcome, DeliveryRow, DocumentFilter, DocumentStore, StoreCounts, StoreError, VerdictRow,
    WriteOutcome,
};

/// An empty store that can be closed and opened again.
pub struct Fresh {
    open: Box<dyn Fn() -> Box<dyn DocumentStore>>,
}

impl Fresh {
    pub fn new(open: Box<dyn Fn() -> Box<dyn DocumentStore>>) -> Self {
        Self { open }
    }

    fn open(&self) -> Box<dyn DocumentStore> {
        (self.open)()
    }
}

fn time(seconds: u64) -> DateTime<Utc> {
    Utc.timestamp_opt(1_750_000_000 + i64::try_from(seconds).unwrap(), 123_456_789).unwrap()
}

fn at(offset: u64) -> Position {
    Position { topic: "documents".into(), partition: 0, offset: i64::try_from(offset).unwrap() }
}

/// A stored document with everything set; `index` makes it unique and gives its times.
pub fn row(index: u64) -> VerdictRow {
    let id: Arc<str> = format!("doc-{index:06}").into();
    let document = Document {
        id: Arc::clone(&id),
        source: if index.is_multiple_of(2) { "news".into() } else { "reddit".into() },
        url: Some(format!("https://example.com/{index}")),
        title: Some(format!("Title {index}")),
        text: format!("Text number {index} – with ünïcode"),
        author: Some("A. Writer".to_owned()),
        published_at: Some(time(index)),
        symbols: vec!["AAPL".to_owned()],
        lang: Some("en".to_owned()),
        metadata: serde_json::from_str(r#"{"nested": {"a": [1, 2.5, null]}}"#).unwrap(),
    };
    let analysis = Analysis {
        document_id: Arc::clone(&id),
        correlation_id: CorrelationId::parse(&format!("corr-{index}")).unwrap(),
        source: Arc::clone(&document.source),
        symbols: vec!["AAPL".to_owned(), format!("S{index}")],
        verdict: VerdictLabel::Stored,
        duplicate_of: None,
        rule: None,
        similarity: None,
        sentiment: Some(Sentiment {
            label: SentimentLabel::Positive,
            score: 0.123_456_79,
            probabilities: Probabilities { positive: 0.7, neutral: 0.2, negative: 0.1 },
            model: "test@1".into(),
            abstained: false,
        }),
        category: Some(Category { label: "earnings".into(), confidence: 0.9 }),
        entities: vec![
            Entity { text: "$AAPL".into(), kind: "cashtag".into(), start: 0, end: 5, symbol: Some("AAPL".into()) },
            Entity { text: "5%".into(), kind: "percent".into(), start: 7, end: 9, symbol: None },
        ],
        embedding: Some(EmbeddingInfo { model: "minilm".into(), dimension: 4 }),
        published_at: document.published_at,
        processed_at: time(index),
        timings_ms: [("embed".into(), 1.25)].into(),
        origin: at(index),
    };
    let mut content_hash = [0; 32];
    content_hash[..8].copy_from_slice(&index.to_le_bytes());
    VerdictRow {
        document: Arc::new(document),
        analysis: analysis.into(),
        vector: Some([0.5, -0.5, 0.25, f32::MIN_POSITIVE].into()),
        content_hash,
        timestamp_ms: time(index).timestamp_millis(),
    }
}

fn duplicate(index: u64, of: u64) -> VerdictRow {
    let mut row = row(index);
    *row.analysis = Analysis {
        verdict: VerdictLabel::Duplicate,
        duplicate_of: Some(self::row(of).document.id.clone()),
        rule: Some(DuplicateRule::Minhash),
        similarity: Some(0.93),
        sentiment: None,
        category: None,
        entities: Vec::new(),
        embedding: None,
        ..(*row.analysis).clone()
    };
    row.vector = None;
    row
}

pub fn letter(index: u64) -> StoredDeadLetter {
    StoredDeadLetter {
        id: StoredDeadLetter::id_of("documents", 0, i64::try_from(index).unwrap()),
        document_id: index.is_multiple_of(2).then(|| format!("doc-{index:06}").into()),
        correlation_id: format!("corr-{index}"),
        stage: if index.is_multiple_of(2) { "embedder".into() } else { "source".into() },
        code: if index.is_multiple_of(3) { ErrorCode::Panicked } else { ErrorCode::InvalidJson },
        error: format!("invalid JSON at line {index}"),
        attempts: 3,
        history: vec!["one".into(), "two \"quoted\"".into()],
        topic: "documents".into(),
        partition: 0,
        offset: i64::try_from(index).unwrap(),
        first_seen: time(index).with_nanosecond_micros(),
        dead_at: time(index + 1).with_nanosecond_micros(),
        replayed_at: None,
        key: Some(vec![0, 255, 1]),
        value: (0..=255).collect(),
        headers: vec![("h".into(), vec![0, 159, 146, 150]), ("h".into(), Vec::new())],
    }
}

/// Times are kept to the microsecond in listings of dead letters.
trait Micros {
    fn with_nanosecond_micros(self) -> Self;
}

impl Micros for DateTime<Utc> {
    fn with_nanosecond_micros(self) -> Self {
        DateTime::from_timestamp_micros(self.timestamp_micros()).unwrap()
    }
}

fn limit(limit: usize) -> DocumentFilter {
    DocumentFilter { limit, ..DocumentFilter::default() }
}

/// Ids of all pages of a listing.
async fn all_ids(store: &dyn DocumentStore, mut filter: DocumentFilter) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = store.list(filter.clone()).await.unwrap();
        assert!(page.items.len() <= filter.limit);
        ids.extend(page.items.iter().map(|item| item.document.id.to_string()));
        let Some(cursor) = page.next_cursor else { return ids };
        filter.cursor = Some(cursor);
    }
}

async fn remembered(store: &dyn DocumentStore, since_ms: i64) -> Vec<tidemill::stores::documents::RememberedDocument> {
    let found = Mutex::new(Vec::new());
    store.remember(since_ms, Box::new(|document| found.lock().unwrap().push(document))).await.unwrap();
    found.into_inner().unwrap()
}

pub async fn written_documents_come_back_whole(fresh: Fresh) {
    let store = fresh.open();
    let row = row(1);
    assert_eq!(store.write(vec![row.clone()]).await.unwrap(), [WriteOutcome::Written]);
    let found = store.get(&row.document.id).await.unwrap().unwrap();
    assert_eq!(found.document, *row.document);
    assert_eq!(found.analysis, *row.analysis);
    assert!(store.get("nothing").await.unwrap().is_none());
}

pub async fn same_document_again_takes_the_earlier_ones_place(fresh: Fresh) {
    let store = fresh.open();
    for _ in 0..3 {
        assert_eq!(store.write(vec![row(1), row(1)]).await.unwrap(), [WriteOutcome::Written, WriteOutcome::Written]);
    }
    assert_eq!(store.counts().await.unwrap().stored, 1);
    assert_eq!(all_ids(&*store, limit(10)).await.len(), 1);
}

pub async fn revision_leaves_nothing_of_the_earlier_version(fresh: Fresh) {
    let store = fresh.open();
    store.write(vec![row(1), row(2)]).await.unwrap();
    let mut revision = duplicate(1, 2);
    revision.analysis.symbols = vec!["MSFT".to_owned()];
    revision.analysis.processed_at = time(50);
    store.write(vec![revision.clone()]).await.unwrap();
    assert_eq!(store.get("doc-000001").await.unwrap().unwrap().analysis, *revision.analysis);
    let by_symbol = |symbol: &str| DocumentFilter { symbol: Some(symbol.to_owned()), ..limit(10) };
    assert_eq!(all_ids(&*store, by_symbol("S1")).await, Vec::<String>::new());
    assert_eq!(all_ids(&*store, by_symbol("MSFT")).await, ["doc-000001"]);
    assert_eq!(store.counts().await.unwrap(), StoreCounts { stored: 1, duplicates: 1, dead_letters: 0 });
    let vectors = remembered(&*store, 0).await.iter().filter(|document| document.vector.is_some()).count();
    assert_eq!(vectors, 1, "the vector of the earlier version is gone");
}

pub async fn duplicate_needs_its_original(fresh: Fresh) {
    let store = fresh.open();
    let outcomes = store.write(vec![duplicate(2, 1), row(3)]).await.unwrap();
    assert_eq!(outcomes, [WriteOutcome::OriginalMissing, WriteOutcome::Written]);
    assert!(store.get("doc-000002").await.unwrap().is_none());
    let itself = store.write(vec![duplicate(3, 3)]).await.unwrap();
    assert_eq!(itself, [WriteOutcome::OriginalMissing]);
    assert_eq!(store.get("doc-000003").await.unwrap().unwrap().analysis.verdict, VerdictLabel::Stored);
}

pub async fn duplicate_of_a_duplicate_is_written_under_the_root(fresh: Fresh) {
    let store = fresh.open();
    let outcomes = store.write(vec![row(1), duplicate(2, 1), duplicate(3, 2)]).await.unwrap();
    assert_eq!(outcomes[2], WriteOutcome::Rerooted("doc-000001".into()));
    let third = store.get("doc-000003").await.unwrap().unwrap();
    assert_eq!(third.analysis.duplicate_of.as_deref(), Some("doc-000001"));
}

pub async fn original_may_come_earlier_in_the_batch(fresh: Fresh) {
    let store = fresh.open();
    assert_eq!(store.write(vec![row(1), duplicate(2, 1)]).await.unwrap(), [const { WriteOutcome::Written }; 2]);
    let late = store.write(vec![duplicate(4, 3), row(3)]).await.unwrap();
    assert_eq!(late, [WriteOutcome::OriginalMissing, WriteOutcome::Written]);
}

pub async fn one_call_writes_all_or_nothing_visible(fresh: Fresh) {
    let store = fresh.open();
    let (written, seen) = tokio::join!(store.write((0..500).map(row).collect()), async {
        let mut seen = Vec::new();
        for _ in 0..20 {
            seen.push(store.counts().await.unwrap().stored);
            tokio::task::yield_now().await;
        }
        seen
    });
    assert_eq!(written.unwrap().len(), 500);
    assert!(seen.iter().all(|&count| count == 0 || count == 500), "{seen:?}");
    assert_eq!(store.write(Vec::new()).await.unwrap(), []);
}

pub async fn listing_pages_are_complete_and_newest_first(fresh: Fresh) {
    let store = fresh.open();
    // Equal times in part: pages must not lose or repeat what shares one.
    let rows = (0..50).map(|index| {
        let mut row = row(index);
        row.analysis.processed_at = time(index / 10);
        row
    });
    store.write(rows.collect()).await.unwrap();
    let mut expected: Vec<String> = (0..50).map(|index| format!("doc-{index:06}")).collect();
    expected.reverse();
    for size in [1, 7, 10, 49, 50, 51] {
        assert_eq!(all_ids(&*store, limit(size)).await, expected, "pages of {size}");
    }
}

pub async fn listing_filters_hold(fresh: Fresh) {
    let store = fresh.open();
    store.write((0..10).map(row).chain((10..15).map(|index| duplicate(index, index - 10))).collect()).await.unwrap();
    let ids = |filter| all_ids(&*store, filter);
    let verdict = |verdict| DocumentFilter { verdict: Some(verdict), ..limit(3) };
    assert_eq!(ids(verdict(VerdictLabel::Duplicate)).await.len(), 5);
    assert_eq!(ids(verdict(VerdictLabel::Stored)).await.len(), 10);
    assert_eq!(ids(DocumentFilter { source: Some("reddit".into()), ..limit(3) }).await.len(), 7);
    assert_eq!(ids(DocumentFilter { symbol: Some("s4".into()), ..limit(3) }).await, ["doc-000004"]);
    assert_eq!(ids(DocumentFilter { symbol: Some("AAPL".into()), ..limit(4) }).await.len(), 15);
    assert_eq!(ids(DocumentFilter { since: Some(time(13)), ..limit(3) }).await, ["doc-000014", "doc-000013"]);
    let all = DocumentFilter {
        verdict: Some(VerdictLabel::Duplicate),
        source: Some("news".into()),
        symbol: Some("AAPL".into()),
        since: Some(time(11)),
        ..limit(1)
    };
    assert_eq!(ids(all).await, ["doc-000014", "doc-000012"]);
}

pub async fn wrong_queries_are_refused(fresh: Fresh) {
    let store = fresh.open();
    for filter in [limit(0), limit(1001), DocumentFilter { cursor: Some("' OR 1=1 --".into()), ..limit(1) }] {
        assert!(matches!(store.list(filter).await, Err(StoreError::InvalidQuery(_))));
    }
    let wrong = DeadLetterFilter { limit: 0, ..DeadLetterFilter::default() };
    assert!(matches!(store.dead_letters(wrong).await, Err(StoreError::InvalidQuery(_))));
}

pub async fn documents_are_found_by_correlation_id(fresh: Fresh) {
    let store = fresh.open();
    let mut second = row(2);
    second.analysis.correlation_id = CorrelationId::parse("corr-1").unwrap();
    store.write(vec![row(1), second, row(3)]).await.unwrap();
    let found = store.by_correlation("corr-1").await.unwrap();
    let ids: Vec<&str> = found.iter().map(|item| &*item.document.id).collect();
    assert_eq!(ids, ["doc-000001", "doc-000002"]);
    assert!(store.by_correlation("none").await.unwrap().is_empty());
}

pub async fn every_delivery_of_a_document_is_found(fresh: Fresh) {
    let store = fresh.open();
    let mut revision = row(5);
    revision.document = Arc::new(Document { id: row(1).document.id.clone(), ..(*revision.document).clone() });
    revision.analysis.document_id = revision.document.id.clone();
    // stores keep this time to the microsecond
    let kept = |mut delivery: DeliveryRow| {
        delivery.processed_at = delivery.processed_at.with_nanosecond_micros();
        delivery
    };
    let mut repeat = kept(row(6).delivery());
    repeat.document_id = revision.document.id.clone();
    repeat.outcome = DeliveryOutcome::Repeated;
    store.write(vec![row(1), row(2), duplicate(3, 2)]).await.unwrap();
    store.write(vec![revision.clone()]).await.unwrap();
    store.note_deliveries(vec![repeat.clone()]).await.unwrap();
    // the same records again are the same deliveries
    store.note_deliveries(vec![repeat.clone()]).await.unwrap();
    store.write(vec![revision.clone()]).await.unwrap();
    let expected = [kept(row(1).delivery()), kept(revision.delivery()), repeat.clone()];
    assert_eq!(store.deliveries_of("doc-000001").await.unwrap(), expected);
    for correlation in ["corr-1", "corr-5", "corr-6"] {
        let found = store.by_correlation(correlation).await.unwrap();
        assert_eq!(found.len(), 1, "{correlation}");
        assert_eq!(found[0].document, *revision.document, "{correlation}");
    }
    assert_eq!(store.deliveries_of("corr-6").await.unwrap(), [repeat]);
    assert_eq!(store.deliveries_of("corr-3").await.unwrap()[0].outcome, DeliveryOutcome::Duplicate);
    assert!(store.deliveries_of("none").await.unwrap().is_empty());
}

pub async fn many_are_found_in_the_order_asked(fresh: Fresh) {
    let store = fresh.open();
    store.write((0..5).map(row).collect()).await.unwrap();
    let ids: Vec<Arc<str>> = ["doc-000003", "missing", "doc-000001"].map(Arc::from).into();
    let found = store.get_many(&ids).await.unwrap();
    let found: Vec<&str> = found.iter().map(|item| &*item.document.id).collect();
    assert_eq!(found, ["doc-000003", "doc-000001"]);
}

pub async fn remember_streams_in_order_of_record_time(fresh: Fresh) {
    let store = fresh.open();
    let mut rows: Vec<VerdictRow> = (0..1000).rev().map(row).collect();
    rows[999].timestamp_ms = rows[998].timestamp_ms;
    rows.push(duplicate(1000, 7));
    store.write(rows).await.unwrap();
    let all = remembered(&*store, 0).await;
    assert_eq!(all.len(), 1001);
    assert!(
        all.windows(2).all(|pair| (pair[0].timestamp_ms, &pair[0].origin) < (pair[1].timestamp_ms, &pair[1].origin))
    );
    let last = &all[1000];
    assert_eq!((last.verdict, last.duplicate_of.as_deref()), (VerdictLabel::Duplicate, Some("doc-000007")));
    assert!(last.vector.is_none());
    let (first, written) = (&all[2], row(2));
    assert_eq!(first.content_hash, written.content_hash);
    assert_eq!(first.vector, written.vector);
    assert_eq!((&first.title, &first.text), (&written.document.title, &written.document.text));
    assert_eq!((&first.origin, &first.symbols), (&written.analysis.origin, &written.analysis.symbols));
    assert_eq!((&*first.source, first.timestamp_ms), ("news", written.timestamp_ms));
    assert_eq!(remembered(&*store, row(990).timestamp_ms).await.len(), 11);
}

pub async fn dead_letters_keep_every_byte(fresh: Fresh) {
    let store = fresh.open();
    for letter in [letter(2), StoredDeadLetter { key: None, value: Vec::new(), headers: Vec::new(), ..letter(3) }] {
        store.write_dead_letter(letter.clone()).await.unwrap();
        assert_eq!(store.dead_letter(&letter.id).await.unwrap(), Some(letter));
    }
    assert_eq!(store.dead_letter("none").await.unwrap(), None);
}

pub async fn same_dead_letter_is_kept_once(fresh: Fresh) {
    let store = fresh.open();
    store.write_dead_letter(letter(1)).await.unwrap();
    store.write_dead_letter(letter(1)).await.unwrap();
    assert_eq!(store.counts().await.unwrap().dead_letters, 1);
}

pub async fn dead_letters_are_listed_filtered_and_paged(fresh: Fresh) {
    let store = fresh.open();
    for index in 0..12 {
        store.write_dead_letter(letter(index)).await.unwrap();
    }
    let mut filter = DeadLetterFilter { limit: 5, ..DeadLetterFilter::default() };
    let mut offsets = Vec::new();
    loop {
        let page = store.dead_letters(filter.clone()).await.unwrap();
        offsets.extend(page.items.iter().map(|item| item.offset));
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    assert_eq!(offsets, (0..12).rev().collect::<Vec<_>>());
    let count = async |filter: DeadLetterFilter| store.dead_letters(filter).await.unwrap().items.len();
    let base = || DeadLetterFilter { limit: 100, ..DeadLetterFilter::default() };
    assert_eq!(count(DeadLetterFilter { stage: Some("source".into()), ..base() }).await, 6);
    assert_eq!(count(DeadLetterFilter { code: Some("tm0019".into()), ..base() }).await, 4);
    assert_eq!(count(DeadLetterFilter { replayed: Some(true), ..base() }).await, 0);
    assert_eq!(store.dead_letters_of("doc-000004").await.unwrap().len(), 1);
    assert_eq!(store.dead_letters_of("corr-5").await.unwrap()[0].offset, 5);
}

pub async fn dead_letters_are_replayed_and_purged(fresh: Fresh) {
    let store = fresh.open();
    for index in 0..3 {
        store.write_dead_letter(letter(index)).await.unwrap();
    }
    let id = letter(1).id;
    assert!(store.mark_replayed(&id).await.unwrap());
    assert!(!store.mark_replayed("none").await.unwrap());
    assert!(store.dead_letter(&id).await.unwrap().unwrap().replayed_at.is_some());
    let open = DeadLetterFilter { replayed: Some(false), limit: 10, ..DeadLetterFilter::default() };
    assert_eq!(store.dead_letters(open).await.unwrap().items.len(), 2);
    assert_eq!(store.purge_dead_letters(Some(&id)).await.unwrap(), 1);
    assert_eq!(store.purge_dead_letters(Some(&id)).await.unwrap(), 0);
    assert_eq!(store.purge_dead_letters(None).await.unwrap(), 2);
    assert_eq!(store.counts().await.unwrap().dead_letters, 0);
}

pub async fn counts_follow_writes(fresh: Fresh) {
    let store = fresh.open();
    assert_eq!(store.counts().await.unwrap(), StoreCounts::default());
    store.write(vec![row(1), duplicate(2, 1), duplicate(3, 1)]).await.unwrap();
    store.write_dead_letter(letter(9)).await.unwrap();
    assert_eq!(store.counts().await.unwrap(), StoreCounts { stored: 1, duplicates: 2, dead_letters: 1 });
    store.check().await.unwrap();
}

pub async fn everything_survives_reopening(fresh: Fresh) {
    let store = fresh.open();
    store.write((0..100).map(row).collect()).await.unwrap();
    store.write_dead_letter(letter(1)).await.unwrap();
    drop(store);
    let store = fresh.open();
    assert_eq!(store.counts().await.unwrap(), StoreCounts { stored: 100, duplicates: 0, dead_letters: 1 });
    assert_eq!(store.get("doc-000042").await.unwrap().unwrap().document, *row(42).document);
}

pub async fn injected_faults_fail_calls_and_pass(fresh: Fresh) {
    let store = fresh.open();
    store.fail_for(Duration::from_hours(1));
    assert!(matches!(store.write(vec![row(1)]).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.get("doc-000001").await, Err(StoreError::Unavailable(_))));
    assert!(store.check().await.unwrap_err().is_retriable());
    store.fail_for(Duration::ZERO);
    assert_eq!(store.write(vec![row(1)]).await.unwrap(), [WriteOutcome::Written]);
}

pub async fn many_writers_at_once_lose_nothing(fresh: Fresh) {
    let store = fresh.open();
    let writes = (0..200_u64).map(|batch| store.write((batch * 5..batch * 5 + 5).map(row).collect()));
    for outcome in futures_util::future::join_all(writes).await {
        assert_eq!(outcome.unwrap(), [const { WriteOutcome::Written }; 5]);
    }
    assert_eq!(store.counts().await.unwrap().stored, 1000);
}

pub async fn hostile_text_is_data(fresh: Fresh) {
    let store = fresh.open();
    let mut hostile = row(1);
    let text = "'; DROP TABLE raw_documents; -- \u{0}\u{1F680}\"\\";
    hostile.document = Arc::new(Document { text: text.to_owned(), id: text.into(), ..(*hostile.document).clone() });
    hostile.analysis.document_id = text.into();
    hostile.analysis.symbols = vec!["'; --".to_owned()];
    store.write(vec![hostile.clone()]).await.unwrap();
    assert_eq!(store.get(text).await.unwrap().unwrap().document, *hostile.document);
    let filter = DocumentFilter { symbol: Some("'; --".to_owned()), ..limit(1) };
    assert_eq!(all_ids(&*store, filter).await, [text]);
}
