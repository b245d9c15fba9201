//! The daemon behind the HTTP API: state for those who look, actions for those who operate.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

use crate::config::reload::Trigger;
use crate::messages::record::{CORRELATION_HEADER, NewRecord};
use crate::stores::redis::Redis;
use crate::supervisors::ChildCommand;
use crate::web::state::{InjectedFault, OperationError, Operations, Readiness, TopologyFormat};

use super::housekeeper;
use super::rates::Rates;
use super::services::Services;

/// Header that names the dead letter a record was replayed from.
const REPLAY_HEADER: &str = "tm-replayed-from";

/// Answers for the running daemon.
pub struct DaemonOperations {
    services: Services,
    prometheus: PrometheusHandle,
    rates: Rates,
}

impl DaemonOperations {
    /// Over running services.
    #[must_use]
    pub fn new(services: Services, prometheus: PrometheusHandle) -> Self {
        Self { services, prometheus, rates: Rates::default() }
    }

    fn command(&self, name: &str, command: ChildCommand) -> Result<(), OperationError> {
        let tree =
            self.services.tree.get().ok_or_else(|| OperationError::Unavailable("the daemon starts".to_owned()))?;
        tree.command(name, command).map_err(|_| OperationError::NotFound(format!("actor {name}")))
    }
}

impl Operations for DaemonOperations {
    fn actors(&self) -> Value {
        let Some(tree) = self.services.tree.get() else { return Value::Null };
        let mut snapshot = json!(tree.snapshot());
        self.rates.add_to(&mut snapshot, Instant::now());
        snapshot
    }

    fn topology(&self, format: TopologyFormat) -> String {
        let Some(tree) = self.services.tree.get() else { return String::new() };
        let topology = tree.topology();
        match format {
            TopologyFormat::Json => json!(topology).to_string(),
            TopologyFormat::Mermaid => topology.to_mermaid(),
            TopologyFormat::Text => topology.to_text(),
        }
    }

    fn restart(&self, name: &str) -> Result<(), OperationError> {
        self.command(name, ChildCommand::Restart)
    }

    fn inject(&self, name: &str, fault: InjectedFault) -> Result<(), OperationError> {
        let command = match fault {
            InjectedFault::Panic => ChildCommand::Panic,
            InjectedFault::Hang { seconds } => ChildCommand::Hang(hang_time(seconds)),
            InjectedFault::HangAsync { .. } => ChildCommand::HangAsync,
            InjectedFault::Kill => ChildCommand::Restart,
        };
        self.command(name, command)
    }

    fn fail_store(&self, duration: Duration) {
        self.services.documents.fail_for(duration);
    }

    fn fail_log(&self, duration: Duration) {
        if let Some(log) = &self.services.log_faults {
            log.fail_for(duration);
        }
    }

    fn reload(&self) -> BoxFuture<'_, Result<Value, OperationError>> {
        Box::pin(async {
            let reloader = self.services.reloader.clone();
            let report = tokio::task::spawn_blocking(move || reloader.reload(Trigger::Api))
                .await
                .map_err(|error| OperationError::Unavailable(error.to_string()))?;
            if report.errors.is_empty() {
                return Ok(json!(report));
            }
            let errors: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
            Err(OperationError::Refused(errors.join("; ")))
        })
    }

    fn metrics_text(&self) -> String {
        let mut text = self.prometheus.render();
        if let Some(tree) = self.services.tree.get() {
            tree.render_prometheus(&mut text);
        }
        text
    }

    fn backlog(&self) -> u64 {
        self.services.backlog.load(Ordering::Relaxed)
    }

    fn measure_backlog(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(async {
            // a broker is asked now and then by the housekeeper, not by every request
            match self.services.log_faults {
                Some(_) => housekeeper::measure_lag(&self.services).await.ok(),
                None => Some(self.backlog()),
            }
        })
    }

    fn readiness(&self) -> Readiness {
        let dependencies = self.services.health.dependencies();
        let stopping = self.services.stopping.load(Ordering::Relaxed);
        let answered = !dependencies.is_empty() && dependencies.iter().all(|dependency| dependency.healthy);
        Readiness { ready: answered && !stopping && self.services.tree.get().is_some(), stopping, dependencies }
    }

    fn pool_status(&self) -> Option<Value> {
        Some(json!({ "pools": self.services.documents.pools() }))
    }

    fn replay_dead_letter<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, OperationError>> {
        Box::pin(async move {
            let away = |error: &dyn std::fmt::Display| OperationError::Unavailable(error.to_string());
            let letter = self.services.documents.dead_letter(id).await.map_err(|error| away(&error))?;
            let Some(letter) = letter else { return Ok(false) };
            let mut headers: Vec<(String, Bytes)> = letter
                .headers
                .into_iter()
                .filter(|(name, _)| name != REPLAY_HEADER)
                .map(|(name, value)| (name, value.into()))
                .collect();
            if !headers.iter().any(|(name, _)| name == CORRELATION_HEADER) {
                headers.push((CORRELATION_HEADER.to_owned(), Bytes::from(letter.correlation_id)));
            }
            headers.push((REPLAY_HEADER.to_owned(), Bytes::from(id.to_owned())));
            let record = NewRecord {
                topic: letter.topic,
                partition: Some(letter.partition),
                timestamp_ms: None,
                key: letter.key.map(Bytes::from),
                value: letter.value.into(),
                headers,
            };
            self.services.log.append(vec![record]).await.map_err(|error| away(&error))?;
            self.services.documents.mark_replayed(id).await.map_err(|error| away(&error))
        })
    }

    fn cache_stats(&self) -> Option<Value> {
        let memory = self.services.recall.claims.len();
        let pending = self.services.recall.pending.lock().len();
        let capacity = self.services.live.dedup.load().capacity;
        Some(json!({
            "answers": self.services.cache.stats(),
            "duplicate_memory": {
                "documents": memory,
                "capacity": capacity,
                "shared": self.services.recall.claims.is_shared(),
                "waiting_copies": self.services.recall.waiting.len(),
            },
            "pending_vectors": { "documents": pending },
            "redis_connections": self.services.redis.as_ref().map(Redis::connections),
        }))
    }

    fn worker_status(&self) -> Option<Value> {
        self.services.tree.get().map(|tree| json!(tree.snapshot()))
    }
}

/// At most an hour, whatever was asked.
fn hang_time(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 3600.0)).unwrap_or_default()
}
