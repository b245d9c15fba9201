//! The files of the encoder: where they are and that they are the right ones.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::models::ModelError;

/// One file that must be there as it was published.
struct Expected {
    name: &'static str,
    bytes: u64,
    sha256: &'static str,
}

const WEIGHTS: Expected = Expected {
    name: "model.safetensors",
    bytes: 90_868_376,
    sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
};
const TOKENIZER: Expected = Expected {
    name: "tokenizer.json",
    bytes: 466_247,
    sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
};
const CONFIG: Expected = Expected {
    name: "config.json",
    bytes: 612,
    sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
};

/// Remembers which files were hashed, so that a start doesn't read 90 MB twice.
const MARKER: &str = ".verified";

/// The checked files of one model directory.
#[derive(Debug)]
pub struct ModelFiles {
    /// The weights, in the safetensors format.
    pub weights: PathBuf,
    /// The tokenizer.
    pub tokenizer: PathBuf,
}

impl ModelFiles {
    /// Checks that `directory` holds the model. A file whose size and time of change are those of the last successful
    /// check isn't hashed again.
    ///
    /// # Errors
    /// [`ModelError::Missing`] or [`ModelError::Damaged`], naming the file.
    pub fn check(directory: &Path) -> Result<Self, ModelError> {
        let marker = directory.join(MARKER);
        let known = fs::read_to_string(&marker).unwrap_or_default();
        let mut lines = String::new();
        for expected in [&WEIGHTS, &TOKENIZER, &CONFIG] {
            let line = expected.fingerprint(directory)?;
            if !known.lines().any(|k| k == line) {
                expected.verify(directory)?;
            }
            lines.push_str(&line);
            lines.push('\n');
        }
        if known != lines {
            // A directory that can't be written to only costs the next start the same check.
            let _ = fs::write(&marker, lines);
        }
        Ok(Self { weights: directory.join(WEIGHTS.name), tokenizer: directory.join(TOKENIZER.name) })
    }
}

impl Expected {
    fn missing(&self, directory: &Path) -> ModelError {
        ModelError::Missing { path: directory.join(self.name).display().to_string() }
    }

    fn damaged(&self, directory: &Path, reason: String) -> ModelError {
        ModelError::Damaged { path: directory.join(self.name).display().to_string(), reason }
    }

    /// What the marker says of a file that was found right: hash, size, time of change, name.
    fn fingerprint(&self, directory: &Path) -> Result<String, ModelError> {
        let meta = fs::metadata(directory.join(self.name)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.missing(directory),
            _ => self.damaged(directory, error.to_string()),
        })?;
        if meta.len() != self.bytes {
            return Err(self.damaged(directory, format!("it has {} bytes instead of {}", meta.len(), self.bytes)));
        }
        let changed = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(format!("{} {} {} {}", self.sha256, self.bytes, changed.as_nanos(), self.name))
    }

    fn verify(&self, directory: &Path) -> Result<(), ModelError> {
        let read = || -> io::Result<String> {
            let mut file = fs::File::open(directory.join(self.name))?;
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; 1 << 18];
            loop {
                let n = file.read(&mut buffer)?;
                if n == 0 {
                    break;
                }
                hasher.update(&buffer[..n]);
            }
            Ok(hex(&hasher.finalize()))
        };
        let found = read().map_err(|error| self.damaged(directory, error.to_string()))?;
        if found == self.sha256 {
            Ok(())
        } else {
            Err(self.damaged(directory, format!("its sha-256 is {found} instead of {}", self.sha256)))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
