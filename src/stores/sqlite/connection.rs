//! Connections: pragmas, migrations, and what `SQLite`'s errors mean for a caller.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::stores::documents::StoreError;

/// Schema changes in order; the file's `user_version` says how many it has. Never edit one that was released.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_documents.sql"),
    include_str!("migrations/0002_dead_letters.sql"),
    include_str!("migrations/0003_deliveries.sql"),
    include_str!("migrations/0004_graphs.sql"),
    include_str!("migrations/0005_market.sql"),
    include_str!("migrations/0006_events.sql"),
];

/// Schema changes of the file with jobs.
pub(super) const JOB_MIGRATIONS: &[&str] = &[include_str!("migrations/jobs_0001.sql")];

/// Prepared statements kept per connection.
const CACHED_STATEMENTS: usize = 64;

/// Opens the one connection that writes, creating file and schema where they are missing.
pub(super) fn open_writer(path: &Path, busy_timeout: Duration, migrations: &[&str]) -> Result<Connection, StoreError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|error| StoreError::Unavailable(format!("can't create {}: {error}", parent.display())))?;
    }
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: a commit that returned survives a power cut, not only a crash.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -65_536)?;
        connection.pragma_update(None, "journal_size_limit", 67_108_864)?;
        Ok(connection)
    };
    let mut connection = open().map_err(|error| store_error(&error, path))?;
    migrate(&mut connection, path, migrations)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|error| store_error(&error, path))
}

fn migrate(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| store_error(&error, path);
    let version: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map_err(failed)
        .and_then(|version| {
            usize::try_from(version)
                .map_err(|_| StoreError::Damaged(format!("{} has schema version {version}", path.display())))
        })?;
    if version > migrations.len() {
        return Err(StoreError::Damaged(format!(
            "{} has schema version {version}, this program knows up to {}: it was written by a newer one",
            path.display(),
            migrations.len()
        )));
    }
    for (index, migration) in migrations.iter().enumerate().skip(version) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(migration).map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(i64::MAX))
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

/// What an error of `SQLite` means for the caller: try again, give up on the data, or look at the file.
pub(super) fn store_error(error: &rusqlite::Error, path: &Path) -> StoreError {
    let said = format!("{}: {error}", path.display());
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Damaged(said),
            ErrorCode::ConstraintViolation
            | ErrorCode::TooBig
            | ErrorCode::TypeMismatch
            | ErrorCode::ParameterOutOfRange => StoreError::Refused(said),
            _ => StoreError::Unavailable(said),
        },
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => StoreError::Damaged(said),
        rusqlite::Error::ToSqlConversionFailure(_) => StoreError::Refused(said),
        _ => StoreError::Unavailable(said),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn migrations_run_once_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nested/a.sqlite3");
        for _ in 0..2 {
            let connection = open_writer(&path, Duration::from_secs(1), MIGRATIONS).unwrap();
            let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            assert_eq!(usize::try_from(version).unwrap(), MIGRATIONS.len());
        }
    }

    #[test]
    fn file_of_a_newer_program_is_refused_with_its_name_and_both_versions() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite3");
        open_writer(&path, Duration::from_secs(1), MIGRATIONS)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        let error = open_writer(&path, Duration::from_secs(1), MIGRATIONS).unwrap_err();
        let said = format!("a.sqlite3 has schema version 99, this program knows up to {}", MIGRATIONS.len());
        assert!(matches!(&error, StoreError::Damaged(error) if error.contains(&said)), "{error}");
    }

    #[test]
    fn file_that_is_no_database_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite3");
        std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
        let error = open_writer(&path, Duration::from_secs(1), MIGRATIONS).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged(said) if said.contains("a.sqlite3")), "{error}");
    }
}
