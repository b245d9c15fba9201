//! The declaration of a child, and the child as its supervisor keeps it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::actor::Actor;
use super::backoff::Backoff;
use super::batch::BatchPolicy;
use super::context::ServiceContext;
use super::fault::{Death, Exit, Fault};
use super::link::{ChildMetrics, Link};
use super::mailbox::{Inbox, Port};
use super::strategy::RestartType;
use super::worker::{ActorHost, Host, OnDead, ServiceHost};

/// What kind of child it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildKind {
    /// With a mailbox.
    Actor,
    /// A supervised future without a mailbox.
    Service,
}

/// Settings of one child that can be changed while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Wait before restarts, and between retries while a dependency is away.
    pub backoff: Backoff,
    /// Without progress for this long it is replaced; `None` to leave it alone.
    pub stuck_after: Option<Duration>,
    /// Time to end in when stopped.
    pub drain: Duration,
    /// How often a message in flight at a crash is tried before it is given up.
    pub attempts: u32,
    /// A dependency away for longer ends the incarnation.
    pub unavailable_limit: Duration,
    /// What one call of the handler takes.
    pub batch: BatchPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            stuck_after: Some(Duration::from_secs(30)),
            drain: Duration::from_secs(10),
            attempts: 3,
            unavailable_limit: Duration::from_mins(5),
            batch: BatchPolicy::default(),
        }
    }
}

/// Settings that workers read anew whenever they need them.
pub(super) struct Policy(Mutex<Settings>);

impl Policy {
    pub fn get(&self) -> Settings {
        *self.0.lock()
    }
}

type Build<M> = Box<dyn FnOnce(Option<OnDead<M>>) -> (Arc<dyn Host>, Option<Arc<dyn Port>>)>;

/// The declaration of a child; `M` is its message type, `()` for services.
pub struct ChildSpec<M = ()> {
    name: Arc<str>,
    kind: ChildKind,
    restart: RestartType,
    settings: Settings,
    workers: usize,
    sends_to: Vec<String>,
    on_dead: Option<OnDead<M>>,
    build: Build<M>,
}

impl<M: Clone + Send + 'static> ChildSpec<M> {
    /// An actor. `factory` makes its state anew at each start and restart; it runs on the actor's thread.
    pub fn actor<A, F>(name: &str, inbox: Inbox<M>, factory: F) -> Self
    where
        A: Actor<Message = M>,
        F: Fn() -> A + Send + Sync + 'static,
    {
        Self::actor_try(name, inbox, move || Ok(factory()))
    }

    /// An actor whose state may fail to be made.
    pub fn actor_try<A, F>(name: &str, inbox: Inbox<M>, factory: F) -> Self
    where
        A: Actor<Message = M>,
        F: Fn() -> Result<A, Fault> + Send + Sync + 'static,
    {
        inbox.core.set_weight(A::weight);
        let build: Build<M> = Box::new(move |on_dead| {
            let core = inbox.core;
            let host = ActorHost { core: core.clone(), factory: Box::new(factory), on_dead };
            (Arc::new(host), Some(core))
        });
        Self::new(name, ChildKind::Actor, Settings::default(), build)
    }

    /// What one call of the handler takes; one message by default.
    #[must_use]
    pub fn batch(mut self, batch: BatchPolicy) -> Self {
        self.settings.batch = batch;
        self
    }

    /// How often a message in flight at a panic, a hang or a broken state is tried before it is given up.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// Told of each message given up, and awaited before the messages behind it go on. Without it they are dropped
    /// and counted.
    #[must_use]
    pub fn on_dead(mut self, hook: impl Fn(M, Death) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        self.on_dead = Some(Arc::new(hook));
        self
    }

    /// How many workers share the mailbox, each with a state and a thread of its own. With more than one, messages
    /// are taken in order but may end out of order.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }
}

