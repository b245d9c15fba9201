//! What `top` shows: two scrapes as rates.

use serde::Serialize;
use serde_json::Value;

use super::super::output;
use super::samples::Samples;

/// One actor's line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ActorLine {
    actor: String,
    state: String,
    depth: f64,
    capacity: f64,
    in_per_second: f64,
    out_per_second: f64,
    busy_ratio: f64,
    backpressure_ratio: f64,
    restarts: f64,
}

/// The whole view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct View {
    stored_per_second: f64,
    duplicates_per_second: f64,
    documents: f64,
    dead_letters: f64,
    lag: f64,
    paused_partitions: f64,
    actors: Vec<ActorLine>,
}

impl View {
    /// What happened between two scrapes.
    pub(super) fn between(before: &Samples, now: &Samples, seconds: f64, states: &Value) -> Self {
        let rate = |name: &str, labels: &[(&str, &str)]| {
            // A restarted daemon counts from zero again.
            let grown = now.sum(name, labels) - before.sum(name, labels);
            if grown >= 0.0 { grown / seconds } else { now.sum(name, labels) / seconds }
        };
        let line = |actor: String| {
            let labels = [("actor", actor.as_str())];
            ActorLine {
                state: state_of(states, &actor).unwrap_or_else(|| "-".to_owned()),
                depth: now.sum("tidemill_actor_mailbox_depth", &labels),
                capacity: now.sum("tidemill_actor_mailbox_capacity", &labels),
                in_per_second: rate("tidemill_actor_messages_received_total", &labels),
                out_per_second: rate("tidemill_actor_messages_processed_total", &labels),
                busy_ratio: rate("tidemill_actor_busy_seconds_total", &labels),
                backpressure_ratio: rate("tidemill_actor_backpressure_seconds_total", &labels),
                restarts: now.sum("tidemill_actor_restarts_total", &labels),
                actor,
            }
        };
        Self {
            stored_per_second: rate("tidemill_documents_total", &[("verdict", "stored")]),
            duplicates_per_second: rate("tidemill_documents_total", &[("verdict", "duplicate")]),
            documents: now.sum("tidemill_documents_total", &[]),
            dead_letters: now.sum("tidemill_dead_letters_total", &[]),
            lag: now.sum("tidemill_kafka_consumer_lag", &[]),
            paused_partitions: now.sum("tidemill_kafka_paused_partitions", &[]),
            actors: now.label_values("tidemill_actor_mailbox_capacity", "actor").into_iter().map(line).collect(),
        }
    }

    /// The view as text.
    pub(super) fn text(&self) -> String {
        let head = format!(
            "documents {:.0} · stored {:.1}/s · duplicates {:.1}/s · dead letters {:.0} · lag {:.0} · paused partitions {:.0}\n",
            self.documents,
            self.stored_per_second,
            self.duplicates_per_second,
            self.dead_letters,
            self.lag,
            self.paused_partitions,
        );
        let columns = ["actor", "state", "depth", "in/s", "out/s", "busy", "waiting", "restarts"];
        let rows: Vec<Vec<String>> = self.actors.iter().map(ActorLine::cells).collect();
        format!("{head}\n{}", output::table(&columns, &rows))
    }
}

impl ActorLine {
    fn cells(&self) -> Vec<String> {
        vec![
            output::clip(&self.actor, 40),
            output::clip(&self.state, 16),
            format!("{:.0}/{:.0}", self.depth, self.capacity),
            format!("{:.1}", self.in_per_second),
            format!("{:.1}", self.out_per_second),
            format!("{:.0} %", self.busy_ratio * 100.0),
            format!("{:.0} %", self.backpressure_ratio * 100.0),
            format!("{:.0}", self.restarts),
        ]
    }
}

/// The state of the object with this name, however deep in the tree it stands.
fn state_of(tree: &Value, name: &str) -> Option<String> {
    match tree {
        Value::Object(table) => {
            let own = table.get("name").and_then(Value::as_str) == Some(name);
            let state = table.get("state").and_then(Value::as_str).filter(|_| own);
            state.map(str::to_owned).or_else(|| table.values().find_map(|nested| state_of(nested, name)))
        }
        Value::Array(items) => items.iter().find_map(|nested| state_of(nested, name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rates_come_from_the_growth_of_counters() {
        let before = Samples::parse("tidemill_actor_messages_received_total{actor=\"e\"} 10\n");
        let now = Samples::parse(
            "tidemill_actor_messages_received_total{actor=\"e\"} 30\ntidemill_actor_mailbox_capacity{actor=\"e\"} 64\n\
             tidemill_actor_mailbox_depth{actor=\"e\"} 3\ntidemill_documents_total{source=\"news\",verdict=\"stored\"} 8\n",
        );
        let states = json!({ "children": [{ "name": "x", "children": [{ "name": "e", "state": "running" }] }] });
        let view = View::between(&before, &now, 2.0, &states);
        let cells = view.actors[0].cells();
        assert_eq!(cells, ["e", "running", "3/64", "10.0", "0.0", "0 %", "0 %", "0"]);
        assert!(view.text().starts_with("documents 8 · stored 4.0/s"), "{}", view.text());
    }

    #[test]
    fn counter_of_a_restarted_daemon_counts_from_zero() {
        let before = Samples::parse("tidemill_documents_total{verdict=\"stored\"} 100\n");
        let now = Samples::parse("tidemill_documents_total{verdict=\"stored\"} 6\n");
        assert!((View::between(&before, &now, 2.0, &Value::Null).stored_per_second - 3.0).abs() < 1e-9);
    }
}
