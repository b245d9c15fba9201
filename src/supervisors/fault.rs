//! What can go wrong in a child, how it ended, and what is told of a message that was given up.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;

use crate::messages::code::ErrorCode;

/// Why a handler could not finish its batch. The variant decides what becomes of messages and actor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A message can never succeed: the batch is bisected, the culprit is dead-lettered, the actor lives on.
    #[error("rejected ({code}): {reason}")]
    Reject {
        /// Stable code for the dead letter.
        code: ErrorCode,
        /// In words.
        reason: String,
    },
    /// A dependency is away: the unfinished messages are tried again, with backoff, and never dead-lettered.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// Which dependency, and what it said.
        reason: String,
    },
    /// The actor's own state is broken: it is restarted, the messages are kept and tried again.
    #[error("broken: {reason}")]
    Broken {
        /// In words.
        reason: String,
    },
    /// A mailbox this actor sends to is closed for good: the actor exits, its messages are kept.
    #[error("mailbox {mailbox} is closed")]
    DownstreamClosed {
        /// Name of the closed mailbox.
        mailbox: String,
    },
}

impl Fault {
    /// A message that can never succeed.
    pub fn reject(code: ErrorCode, reason: impl Into<String>) -> Self {
        Self::Reject { code, reason: reason.into() }
    }

    /// A dependency that is away.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into() }
    }

    /// Broken state.
    pub fn broken(reason: impl Into<String>) -> Self {
        Self::Broken { reason: reason.into() }
    }
}

/// How an incarnation ended. Kept apart in types, logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// It was done, or was stopped in order.
    Completed,
    /// It returned a fault.
    Failed,
    /// It panicked.
    Panicked,
    /// It made no progress and was replaced.
    Unresponsive,
    /// An operator restarted it.
    Killed,
    /// It could not send on, as the receiver had stopped for good.
    DownstreamClosed,
}

impl ExitReason {
    /// Every reason, in the order of the metrics.
    pub const ALL: [Self; 6] =
        [Self::Completed, Self::Failed, Self::Panicked, Self::Unresponsive, Self::Killed, Self::DownstreamClosed];

    /// The label value in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Unresponsive => "unresponsive",
            Self::Killed => "killed",
            Self::DownstreamClosed => "downstream_closed",
        }
    }

    /// Its place in [`ExitReason::ALL`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Completed => 0,
            Self::Failed => 1,
            Self::Panicked => 2,
            Self::Unresponsive => 3,
            Self::Killed => 4,
            Self::DownstreamClosed => 5,
        }
    }
}

impl std::fmt::Display for ExitReason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The end of one incarnation, in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exit {
    /// Which kind of end.
    pub reason: ExitReason,
    /// In words: the panic's text, the fault, or what the heartbeat missed.
    pub detail: Arc<str>,
    /// Code under which the messages in flight are blamed; `None` if they are not at fault.
    #[serde(skip)]
    pub(super) blames: Option<ErrorCode>,
}

impl Exit {
    pub(super) fn new(reason: ExitReason, detail: impl Into<Arc<str>>) -> Self {
        let blames = match reason {
            ExitReason::Panicked => Some(ErrorCode::Panicked),
            ExitReason::Unresponsive => Some(ErrorCode::Unresponsive),
            ExitReason::Completed | ExitReason::Failed | ExitReason::Killed | ExitReason::DownstreamClosed => None,
        };
        Self { reason, detail: detail.into(), blames }
    }

    pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        Self::new(ExitReason::Panicked, panic_text(payload))
    }

    /// The exit that a fault leads to when it ends the incarnation.
    pub(super) fn of_fault(fault: &Fault) -> Self {
        let reason = match fault {
            Fault::DownstreamClosed { .. } => ExitReason::DownstreamClosed,
            Fault::Reject { .. } | Fault::Unavailable { .. } | Fault::Broken { .. } => ExitReason::Failed,
        };
        let mut exit = Self::new(reason, fault.to_string());
        if matches!(fault, Fault::Broken { .. }) {
            exit.blames = Some(ErrorCode::RetriesExhausted);
        }
        exit
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.detail)
    }
}

/// What is known of a message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Name of the actor that gave up.
    pub stage: Arc<str>,
    /// Why, as a stable code.
    pub code: ErrorCode,
    /// Why, in words.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// One line per attempt, oldest first.
    pub history: Vec<String>,
}

/// The text of a panic. The payload's own drop may panic too, which is swallowed.
pub(super) fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned());
    quietly(|| drop(payload));
    text
}

/// Runs `action`; a panic in it goes no further. Returns whether it ended without one.
pub(super) fn quietly(action: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(action)) {
        Ok(()) => true,
        Err(payload) => {
            // A payload whose drop panics would start over: leak it, once per such panic.
            std::mem::forget(payload);
            false
        }
    }
}
