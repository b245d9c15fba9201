//! How far a sweep is, in a file.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

use crate::backtest::sweep::Checkpoint;

/// What the file holds, if it is there.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<Checkpoint>> {
    let named = || path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(named),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(named),
    }
}

/// Puts a checkpoint in the place of the one before: whoever is killed meanwhile leaves one of both.
pub(super) fn write(path: &Path, checkpoint: &Checkpoint) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, serde_json::to_vec(checkpoint)?)?;
    std::fs::rename(&beside, path)
}

/// Deletes it: there is nothing left to go on with.
pub(super) fn forget(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| path.display().to_string()),
        Ok(()) | Err(_) => Ok(()),
    }
}
