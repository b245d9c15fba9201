//! Idempotent producers: which numbered batches a partition has already, kept in the transaction that appends them, so
//! that a batch sent again after a crash is recognised too.

use rusqlite::{Connection, OptionalExtension, params};

use crate::kafka::log::BatchSequence;

/// Batches remembered per producer and partition. Kafka's clients have at most 5 in flight.
const REMEMBERED: usize = 5;

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    /// Number of its first record.
    pub first: i32,
    /// Its records.
    pub count: i32,
    /// Offset of its first record.
    pub offset: i64,
}

impl Batch {
    fn next(self) -> i32 {
        advance(self.first, self.count)
    }
}

/// What a partition knows of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub epoch: i16,
    /// The last batches, oldest first.
    pub batches: Vec<Batch>,
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    Next,
    /// Appended before, at this offset if it is still known.
    Duplicate(Option<i64>),
    OutOfOrder {
        expected: i32,
    },
    Fenced {
        epoch: i16,
    },
}

/// Sequence numbers go from [`i32::MAX`] to 0.
fn advance(sequence: i32, count: i32) -> i32 {
    let sum = (i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1);
    i32::try_from(sum).unwrap_or(0)
}

/// Judges a batch by what is known of its producer.
pub(super) fn check(known: Option<&Known>, sequence: BatchSequence, count: i32) -> Check {
    // A producer not known may go on where it was: its state may have been forgotten after a long silence.
    let Some(known) = known else { return Check::Next };
    if sequence.epoch < known.epoch {
        return Check::Fenced { epoch: known.epoch };
    }
    if sequence.epoch > known.epoch {
        return if sequence.first == 0 { Check::Next } else { Check::OutOfOrder { expected: 0 } };
    }
    let same = known.batches.iter().find(|batch| batch.first == sequence.first && batch.count == count);
    if let Some(batch) = same {
        return Check::Duplicate(Some(batch.offset));
    }
    let Some(expected) = known.batches.last().map(|last| last.next()) else { return Check::Next };
    if sequence.first == expected {
        return Check::Next;
    }
    let behind = known.batches.first().is_some_and(|oldest| advance(sequence.first, count) <= oldest.first);
    if behind { Check::Duplicate(None) } else { Check::OutOfOrder { expected } }
}

/// What the partition knows of the producer.
pub(super) fn load(connection: &Connection, producer_id: i64, partition_id: i64) -> rusqlite::Result<Option<Known>> {
    let mut statement =
        connection.prepare_cached("SELECT epoch, batches FROM producers WHERE producer_id = ? AND partition_id = ?")?;
    statement
        .query_row(params![producer_id, partition_id], |row| {
            let blob: Vec<u8> = row.get(1)?;
            Ok(Known { epoch: row.get(0)?, batches: decode(&blob) })
        })
        .optional()
}

/// Adds a batch to what is known.
pub(super) fn save(
    connection: &Connection,
    partition_id: i64,
    known: Option<Known>,
    (sequence, batch): (BatchSequence, Batch),
    now_ms: i64,
) -> rusqlite::Result<()> {
    let mut batches =
        known.filter(|known| known.epoch == sequence.epoch).map(|known| known.batches).unwrap_or_default();
    batches.push(batch);
    let oldest = batches.len().saturating_sub(REMEMBERED);
    let mut upsert = connection.prepare_cached(
        "INSERT INTO producers (producer_id, partition_id, epoch, batches, seen_ms) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET epoch = excluded.epoch, batches = excluded.batches, seen_ms = excluded.seen_ms",
    )?;
    let blob = encode(&batches[oldest..]);
    upsert.execute(params![sequence.producer_id, partition_id, sequence.epoch, blob, now_ms]).map(|_| ())
}

fn encode(batches: &[Batch]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(batches.len() * 16);
    for batch in batches {
        bytes.extend(batch.first.to_le_bytes());
        bytes.extend(batch.count.to_le_bytes());
        bytes.extend(batch.offset.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Vec<Batch> {
    let (rows, _) = bytes.as_chunks::<16>();
    let batch = |row: &[u8; 16]| {
        // Lower half: first in its lower bits, count in its upper ones; upper half: offset.
        let whole = u128::from_le_bytes(*row);
        #[expect(clippy::cast_possible_truncation, reason = "takes the number apart")]
        let (first, count, offset) = (whole as u32, (whole >> 32) as u32, (whole >> 64) as u64);
        Batch { first: first.cast_signed(), count: count.cast_signed(), offset: offset.cast_signed() }
    };
    rows.iter().map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(epoch: i16, first: i32) -> BatchSequence {
        BatchSequence { producer_id: 1, epoch, first }
    }

    fn known(epoch: i16, batches: &[(i32, i32, i64)]) -> Known {
        let batches = batches.iter().map(|&(first, count, offset)| Batch { first, count, offset }).collect();
        Known { epoch, batches }
    }

    #[test]
    fn batches_are_appended_in_their_order_and_once() {
        let state = known(0, &[(10, 5, 100), (15, 1, 105)]);
        assert_eq!(check(None, sequence(0, 0), 3), Check::Next);
        assert_eq!(check(Some(&state), sequence(0, 16), 4), Check::Next);
        assert_eq!(check(Some(&state), sequence(0, 10), 5), Check::Duplicate(Some(100)));
        assert_eq!(check(Some(&state), sequence(0, 2), 8), Check::Duplicate(None));
        assert_eq!(check(Some(&state), sequence(0, 17), 1), Check::OutOfOrder { expected: 16 });
        assert_eq!(check(Some(&state), sequence(0, 10), 4), Check::OutOfOrder { expected: 16 });
    }

    #[test]
    fn a_newer_epoch_starts_at_zero_and_fences_the_older() {
        let state = known(3, &[(10, 5, 100)]);
        assert_eq!(check(Some(&state), sequence(4, 0), 1), Check::Next);
        assert_eq!(check(Some(&state), sequence(4, 15), 1), Check::OutOfOrder { expected: 0 });
        assert_eq!(check(Some(&state), sequence(2, 15), 1), Check::Fenced { epoch: 3 });
    }

    #[test]
    fn numbers_wrap_to_zero_and_rows_come_back() {
        let state = known(0, &[(i32::MAX - 1, 2, 7)]);
        assert_eq!(check(Some(&state), sequence(0, 0), 1), Check::Next);
        assert_eq!(decode(&encode(&state.batches)), state.batches);
    }
}
