//! Results of long computations kept in files, so that an interrupted training goes on where it was.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use super::dataset::Example;
use super::train::TrainError;

/// A directory of results that hold for one set of texts and options.
#[derive(Debug)]
pub struct Checkpoints {
    directory: PathBuf,
}

impl Checkpoints {
    /// The checkpoints below `parent` of training with `options` on `examples`: others are never mistaken for them.
    ///
    /// # Errors
    /// If the directory can't be made.
    pub fn open(parent: &Path, examples: &[Example], options: &impl Serialize) -> std::io::Result<Self> {
        let mut hasher = Xxh3::new();
        hasher.update(&serde_json::to_vec(options)?);
        for example in examples {
            hasher.update(example.text.as_bytes());
            hasher.update(&[0, u8::try_from(example.class).unwrap_or(u8::MAX)]);
        }
        let directory = parent.join(format!("checkpoints-{:016x}", hasher.digest()));
        fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    /// The kept result called `name`, or what `compute` gives, which is then kept.
    ///
    /// # Errors
    /// What `compute` fails with, or that the file can't be written.
    pub fn or_compute(
        &self,
        name: &str,
        compute: impl FnOnce() -> Result<Vec<u8>, TrainError>,
    ) -> Result<Vec<u8>, TrainError> {
        let path = self.directory.join(name);
        if let Ok(bytes) = fs::read(&path) {
            return Ok(bytes);
        }
        let bytes = compute()?;
        // Renamed when whole: an interruption while writing must not leave half a result.
        let unfinished = path.with_extension("part");
        fs::write(&unfinished, &bytes)?;
        fs::rename(&unfinished, &path)?;
        Ok(bytes)
    }

    /// Removes all of them.
    ///
    /// # Errors
    /// If the directory can't be removed.
    pub fn remove(self) -> std::io::Result<()> {
        fs::remove_dir_all(self.directory)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_result_is_computed_once_and_only_for_the_same_input() {
        let directory = tempfile::tempdir().unwrap();
        let example = |text: &str| [Example { text: text.to_owned(), class: 1 }];
        let open = |text: &str| Checkpoints::open(directory.path(), &example(text), &7).unwrap();
        assert_eq!(open("a").or_compute("x", || Ok(vec![1])).unwrap(), [1]);
        assert_eq!(open("a").or_compute("x", || Ok(vec![2])).unwrap(), [1]);
        assert_eq!(open("b").or_compute("x", || Ok(vec![3])).unwrap(), [3]);
        open("a").remove().unwrap();
        assert_eq!(open("a").or_compute("x", || Ok(vec![4])).unwrap(), [4]);
    }
}
