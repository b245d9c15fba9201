//! Files on their way into a backup and out of it: compressed, with checksums of both forms.
//!
//! Compression runs on a thread that may block; content flows through short channels, so that neither side runs ahead.

use std::fs::File;
use std::io::{Read as _, Write};
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::BackupError;
use super::manifest::{Part, StoredFile, hex};
use super::target::Target;

/// Bytes of one chunk.
const CHUNK: usize = 1 << 20;
/// Chunks on their way.
const CHUNKS: usize = 4;
/// Fast, since vectors hardly get smaller whatever is tried.
const LEVEL: i32 = 1;

/// Content as it comes, in order. After an error nothing more comes.
pub type Content = mpsc::Receiver<Result<Bytes, BackupError>>;

/// The sending side of content.
pub type ContentSender = mpsc::Sender<Result<Bytes, BackupError>>;

/// A channel for content.
#[must_use]
pub fn channel() -> (ContentSender, Content) {
    mpsc::channel(CHUNKS)
}

/// The content of a local file.
#[must_use]
pub fn of_file(path: &Path) -> Content {
    let (sender, content) = channel();
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let failed = |source| BackupError::File { path: path.clone(), source };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                let _ = sender.blocking_send(Err(failed(error)));
                return;
            }
        };
        loop {
            let mut chunk = vec![0; CHUNK];
            match file.read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => {
                    chunk.truncate(read);
                    // who asked may have gone
                    if sender.blocking_send(Ok(chunk.into())).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = sender.blocking_send(Err(failed(error)));
                    return;
                }
            }
        }
    });
    content
}

/// Content that is at hand.
#[must_use]
pub fn of_bytes(bytes: Bytes) -> Content {
    let (sender, content) = channel();
    // a fresh channel has room
    let _ = sender.try_send(Ok(bytes));
    content
}

/// Bytes with their checksum.
#[derive(Default)]
struct Sum {
    hash: Sha256,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn hex(self) -> (u64, String) {
        (self.bytes, hex(&self.hash.finalize()))
    }
}

