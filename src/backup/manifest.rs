//! What a backup says of itself.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::drift::Figures;
use crate::config::log::LogBackend;
use crate::config::store::StoreBackend;
use crate::kafka::log::GroupOffset;

/// Version of the layout; a program reads those it knows.
pub const FORMAT: u32 = 1;
/// Name of the manifest's file, which is written last and deleted first.
pub const FILE: &str = "manifest.json";
/// How an id is made of the time the backup was begun.
const ID_FORMAT: &str = "%Y%m%dT%H%M%S%3fZ";

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Part {
    /// The embedded log.
    Log,
    /// Documents, analyses and dead letters in `SQLite`.
    Documents,
    /// The job queue in `SQLite`.
    Jobs,
    /// Which encoder made the vectors.
    Encoder,
    /// What tells this daemon's transactions from others'.
    DaemonId,
    /// A table of PostgreSQL, as binary `COPY` writes it.
    Table {
        /// Its schema.
        schema: String,
        /// Its name.
        table: String,
        /// Its columns, in the order of the file.
        columns: Vec<String>,
        /// Days that need a partition of their own, for a table that has one for each day.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        days: Vec<NaiveDate>,
    },
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name beside the manifest.
    pub name: String,
    /// What it holds.
    #[serde(flatten)]
    pub part: Part,
    /// Bytes as stored, compressed.
    pub bytes: u64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
    /// Bytes of the content.
    pub content_bytes: u64,
    /// SHA-256 of them.
    pub content_sha256: String,
    /// Rows of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// Where a sequence of PostgreSQL stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceValue {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The last value given out, or a later one.
    pub last: i64,
}

/// The whole backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of the program that made it.
    pub format: u32,
    /// Its name.
    pub id: String,
    /// Version of the program that made it.
    pub program: String,
    /// When it was begun: what was accepted later may be missing.
    pub started_at: DateTime<Utc>,
    /// When it was complete.
    pub finished_at: DateTime<Utc>,
    /// Which log it fits.
    pub log: LogBackend,
    /// Which store of documents it holds.
    pub store: StoreBackend,
    /// The topic that documents come from.
    pub documents_topic: String,
    /// Where consumer groups stood before anything was copied: from here the log is read again after a restore.
    pub offsets: Vec<GroupOffset>,
    /// What was counted in the copy.
    pub figures: Figures,
    /// Versions of PostgreSQL's schemas.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schemas: BTreeMap<String, usize>,
    /// Sequences of PostgreSQL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<SequenceValue>,
    /// Its files.
    pub files: Vec<StoredFile>,
}

/// As it lies in its file: the text and its checksum.
#[derive(Serialize, Deserialize)]
struct Sealed {
    sha256: String,
    manifest: Box<RawValue>,
}

impl Manifest {
    /// The manifest's file.
    ///
    /// # Errors
    /// If it can't be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let manifest = serde_json::value::to_raw_value(self)?;
        serde_json::to_vec(&Sealed { sha256: hex(&Sha256::digest(manifest.get())), manifest })
    }

    /// Reads a manifest's file.
    ///
    /// # Errors
    /// Why it is none of a backup `id`, in words.
    pub fn parse(id: &str, bytes: &[u8]) -> Result<Self, String> {
        let sealed: Sealed = serde_json::from_slice(bytes).map_err(|error| format!("is torn: {error}"))?;
        if hex(&Sha256::digest(sealed.manifest.get())) != sealed.sha256 {
            return Err("does not fit its own checksum".to_owned());
        }
        let text = sealed.manifest.get();
        let Format { format } = serde_json::from_str(text).map_err(|error| format!("makes no sense: {error}"))?;
        if format != FORMAT {
            return Err(format!("has format {format}, this program reads {FORMAT}"));
        }
        let manifest: Self = serde_json::from_str(text).map_err(|error| format!("makes no sense: {error}"))?;
        if manifest.id != id {
            return Err(format!("is that of backup {}", manifest.id));
        }
        match manifest.files.iter().find(|file| !is_file_name(&file.name)) {
            Some(file) => Err(format!("names a file {:?}", file.name)),
            None => Ok(manifest),
        }
    }

    /// Bytes of all files, as stored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Read before all else, as the rest may look otherwise.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Whether it is a plain name, as no part of a path above its directory is.
