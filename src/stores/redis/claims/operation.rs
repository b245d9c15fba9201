//! What daemons tell each other of their duplicate memories, as bytes.

use std::sync::Arc;

use crate::messages::record::Position;
use crate::stores::claims::Claim;
use crate::text::fingerprint::{Fingerprint, Signature};

/// First byte of every batch: which form the rest has.
const FORM: u8 = 1;

/// One change of the shared memory, in the order of the log.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub enum Operation {
    /// A document came by.
    Sight(Claim),
    /// Its verdict is durable.
    Settle {
        /// Document id.
        id: Arc<str>,
        /// The record that brought it.
        origin: Position,
        /// What it is a copy of.
        root: Option<Arc<str>>,
    },
    /// It won't be stored.
    Forget {
        /// Document id.
        id: Arc<str>,
        /// The record that brought it.
        origin: Position,
    },
    /// It was found to be a copy by a later check.
    Redirect {
        /// Document id.
        id: Arc<str>,
        /// The record that brought it.
        origin: Position,
        /// What it is a copy of.
        root: Arc<str>,
    },
}

/// A batch that this program can't read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another version wrote it.
    #[error("an entry has form {0}, which another version wrote")]
    Form(u8),
    /// It ends too early, or holds what is no operation.
    #[error("an entry is damaged at byte {0}")]
    Damaged(usize),
}

/// An empty batch to write operations into.
#[must_use]
pub fn begin() -> Vec<u8> {
    vec![FORM]
}

/// Whether nothing was written into a batch.
#[must_use]
pub fn is_empty(batch: &[u8]) -> bool {
    batch.len() <= 1
}

impl Operation {
    /// Appends it to a batch.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sight(claim) => write_sight(claim, out),
            Self::Settle { id, origin, root } => {
                write_head(b'v', id, origin, out);
                write_text(root.as_deref().unwrap_or_default(), out);
            }
            Self::Forget { id, origin } => write_head(b'f', id, origin, out),
            Self::Redirect { id, origin, root } => {
                write_head(b'r', id, origin, out);
                write_text(root, out);
            }
        }
    }
}

/// Appends the sighting of a claim.
pub fn write_sight(claim: &Claim, out: &mut Vec<u8>) {
    write_head(b's', &claim.id, &claim.origin, out);
    out.extend_from_slice(&claim.timestamp_ms.to_le_bytes());
    out.extend_from_slice(&claim.fingerprint.content_hash);
    claim.fingerprint.signature.write(out);
}

fn write_head(kind: u8, id: &str, origin: &Position, out: &mut Vec<u8>) {
    out.push(kind);
    write_text(id, out);
    write_text(&origin.topic, out);
    out.extend_from_slice(&origin.partition.to_le_bytes());
    out.extend_from_slice(&origin.offset.to_le_bytes());
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // ids are at most some kilobytes: a record holds them
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The operations of a batch, in order.
///
/// # Errors
/// If another version wrote it, or it is damaged.
pub fn read(batch: &[u8]) -> Result<Vec<Operation>, Unreadable> {
    match batch.first() {
        Some(&FORM) => {}
        Some(&other) => return Err(Unreadable::Form(other)),
        None => return Err(Unreadable::Damaged(0)),
    }
    let mut reader = Reader { batch, at: 1, topic: Arc::from("") };
    let mut operations = Vec::new();
    while reader.at < batch.len() {
        let at = reader.at;
        operations.push(reader.operation().ok_or(Unreadable::Damaged(at))?);
    }
    Ok(operations)
}

struct Reader<'a> {
    batch: &'a [u8],
    at: usize,
    /// The topic read last: nearly always the same.
    topic: Arc<str>,
}

impl Reader<'_> {
    fn operation(&mut self) -> Option<Operation> {
        let [kind] = self.bytes::<1>()?;
        let id = Arc::from(self.text()?);
        let origin = self.origin()?;
        Some(match kind {
            b's' => Operation::Sight(Claim {
                id,
                origin,
                timestamp_ms: i64::from_le_bytes(self.bytes()?),
                fingerprint: Fingerprint {
                    content_hash: self.bytes()?,
                    signature: Signature::read(&self.bytes::<{ Signature::BYTES }>()?),
                },
            }),
            b'v' => Operation::Settle {
                id,
                origin,
                root: Some(self.text()?).filter(|root| !root.is_empty()).map(Arc::from),
            },
            b'f' => Operation::Forget { id, origin },
            b'r' => Operation::Redirect { id, origin, root: Arc::from(self.text()?) },
            _ => return None,
        })
    }

    fn origin(&mut self) -> Option<Position> {
        let known = Arc::clone(&self.topic);
        let topic = self.text()?;
        let topic = if *known == *topic { known } else { Arc::from(topic) };
        self.topic = Arc::clone(&topic);
        Some(Position {
            topic,
            partition: i32::from_le_bytes(self.bytes()?),
            offset: i64::from_le_bytes(self.bytes()?),
        })
    }

    fn bytes<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let bytes = *self.batch.get(self.at..)?.first_chunk()?;
        self.at += LENGTH;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&str> {
        let length = usize::try_from(u32::from_le_bytes(self.bytes()?)).ok()?;
        let bytes = self.batch.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        std::str::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::fingerprint::fingerprint;

    fn origin(offset: i64) -> Position {
        Position { topic: "documents".into(), partition: 3, offset }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let claim = Claim {
            id: "a".into(),
            fingerprint: fingerprint(Some("Rates up 5%"), "The bank moved."),
            origin: origin(7),
            timestamp_ms: -5,
        };
        let operations = vec![
            Operation::Sight(claim),
            Operation::Settle { id: "a".into(), origin: origin(7), root: None },
            Operation::Settle { id: "b".into(), origin: origin(8), root: Some("a".into()) },
            Operation::Forget { id: "ü".into(), origin: origin(i64::MAX) },
            Operation::Redirect { id: "c".into(), origin: origin(0), root: "a".into() },
        ];
        let mut batch = begin();
        operations.iter().for_each(|operation| operation.write(&mut batch));
        assert_eq!(read(&batch), Ok(operations));
        assert_eq!(read(&[9, 1]), Err(Unreadable::Form(9)));
    }

    proptest! {
        #[test]
        fn strange_bytes_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut batch = begin();
            batch.extend(bytes);
            let _ = read(&batch);
        }
    }
}
