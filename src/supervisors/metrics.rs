//! The runtime's metrics in Prometheus text format. They are kept in plain atomics, as a message costs less than a
//! look-up in a recorder.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::child::Child;
use super::fault::ExitReason;
use super::status::{in_flight_age, times};
use super::supervisor::{NodeCore, SupervisorCore};
use super::tree::Tree;

/// Writes one metric's help and type.
fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label value as Prometheus wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Tree {
    /// Appends the metrics of all children and supervisors.
    pub fn render_prometheus(&self, out: &mut String) {
        let children: Vec<(String, Arc<Child>)> =
            self.all_children().into_iter().map(|(_, child)| (escape(&child.name), child)).collect();
        messages(out, &children);
        mailboxes(out, &children);
        durations(out, &children);
        head(out, "tidemill_actor_restarts_total", "counter", "Restarts by the reason of the exit before");
        for (name, child) in &children {
            for reason in ExitReason::ALL {
                let count = child.metrics.restarts[reason.index()].load(Ordering::Relaxed);
                let _ = writeln!(out, "tidemill_actor_restarts_total{{actor=\"{name}\",reason=\"{reason}\"}} {count}");
            }
        }
        head(out, "tidemill_actor_hung_threads", "gauge", "Threads that hang and were replaced");
        let _ = writeln!(out, "tidemill_actor_hung_threads {}", self.hung_threads());
        head(out, "tidemill_supervisor_escalations_total", "counter", "How often a supervisor gave up");
        escalations(out, self.root());
    }
}

fn messages(out: &mut String, children: &[(String, Arc<Child>)]) {
    head(out, "tidemill_actor_messages_received_total", "counter", "Messages accepted into the mailbox");
    for (name, child) in children {
        if let Some(port) = &child.port {
            let received = port.counts().received;
            let _ = writeln!(out, "tidemill_actor_messages_received_total{{actor=\"{name}\"}} {received}");
        }
    }
    head(
        out,
        "tidemill_actor_messages_processed_total",
        "counter",
        "Messages that left the mailbox by outcome; received less processed is the depth",
    );
    for (name, child) in children {
        if let Some(port) = &child.port {
            let counts = port.counts();
            for (outcome, count) in [("done", counts.done), ("dead", counts.dead), ("dropped", counts.dropped)] {
                let _ = writeln!(
                    out,
                    "tidemill_actor_messages_processed_total{{actor=\"{name}\",outcome=\"{outcome}\"}} {count}"
                );
            }
        }
    }
}

fn mailboxes(out: &mut String, children: &[(String, Arc<Child>)]) {
    let now = Instant::now();
    head(out, "tidemill_actor_mailbox_depth", "gauge", "Messages queued and in flight");
    for (name, child) in children {
        if let Some(port) = &child.port {
            let _ = writeln!(out, "tidemill_actor_mailbox_depth{{actor=\"{name}\"}} {}", port.level().0);
        }
    }
    head(out, "tidemill_actor_mailbox_capacity", "gauge", "Most messages queued and in flight");
    for (name, child) in children {
        if let Some(port) = &child.port {
            let _ = writeln!(out, "tidemill_actor_mailbox_capacity{{actor=\"{name}\"}} {}", port.level().1);
        }
    }
    head(out, "tidemill_actor_in_flight_age_seconds", "gauge", "Age of the oldest batch in flight, 0 if there is none");
    for (name, child) in children.iter().filter(|(_, child)| child.port.is_some()) {
        let age = in_flight_age(child, now).unwrap_or_default().as_secs_f64();
        let _ = writeln!(out, "tidemill_actor_in_flight_age_seconds{{actor=\"{name}\"}} {age}");
    }
}

fn durations(out: &mut String, children: &[(String, Arc<Child>)]) {
    head(out, "tidemill_actor_wait_seconds", "histogram", "Time of messages from being sent to their first attempt");
    for (name, child) in children {
        if let Some(port) = &child.port {
            port.wait_histogram().render(out, "tidemill_actor_wait_seconds", name);
        }
    }
    head(out, "tidemill_actor_processing_seconds", "histogram", "Time of handler calls, one per batch");
    for (name, child) in children {
        if child.port.is_some() {
            child.metrics.processing.render(out, "tidemill_actor_processing_seconds", name);
        }
    }
    let names = [
        ("tidemill_actor_busy_seconds_total", "Time at work"),
        ("tidemill_actor_idle_seconds_total", "Time spent waiting for messages"),
        ("tidemill_actor_backpressure_seconds_total", "Time spent waiting for room in others' mailboxes"),
    ];
    for (index, (metric, help)) in names.into_iter().enumerate() {
        head(out, metric, "counter", help);
        for (name, child) in children.iter().filter(|(_, child)| child.port.is_some()) {
            let times = times(child);
            let value = [times.busy, times.idle, times.back_pressure][index].as_secs_f64();
            let _ = writeln!(out, "{metric}{{actor=\"{name}\"}} {value}");
        }
    }
}

fn escalations(out: &mut String, core: &SupervisorCore) {
    let (name, count) = (escape(&core.name), core.escalations.load(Ordering::Relaxed));
    let _ = writeln!(out, "tidemill_supervisor_escalations_total{{supervisor=\"{name}\"}} {count}");
    for node in &core.nodes {
        if let NodeCore::Supervisor(core) = node {
            escalations(out, core);
        }
    }
}
