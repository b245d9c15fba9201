//! A message in a mailbox, with the story of its attempts.

use tokio::time::Instant;

use super::fault::Death;
use crate::messages::code::ErrorCode;

/// Lines of history kept of the first attempts; of later ones only the newest are.
const HISTORY_HEAD: usize = 8;
/// Lines of history kept in all.
const HISTORY_LINES: usize = 32;

/// A message and when it was sent.
pub(super) struct Envelope<M> {
    pub message: M,
    pub sent: Instant,
    /// Only of messages that were tried before, so that the common ones stay small.
    pub trail: Option<Box<Trail>>,
}

/// What happened to a message that was tried.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// How often it was tried.
    pub attempts: u32,
    /// How many of these ended in a crash.
    pub crashes: u32,
    /// Messages of the same non-zero group are tried together, and with no others.
    pub group: u64,
    /// One line per attempt.
    history: Vec<String>,
    /// Set when it is to be dead-lettered.
    pub doom: Option<Doom>,
}

/// Why a message is given up.
#[derive(Debug, Clone)]
pub(super) struct Doom {
    pub code: ErrorCode,
    pub reason: String,
    /// How often handing it to the dead-letter hook crashed.
    pub crashes: u32,
}

impl<M> Envelope<M> {
    pub fn new(message: M, sent: Instant) -> Self {
        Self { message, sent, trail: None }
    }

    /// The group it must be tried with; 0 if it may be tried with any other of group 0.
    pub fn group(&self) -> u64 {
        self.trail.as_ref().map_or(0, |trail| trail.group)
    }

    pub fn is_doomed(&self) -> bool {
        self.trail.as_ref().is_some_and(|trail| trail.doom.is_some())
    }

    /// Notes a failed attempt.
    pub fn tried(&mut self, what: &str) -> &mut Trail {
        let trail = self.trail.get_or_insert_default();
        trail.attempts = trail.attempts.saturating_add(1);
        if trail.history.len() == HISTORY_LINES {
            trail.history.remove(HISTORY_HEAD);
        }
        trail.history.push(format!("attempt {}: {what}", trail.attempts));
        trail
    }

    /// What the dead-letter hook is told, if it is doomed.
    pub fn death(&self, stage: &std::sync::Arc<str>) -> Option<Death> {
        let trail = self.trail.as_ref()?;
        let doom = trail.doom.as_ref()?;
        Some(Death {
            stage: stage.clone(),
            code: doom.code,
            reason: doom.reason.clone(),
            attempts: trail.attempts,
            history: trail.history.clone(),
        })
    }
}