fn is_file_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name != FILE && name.bytes().all(legal)
}

/// The id of a backup begun at this time.
#[must_use]
pub fn id_of(time: DateTime<Utc>) -> String {
    time.format(ID_FORMAT).to_string()
}

/// When the backup of this id was begun; `None` if it is no id.
#[must_use]
pub fn time_of(id: &str) -> Option<DateTime<Utc>> {
    let time = NaiveDateTime::parse_from_str(id, ID_FORMAT).ok()?.and_utc();
    (id_of(time) == id).then_some(time)
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a String can't fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn manifest() -> Manifest {
        let started_at: DateTime<Utc> = "2026-11-29T20:15:30.123Z".parse().unwrap();
        Manifest {
            format: FORMAT,
            id: id_of(started_at),
            program: "0.1.0".to_owned(),
            started_at,
            finished_at: started_at,
            log: LogBackend::Embedded,
            store: StoreBackend::Postgres,
            documents_topic: "documents".to_owned(),
            offsets: Vec::new(),
            figures: Figures::default(),
            schemas: BTreeMap::from([("raw".to_owned(), 1)]),
            sequences: Vec::new(),
            files: vec![StoredFile {
                name: "raw.documents.copy.zst".to_owned(),
                part: Part::Table {
                    schema: "raw".to_owned(),
                    table: "documents".to_owned(),
                    columns: vec!["id".to_owned()],
                    days: Vec::new(),
                },
                bytes: 1,
                sha256: String::new(),
                content_bytes: 2,
                content_sha256: String::new(),
                rows: Some(0),
            }],
        }
    }

    #[test]
    fn manifest_is_read_as_it_was_written() {
        let manifest = manifest();
        let bytes = manifest.to_bytes().unwrap();
        assert_eq!(Manifest::parse(&manifest.id, &bytes), Ok(manifest));
    }

    #[test]
    fn torn_changed_foreign_and_newer_manifests_are_refused() {
        let manifest = manifest();
        let id = &manifest.id;
        let bytes = manifest.to_bytes().unwrap();
        assert!(Manifest::parse(id, &bytes[..bytes.len() - 1]).unwrap_err().contains("torn"));
        let text = String::from_utf8(bytes.clone()).unwrap().replace("\"bytes\":1", "\"bytes\":9");
        assert!(Manifest::parse(id, text.as_bytes()).unwrap_err().contains("checksum"));
        assert!(Manifest::parse("20261129T201530124Z", &bytes).unwrap_err().contains(id.as_str()));
        let newer = Manifest { format: FORMAT + 1, ..manifest.clone() }.to_bytes().unwrap();
        assert!(Manifest::parse(id, &newer).unwrap_err().contains("format 2"));
        for name in ["../a", "a/b", "", ".hidden", FILE] {
            let mut outside = manifest.clone();
            outside.files[0].name = name.to_owned();
            assert!(Manifest::parse(id, &outside.to_bytes().unwrap()).is_err(), "{name}");
        }
    }

    #[test]
    fn ids_sort_by_time_and_tell_it() {
        let time: DateTime<Utc> = "2026-01-02T03:04:05.006Z".parse().unwrap();
        assert_eq!(id_of(time), "20260102T030405006Z");
        assert_eq!(time_of("20260102T030405006Z"), Some(time));
        for wrong in ["", "latest", "20260102T030405Z", "20261302T030405006Z", "20260102T030405006Z/.."] {
            assert_eq!(time_of(wrong), None, "{wrong}");
        }
    }
}
