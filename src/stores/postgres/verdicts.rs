//! Writing verdicts: a batch is one transaction of a few statements, whose answers are waited for twice.
//!
//! First it locks what it is about to change and what it refers to, and reads what is there. Then every outcome is decided
//! here, in order, and all rows go to the server at once. Daemons that write the same or related rows at the same time
//! wait for each other's row locks; who meets a deadlock or a row inserted meanwhile begins again.
//!
//! With separate databases the documents are committed first and the analyses, which are the verdicts, last: what a crash
//! leaves in between is a document that nobody sees, and the record is delivered again.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use futures_util::future::{join, join_all, join5};
use tokio_postgres::types::Type;

use super::array::{Array, Verbatim};
use super::columns::{Columns, Final, Insert};
use super::deliveries::Deliveries;
use super::error::Failure;
use super::pool::{Lease, Pools};
use super::sql::{Session, escape, unescape};
use crate::messages::dead_letter::StoredDeadLetter;
use crate::stores::documents::{StoreError, VerdictRow, WriteOutcome};

/// Most steps from a copy to its root.
const MAX_HOPS: usize = 16;
/// Most attempts while other daemons are in the way.
const MAX_ATTEMPTS: u32 = 6;
/// First bound of the pause between them.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

const LOCK_POSITIONS: &str = "SELECT pg_advisory_xact_lock_shared(k) FROM unnest($1::bigint[]) AS k";
const DEAD: &str = "SELECT id FROM analytics.dead_letters WHERE id = ANY($1)";
/// Written rows, in the order of their ids as every daemon locks them.
const EXISTING: &str = r#"SELECT document_id, duplicate_of, seq, topic, partition, "offset", record_ms
    FROM analytics.analyses WHERE document_id = ANY($1) ORDER BY document_id FOR NO KEY UPDATE"#;
/// Rows that written ones name as their originals: they must stay what they are until the commit.
const NAMED: &str = "SELECT document_id, duplicate_of FROM analytics.analyses WHERE document_id = ANY($1)
    ORDER BY document_id FOR SHARE";
/// One array, as a row a number costs more than the number.
const NEXT_SEQ: &str = "SELECT array_agg(nextval('analytics.analyses_seq')) FROM generate_series(1, $1)";
const FORGET_SYMBOLS: &str = "DELETE FROM analytics.symbols s USING analytics.analyses a
    WHERE a.seq = ANY($1) AND s.symbol = ANY(a.symbols) AND s.processed_at = a.processed_at AND s.seq = a.seq";
const FORGET_ENTITIES: &str = "DELETE FROM analytics.entities WHERE seq = ANY($1)";
const FORGET_VECTORS: &str = "DELETE FROM analytics.vectors WHERE seq = ANY($1)";

