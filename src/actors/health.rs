//! Health: whether each dependency answered its last check.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::web::state::Dependency;

use super::services::Services;

/// What the last checks said. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    dependencies: Arc<Mutex<Vec<Dependency>>>,
}

impl Health {
    /// Asks the log, the stores and the job queue, each with its own deadline.
    pub async fn check(&self, services: &Services) {
        let checks = (services.log.check(), services.documents.check(), services.vectors.check());
        let checks = futures_util::future::join3(checks.0, checks.1, checks.2);
        let ((log, documents, vectors), jobs) = futures_util::future::join(checks, services.jobs.queue().check()).await;
        let mut found = vec![
            dependency("log", log.map(|()| "answers".to_owned())),
            dependency("documents", documents.map(|()| format!("{} answers", services.documents.describe()))),
            dependency("jobs", jobs.map(|()| "answers".to_owned())),
        ];
        if let Some(redis) = &services.redis {
            found.push(dependency("redis", redis.usable().await));
        }
        if services.live.config.load().node.is_worker() {
            found.extend([
                dependency("vectors", vectors),
                dependency::<String>("encoder", Ok(services.encoder.info().model.to_string())),
                dependency::<String>("sentiment", Ok(services.sentiment.name().to_string())),
            ]);
        }
        *self.dependencies.lock() = found;
    }

    /// The last answers; empty before the first check.
    #[must_use]
    pub fn dependencies(&self) -> Vec<Dependency> {
        self.dependencies.lock().clone()
    }
}

fn dependency<E: std::fmt::Display>(name: &str, answer: Result<String, E>) -> Dependency {
    let healthy = answer.is_ok();
    let detail = answer.unwrap_or_else(|error| error.to_string());
    Dependency { name: name.to_owned(), healthy, detail }
}
