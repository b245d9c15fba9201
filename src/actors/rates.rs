//! Rates and utilisation of the actors: the change of their counters since an earlier look.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Looks closer together than this share one earlier look, so that two watchers do not spoil each other's rates.
const SHORTEST: Duration = Duration::from_secs(1);

/// Counters of one actor at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    received: f64,
    done: f64,
    busy: f64,
    backpressure: f64,
}

/// Remembers the last looks.
#[derive(Default)]
pub struct Rates {
    /// Per actor the look before the last, and the last.
    samples: Mutex<HashMap<String, (Sample, Sample)>>,
}

impl Rates {
    /// Adds to every actor in the snapshot of a tree: `restarts.total`, `utilisation_ratio` (share of the time at work),
    /// `backpressure_ratio` (share of the time waiting for room downstream), `received_per_second` and
    /// `done_per_second`, all since an earlier look at least a second ago; 0 at the first.
    pub fn add_to(&self, snapshot: &mut Value, now: Instant) {
        if let Some(children) = snapshot["children"].as_array_mut() {
            for child in children {
                self.add_to(child, now);
            }
        } else if snapshot["busy_seconds"].is_number() {
            self.add_to_actor(snapshot, now);
        }
    }

    fn add_to_actor(&self, actor: &mut Value, now: Instant) {
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let messages = &actor["mailbox"]["messages"];
        let sample = Sample {
            at: now,
            received: number(&messages["received"]),
            done: number(&messages["done"]),
            busy: number(&actor["busy_seconds"]),
            backpressure: number(&actor["backpressure_seconds"]),
        };
        let name = actor["name"].as_str().unwrap_or_default().to_owned();
        let earlier = self.earlier(name, sample);
        let elapsed = now.duration_since(earlier.at).as_secs_f64();
        let per_second = |new: f64, old: f64| if elapsed > 0.0 { (new - old).max(0.0) / elapsed } else { 0.0 };
        let workers =
            actor["workers"].as_array().map_or(1.0, |workers| f64::from(u32::try_from(workers.len()).unwrap_or(1)));
        let total: u64 = actor["restarts"].as_object().map_or(0, |by| by.values().filter_map(Value::as_u64).sum());
        actor["restarts"]["total"] = json!(total);
        actor["utilisation_ratio"] = json!((per_second(sample.busy, earlier.busy) / workers.max(1.0)).min(1.0));
        actor["backpressure_ratio"] =
            json!((per_second(sample.backpressure, earlier.backpressure) / workers.max(1.0)).min(1.0));
        actor["received_per_second"] = json!(per_second(sample.received, earlier.received));
        actor["done_per_second"] = json!(per_second(sample.done, earlier.done));
    }

    /// The look to compare with, at least [`SHORTEST`] ago where there is one; keeps this one.
    fn earlier(&self, name: String, sample: Sample) -> Sample {
        let mut samples = self.samples.lock();
        let (before, last) = samples.entry(name).or_insert((sample, sample));
        if sample.at.duration_since(last.at) >= SHORTEST {
            (*before, *last) = (*last, sample);
        }
        *before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(done: u64, busy: f64) -> Value {
        json!({ "name": "root", "children": [{
            "name": "embedder", "busy_seconds": busy, "backpressure_seconds": 0.0, "workers": [{}],
            "restarts": { "panicked": 2, "killed": 1 }, "mailbox": { "messages": { "received": done, "done": done } },
        }] })
    }

    #[test]
    fn rates_are_the_change_since_an_earlier_look() {
        let (rates, start) = (Rates::default(), Instant::now());
        let mut first = tree(10, 1.0);
        rates.add_to(&mut first, start);
        assert_eq!(first["children"][0]["done_per_second"], 0.0);
        assert_eq!(first["children"][0]["restarts"]["total"], 3);
        let mut second = tree(30, 2.0);
        rates.add_to(&mut second, start + Duration::from_secs(2));
        assert_eq!(second["children"][0]["done_per_second"], 10.0);
        assert_eq!(second["children"][0]["utilisation_ratio"], 0.5);
    }

    #[test]
    fn a_second_watcher_does_not_spoil_the_rates() {
        let (rates, start) = (Rates::default(), Instant::now());
        rates.add_to(&mut tree(0, 0.0), start);
        rates.add_to(&mut tree(20, 0.0), start + Duration::from_secs(2));
        let mut soon = tree(20, 0.0);
        rates.add_to(&mut soon, start + Duration::from_millis(2_001));
        let rate = soon["children"][0]["done_per_second"].as_f64().unwrap_or_default();
        assert!((rate - 10.0).abs() < 0.1, "{rate}");
    }
}