/// Compresses content into a file of a backup.
///
/// # Errors
/// If the content ends in an error, or the target does not take it; then there is no such file.
pub async fn store(
    target: &Target,
    id: &str,
    name: &str,
    part: Part,
    content: Content,
) -> Result<StoredFile, BackupError> {
    let (packed_to, mut packed) = channel();
    let packing = tokio::task::spawn_blocking(move || pack(content, &packed_to));
    let mut upload = target.writer(id, name);
    let mut sum = Sum::default();
    while let Some(chunk) = packed.recv().await {
        let put = match chunk {
            Ok(chunk) => {
                sum.add(&chunk);
                upload.put(chunk).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = put {
            upload.abort().await;
            return Err(error);
        }
    }
    let Some((content_bytes, content_sha256)) = packing.await.ok().flatten() else {
        upload.abort().await;
        return Err(BackupError::Unavailable(format!("{name}: compression ended early")));
    };
    upload.finish().await?;
    let (bytes, sha256) = sum.hex();
    Ok(StoredFile { name: name.to_owned(), part, bytes, sha256, content_bytes, content_sha256, rows: None })
}

/// Compresses until the content ends; bytes and checksum of the content, `None` if it did not end well.
fn pack(mut content: Content, packed: &ContentSender) -> Option<(u64, String)> {
    let mut sum = Sum::default();
    let mut done = || -> Result<(), BackupError> {
        let failed = |error: std::io::Error| BackupError::Unavailable(format!("compression failed: {error}"));
        let mut encoder = zstd::stream::write::Encoder::new(Vec::with_capacity(CHUNK), LEVEL).map_err(failed)?;
        while let Some(chunk) = content.blocking_recv() {
            let chunk = chunk?;
            sum.add(&chunk);
            encoder.write_all(&chunk).map_err(failed)?;
            if encoder.get_ref().len() >= CHUNK {
                let full = std::mem::replace(encoder.get_mut(), Vec::with_capacity(CHUNK));
                packed.blocking_send(Ok(full.into())).map_err(|_| gone())?;
            }
        }
        let rest = encoder.finish().map_err(failed)?;
        packed.blocking_send(Ok(rest.into())).map_err(|_| gone())
    };
    match done() {
        Ok(()) => Some(sum.hex()),
        Err(error) => {
            let _ = packed.blocking_send(Err(error));
            None
        }
    }
}

/// The content of a file of a backup. Ends with [`BackupError::Damaged`] unless all of it was as the manifest says.
#[must_use]
pub fn fetch(target: &Target, id: &str, file: &StoredFile) -> Content {
    let (sender, content) = channel();
    let (packed_to, packed) = channel();
    let (target, id, file) = (target.clone(), id.to_owned(), file.clone());
    let name = file.name.clone();
    let backup = id.clone();
    tokio::task::spawn_blocking(move || {
        let damaged = |reason: &str| BackupError::Damaged {
            id: backup.clone(),
            file: file.name.clone(),
            reason: reason.to_owned(),
        };
        if let Err(error) = unpack(packed, &sender, &file, damaged) {
            let _ = sender.blocking_send(Err(error));
        }
    });
    tokio::spawn(async move {
        let mut stream = match target.reader(&id, &name).await {
            Ok(stream) => stream,
            Err(error) => {
                let _ = packed_to.send(Err(error)).await;
                return;
            }
        };
        while let Some(chunk) = stream.next().await {
            if packed_to.send(chunk).await.is_err() {
                return;
            }
        }
    });
    content
}

fn unpack(
    mut packed: Content,
    sender: &ContentSender,
    file: &StoredFile,
    damaged: impl Fn(&str) -> BackupError,
) -> Result<(), BackupError> {
    let mut stored = Sum::default();
    let failed = |error: std::io::Error| damaged(&format!("can't be decompressed: {error}"));
    let output = Output { sender, sum: Sum::default(), limit: file.content_bytes };
    let mut decoder = zstd::stream::write::Decoder::new(output).map_err(failed)?;
    while let Some(chunk) = packed.blocking_recv() {
        let chunk = chunk?;
        stored.add(&chunk);
        decoder.write_all(&chunk).map_err(failed)?;
    }
    decoder.flush().map_err(failed)?;
    let (bytes, sha256) = stored.hex();
    if (bytes, &sha256) != (file.bytes, &file.sha256) {
        return Err(damaged(&differs("it", (bytes, &sha256), (file.bytes, &file.sha256))));
    }
    let (bytes, sha256) = decoder.into_inner().sum.hex();
    if (bytes, &sha256) != (file.content_bytes, &file.content_sha256) {
        return Err(damaged(&differs("its content", (bytes, &sha256), (file.content_bytes, &file.content_sha256))));
    }
    Ok(())
}

fn differs(what: &str, found: (u64, &str), wanted: (u64, &str)) -> String {
    if found.0 == wanted.0 {
        format!("{what} does not have the checksum the manifest says")
    } else {
        format!("{what} has {} bytes, the manifest says {}", found.0, wanted.0)
    }
}

/// Where decompressed bytes go.
struct Output<'a> {
    sender: &'a ContentSender,
    sum: Sum,
    /// No more than this may come: a tampered file could unpack to anything.
    limit: u64,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.sum.add(bytes);
        if self.sum.bytes > self.limit {
            return Err(std::io::Error::other("it has more content than the manifest says"));
        }
        let sent = self.sender.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| std::io::Error::other("nobody wants it any more"))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes content into a new local file, synced.
///
/// # Errors
/// If the content ends in an error or the file can't be written.
pub async fn into_file(mut content: Content, path: &Path) -> Result<(), BackupError> {
    let path = path.to_owned();
    let writing = tokio::task::spawn_blocking(move || {
        let mut file = File::create_new(&path).map_err(BackupError::file(&path))?;
        while let Some(chunk) = content.blocking_recv() {
            file.write_all(&chunk?).map_err(BackupError::file(&path))?;
        }
        file.sync_all().map_err(BackupError::file(&path))
    });
    writing.await.map_err(|error| BackupError::Unavailable(error.to_string()))?
}

/// Takes content whose bytes nobody needs.
///
/// # Errors
/// As the content ends.
pub async fn into_nothing(mut content: Content) -> Result<(), BackupError> {
    while let Some(chunk) = content.recv().await {
        chunk?;
    }
    Ok(())
}

fn gone() -> BackupError {
    BackupError::Unavailable("the upload ended early".to_owned())
}
