//! Follows the configuration: applies what may change while the daemon runs, without losing a message.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::actors::ActorConfig;
use crate::config::reload::watch;
use crate::messages::event::EventKind;
use crate::supervisors::{Fault, ServiceContext, Tree};

use super::services::Services;
use super::topology;

/// Watches files and SIGHUP and applies every accepted change, until asked to stop.
///
/// # Errors
/// If the watching ends by itself.
pub async fn run(services: Services, ctx: ServiceContext) -> Result<(), Fault> {
    let stop = CancellationToken::new();
    let _stop_watching = stop.clone().drop_guard();
    let follower = actix_rt::spawn(watch(Arc::clone(&services.reloader), stop));
    let mut settings = services.reloader.subscribe();
    // a change made while this was down counts too
    apply(&services, &services.reloader.current());
    loop {
        let next = ctx
            .protect(async {
                tokio::select! {
                    () = ctx.stopping() => None,
                    changed = settings.changed() => changed.ok(),
                }
            })
            .await;
        if next.is_none() {
            follower.abort();
            return Ok(());
        }
        let config = settings.borrow_and_update().clone();
        apply(&services, &config);
        services.events.publish(EventKind::ConfigReloaded { outcome: "applied".to_owned() });
    }
}

fn apply(services: &Services, config: &Config) {
    services.live.apply(config);
    services.recall.claims.reconfigure(&config.dedup);
    if let Err(error) = services.log_level.set(&config.logging.level) {
        tracing::warn!(%error, "log level stays as it was");
    }
    if let Some(tree) = services.tree.get() {
        let declared = |name: &str| tree.topology().has(name);
        for (name, actor) in config.actors.all().into_iter().filter(|(name, _)| declared(name)) {
            apply_actor(tree, name, actor);
        }
        for supervisor in topology::SUPERVISORS.into_iter().filter(|name| declared(name)) {
            if let Err(error) = tree.set_intensity(supervisor, config.supervision.intensity()) {
                tracing::warn!(%error, "intensity has nobody to apply to");
            }
        }
    }
}

fn apply_actor(tree: &Tree, name: &str, actor: &ActorConfig) {
    let new = actor.settings();
    let applied = tree
        .set_capacity(name, actor.mailbox_capacity)
        .and_then(|()| tree.set_policy(name, |settings| *settings = new));
    if let Err(error) = applied {
        tracing::warn!(%error, "settings have nobody to apply to");
    }
}
