//! `tidemill backup`.

use std::io::IsTerminal as _;

use chrono::Utc;
use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{Exit, SettingError, UnavailableError, UsageError};
use super::local::runtime;
use super::options::ConfigOptions;
use super::output;
use crate::actors::open::lock_data_dir;
use crate::backup::retention::{Listed, expired};
use crate::backup::target::{Access, Target};
use crate::backup::verify::{self, Verified};
use crate::backup::{BackupError, create, restore};
use crate::config::Config;

/// Make, check and restore backups, in a directory or a bucket. While the daemon runs they are consistent all the same.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Copy the stores into a new backup.
    #[command(after_help = "Example: tidemill backup create /var/backups/tidemill
         tidemill backup create s3://my-bucket/tidemill --prune")]
    Create(Create),
    /// List backups, newest first.
    #[command(after_help = "Example: tidemill backup ls /var/backups/tidemill")]
    Ls(Ls),
    /// Check a backup's checksums and whether its stores fit each other; exit code 1 if not.
    #[command(after_help = "Example: tidemill backup verify /var/backups/tidemill
         tidemill backup verify --stores")]
    Verify(Verify),
    /// Put a backup in the place of an empty installation; the daemon then reads the log on from there.
    #[command(after_help = "Example: tidemill backup restore /var/backups/tidemill
         tidemill backup restore /var/backups/tidemill --keep-log --force")]
    Restore(Restore),
    /// Delete the backups that backup.keep_* does not keep.
    #[command(after_help = "Example: tidemill backup prune /var/backups/tidemill --dry-run")]
    Prune(Prune),
}

/// Where backups are.
#[derive(Debug, Args)]
struct Place {
    /// Directory, or URL such as `s3://BUCKET/PREFIX`, `r2://BUCKET/PREFIX` or `file:///PATH` [default: backup.target].
    target: Option<String>,
}

/// What to make.
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    place: Place,
    /// Then delete the backups that backup.keep_* does not keep.
    #[arg(long)]
    prune: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to list.
#[derive(Debug, Args)]
pub struct Ls {
    #[command(flatten)]
    place: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to check.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    place: Place,
    /// The backup's name [default: the newest].
    #[arg(long)]
    id: Option<String>,
    /// Compare the stores themselves, as they are now: documents, vectors, deliveries and the log's offsets.
    #[arg(long, conflicts_with_all = ["target", "id"])]
    stores: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to restore.
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    place: Place,
    /// The backup's name [default: the newest].
    #[arg(long)]
    id: Option<String>,
    /// Replace what is there: files are moved aside, tables emptied.
    #[arg(long)]
    force: bool,
    /// Keep this installation's embedded log and read it again from the backup's offsets: nothing accepted is lost.
    #[arg(long)]
    keep_log: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to delete.
#[derive(Debug, Args)]
pub struct Prune {
    #[command(flatten)]
    place: Place,
    /// Only say what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Backup {
    /// Does what was asked.
    ///
    /// # Errors
    /// If a store, the log or the target is away, or the backup can't be used.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let config = config.load()?.config;
        runtime()?.block_on(async {
            match self {
                Self::Create(command) => command.execute(&config).await,
                Self::Ls(command) => command.execute(&config).await,
                Self::Verify(command) => command.execute(&config).await,
                Self::Restore(command) => command.execute(&config).await,
                Self::Prune(command) => command.execute(&config).await,
            }
        })
    }
}

impl Place {
    fn open(&self, config: &Config, access: Access) -> anyhow::Result<Target> {
        let location = self.target.as_deref().unwrap_or(&config.backup.target);
        if location.is_empty() {
            return Err(UsageError("name a directory or URL, or set backup.target".to_owned()).into());
        }
        Target::open(location, &config.backup, access).map_err(in_words)
    }
}

impl Create {
    async fn execute(&self, config: &Config) -> anyhow::Result<Exit> {
        let target = self.place.open(config, Access::Write)?;
        let manifest = create::create(config, &target, &teller(self.json)).await.map_err(in_words)?;
        let gone = if self.prune { prune(config, &target, false).await? } else { Vec::new() };
        let drift = manifest.figures.drift();
        if self.json {
            output::json(&json!({ "manifest": manifest, "drift": drift, "deleted": gone }))?;
        } else {
            output::line(&manifest.id)?;
            output::note(format_args!(
                "{} documents, {} files, {} bytes in {}; a restore reads {} records again",
                manifest.figures.store.documents,
                manifest.files.len(),
                manifest.bytes(),
                target.shown(),
                manifest.figures.to_replay()
            ));
            drift.iter().for_each(|difference| output::note(format_args!("drift: {difference}")));
            gone.iter().for_each(|id| output::note(format_args!("deleted {id}")));
        }
        Ok(Exit::Done)
    }
}

