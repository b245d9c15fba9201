//! The data directory: one daemon at a time, and vectors of one encoder.

use std::fs::File;
use std::path::Path;

use super::OpenError;
use crate::config::daemon::ENCODER_FILE;

/// Held while a daemon uses the data directory.
const LOCK_FILE: &str = "tidemill.lock";

/// Makes the data directory and holds it for this process, until the file is dropped.
///
/// # Errors
/// If it can't be made, or another process holds it.
pub fn lock_data_dir(path: &Path) -> Result<File, OpenError> {
    let named = |reason: String| OpenError::DataDir { path: path.to_owned(), reason };
    std::fs::create_dir_all(path).map_err(|error| named(error.to_string()))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK_FILE))
        .map_err(|error| named(error.to_string()))?;
    file.try_lock().map_err(|error| named(format!("is used by another daemon ({error})")))?;
    Ok(file)
}

/// Whether a daemon uses the data directory now.
#[must_use]
pub fn is_held(path: &Path) -> bool {
    File::open(path.join(LOCK_FILE)).is_ok_and(|file| file.try_lock_shared().is_err())
}

/// Vectors of different encoders can't be compared: a data directory stays with the one it began with.
pub(super) fn same_encoder(data_dir: &Path, model: &str) -> Result<(), OpenError> {
    let file = data_dir.join(ENCODER_FILE);
    let named = |error: std::io::Error| OpenError::DataDir { path: file.clone(), reason: error.to_string() };
    match std::fs::read_to_string(&file) {
        Ok(known) if known.trim() == model => Ok(()),
        Ok(known) => Err(OpenError::Encoder { known: known.trim().to_owned(), wanted: model.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => std::fs::write(&file, model).map_err(named),
        Err(error) => Err(named(error)),
    }
}
