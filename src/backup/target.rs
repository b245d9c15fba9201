//! Where backups lie: a directory or a bucket, one folder for each backup.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt as _, RetryConfig};
use reqwest::Url;
use tokio::io::AsyncWriteExt as _;

use super::BackupError;
use super::manifest::{self, Manifest, time_of};
use super::retention::Listed;
use crate::config::backup::BackupConfig;

/// Longest time that retries of one request take.
const RETRY_FOR: Duration = Duration::from_secs(30);
/// Largest manifest that is read.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// Bytes of one part of an upload. A store allows 10,000 parts.
const PART_BYTES: usize = 16 << 20;

/// A place for backups.
#[derive(Debug, Clone)]
pub struct Target {
    store: Arc<dyn ObjectStore>,
    /// In front of every name.
    prefix: Path,
    /// As given, for messages.
    shown: String,
}

/// Whether a directory is made where it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Backups are written.
    Write,
    /// Backups are read: a directory has to be there.
    Read,
}

impl Target {
    /// A directory, or a URL as `backup.target` takes it. Asks nobody yet.
    ///
    /// # Errors
    /// If it is neither, or the directory can't be used.
    pub fn open(location: &str, config: &BackupConfig, access: Access) -> Result<Self, BackupError> {
        if !location.contains("://") {
            return Self::directory(location, std::path::Path::new(location), access);
        }
        let setting = |said: String| BackupError::Setting(format!("{location}: {said}"));
        let url = Url::parse(location).map_err(|error| setting(error.to_string()))?;
        match url.scheme() {
            "file" => {
                let path = url.to_file_path().map_err(|()| setting("is not the URL of a directory here".to_owned()))?;
                Self::directory(location, &path, access)
            }
            scheme @ ("s3" | "r2") => {
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(setting("keys belong into backup.secret_access_key".to_owned()));
                }
                let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
                let bucket = bucket.ok_or_else(|| setting("names no bucket".to_owned()))?;
                let prefix = Path::from_url_path(url.path()).map_err(|error| setting(error.to_string()))?;
                let store = bucket_store(scheme, bucket, config)?;
                Ok(Self { store: Arc::new(store), prefix, shown: location.to_owned() })
            }
            other => Err(setting(format!("{other}:// is none of a directory, s3://, r2:// and file://"))),
        }
    }

    /// Over any object store, under `prefix`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, shown: &str) -> Self {
        Self { store, prefix, shown: shown.to_owned() }
    }

    fn directory(shown: &str, path: &std::path::Path, access: Access) -> Result<Self, BackupError> {
        match access {
            Access::Write => std::fs::create_dir_all(path).map_err(BackupError::file(path))?,
            Access::Read if path.is_dir() => {}
            Access::Read => return Err(BackupError::NotFound(format!("{shown} is no directory"))),
        }
        let store = LocalFileSystem::new_with_prefix(path)
            .map_err(|error| BackupError::Unavailable(format!("{shown}: {error}")))?
            .with_fsync(true);
        Ok(Self { store: Arc::new(store), prefix: Path::default(), shown: shown.to_owned() })
    }

    /// As given, for messages.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    fn path(&self, id: &str, name: &str) -> Path {
        self.prefix.clone().join(id).join(name)
    }

    /// All backups, oldest first, torn ones too. Other files are passed by.
    ///
    /// # Errors
    /// If the target does not answer.
    pub async fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let mut found: BTreeMap<String, Listed> = BTreeMap::new();
        let mut objects = self.store.list(Some(&self.prefix));
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| self.failed(&error))?;
            let Some(parts) = object.location.prefix_match(&self.prefix) else { continue };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            let [id, name] = parts.as_slice() else { continue };
            let Some(at) = time_of(id) else { continue };
            let listed = || Listed { at, id: id.clone(), complete: false, bytes: 0 };
            let backup = found.entry(id.clone()).or_insert_with(listed);
            backup.bytes += object.size;
            backup.complete |= name == manifest::FILE;
        }
        Ok(found.into_values().collect())
    }

    /// The newest complete backup.
    ///
    /// # Errors
    /// [`BackupError::NotFound`] if there is none.
    pub async fn newest(&self) -> Result<String, BackupError> {
        let newest = self.list().await?.into_iter().rfind(|backup| backup.complete);
        newest.map(|backup| backup.id).ok_or_else(|| BackupError::NotFound(format!("{} has no backup", self.shown)))
    }

    /// What a backup says of itself.
    ///
    /// # Errors
    /// [`BackupError::NotFound`] if there is no such backup, [`BackupError::Damaged`] if it can't be read.
    pub async fn manifest(&self, id: &str) -> Result<Manifest, BackupError> {
        if time_of(id).is_none() {
            return Err(BackupError::NotFound(format!("{id:?} is not the name of a backup")));
        }
        let damaged =
            |reason: String| BackupError::Damaged { id: id.to_owned(), file: manifest::FILE.to_owned(), reason };
        let path = self.path(id, manifest::FILE);
        let found = match self.store.get(&path).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => {
                let said = format!("{}: there is no backup {id}, or it was not completed", self.shown);
                return Err(BackupError::NotFound(said));
            }
            Err(error) => return Err(self.failed(&error)),
        };
        if found.meta.size > MAX_MANIFEST_BYTES {
            return Err(damaged(format!("has {} bytes", found.meta.size)));
        }
        let bytes = found.bytes().await.map_err(|error| self.failed(&error))?;
        Manifest::parse(id, &bytes).map_err(damaged)
    }

    /// Writes the manifest, which completes the backup.
    ///
    /// # Errors
    /// If the target does not take it.
    pub async fn complete(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let bytes = manifest.to_bytes().map_err(|error| BackupError::Refused(error.to_string()))?;
        let path = self.path(&manifest.id, manifest::FILE);
        self.store.put(&path, bytes.into()).await.map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Begins a file.
    #[must_use]
    pub fn writer(&self, id: &str, name: &str) -> Upload<'_> {
        let writer = BufWriter::with_capacity(Arc::clone(&self.store), self.path(id, name), PART_BYTES);
        Upload { target: self, writer: writer.with_max_concurrency(2) }
    }

    /// A file's bytes, as stored.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] if it is missing.
    pub async fn reader(
        &self,
        id: &str,
        name: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, BackupError>>, BackupError> {
        match self.store.get(&self.path(id, name)).await {
            Ok(found) => {
                let target = self.clone();
                Ok(found.into_stream().map_err(move |error| target.failed(&error)).boxed())
            }
            Err(Error::NotFound { .. }) => {
                let reason = "is missing".to_owned();
                Err(BackupError::Damaged { id: id.to_owned(), file: name.to_owned(), reason })
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Deletes a backup, its manifest first, so that what is left of it if this fails is no backup.
    ///
    /// # Errors
    /// If the target does not answer.
    pub async fn delete(&self, id: &str) -> Result<(), BackupError> {
        let folder = self.prefix.clone().join(id);
        let objects: Vec<Path> = self
            .store
            .list(Some(&folder))
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(|error| self.failed(&error))?;
        let manifest = self.path(id, manifest::FILE);
        let (first, rest): (Vec<Path>, Vec<Path>) = objects.into_iter().partition(|path| *path == manifest);
        for path in first.into_iter().chain(rest) {
            match self.store.delete(&path).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(())
    }

    /// What an error of the store means.
    fn failed(&self, error: &Error) -> BackupError {
        let said = format!("{}: {}", self.shown, words(error));
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                BackupError::Setting(format!("{said}: are the keys right, and may they write there?"))
            }
            Error::NotFound { .. } => BackupError::Setting(format!("{said}: is there such a bucket?")),
            Error::InvalidPath { .. } | Error::NotSupported { .. } | Error::UnknownConfigurationKey { .. } => {
                BackupError::Setting(said)
            }
            _ => BackupError::Unavailable(said),
        }
    }
}

/// A file on its way; what is not finished is no file.
pub struct Upload<'a> {
    target: &'a Target,
    writer: BufWriter,
}

impl Upload<'_> {
    /// Adds bytes.
    ///
    /// # Errors
    /// If the target does not take them.
    pub async fn put(&mut self, bytes: Bytes) -> Result<(), BackupError> {
        self.writer.put(bytes).await.map_err(|error| self.target.failed(&error))
    }

    /// Completes the file.
    ///
    /// # Errors
    /// If the target does not take it.
    pub async fn finish(mut self) -> Result<(), BackupError> {
        self.writer.shutdown().await.map_err(|error| {
            // the store's own error travels inside
            match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(inner) => self.target.failed(inner),
                None => BackupError::Unavailable(format!("{}: {error}", self.target.shown)),
            }
        })
    }

    /// Gives the file up.
    pub async fn abort(mut self) {
        // what can't be deleted now goes with the torn backup later
        let _ = self.writer.abort().await;
    }
}

