//! What a backup needs of the log's file: how far partitions reach, where groups stand, and groups set elsewhere.

use std::path::Path;

use chrono::Utc;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::OpenError;
use super::schema;
use crate::kafka::log::{GroupOffset, PartitionRange};
use crate::messages::record::Position;

/// Where every group stands, as the file says.
///
/// # Errors
/// If the file can't be read.
pub fn group_offsets(path: &Path) -> Result<Vec<GroupOffset>, OpenError> {
    let connection = reader(path)?;
    let read = || -> rusqlite::Result<Vec<_>> {
        connection
            .prepare(
                "SELECT g.consumer_group, p.topic, p.partition, g.next_offset
                FROM group_offsets g JOIN partitions p ON p.id = g.partition_id
                ORDER BY g.consumer_group, p.topic, p.partition",
            )?
            .query_map([], |row| {
                let topic: String = row.get(1)?;
                let next = Position { topic: topic.into(), partition: row.get(2)?, offset: row.get(3)? };
                Ok(GroupOffset { group: row.get(0)?, next })
            })?
            .collect()
    };
    read().map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })
}

/// First kept and next offset of every partition, as the file says.
///
/// # Errors
/// If the file can't be read.
pub fn ranges(path: &Path) -> Result<Vec<PartitionRange>, OpenError> {
    let connection = reader(path)?;
    let read = || -> rusqlite::Result<Vec<_>> {
        connection
            .prepare("SELECT topic, partition, first_offset, next_offset FROM partitions ORDER BY topic, partition")?
            .query_map([], |row| {
                let topic: String = row.get(0)?;
                Ok(PartitionRange { topic: topic.into(), partition: row.get(1)?, first: row.get(2)?, end: row.get(3)? })
            })?
            .collect()
    };
    read().map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })
}

/// Has groups go on from these offsets, in a file that nobody else has open. Partitions it does not have are left out.
///
/// # Errors
/// If another process has the log open, or the file can't be written.
pub fn set_groups(path: &Path, offsets: &[GroupOffset]) -> Result<(), OpenError> {
    let _lock = schema::lock(path)?;
    let write = || -> rusqlite::Result<()> {
        let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let transaction = connection.transaction()?;
        for GroupOffset { group, next } in offsets {
            let partition: Option<i64> = transaction
                .query_row(
                    "SELECT id FROM partitions WHERE topic = ?1 AND partition = ?2",
                    params![&*next.topic, next.partition],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(partition) = partition else { continue };
            // seen now: a group that counts as forgotten would not keep its records from being deleted
            transaction.execute(
                "INSERT INTO group_offsets (consumer_group, partition_id, next_offset, seen_ms) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (consumer_group, partition_id)
                DO UPDATE SET next_offset = excluded.next_offset, seen_ms = excluded.seen_ms",
                params![group, partition, next.offset, Utc::now().timestamp_millis()],
            )?;
        }
        transaction.commit()
    };
    write().map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })
}

fn reader(path: &Path) -> Result<Connection, OpenError> {
    schema::open_for_reading(path).map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })
}
