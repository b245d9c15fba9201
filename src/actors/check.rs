//! `tidemill check`: tries what the daemon would open, and lets go of it again.

use crate::config::Config;
use crate::web::state::{Dependency, Workers, WorkersError};

use super::open;
use super::servers::Sockets;

/// Tries every service the configuration names. Where a daemon runs already, its lock and ports are the ones in use.
pub async fn services(config: &Config) -> Vec<Dependency> {
    let running = super::daemon::announced(&config.daemon.data_dir);
    let mut found = if config.node.is_worker() {
        vec![of("models", open::models(config).map(|models| models.encoder.info().model.to_string()))]
    } else {
        workers(config).await
    };
    if let Some(address) = running {
        found.push(of::<String>("daemon", Ok(format!("runs at http://{address}/ and holds the data directory"))));
        return found;
    }
    found.push(of("addresses", Sockets::bind(config).map(|_| "are free".to_owned())));
    found.push(of("log", open::try_log(config).await.map(|()| "answers".to_owned())));
    found.push(of("store", open::try_store(config).await.map(|()| "answers".to_owned())));
    if let Some(redis) = open::try_redis(config).await.transpose() {
        found.push(of("redis", redis));
    }
    found.push(of("jobs", open::try_jobs(config).await.map(|()| "answers".to_owned())));
    found
}

/// Asks each worker that an API node knows whether it takes work, by the worker's name.
async fn workers(config: &Config) -> Vec<Dependency> {
    match Workers::new(&config.node, &config.http) {
        Ok(Some(workers)) => workers.check().await.into_iter().map(|(name, answer)| of(&name, answer)).collect(),
        Ok(None) => {
            vec![of::<String>("workers", Ok("none are named: search, analyze and embeddings answer 503".to_owned()))]
        }
        Err(error) => vec![of::<WorkersError>("workers", Err(error))],
    }
}

fn of<E: std::fmt::Display>(name: &str, answer: Result<String, E>) -> Dependency {
    let healthy = answer.is_ok();
    Dependency { name: name.to_owned(), healthy, detail: answer.unwrap_or_else(|error| error.to_string()) }
}