impl ChildSpec<()> {
    /// A service: a supervised future without a mailbox, such as a server. It is judged stuck only if
    /// [`ChildSpec::stuck_after`] is set.
    pub fn service<F, Fut>(name: &str, factory: F) -> Self
    where
        F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Fault>> + 'static,
    {
        let build: Build<()> = Box::new(move |_| (Arc::new(ServiceHost { factory }), None));
        let settings = Settings { stuck_after: None, ..Settings::default() };
        Self::new(name, ChildKind::Service, settings, build)
    }
}

impl<M> ChildSpec<M> {
    fn new(name: &str, kind: ChildKind, settings: Settings, build: Build<M>) -> Self {
        Self {
            name: name.into(),
            kind,
            restart: RestartType::default(),
            settings,
            workers: 1,
            sends_to: Vec::new(),
            on_dead: None,
            build,
        }
    }

    /// Whether it is restarted when it ends; permanent by default.
    #[must_use]
    pub fn restart(mut self, restart: RestartType) -> Self {
        self.restart = restart;
        self
    }

    /// Wait before restarts and between retries.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Without progress for this long it is replaced.
    #[must_use]
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.settings.stuck_after = Some(time);
        self
    }

    /// Time to end in when stopped.
    #[must_use]
    pub fn drain(mut self, time: Duration) -> Self {
        self.settings.drain = time;
        self
    }

    /// A dependency away for longer than this ends the incarnation; 5 minutes by default.
    #[must_use]
    pub fn unavailable_limit(mut self, time: Duration) -> Self {
        self.settings.unavailable_limit = time;
        self
    }

    /// All changeable settings at once.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Names of the children it sends to. With the others' they must make a graph without cycles, so that no ring of
    /// full mailboxes can form.
    #[must_use]
    pub fn sends_to(mut self, names: &[&str]) -> Self {
        self.sends_to.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    pub(super) fn build(self) -> Child {
        let (host, port) = (self.build)(self.on_dead);
        if let Some(port) = &port {
            port.set_batch(self.settings.batch);
        }
        Child {
            name: self.name,
            kind: self.kind,
            restart: self.restart,
            sends_to: self.sends_to,
            host,
            port,
            policy: Arc::new(Policy(Mutex::new(self.settings))),
            metrics: Arc::default(),
            incarnations: AtomicU64::new(0),
            seats: Mutex::new(vec![SeatView::default(); self.workers]),
        }
    }
}

/// What a child, or one worker of it, is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// Not started yet.
    #[default]
    Waiting,
    /// Making its state, or in `started`.
    Starting,
    /// At work or waiting for it.
    Running,
    /// Ended, and waiting to be restarted.
    BackingOff,
    /// Asked to stop.
    Stopping,
    /// Ended and not to be restarted.
    Stopped,
}

/// One worker as others may see it.
#[derive(Clone, Default)]
pub(super) struct SeatView {
    pub state: ChildState,
    pub link: Option<Arc<Link>>,
    pub last_exit: Option<(Exit, Instant)>,
}

/// A child, as long as its tree lives.
pub(super) struct Child {
    pub name: Arc<str>,
    pub kind: ChildKind,
    pub restart: RestartType,
    pub sends_to: Vec<String>,
    pub host: Arc<dyn Host>,
    pub port: Option<Arc<dyn Port>>,
    pub policy: Arc<Policy>,
    pub metrics: Arc<ChildMetrics>,
    incarnations: AtomicU64,
    pub seats: Mutex<Vec<SeatView>>,
}

impl Child {
    pub fn workers(&self) -> usize {
        self.seats.lock().len()
    }

    /// A number no other incarnation of this child has; never 0.
    pub fn next_incarnation(&self) -> u64 {
        self.incarnations.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.policy.0.lock();
        change(&mut settings);
        settings.attempts = settings.attempts.max(1);
        if let Some(port) = &self.port {
            port.set_batch(settings.batch);
        }
    }

    pub fn see(&self, worker: usize, view: impl FnOnce(&mut SeatView)) {
        if let Some(seat) = self.seats.lock().get_mut(worker) {
            view(seat);
        }
    }

    /// Messages queued and in flight.
    pub fn depth(&self) -> usize {
        self.port.as_ref().map_or(0, |port| port.level().0)
    }
}
