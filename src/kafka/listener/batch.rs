//! Record batches (format version 2): header, checksum, records.

use std::sync::Arc;

use bytes::Bytes;

use super::compression::Codec;
use super::wire::{Reader, WireError};
use crate::kafka::log::BatchSequence;
use crate::messages::record::{Header, NewRecord};

/// Where the format version stands, in old and new formats alike.
const MAGIC_AT: usize = 16;
/// Bytes before the part that the batch length counts.
const LENGTH_ENDS_AT: usize = 12;
/// Everything before the records.
const HEADER_BYTES: usize = 61;
/// Where the part that the checksum covers begins.
const CHECKED_FROM: usize = 21;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
/// Headers of one record; far more than anybody sends.
const MAX_HEADERS: i32 = 10_000;

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BatchError {
    #[error("message format version {0} is too old: send record batches of version 2")]
    Legacy(i8),
    #[error("message format version {0} is unknown")]
    UnknownFormat(i8),
    #[error("the checksum does not match")]
    Checksum,
    #[error("compression {0} is unknown")]
    UnknownCodec(i16),
    #[error("the batch can't be read: {0}")]
    Corrupt(String),
    #[error("the batch is over {limit} bytes once decompressed")]
    TooLarge { limit: usize },
    #[error("a record of {bytes} bytes is over the limit of {limit}")]
    RecordTooLarge { bytes: usize, limit: usize },
    #[error("the batch is invalid: {0}")]
    Invalid(&'static str),
    #[error("transactions are not supported")]
    Transactional,
}

impl From<WireError> for BatchError {
    fn from(error: WireError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// Most bytes of a batch and a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub batch_bytes: usize,
    pub record_bytes: usize,
}

/// A batch read whole.
#[derive(Debug)]
pub(super) struct Batch {
    /// Set by idempotent producers.
    pub sequence: Option<BatchSequence>,
    pub records: Vec<NewRecord>,
}

/// Reads the one batch in `bytes`, for this topic and partition.
pub(super) fn decode(bytes: &Bytes, topic: &Arc<str>, partition: i32, limits: Limits) -> Result<Batch, BatchError> {
    let short = || BatchError::Corrupt("it is shorter than a batch's header".to_owned());
    match bytes.get(MAGIC_AT).map(|byte| byte.cast_signed()).ok_or_else(short)? {
        2 => {}
        magic @ (0 | 1) => return Err(BatchError::Legacy(magic)),
        magic => return Err(BatchError::UnknownFormat(magic)),
    }
    if bytes.len() < HEADER_BYTES {
        return Err(short());
    }
    let mut header = Reader::new(bytes.slice(8..HEADER_BYTES));
    let length = usize::try_from(header.i32()?).map_err(|_| WireError::Length)?;
    match (LENGTH_ENDS_AT + length).cmp(&bytes.len()) {
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Less => return Err(BatchError::Invalid("a request takes one batch per partition")),
        std::cmp::Ordering::Greater => return Err(BatchError::Corrupt("it ends too early".to_owned())),
    }
    let _leader_epoch = header.i32()?;
    let _magic = header.i8()?;
    if header.u32()? != crc32c::crc32c(&bytes[CHECKED_FROM..]) {
        return Err(BatchError::Checksum);
    }
    let attributes = header.i16()?;
    if attributes & TRANSACTIONAL != 0 {
        return Err(BatchError::Transactional);
    }
    if attributes & CONTROL != 0 {
        return Err(BatchError::Invalid("clients may not send control batches"));
    }
    let codec = Codec::of(attributes & 7).ok_or(BatchError::UnknownCodec(attributes & 7))?;
    let last_offset_delta = header.i32()?;
    let base_timestamp = header.i64()?;
    let _max_timestamp = header.i64()?;
    let (producer_id, epoch, first) = (header.i64()?, header.i16()?, header.i32()?);
    let count = header.i32()?;
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(BatchError::Invalid("its count of records is wrong"));
    }
    if producer_id >= 0 && (epoch < 0 || first < 0) {
        return Err(BatchError::Invalid("a numbered batch needs an epoch and a number"));
    }
    let sequence = (producer_id >= 0).then_some(BatchSequence { producer_id, epoch, first });
    let body = codec.decompress(&bytes.slice(HEADER_BYTES..), limits.batch_bytes)?;
    let records = records(body, count, base_timestamp, (topic, partition), limits)?;
    Ok(Batch { sequence, records })
}

fn records(
    body: Bytes,
    count: i32,
    base_timestamp: i64,
    (topic, partition): (&Arc<str>, i32),
    limits: Limits,
) -> Result<Vec<NewRecord>, BatchError> {
    let mut reader = Reader::new(body);
    let mut records = Vec::new();
    for index in 0..count {
        let length = length(reader.varint()?)?;
        let mut record = Reader::new(reader.take(length)?);
        if length > limits.record_bytes {
            return Err(BatchError::RecordTooLarge { bytes: length, limit: limits.record_bytes });
        }
        let _attributes = record.i8()?;
        let timestamp = base_timestamp.saturating_add(record.varlong()?);
        if record.varint()? != index {
            return Err(BatchError::Invalid("its records are not numbered from 0"));
        }
        records.push(NewRecord {
            topic: Arc::clone(topic),
            partition: Some(partition),
            timestamp_ms: (timestamp >= 0).then_some(timestamp),
            key: field(&mut record)?,
            value: field(&mut record)?.unwrap_or_default(),
            headers: headers(&mut record)?,
        });
        if record.remaining() > 0 {
            return Err(BatchError::Invalid("a record is longer than its fields"));
        }
    }
    if reader.remaining() > 0 {
        return Err(BatchError::Invalid("it has bytes after its last record"));
    }
    Ok(records)
}

fn length(value: i32) -> Result<usize, BatchError> {
    usize::try_from(value).map_err(|_| WireError::Length.into())
}

/// Bytes that may be null.
fn field(record: &mut Reader) -> Result<Option<Bytes>, BatchError> {
    match record.varint()? {
        -1 => Ok(None),
        count => Ok(Some(record.take(length(count)?)?)),
    }
}

fn headers(record: &mut Reader) -> Result<Vec<Header>, BatchError> {
    let count = record.varint()?;
    if !(0..=MAX_HEADERS).contains(&count) {
        return Err(BatchError::Invalid("a record has a wrong or too large number of headers"));
    }
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = field(record)?.ok_or(BatchError::Invalid("a header has no name"))?;
        let name = std::str::from_utf8(&name).map_err(|_| BatchError::Invalid("a header's name is not utf-8"))?;
        headers.push((name.to_owned(), field(record)?.unwrap_or_default()));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use bytes::{BufMut, BytesMut};
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { batch_bytes: 1 << 20, record_bytes: 1 << 16 };

    /// One record with key, value and a repeated header.
    fn body() -> Vec<u8> {
        // attributes, timestamp delta 5, offset delta 0, key "k", value "v", headers a=1 and a=null
        let fields = [0, 10, 0, 2, b'k', 2, b'v', 4, 2, b'a', 2, b'1', 2, b'a', 1];
        let mut body = vec![u8::try_from(fields.len()).unwrap() * 2];
        body.extend(fields);
        body
    }

    fn batch(attributes: i16, count: i32, producer: (i64, i16, i32), body: &[u8]) -> Bytes {
        let mut checked = BytesMut::new();
        checked.put_i16(attributes);
        checked.put_i32(count - 1);
        checked.put_i64(1_000);
        checked.put_i64(1_005);
        checked.put_i64(producer.0);
        checked.put_i16(producer.1);
        checked.put_i32(producer.2);
        checked.put_i32(count);
        checked.put_slice(body);
        let mut whole = BytesMut::new();
        whole.put_i64(0);
        whole.put_i32(i32::try_from(9 + checked.len()).unwrap());
        whole.put_i32(-1);
        whole.put_i8(2);
        whole.put_u32(crc32c::crc32c(&checked));
        whole.put_slice(&checked);
        whole.freeze()
    }

    fn read(bytes: &Bytes) -> Result<Batch, BatchError> {
        decode(bytes, &Arc::from("documents"), 3, LIMITS)
    }

    #[test]
    fn a_batch_gives_its_records() {
        let batch = read(&batch(0, 1, (7, 1, 40), &body())).unwrap();
        assert_eq!(batch.sequence, Some(BatchSequence { producer_id: 7, epoch: 1, first: 40 }));
        let expected = NewRecord {
            topic: "documents".into(),
            partition: Some(3),
            timestamp_ms: Some(1_005),
            key: Some("k".into()),
            value: "v".into(),
            headers: vec![("a".to_owned(), "1".into()), ("a".to_owned(), Bytes::new())],
        };
        assert_eq!(batch.records, vec![expected]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let none = (-1, -1, -1);
        let good = batch(0, 1, none, &body());
        assert_eq!(read(&batch(1 << 4, 1, none, &body())).unwrap_err(), BatchError::Transactional);
        assert!(matches!(read(&batch(1 << 5, 1, none, &body())).unwrap_err(), BatchError::Invalid(_)));
        assert_eq!(read(&batch(6, 1, none, &body())).unwrap_err(), BatchError::UnknownCodec(6));
        assert!(matches!(read(&batch(0, 2, none, &body())).unwrap_err(), BatchError::Corrupt(_)));
        assert!(matches!(read(&batch(0, 0, none, &[])).unwrap_err(), BatchError::Invalid(_)));
        assert!(matches!(read(&batch(0, 1, (7, -1, 0), &body())).unwrap_err(), BatchError::Invalid(_)));
        let mut flipped = BytesMut::from(&good[..]);
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        assert_eq!(read(&flipped.freeze()).unwrap_err(), BatchError::Checksum);
        let mut old = BytesMut::from(&good[..]);
        old[MAGIC_AT] = 1;
        assert_eq!(read(&old.freeze()).unwrap_err(), BatchError::Legacy(1));
        let two = [&good[..], &good[..]].concat();
        assert!(matches!(read(&two.into()).unwrap_err(), BatchError::Invalid(_)));
        assert!(matches!(read(&good.slice(..good.len() - 1)).unwrap_err(), BatchError::Corrupt(_)));
        assert!(matches!(read(&Bytes::new()).unwrap_err(), BatchError::Corrupt(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(noise in proptest::collection::vec(any::<u8>(), 0..300), codec in 0..8_i16) {
            let _ = read(&noise.clone().into());
            let _ = read(&batch(codec, 1, (-1, -1, -1), &noise));
        }
    }
}
