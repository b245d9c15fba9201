//! Stage timings: how long a document took to get through each stage, waiting included.

use crate::messages::delivery::Delivery;
use crate::messages::pipeline::Timings;

/// Adds the time since the last stamp, so that the timings sum to the time since the source handed the record out.
pub fn stamp(timings: &mut Timings, stage: &'static str, delivery: &Delivery) {
    let total = delivery.received().elapsed().as_secs_f32() * 1e3;
    let before: f32 = timings.iter().map(|(_, elapsed)| elapsed).sum();
    timings.push((stage, (total - before).max(0.0)));
}
