//! The loop of one worker: take a batch, handle it, settle what became of it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::actor::Actor;
use super::child::Policy;
use super::context::{Context, ServiceContext};
use super::fault::{Death, Exit, ExitReason, Fault};
use super::link::{Injection, Link, StopMode};
use super::mailbox::Core;
use super::queue::{Outcome, Taken};
use super::shell::Work;

/// Batches handled before the worker lets its thread do something else.
const BATCHES_PER_TURN: u32 = 64;
/// A batch that took this long ends the worker's turn.
const LONG_BATCH: Duration = Duration::from_micros(500);

/// Makes the work of an incarnation, on the incarnation's thread.
pub(super) trait Host: Send + Sync {
    fn work(self: Arc<Self>, link: Arc<Link>, policy: Arc<Policy>) -> Work;
}

/// Told of each message that is given up.
pub(super) type OnDead<M> = Arc<dyn Fn(M, Death) -> BoxFuture<'static, ()> + Send + Sync>;

/// Runs user code; a panic in it ends here, as an exit, before it can unwind through state that is dropped with it.
async fn guarded<T>(code: impl Future<Output = T>) -> Result<T, Exit> {
    AssertUnwindSafe(code).catch_unwind().await.map_err(Exit::panicked)
}

/// A child with a mailbox.
pub(super) struct ActorHost<A: Actor> {
    pub core: Arc<Core<A::Message>>,
    pub factory: Box<dyn Fn() -> Result<A, Fault> + Send + Sync>,
    pub on_dead: Option<OnDead<A::Message>>,
}

impl<A: Actor> Host for ActorHost<A> {
    fn work(self: Arc<Self>, link: Arc<Link>, policy: Arc<Policy>) -> Work {
        let state: Rc<tokio::sync::Mutex<Option<A>>> = Rc::new(tokio::sync::Mutex::new(None));
        let kept = state.clone();
        let future = async move {
            let mut state = state.lock().await;
            let actor = match catch_unwind(AssertUnwindSafe(&self.factory)) {
                Ok(Ok(actor)) => state.insert(actor),
                Ok(Err(fault)) => return Exit::of_fault(&fault),
                Err(payload) => return Exit::panicked(payload),
            };
            let ctx = Context { link, core: self.core.clone() };
            let mut worker = Worker { actor, context: &ctx, host: &self, policy: &policy, retry: Retry::default() };
            match worker.live().await {
                Ok(()) => Exit::new(ExitReason::Completed, "stopped in order"),
                Err(exit) => exit,
            }
        };
        Work { future: Box::pin(future), state: kept }
    }
}

/// Waits between attempts while a dependency is away.
#[derive(Default)]
struct Retry {
    /// Failures in a row.
    failures: u32,
    /// Since when it is away.
    since: Option<Instant>,
}

impl Retry {
    /// Waits, or says that it has been away too long. A stop that keeps the mailbox cuts the wait short.
    async fn pause(&mut self, link: &Link, policy: &Policy, reason: &str) -> Result<(), Exit> {
        let settings = policy.get();
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= settings.unavailable_limit {
            return Err(Exit::of_fault(&Fault::unavailable(reason)));
        }
        let delay = settings.backoff.delay(self.failures);
        tracing::warn!(actor = %link.name, reason, delay_ms = delay.as_millis(), "dependency away, waiting to retry");
        self.failures = self.failures.saturating_add(1);
        let _zone = link.progress.protect();
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = halted(link) => {}
        }
        Ok(())
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

async fn halted(link: &Link) {
    link.stopping().await;
    if link.stop_mode() != StopMode::Halt {
        std::future::pending::<()>().await;
    }
}

struct Worker<'a, A: Actor> {
    actor: &'a mut A,
    context: &'a Context<A::Message>,
    host: &'a ActorHost<A>,
    policy: &'a Policy,
    retry: Retry,
}

