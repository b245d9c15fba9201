//! The restart policy as data that reads as a table.

use serde::Serialize;

use super::fault::ExitReason;

/// Which children are restarted when one has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the one that failed.
    #[default]
    OneForOne,
    /// All of the supervisor's children.
    OneForAll,
    /// The one that failed and those declared after it.
    RestForOne,
}

/// Whether a child is restarted when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartType {
    /// Always.
    #[default]
    Permanent,
    /// Only when it did not end in order.
    Transient,
    /// Never.
    Temporary,
}

/// Whether a child of this type is restarted after this end.
pub fn restarts(exit: ExitReason, restart: RestartType) -> bool {
    match restart {
        RestartType::Permanent => true,
        RestartType::Temporary => false,
        RestartType::Transient => match exit {
            // What it fed has stopped for good, so there is nothing left for it to do.
            ExitReason::Completed | ExitReason::DownstreamClosed => false,
            ExitReason::Failed | ExitReason::Panicked | ExitReason::Unresponsive | ExitReason::Killed => true,
        },
    }
}

/// Whether such an end speaks against the child, so that it counts towards its supervisor's intensity and is backed off.
pub fn counts(exit: ExitReason) -> bool {
    match exit {
        ExitReason::Killed => false,
        ExitReason::Completed
        | ExitReason::Failed
        | ExitReason::Panicked
        | ExitReason::Unresponsive
        | ExitReason::DownstreamClosed => true,
    }
}