/// Writes rows in order; see [`crate::stores::documents::DocumentStore::write`].
pub(super) async fn write(pools: &Pools, rows: &[VerdictRow]) -> Result<Vec<WriteOutcome>, Failure> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut attempt = 1;
    loop {
        match write_once(pools, rows).await {
            Err(failure) if failure.is_conflict() => {
                if attempt == MAX_ATTEMPTS {
                    let why = failure.into_store(pools.analytics.address());
                    return Err(StoreError::Unavailable(format!("other daemons were in the way: {why}")).into());
                }
                let bound = FIRST_PAUSE.saturating_mul(1 << attempt);
                tokio::time::sleep(bound.mul_f64(fastrand::f64())).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

async fn write_once(pools: &Pools, rows: &[VerdictRow]) -> Result<Vec<WriteOutcome>, Failure> {
    let lease = pools.analytics.lease().await?;
    match transact(pools, &lease, rows).await {
        Ok(outcomes) => {
            lease.finish();
            Ok(outcomes)
        }
        Err(failure) => {
            lease.settle(&failure).await;
            Err(failure)
        }
    }
}

async fn transact(pools: &Pools, lease: &Lease, rows: &[VerdictRow]) -> Result<Vec<WriteOutcome>, Failure> {
    let session = lease.session();
    let mut facts = Facts::lock_and_read(&session, pools, rows).await?;
    facts.follow(&session).await?;
    let (outcomes, chosen) = facts.decide(rows);
    let mut columns = Columns::new(&chosen, &facts.free)?;
    columns.add_signals(rows, &outcomes);
    let deliveries = Deliveries::written(rows, &outcomes);
    if columns.is_empty() && deliveries.is_empty() {
        session.batch("COMMIT").await?;
        return Ok(outcomes);
    }
    if pools.shared {
        send(&session, (&columns, &deliveries), Part::Everything).await?;
    } else {
        send(&session, (&columns, &deliveries), Part::Analyses).await?;
        write_documents(pools, &columns).await?;
        session.batch("COMMIT").await?;
    }
    Ok(outcomes)
}

/// In a database of their own: committed before the verdicts are.
async fn write_documents(pools: &Pools, columns: &Columns) -> Result<(), Failure> {
    let lease = pools.raw.lease().await?;
    let session = lease.session();
    let work = async {
        session.batch(&begin(pools)).await?;
        send(&session, (columns, &Deliveries::default()), Part::Documents).await
    };
    match work.await {
        Ok(()) => {
            lease.finish();
            Ok(())
        }
        Err(failure) => {
            lease.settle(&failure).await;
            Err(failure)
        }
    }
}

fn begin(pools: &Pools) -> String {
    if pools.analytics.has_sessions() {
        "BEGIN".to_owned()
    } else {
        // behind a pooler a session keeps no settings
        "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '25s'"
            .to_owned()
    }
}

/// What is written to which database, and whether the transaction ends with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All in one database, committed.
    Everything,
    /// Documents alone, committed.
    Documents,
    /// All but documents, not yet committed.
    Analyses,
}

/// Sends every statement without waiting for answers in between.
async fn send(
    session: &Session<'_>,
    (columns, deliveries): (&Columns, &Deliveries),
    part: Part,
) -> Result<(), Failure> {
    let seqs = [Type::INT8_ARRAY];
    let existing = columns.existing();
    let mut deletes = Vec::new();
    if part != Part::Documents && !existing.is_empty() {
        for sql in [FORGET_SYMBOLS, FORGET_ENTITIES, FORGET_VECTORS] {
            deletes.push(session.ready(sql, &seqs).await?);
        }
    }
    let wanted = |insert: &Insert<'_>| match part {
        Part::Everything => true,
        Part::Documents => insert.is_documents(),
        Part::Analyses => !insert.is_documents(),
    };
    let inserts: Vec<Insert<'_>> = columns.inserts().into_iter().filter(wanted).collect();
    let mut prepared = Vec::with_capacity(inserts.len());
    for insert in &inserts {
        prepared.push(session.ready(insert.sql, &insert.types).await?);
    }
    let (types, noted) = (Deliveries::types(), deliveries.values());
    let note = if deliveries.is_empty() { None } else { Some(session.ready(Deliveries::sql(), &types).await?) };
    let which = [&existing as &(dyn tokio_postgres::types::ToSql + Sync)];
    let deletes = deletes.iter().map(|ready| session.run(ready, &which));
    let written = prepared.iter().zip(&inserts).map(|(ready, insert)| session.run(ready, &insert.values));
    let note = async {
        match &note {
            Some(ready) => session.run(ready, &noted).await.map(|_| ()),
            None => Ok(()),
        }
    };
    let commit = async { if part == Part::Analyses { Ok(()) } else { session.batch("COMMIT").await } };
    // polled from left to right: that is the order on the wire
    let (((gone, written), noted), committed) =
        join(join(join(join_all(deletes), join_all(written)), note), commit).await;
    for result in gone.into_iter().chain(written) {
        result?;
    }
    noted?;
    Ok(committed?)
}

/// A verdict at rest.
struct Known {
    duplicate_of: Option<String>,
    /// Of rows that this batch writes.
    seq: Option<i64>,
    topic: String,
    partition: i32,
    offset: i64,
    record_ms: i64,
}

/// What is at rest about the documents of a batch, locked until its end. Ids are as columns hold them.
struct Facts {
    dead: HashSet<String>,
    known: HashMap<String, Known>,
    /// Numbers for new rows.
    free: Vec<i64>,
}

impl Facts {
    async fn lock_and_read(session: &Session<'_>, pools: &Pools, rows: &[VerdictRow]) -> Result<Self, Failure> {
        let mut positions = BTreeSet::new();
        let mut letters = Array::<Verbatim>::with_rows(rows.len());
        let mut written: Vec<Cow<'_, str>> = Vec::with_capacity(rows.len());
        let mut named: BTreeSet<Cow<'_, str>> = BTreeSet::new();
        for row in rows {
            let origin = &row.analysis.origin;
            positions.insert(position_key(&origin.topic, origin.partition));
            letters.push(&StoredDeadLetter::id_of(&origin.topic, origin.partition, origin.offset));
            written.push(escape(&row.document.id));
            named.extend(row.analysis.duplicate_of.as_deref().map(escape));
        }
        written.sort_unstable();
        written.dedup();
        let named: Vec<Cow<'_, str>> = named.into_iter().filter(|id| written.binary_search(id).is_err()).collect();
        let positions: Vec<i64> = positions.into_iter().collect();
        let count = i32::try_from(written.len()).unwrap_or(i32::MAX);

        let (texts, numbers, number) = ([Type::TEXT_ARRAY], [Type::INT8_ARRAY], [Type::INT4]);
        let lock = session.ready(LOCK_POSITIONS, &numbers).await?;
        let dead = session.ready(DEAD, &texts).await?;
        let existing = session.ready(EXISTING, &texts).await?;
        let originals = session.ready(NAMED, &texts).await?;
        let next = session.ready(NEXT_SEQ, &number).await?;
        let begin = begin(pools);
        let values: [[&(dyn tokio_postgres::types::ToSql + Sync); 1]; 5] =
            [[&positions], [&letters], [&written], [&named], [&count]];
        let (opened, (locked, dead, existing, originals, next)) = join(
            session.batch(&begin),
            join5(
                session.run(&lock, &values[0]),
                session.run(&dead, &values[1]),
                session.run(&existing, &values[2]),
                session.run(&originals, &values[3]),
                session.run(&next, &values[4]),
            ),
        )
        .await;
        opened?;
        locked?;
        let mut facts = Self { dead: HashSet::new(), known: HashMap::new(), free: Vec::new() };
        for row in dead? {
            facts.dead.insert(row.try_get(0)?);
        }
        for row in existing? {
            let known = Known {
                duplicate_of: row.try_get(1)?,
                seq: Some(row.try_get(2)?),
                topic: row.try_get(3)?,
                partition: row.try_get(4)?,
                offset: row.try_get(5)?,
                record_ms: row.try_get(6)?,
            };
            facts.known.insert(row.try_get(0)?, known);
        }
        facts.note_originals(&originals?)?;
        for row in next? {
            facts.free = row.try_get(0)?;
        }
        Ok(facts)
    }

    fn note_originals(&mut self, rows: &[tokio_postgres::Row]) -> Result<(), Failure> {
        for row in rows {
            let known = Known {
                duplicate_of: row.try_get(1)?,
                seq: None,
                topic: String::new(),
                partition: 0,
                offset: 0,
                record_ms: 0,
            };
            self.known.insert(row.try_get(0)?, known);
        }
        Ok(())
    }

    /// Reads originals of originals, which are rare: a stored document has to have become a copy since.
    async fn follow(&mut self, session: &Session<'_>) -> Result<(), Failure> {
        for _ in 0..MAX_HOPS {
            let unknown: BTreeSet<&String> = self
                .known
                .values()
                .filter_map(|known| known.duplicate_of.as_ref())
                .filter(|id| !self.known.contains_key(*id))
                .collect();
            let unknown: Vec<String> = unknown.into_iter().cloned().collect();
            if unknown.is_empty() {
                return Ok(());
            }
            let rows = session.query(NAMED, &[Type::TEXT_ARRAY], &[&unknown]).await?;
            let found = rows.len();
            self.note_originals(&rows)?;
            if found == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The outcome of each row, in order, and the last version of each document that is to be written.
    fn decide<'r>(&self, rows: &'r [VerdictRow]) -> (Vec<WriteOutcome>, Vec<Final<'r>>) {
        let mut originals: HashMap<Cow<'_, str>, Option<Cow<'_, str>>> = HashMap::with_capacity(self.known.len());
        for (id, known) in &self.known {
            originals.insert(Cow::Borrowed(id), known.duplicate_of.as_deref().map(Cow::Borrowed));
        }
        let mut chosen: HashMap<Cow<'r, str>, Final<'r>> = HashMap::with_capacity(rows.len());
        let mut outcomes = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let id = escape(&row.document.id);
            let known = self.known.get(&*id);
            if self.is_dead(row) {
                outcomes.push(WriteOutcome::AlreadyDead);
                continue;
            }
            if known.is_some_and(|known| known.is_after(row)) {
                outcomes.push(WriteOutcome::Written);
                continue;
            }
            let mut rerooted = None;
            let mut original = None;
            if let Some(named) = row.analysis.duplicate_of.as_deref().map(escape) {
                let Some(root) = root_of(&originals, &named, &id) else {
                    outcomes.push(WriteOutcome::OriginalMissing);
                    continue;
                };
                if root != named {
                    rerooted = Some(unescape(root.clone().into_owned()).into());
                }
                original = Some(Cow::Owned(root.into_owned()));
            }
            outcomes.push(rerooted.clone().map_or(WriteOutcome::Written, WriteOutcome::Rerooted));
            originals.insert(id.clone(), original);
            let seq = known.and_then(|known| known.seq);
            chosen.insert(id.clone(), Final { index, id, row, rerooted, seq });
        }
        let mut chosen: Vec<Final<'r>> = chosen.into_values().collect();
        chosen.sort_unstable_by_key(|last| last.index);
        (outcomes, chosen)
    }

    fn is_dead(&self, row: &VerdictRow) -> bool {
        let origin = &row.analysis.origin;
        let id = || StoredDeadLetter::id_of(&origin.topic, origin.partition, origin.offset);
        !self.dead.is_empty() && self.dead.contains(&*id())
    }
}

impl Known {
    /// Whether it is of a later record than the row: what a daemon writes that lost the partition long ago, or a call
    /// that was given up and tried again elsewhere, must not undo a revision. The record's own time counts as well, as
    /// offsets begin anew in a log that was made anew.
    fn is_after(&self, row: &VerdictRow) -> bool {
        let origin = &row.analysis.origin;
        self.seq.is_some()
            && self.topic == *origin.topic
            && self.partition == origin.partition
            && self.offset > origin.offset
            && self.record_ms >= row.timestamp_ms
    }
}

/// The stored document that `named` is or copies; `None` if there is none but `own` itself.
fn root_of<'a>(
    originals: &HashMap<Cow<'_, str>, Option<Cow<'_, str>>>,
    named: &'a str,
    own: &str,
) -> Option<Cow<'a, str>> {
    let mut id: Cow<'a, str> = Cow::Borrowed(named);
    for _ in 0..MAX_HOPS {
        if id == own {
            return None;
        }
        match originals.get(&*id)? {
            None => return Some(id),
            Some(next) => id = Cow::Owned(next.clone().into_owned()),
        }
    }
    None
}

/// Key of the lock that keeps verdicts and dead letters of one partition from passing each other.
pub(super) fn position_key(topic: &str, partition: i32) -> i64 {
    xxhash_rust::xxh3::xxh3_64(format!("tidemill/verdicts/{topic}/{partition}").as_bytes()).cast_signed()
}
