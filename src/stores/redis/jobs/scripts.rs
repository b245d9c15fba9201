//! The scripts, each with what all of them share in front.

use std::sync::Arc;

use redis::Script;

use crate::messages::job::MAX_ERRORS;
use crate::stores::jobs::{CALLED_OFF, EXPIRED};

const COMMON: &str = include_str!("common.lua");

/// What a script may do.
#[derive(Clone, Copy)]
enum Flags {
    /// Refused as a whole when the server has no memory left.
    Adds,
    /// Runs even then: it makes room, or takes next to none.
    Moves,
    /// Changes nothing.
    Reads,
}

/// All of them.
pub(super) struct Scripts {
    pub(super) enqueue: Arc<Script>,
    pub(super) claim: Arc<Script>,
    pub(super) beat: Arc<Script>,
    pub(super) finish: Arc<Script>,
    pub(super) cancel: Arc<Script>,
    pub(super) replay: Arc<Script>,
    pub(super) sweep: Arc<Script>,
    pub(super) list: Arc<Script>,
    pub(super) depths: Arc<Script>,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            enqueue: script(Flags::Adds, include_str!("enqueue.lua")),
            claim: script(Flags::Moves, include_str!("claim.lua")),
            beat: script(Flags::Moves, include_str!("beat.lua")),
            finish: script(Flags::Moves, include_str!("finish.lua")),
            cancel: script(Flags::Moves, include_str!("cancel.lua")),
            replay: script(Flags::Adds, include_str!("replay.lua")),
            sweep: script(Flags::Moves, include_str!("sweep.lua")),
            list: script(Flags::Reads, include_str!("list.lua")),
            depths: script(Flags::Reads, include_str!("depths.lua")),
        }
    }
}

fn script(flags: Flags, body: &str) -> Arc<Script> {
    let first = match flags {
        Flags::Adds => "#!lua",
        Flags::Moves => "#!lua flags=allow-oom",
        Flags::Reads => "#!lua flags=no-writes",
    };
    let common = COMMON
        .replace("@MAX_ERRORS@", &MAX_ERRORS.to_string())
        .replace("@EXPIRED@", EXPIRED)
        .replace("@CALLED_OFF@", CALLED_OFF);
    Arc::new(Script::new(&format!("{first}\n{common}{body}")))
}