impl Ls {
    async fn execute(&self, config: &Config) -> anyhow::Result<Exit> {
        let target = self.place.open(config, Access::Read)?;
        let mut backups = target.list().await.map_err(in_words)?;
        backups.reverse();
        if self.json {
            let items: Vec<_> = backups.iter().map(shown).collect();
            output::json(&json!({ "items": items }))?;
        } else if backups.is_empty() {
            output::note("no backups");
        } else {
            let state = |complete| if complete { "complete" } else { "torn or under way" }.to_owned();
            let rows: Vec<Vec<String>> = backups
                .iter()
                .map(|it| vec![it.id.clone(), it.at.to_rfc3339(), it.bytes.to_string(), state(it.complete)])
                .collect();
            output::line(output::table(&["id", "begun", "bytes", "state"], &rows))?;
        }
        Ok(Exit::Done)
    }
}

fn shown(backup: &Listed) -> serde_json::Value {
    json!({ "id": backup.id, "at": backup.at, "bytes": backup.bytes, "complete": backup.complete })
}

impl Verify {
    async fn execute(&self, config: &Config) -> anyhow::Result<Exit> {
        let verified = if self.stores {
            verify::stores(config).await.map_err(in_words)?
        } else {
            let target = self.place.open(config, Access::Read)?;
            let id = chosen(&target, self.id.as_deref()).await?;
            let scratch = std::env::temp_dir();
            verify::verify(&target, &id, &scratch, &teller(self.json)).await.map_err(in_words)?
        };
        if self.json {
            output::json(&verified)?;
        } else {
            tell(&verified)?;
        }
        Ok(if verified.drift.is_empty() { Exit::Done } else { Exit::Failed })
    }
}

fn tell(verified: &Verified) -> anyhow::Result<()> {
    if let Some(id) = &verified.id {
        output::line(format_args!("{id}: {} files, {} bytes, checksums are right", verified.files, verified.bytes))?;
    }
    let store = &verified.figures.store;
    let rows: Vec<Vec<String>> = [
        ("documents", store.documents),
        ("stored", store.stored),
        ("duplicates", store.duplicates),
        ("vectors", store.vectors),
        ("deliveries", store.deliveries),
        ("dead letters", store.dead_letters),
        ("records to read again", verified.figures.to_replay()),
    ]
    .into_iter()
    .map(|(name, count)| vec![name.to_owned(), count.to_string()])
    .collect();
    output::line(output::table(&["what", "count"], &rows))?;
    if verified.drift.is_empty() {
        output::line("no drift")?;
    }
    for difference in &verified.drift {
        output::line(format_args!("drift: {difference}"))?;
    }
    Ok(())
}

impl Restore {
    async fn execute(&self, config: &Config) -> anyhow::Result<Exit> {
        let target = self.place.open(config, Access::Read)?;
        let id = chosen(&target, self.id.as_deref()).await?;
        let _held = lock_data_dir(&config.daemon.data_dir)
            .map_err(|error| UnavailableError(format!("{error}: stop the daemon first")))?;
        let options = restore::Options { force: self.force, keep_log: self.keep_log };
        let done = restore::restore(config, &target, &id, options, &teller(self.json)).await.map_err(in_words)?;
        if self.json {
            output::json(&done)?;
            return Ok(Exit::Done);
        }
        output::line(format_args!("restored {id}; the daemon reads {} records again when it starts", done.to_replay))?;
        if let Some(aside) = &done.replaced {
            output::note(format_args!("what was there is in {}", aside.display()));
        }
        Ok(Exit::Done)
    }
}

impl Prune {
    async fn execute(&self, config: &Config) -> anyhow::Result<Exit> {
        let target = self.place.open(config, Access::Read)?;
        let gone = prune(config, &target, self.dry_run).await?;
        if self.json {
            output::json(&json!({ "deleted": gone, "dry_run": self.dry_run }))?;
        } else {
            let done = if self.dry_run { "would delete" } else { "deleted" };
            for id in &gone {
                output::line(format_args!("{done} {id}"))?;
            }
        }
        Ok(Exit::Done)
    }
}

async fn prune(config: &Config, target: &Target, dry_run: bool) -> anyhow::Result<Vec<String>> {
    let gone = expired(&target.list().await.map_err(in_words)?, config.backup.keep(), Utc::now());
    if !dry_run {
        for id in &gone {
            target.delete(id).await.map_err(in_words)?;
        }
    }
    Ok(gone)
}

async fn chosen(target: &Target, id: Option<&str>) -> anyhow::Result<String> {
    match id {
        Some(id) => Ok(id.to_owned()),
        None => target.newest().await.map_err(in_words),
    }
}

/// Tells a person at a terminal how far it is.
fn teller(quiet: bool) -> impl Fn(f64, String) + Send + Sync {
    let told = !quiet && std::io::stderr().is_terminal();
    move |share: f64, message: String| {
        if told {
            output::note(format_args!("{:3.0} %  {message}", share * 100.0));
        }
    }
}

/// The error with the exit code that fits it.
fn in_words(error: BackupError) -> anyhow::Error {
    match error {
        BackupError::Setting(_) => SettingError(error.to_string()).into(),
        BackupError::Unavailable(_) | BackupError::File { .. } => UnavailableError(error.to_string()).into(),
        BackupError::Damaged { .. } | BackupError::NotFound(_) | BackupError::Refused(_) => error.into(),
    }
}
