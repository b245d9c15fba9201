//! Copies of `SQLite` files, taken while others write them.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::BackupError;

/// How long a copy waits for a lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Copies the file as it is at one moment into a new file that has no companions. Blocks; writers go on meanwhile.
///
/// # Errors
/// If the file can't be read or the copy not be written.
pub fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let source = read_only(from).map_err(|error| named(from, &error))?;
    let mut copy = Connection::open(to).map_err(|error| named(to, &error))?;
    let mut copied = || -> rusqlite::Result<StepResult> {
        // nobody reads a copy before it is complete, so it needs no journal
        copy.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
        copy.pragma_update(None, "synchronous", "OFF")?;
        // one step, since a step sees one moment: with more, every write in between would begin the copy again
        Backup::new(&source, &mut copy)?.step(-1)
    };
    match copied().map_err(|error| named(to, &error))? {
        StepResult::Done => {}
        other => return Err(BackupError::Unavailable(format!("{}: can't be copied now: {other:?}", from.display()))),
    }
    // the copy says of itself that it has a write-ahead log beside it, as its source has
    copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(|error| named(to, &error))
}

/// Opens a file that others may write.
pub(super) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// What is wrong inside a file, as `SQLite` sees it; `None` if nothing is.
///
/// # Errors
/// If it is no database.
pub fn check(path: &Path) -> Result<Option<String>, BackupError> {
    let said =
        || -> rusqlite::Result<String> { read_only(path)?.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)) };
    let said = said().map_err(|error| named(path, &error))?;
    Ok((said != "ok").then_some(said))
}

/// An error of `SQLite` with its file.
pub(super) fn named(path: &Path, error: &rusqlite::Error) -> BackupError {
    BackupError::Unavailable(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn copy_is_one_moment_of_a_file_that_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        let writer = Connection::open(&from).unwrap();
        writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
        writer.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1); PRAGMA user_version = 7;").unwrap();
        // an open transaction of the writer is not part of it
        writer.execute_batch("BEGIN; INSERT INTO t VALUES (2)").unwrap();
        copy(&from, &to).unwrap();
        writer.execute_batch("COMMIT").unwrap();
        let copied = read_only(&to).unwrap();
        let rows: i64 = copied.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        let version: i64 = copied.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!((rows, version), (1, 7));
        let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("b-")), "{names:?}");
        assert_eq!(check(&to).unwrap(), None);
    }

    #[test]
    fn file_that_is_missing_or_no_database_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let error = copy(&missing, &directory.path().join("b")).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
        let text = directory.path().join("text");
        std::fs::write(&text, vec![b'x'; 9000]).unwrap();
        assert!(check(&text).unwrap_err().to_string().contains("text"));
    }
}
