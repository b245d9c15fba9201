//! Why a repository could not be read.

use std::path::{Path, PathBuf};

use super::source::SourceError;

/// Why a repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Its address is not allowed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The name of its host leads to no address.
    #[error("host {host} cannot be resolved: {reason}")]
    Unresolvable {
        /// Name asked for.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// The name of its host leads to an address that is not public.
    #[error("host {host} has the address {address}, which is not public")]
    PrivateAddress {
        /// Name asked for.
        host: String,
        /// What it led to.
        address: String,
    },
    /// The host does not answer, or breaks off.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// Address of the repository.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// There is no such repository, or it is not open to us; hosts do not tell one from the other.
    #[error("{url} does not exist or is private: {reason}")]
    NotFound {
        /// Address of the repository.
        url: String,
        /// What the host said.
        reason: String,
    },
    /// It has no commit.
    #[error("{url} has no commit")]
    Empty {
        /// Address of the repository.
        url: String,
    },
    /// It has no such branch.
    #[error("{url} has no branch {branch:?}")]
    NoBranch {
        /// Address of the repository.
        url: String,
        /// Branch asked for.
        branch: String,
    },
    /// It costs more than is allowed.
    #[error("repository has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// It took longer than is allowed.
    #[error("repository is not read within {seconds} s")]
    TimedOut {
        /// How long it may take.
        seconds: u64,
    },
    /// The observer said to stop.
    #[error("reading was told to stop")]
    Cancelled,
    /// Its objects are damaged or missing.
    #[error("objects of the repository are damaged: {0}")]
    Damaged(String),
    /// A folder of ours cannot be used.
    #[error("{}: {source}", path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl RepositoryError {
    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unresolvable { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Folder { .. } => true,
            Self::Source(_)
            | Self::PrivateAddress { .. }
            | Self::NotFound { .. }
            | Self::Empty { .. }
            | Self::NoBranch { .. }
            | Self::TooLarge { .. }
            | Self::Cancelled
            | Self::Damaged(_) => false,
        }
    }

    /// For use with `map_err`.
    pub(super) fn folder(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Folder { path, source }
    }
}
