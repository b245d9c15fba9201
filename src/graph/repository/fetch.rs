//! From an address to a commit whose files can be read.

use std::sync::OnceLock;

use git2::{ConfigLevel, Oid, Repository};

use super::checkout::{Checkout, open};
use super::error::RepositoryError;
use super::kept::{self, Objects};
use super::limits::{Limits, Places};
use super::source::{Location, Source};
use super::{local, remote, tree};
use crate::graph::reading::Observer;

/// Gets the newest commit of a repository: a clone of that one commit, or the difference to what is kept of it.
/// Repositories on this machine are read in place. Blocks; to be called on a thread that may.
///
/// # Errors
/// If the repository cannot be reached, has no commit, costs more than the limits, or the observer says stop. Nothing
/// is left in the temporary folder.
pub fn fetch(
    source: &Source,
    limits: &Limits,
    places: &Places,
    observer: Observer<'_>,
) -> Result<Checkout, RepositoryError> {
    prepare()?;
    let (repository, commit, branch, objects, received_bytes) = match &source.location {
        Location::Folder(path) => {
            let (repository, commit, branch) = local::tip(path, source)?;
            (repository, commit, branch, None, 0)
        }
        Location::Http | Location::Ssh { .. } => {
            let objects = Objects::take(places, &source.url)?;
            let tip = from_host(source, limits, &objects, observer)?;
            (open(&objects.database())?, tip.commit, tip.branch, Some(objects), tip.received_bytes)
        }
    };
    let listing = tree::list(&repository, root(&repository, commit)?, limits, observer)?;
    Ok(Checkout {
        url: source.url.clone(),
        commit,
        branch,
        files: listing.files,
        skipped: listing.skipped,
        received_bytes,
        database: repository.path().to_owned(),
        imports: kept::home(places, &source.url, "imports"),
        max_kept_bytes: places.max_kept_bytes,
        import_path: source.import_path(),
        _objects: objects,
    })
}

/// Fetches into what is kept; if that fails for a reason of its own, clones afresh.
fn from_host(
    source: &Source,
    limits: &Limits,
    objects: &Objects,
    observer: Observer<'_>,
) -> Result<remote::Tip, RepositoryError> {
    if objects.is_used() {
        let fetched = remote::fetch(source, limits, &objects.database(), observer);
        let fetched = fetched.and_then(|tip| {
            let repository = open(&objects.database())?;
            root(&repository, tip.commit).map(|_| tip)
        });
        match fetched {
            Err(RepositoryError::Damaged(error)) => {
                tracing::debug!(url = %source, error, "kept objects are of no use");
                objects.clear()?;
            }
            other => return other,
        }
    }
    let fetched = remote::fetch(source, limits, &objects.database(), observer);
    if fetched.is_err() {
        objects.clear()?;
    }
    fetched
}

fn root(repository: &Repository, commit: Oid) -> Result<Oid, RepositoryError> {
    let tree = repository.find_commit(commit).and_then(|commit| commit.tree());
    tree.map(|tree| tree.id()).map_err(|error| RepositoryError::Damaged(error.message().to_owned()))
}

/// Sets what libgit2 keeps for the whole process; once.
fn prepare() -> Result<(), RepositoryError> {
    static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();
    PREPARED
        .get_or_init(|| settings().map_err(|error| error.message().to_owned()))
        .clone()
        .map_err(RepositoryError::Damaged)
}

fn settings() -> Result<(), git2::Error> {
    // SAFETY: libgit2 asks that its options are not set from two threads at once; `prepare` runs this once, and nothing
    // else in this crate sets them. Every use of libgit2 in this crate comes after it.
    unsafe {
        // configuration of the machine's user could send addresses elsewhere (`url.….insteadOf`)
        for level in [ConfigLevel::System, ConfigLevel::XDG, ConfigLevel::Global, ConfigLevel::ProgramData] {
            git2::opts::set_search_path(level, "")?;
        }
        // guards against commands in other people's configuration; only objects are read here, no command ever runs
        git2::opts::set_verify_owner_validation(false)?;
        git2::opts::set_server_connect_timeout_in_milliseconds(10_000)?;
        git2::opts::set_server_timeout_in_milliseconds(30_000)?;
    }
    super::transport::register()
}
