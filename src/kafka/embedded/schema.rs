//! The log's file: lock, connection settings, tables.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::OpenError;
use crate::kafka::log::LogError;

/// Newest layout known; kept in `user_version`.
const SCHEMA_VERSION: i64 = 1;
/// How long a connection waits for a lock another one holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The tables. A record's `position` is its partition's id and offset in one number (see `rows`), so that one integer
/// key finds it and every partition grows at its own end of the tree.
const TABLES: &str = "
    CREATE TABLE partitions (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        first_offset INTEGER NOT NULL DEFAULT 0,
        next_offset INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic, partition)
    ) STRICT;
    CREATE TABLE records (
        position INTEGER PRIMARY KEY,
        appended_ms INTEGER NOT NULL,
        timestamp_ms INTEGER NOT NULL,
        key BLOB,
        headers BLOB,
        value BLOB NOT NULL
    ) STRICT;
    CREATE TABLE group_offsets (
        consumer_group TEXT NOT NULL,
        partition_id INTEGER NOT NULL REFERENCES partitions (id),
        next_offset INTEGER NOT NULL,
        seen_ms INTEGER NOT NULL,
        PRIMARY KEY (consumer_group, partition_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE producers (
        producer_id INTEGER NOT NULL,
        partition_id INTEGER NOT NULL REFERENCES partitions (id),
        epoch INTEGER NOT NULL,
        batches BLOB NOT NULL,
        seen_ms INTEGER NOT NULL,
        PRIMARY KEY (producer_id, partition_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO counters VALUES ('producer_id', 1000);
";

/// Takes the exclusive lock beside the log's file. It is released when the file is dropped, or the process dies.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = std::path::PathBuf::from(name);
    let io = |source| OpenError::Io { path: lock_path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io { path: lock_path, source }),
    }
}

/// The writer's connection; makes the tables in a new file.
pub(super) fn open_for_writing(path: &Path, fsync: bool) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(sqlite)?;
    let found = prepare(&mut connection, fsync).map_err(sqlite)?;
    if found > SCHEMA_VERSION {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    Ok(connection)
}

/// Settings and tables; gives the schema version found.
fn prepare(connection: &mut Connection, fsync: bool) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Only works before the first table is made, so that deleted records give their pages back.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", if fsync { "FULL" } else { "NORMAL" })?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
    }
    Ok(found)
}

/// A consumer's connection.
pub(super) fn open_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    Ok(connection)
}

/// What an error of `SQLite` means for the caller: a full, locked or failing disk may be well again later, a corrupt file
/// won't.
pub(super) fn log_error(error: &rusqlite::Error) -> LogError {
    use rusqlite::ErrorCode as Code;
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(
            Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::DiskFull
            | Code::SystemIoFailure
            | Code::CannotOpen
            | Code::ReadOnly
            | Code::OutOfMemory
            | Code::FileLockingProtocolFailed
            | Code::PermissionDenied,
        ) => LogError::Unavailable(text),
        _ => LogError::Failed(text),
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn log_of_a_newer_program_is_refused_with_its_name_and_both_versions() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log.db");
        let connection = open_for_writing(&path, false).expect("a new log");
        connection.pragma_update(None, "user_version", 99).expect("a version");
        drop(connection);
        let said = open_for_writing(&path, false).expect_err("it is newer").to_string();
        let known = SCHEMA_VERSION.to_string();
        assert!(said.contains("log.db") && said.contains("99") && said.contains(&known), "{said}");
    }
}