fn bucket_store(scheme: &str, bucket: &str, config: &BackupConfig) -> Result<object_store::aws::AmazonS3, BackupError> {
    if scheme == "r2" && config.endpoint.is_empty() {
        let said = "backup.endpoint: r2:// needs https://ACCOUNT.r2.cloudflarestorage.com here";
        return Err(BackupError::Setting(said.to_owned()));
    }
    let region = match (config.region.as_str(), scheme) {
        ("", "r2") => "auto",
        ("", _) => "us-east-1",
        (region, _) => region,
    };
    let plain = config.endpoint.starts_with("http://");
    let client = ClientOptions::new()
        .with_timeout(Duration::from_secs(config.request_timeout_seconds))
        .with_connect_timeout(Duration::from_secs(config.request_timeout_seconds.min(10)))
        .with_allow_http(plain);
    let retry = RetryConfig { max_retries: config.retries, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_client_options(client)
        .with_retry(retry);
    if !config.endpoint.is_empty() {
        builder = builder.with_endpoint(config.endpoint.trim_end_matches('/')).with_virtual_hosted_style_request(false);
    }
    if !config.access_key_id.is_empty() {
        builder = builder.with_access_key_id(&config.access_key_id);
    }
    if let Some(secret) = &config.secret_access_key {
        builder = builder.with_secret_access_key(secret.expose());
    }
    builder.build().map_err(|error| BackupError::Setting(format!("{scheme}://{bucket}: {}", words(&error))))
}

/// The error in words, its causes included, each once.
fn words(error: &Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = inner.source();
    }
    said
}