impl<A: Actor> Worker<'_, A> {
    async fn live(&mut self) -> Result<(), Exit> {
        if !self.start().await? {
            return Ok(());
        }
        self.work_off().await?;
        let (actor, ctx) = (&mut *self.actor, self.context);
        guarded(async {
            actor.stopped(ctx).await;
        })
        .await
    }

    /// Returns false if it was stopped before it had started.
    async fn start(&mut self) -> Result<bool, Exit> {
        loop {
            let (actor, ctx) = (&mut *self.actor, self.context);
            match guarded(async { actor.started(ctx).await }).await? {
                Ok(()) => break,
                Err(Fault::Unavailable { reason }) => {
                    self.retry.pause(&self.context.link, self.policy, &reason).await?;
                }
                Err(fault @ (Fault::Reject { .. } | Fault::Broken { .. } | Fault::DownstreamClosed { .. })) => {
                    return Err(Exit::of_fault(&fault));
                }
            }
            if self.context.link.stop_mode() == StopMode::Halt {
                return Ok(false);
            }
        }
        self.retry.reset();
        self.context.link.set_running();
        Ok(true)
    }

    /// Handles batches until it is stopped.
    async fn work_off(&mut self) -> Result<(), Exit> {
        let (link, token) = (&*self.context.link, self.context.link.token);
        let mut turn = 0;
        loop {
            if link.is_signalled() && link.stop_mode() == StopMode::Halt {
                return Ok(());
            }
            let mut zone = None;
            let next = tokio::select! {
                biased;
                batch = self.host.core.take(token, || {
                    if zone.is_none() {
                        zone = Some(link.progress.protect());
                        link.idle();
                    }
                }) => Some(batch),
                () = link.nudged() => None,
            };
            if zone.take().is_some() {
                link.busy();
            }
            if link.is_signalled()
                && let Some(injection) = link.take_injection()
            {
                guarded(suffer(injection)).await?;
            }
            let Some((next, started)) = next else { continue };
            let took = match next {
                Taken::Drained => return Ok(()),
                Taken::Fenced => return Err(Exit::new(ExitReason::Unresponsive, "it was replaced")),
                Taken::Doomed(message, death) => self.bury(message, death).await.map(|()| LONG_BATCH)?,
                Taken::Batch(batch) => self.handle(batch, started).await?,
            };
            turn += 1;
            if turn >= BATCHES_PER_TURN || took >= LONG_BATCH {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Returns how long the handler took.
    async fn handle(&mut self, batch: Vec<A::Message>, started: Instant) -> Result<Duration, Exit> {
        let (link, inbox, token) = (&self.context.link, &self.host.core, self.context.link.token);
        link.progress.moved();
        let (actor, ctx) = (&mut *self.actor, self.context);
        let outcome = guarded(async { actor.handle(batch, ctx).await }).await?;
        let took = started.elapsed();
        link.metrics.processing.record(took);
        link.progress.moved();
        match outcome {
            Ok(()) => {
                inbox.finish(token, None, Outcome::Done);
                self.retry.reset();
            }
            Err(Fault::Reject { code, reason }) => {
                inbox.reject(token, code, &reason);
                self.retry.reset();
            }
            Err(Fault::Unavailable { reason }) => {
                inbox.postpone(token, &format!("unavailable: {reason}"));
                self.retry.pause(link, self.policy, &reason).await?;
            }
            Err(fault @ (Fault::Broken { .. } | Fault::DownstreamClosed { .. })) => return Err(Exit::of_fault(&fault)),
        }
        Ok(took)
    }

    /// Hands a message that was given up to the hook.
    async fn bury(&mut self, message: A::Message, death: Death) -> Result<(), Exit> {
        let (link, inbox, token) = (&self.context.link, &self.host.core, self.context.link.token);
        let crashes = inbox.hook_crashes(token);
        tracing::warn!(
            actor = %link.name, code = %death.code, attempts = death.attempts, reason = death.reason, "message given up"
        );
        match &self.host.on_dead {
            Some(hook) if crashes < self.policy.get().attempts => {
                let _zone = link.progress.protect();
                guarded(async { hook(message, death).await }).await?;
                inbox.finish(token, None, Outcome::Dead);
            }
            Some(_) | None => {
                tracing::error!(actor = %link.name, hook_crashes = crashes, "no dead-letter hook took the message, dropped");
                inbox.finish(token, None, Outcome::Dropped);
            }
        }
        Ok(())
    }
}

/// Lets an injected fault take effect.
async fn suffer(injection: Injection) {
    match injection {
        Injection::Panic => panic!("injected panic"),
        #[expect(clippy::disallowed_methods, reason = "blocking the thread is what this is for")]
        Injection::Hang(time) => std::thread::sleep(time),
        Injection::HangAsync => std::future::pending().await,
    }
}

/// A child without a mailbox.
pub(super) struct ServiceHost<F> {
    pub factory: F,
}

impl<F, Fut> Host for ServiceHost<F>
where
    F: Fn(ServiceContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Fault>> + 'static,
{
    fn work(self: Arc<Self>, link: Arc<Link>, _policy: Arc<Policy>) -> Work {
        let future = async move {
            let ctx = ServiceContext { link: link.clone() };
            link.set_running();
            let served = guarded(async {
                let service = (self.factory)(ctx);
                let mut service = std::pin::pin!(service);
                loop {
                    tokio::select! {
                        biased;
                        () = link.nudged() => {}
                        result = &mut service => return result,
                    }
                    if let Some(injection) = link.take_injection() {
                        suffer(injection).await;
                    }
                }
            });
            match served.await {
                Ok(Ok(())) => Exit::new(ExitReason::Completed, "ended"),
                Ok(Err(fault)) => Exit::of_fault(&fault),
                Err(exit) => exit,
            }
        };
        Work { future: Box::pin(future), state: Rc::new(()) }
    }
}
