//! What an actor or a service sees of the runtime.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use super::fault::Fault;
use super::link::{Link, StopMode};
use super::mailbox::{Core, Mailbox, MailboxClosed, TrySendError};
use super::queue::Outcome;

/// What an actor sees of the runtime while it handles a batch.
pub struct Context<M> {
    pub(super) link: Arc<Link>,
    pub(super) core: Arc<Core<M>>,
}

impl<M> Context<M> {
    /// The actor's name.
    pub fn name(&self) -> &str {
        &self.link.name
    }

    /// The first `count` unfinished messages of the batch are finished, for instance sent on: they are not repeated
    /// when the rest fails, and their room in the mailbox is free.
    pub fn done(&self, count: usize) {
        self.link.progress.moved();
        self.core.finish(self.link.token, Some(count), Outcome::Done);
    }

    /// Heartbeat within long work: the actor is not stuck.
    pub fn progress(&self) {
        self.link.progress.moved();
    }

    /// Waits for something outside the actor, which is not judged stuck meanwhile. Give `wait` a deadline of its own.
    pub async fn protect<F: Future>(&self, wait: F) -> F::Output {
        let _zone = self.link.progress.protect();
        wait.await
    }

    /// Sends on, waiting for room. The wait is counted as back-pressure and is not judged stuck.
    ///
    /// # Errors
    /// [`Fault::DownstreamClosed`] if the mailbox is closed for good; [`Fault::Broken`] if this incarnation hung and
    /// was replaced meanwhile. Pass both on with `?`.
    pub async fn send<T: Send + 'static>(&self, to: &Mailbox<T>, message: T) -> Result<(), Fault> {
        if self.link.is_fenced() {
            return Err(Fault::broken("this incarnation was replaced"));
        }
        self.link.progress.moved();
        let closed = || Fault::DownstreamClosed { mailbox: to.name().to_owned() };
        let message = match to.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(closed()),
            Err(TrySendError::Full(message)) => message,
        };
        let _wait = self.link.back_pressured();
        to.send(message).await.map_err(|_| closed())
    }

    /// Sends all on in order, as [`Context::send`] does, each message finishing the next one of the batch: one turn at
    /// both mailboxes for as many as there is room for, where single sends wake the receiver for each.
    ///
    /// # Errors
    /// As [`Context::send`]. What was sent until then is finished.
    pub async fn forward<T: Send + 'static>(
        &self,
        to: &Mailbox<T>,
        messages: impl IntoIterator<Item = T>,
    ) -> Result<(), Fault> {
        let mut messages: VecDeque<T> = messages.into_iter().collect();
        loop {
            if self.link.is_fenced() {
                return Err(Fault::broken("this incarnation was replaced"));
            }
            let sent = to
                .try_send_front(&mut messages)
                .map_err(|MailboxClosed| Fault::DownstreamClosed { mailbox: to.name().to_owned() })?;
            self.done(sent);
            let Some(next) = messages.pop_front() else { return Ok(()) };
            self.send(to, next).await?;
            self.done(1);
        }
    }

    /// Whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.link.stop_mode() != StopMode::Run
    }

    /// Resolves when a stop is asked for.
    pub async fn stopping(&self) {
        self.link.stopping().await;
    }
}

/// What a service sees of the runtime.
#[derive(Clone)]
pub struct ServiceContext {
    pub(super) link: Arc<Link>,
}

impl ServiceContext {
    /// The service's name.
    pub fn name(&self) -> &str {
        &self.link.name
    }

    /// Whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.link.stop_mode() != StopMode::Run
    }

    /// Resolves when a stop is asked for: end in order, within the drain deadline.
    pub async fn stopping(&self) {
        self.link.stopping().await;
    }

    /// Heartbeat; needed only of a service that was given [`super::ChildSpec::stuck_after`].
    pub fn progress(&self) {
        self.link.progress.moved();
    }

    /// Waits for something outside the service, which is not judged stuck meanwhile.
    pub async fn protect<F: Future>(&self, wait: F) -> F::Output {
        let _zone = self.link.progress.protect();
        wait.await
    }
}
