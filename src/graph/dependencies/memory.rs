//! Parsed imports of a repository, kept from one reading to the next by the ids of the contents: what has not changed
//! is not parsed again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use git2::Oid;
use serde::{Deserialize, Serialize};

use crate::graph::imports::{Parsed, VERSION};
use crate::graph::languages::{Language, extension};
use crate::graph::repository::{Checkout, TreeFile};

/// Longest file that is unpacked, in bytes, whatever was written.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;
/// Fast; the names compress well at any level.
const LEVEL: i32 = 1;

/// What a parse depends on: the content, and by which grammar it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    blob: Oid,
    language: Language,
    tsx: bool,
}

impl Key {
    fn of(file: &TreeFile) -> Option<Self> {
        let language = Language::of(&file.path)?;
        Some(Self { blob: file.blob, language, tsx: extension(&file.path) == Some("tsx") })
    }
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    blob: String,
    language: Language,
    #[serde(default)]
    tsx: bool,
    parsed: Parsed,
}

/// Parsed imports by content.
pub(super) struct Memory<'a> {
    checkout: &'a Checkout,
    known: HashMap<Key, Parsed>,
    /// What this reading used; only that is kept, so that the file is never larger than one commit's imports.
    used: HashSet<Key>,
    lines: Vec<u8>,
    grown: bool,
}

impl<'a> Memory<'a> {
    /// Reads what is kept; whatever is wrong with it, it is as if there was nothing.
    pub(super) fn load(checkout: &'a Checkout) -> Self {
        let known = checkout.kept_imports().and_then(|(path, _)| read(path).ok()).unwrap_or_default();
        Self { checkout, known, used: HashSet::new(), lines: Vec::new(), grown: false }
    }

    pub(super) fn get(&self, file: &TreeFile) -> Option<&Parsed> {
        self.known.get(&Key::of(file)?)
    }

    /// Notes what a file of this commit has.
    pub(super) fn keep(&mut self, file: &TreeFile, parsed: &Parsed) {
        let Some((key, _)) = Key::of(file).zip(self.checkout.kept_imports()) else { return };
        if !self.used.insert(key) {
            return;
        }
        self.grown |= !self.known.contains_key(&key);
        let line = Line { blob: key.blob.to_string(), language: key.language, tsx: key.tsx, parsed: parsed.clone() };
        // strings and numbers always can be written
        if serde_json::to_writer(&mut self.lines, &line).is_ok() {
            self.lines.push(b'\n');
        }
    }

    /// Writes what was used, if that is not what is there already.
    pub(super) fn save(&self) {
        let Some((path, max_bytes)) = self.checkout.kept_imports() else { return };
        if !self.grown && self.used.len() == self.known.len() {
            return;
        }
        if let Err(error) = write(path, &self.lines, max_bytes) {
            tracing::debug!(path = %path.display(), %error, "parsed imports are not kept");
        }
    }
}

fn read(path: &Path) -> io::Result<HashMap<Key, Parsed>> {
    let file = fs::File::open(path)?;
    let mut text = String::new();
    zstd::Decoder::new(file)?.take(MAX_UNPACKED_BYTES).read_to_string(&mut text)?;
    let mut lines = text.lines();
    if lines.next() != Some(&heading()) {
        return Ok(HashMap::new());
    }
    let mut known = HashMap::new();
    for line in lines {
        let Line { blob, language, tsx, parsed } = serde_json::from_str(line)?;
        let blob = Oid::from_str(&blob).map_err(io::Error::other)?;
        known.insert(Key { blob, language, tsx }, parsed);
    }
    Ok(known)
}

fn heading() -> String {
    format!("tidemill imports {VERSION}")
}

/// Writes beside the old file and takes its place, so that a crash leaves one of the two.
fn write(path: &Path, lines: &[u8], max_bytes: u64) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder)?;
    let text = [heading().as_bytes(), b"\n", lines].concat();
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    io::Write::write_all(&mut encoder, &text)?;
    let packed = encoder.finish()?;
    if packed.len() as u64 > max_bytes {
        return Ok(());
    }
    let fresh = path.with_extension(format!("imports-{}", uuid::Uuid::new_v4().simple()));
    let written = fs::write(&fresh, packed).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}
