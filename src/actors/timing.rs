//! Stage timings: how long a document took to get through each stage, waiting included.

use std::time::Instant;

use crate::messages::delivery::Delivery;
use crate::messages::pipeline::{Stage, Timings};

/// Adds the time since the last stamp, so that the timings sum to the time since the source handed the record out. `now`
/// is the same for a whole batch, whose messages go on together.
pub fn stamp(timings: &mut Timings, stage: Stage, delivery: &Delivery, now: Instant) {
    timings.stamp(stage, now.saturating_duration_since(delivery.received()).as_secs_f32() * 1e3);
}
