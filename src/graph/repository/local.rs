//! Repositories on this machine: their objects are read in place, nothing is copied.

use std::path::Path;

use git2::{ErrorCode, Oid, Repository};

use super::checkout::open;
use super::error::RepositoryError;
use super::source::Source;

/// The commit at the tip of the branch asked for, or of `HEAD`.
pub(super) fn tip(path: &Path, source: &Source) -> Result<(Repository, Oid, Option<String>), RepositoryError> {
    let url = || source.url.clone();
    if !path.is_dir() {
        return Err(RepositoryError::NotFound { url: url(), reason: "no such folder".to_owned() });
    }
    let repository = open(path).map_err(|error| {
        let reason = match error {
            RepositoryError::Damaged(said) => said,
            other => other.to_string(),
        };
        RepositoryError::NotFound { url: url(), reason }
    })?;
    let reference = match &source.branch {
        Some(branch) => repository.find_reference(&format!("refs/heads/{branch}")),
        None => repository.head(),
    };
    let found = reference.and_then(|reference| {
        let branch = reference.shorthand().ok().filter(|_| reference.is_branch()).map(str::to_owned);
        Ok((reference.peel_to_commit()?.id(), branch))
    });
    match (found, &source.branch) {
        (Ok((commit, branch)), _) => Ok((repository, commit, branch)),
        (Err(error), Some(branch)) if error.code() == ErrorCode::NotFound => {
            Err(RepositoryError::NoBranch { url: url(), branch: branch.clone() })
        }
        (Err(error), None) if matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => {
            Err(RepositoryError::Empty { url: url() })
        }
        (Err(error), _) => Err(RepositoryError::Damaged(error.message().to_owned())),
    }
}
