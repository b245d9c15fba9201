//! Exit codes.

use std::process::ExitCode;

use super::client::ClientError;
use crate::config::error::ConfigError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was told.
    Done,
    /// It failed.
    Failed,
    /// The command line made no sense.
    Usage,
    /// A service is unavailable (`EX_UNAVAILABLE` of sysexits).
    Unavailable,
    /// The configuration is wrong (`EX_CONFIG` of sysexits).
    Config,
}

/// The command line parsed, but makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A setting names what can't be used, such as a model that is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(pub String);

/// A service the command needs does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnavailableError(pub String);

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Config => 78,
        }
    }

    /// The exit that fits an error. A reader that went away (`| head`) is no error.
    #[must_use]
    pub fn of_error(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<ConfigError>().is_some() || error.downcast_ref::<SettingError>().is_some() {
            return Self::Config;
        }
        if error.downcast_ref::<UsageError>().is_some() {
            return Self::Usage;
        }
        if error.downcast_ref::<UnavailableError>().is_some() {
            return Self::Unavailable;
        }
        if error.downcast_ref::<ClientError>().is_some_and(ClientError::is_unavailable) {
            return Self::Unavailable;
        }
        let pipe = error.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == std::io::ErrorKind::BrokenPipe);
        if pipe { Self::Done } else { Self::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
