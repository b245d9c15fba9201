//! The mailbox: a bounded queue whose capacity holds for any number of senders and clones.
//!
//! A message's permit is given back when its work has ended, not when it is taken out: queued and in flight together
//! never exceed the capacity. The queue outlives the actor's incarnations; what was in flight at a crash is still here.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::batch::BatchPolicy;
use super::fault::Exit;
use super::histogram::Histogram;
use super::queue::{After, MessageCounts, Outcome, Queue, Recovery, Step, Taken, Token, Waiter};
use crate::messages::code::ErrorCode;

/// The mailbox is closed for good; gives the message back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mailbox is closed")]
pub struct SendError<M>(pub M);

/// The mailbox is closed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mailbox is closed")]
pub struct MailboxClosed;

/// The message was not taken; gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError<M> {
    /// There is no room now.
    #[error("the mailbox is full")]
    Full(M),
    /// The mailbox is closed for good.
    #[error("the mailbox is closed")]
    Closed(M),
}

/// The message was not taken in time; gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendTimeoutError<M> {
    /// There was no room in time.
    #[error("the mailbox stayed full")]
    Timeout(M),
    /// The mailbox is closed for good.
    #[error("the mailbox is closed")]
    Closed(M),
}

/// A new mailbox of this capacity (at least 1): the end that sends and the end an actor takes from.
pub fn mailbox<M>(name: &str, capacity: usize) -> (Mailbox<M>, Inbox<M>) {
    let (name, waits): (Arc<str>, Arc<Histogram>) = (name.into(), Arc::default());
    let queue = Mutex::new(Queue::new(name.clone(), capacity, waits.clone()));
    let core = Arc::new(Core { name, queue, waits });
    (Mailbox { core: core.clone() }, Inbox { core })
}

/// The end that sends. Clones share one capacity.
pub struct Mailbox<M> {
    core: Arc<Core<M>>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone() }
    }
}

impl<M> std::fmt::Debug for Mailbox<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Mailbox")
            .field("name", &self.core.name)
            .field("depth", &self.depth())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

impl<M> Mailbox<M> {
    /// Sends, waiting for room as long as it takes; senders are served in the order they came. A send that is
    /// cancelled has sent nothing.
    ///
    /// # Errors
    /// [`SendError`] with the message if the mailbox is closed.
    pub async fn send(&self, message: M) -> Result<(), SendError<M>> {
        let message = match self.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(message)) => return Err(SendError(message)),
            Err(TrySendError::Full(message)) => message,
        };
        if Admission::new(&self.core).await { self.core.push_admitted(message) } else { Err(SendError(message)) }
    }

    /// Sends if there is room.
    ///
    /// # Errors
    /// [`TrySendError`] with the message if there is no room or the mailbox is closed.
    pub fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        let mut after = After::default();
        let mut queue = self.core.queue.lock();
        if queue.closed {
            return Err(TrySendError::Closed(message));
        }
        if !queue.admit() {
            return Err(TrySendError::Full(message));
        }
        queue.push(message, Instant::now(), &mut after);
        drop(queue);
        after.run();
        Ok(())
    }

    /// Sends messages from the front while there is room, in order, under one lock and with one wake-up; returns how many.
    /// The others stay where they are.
    ///
    /// # Errors
    /// [`MailboxClosed`] if the mailbox is closed; all messages stay.
    pub fn try_send_front(&self, messages: &mut VecDeque<M>) -> Result<usize, MailboxClosed> {
        let mut after = After::default();
        let mut queue = self.core.queue.lock();
        if queue.closed {
            return Err(MailboxClosed);
        }
        let now = Instant::now();
        let before = messages.len();
        while !messages.is_empty() && queue.admit() {
            if let Some(message) = messages.pop_front() {
                queue.push(message, now, &mut after);
            }
        }
        drop(queue);
        after.run();
        Ok(before - messages.len())
    }

    /// Sends, waiting for room no longer than `patience`.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the message if there was no room in time or the mailbox is closed.
    pub async fn send_timeout(&self, message: M, patience: Duration) -> Result<(), SendTimeoutError<M>> {
        let message = match self.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(message)) => return Err(SendTimeoutError::Closed(message)),
            Err(TrySendError::Full(message)) => message,
        };
        match tokio::time::timeout(patience, Admission::new(&self.core)).await {
            Ok(true) => {
                self.core.push_admitted(message).map_err(|SendError(message)| SendTimeoutError::Closed(message))
            }
            Ok(false) => Err(SendTimeoutError::Closed(message)),
            Err(_) => Err(SendTimeoutError::Timeout(message)),
        }
    }

    /// How many messages can be sent now without waiting.
    pub fn room(&self) -> usize {
        self.core.queue.lock().room()
    }

    /// Messages queued and in flight.
    pub fn depth(&self) -> usize {
        self.core.queue.lock().depth()
    }

    /// Most messages queued and in flight.
    pub fn capacity(&self) -> usize {
        self.core.queue.lock().capacity
    }

    /// Changes the capacity (at least 1). When it is lowered below the depth nothing is lost: there is room again
    /// once the depth has fallen under it.
    pub fn set_capacity(&self, capacity: usize) {
        self.core.resize(capacity);
    }

    /// The name given at [`mailbox`].
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Whether its actor has stopped for good.
    pub fn is_closed(&self) -> bool {
        self.core.queue.lock().closed
    }
}

/// The end an actor takes from; given to [`super::ChildSpec::actor`], which gives it to every incarnation in turn.
pub struct Inbox<M> {
    pub(super) core: Arc<Core<M>>,
}

impl<M> std::fmt::Debug for Inbox<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inbox").field("name", &self.core.name).finish_non_exhaustive()
    }
}

/// What both ends share.
pub(super) struct Core<M> {
    pub name: Arc<str>,
    queue: Mutex<Queue<M>>,
    /// From sending to the first attempt.
    waits: Arc<Histogram>,
}

impl<M> Core<M> {
    /// Pushes a message for which there is a permit.
    fn push_admitted(&self, message: M) -> Result<(), SendError<M>> {
        let mut after = After::default();
        let mut queue = self.queue.lock();
        let refused = if queue.closed {
            queue.release(1, &mut after);
            Some(message)
        } else {
            queue.push(message, Instant::now(), &mut after);
            None
        };
        drop(queue);
        after.run();
        refused.map_or(Ok(()), |message| Err(SendError(message)))
    }

    /// Runs `action` under the lock and what it left to do after it.
    fn with<T>(&self, action: impl FnOnce(&mut Queue<M>, &mut After<M>) -> T) -> T {
        let mut after = After::default();
        let result = action(&mut self.queue.lock(), &mut after);
        after.run();
        result
    }

    fn resize(&self, capacity: usize) {
        self.with(|queue, after| {
            queue.capacity = capacity.max(1);
            queue.grant(after);
        });
    }

    pub fn set_weight(&self, weigh: fn(&M) -> u64) {
        self.queue.lock().weigh = weigh;
    }

    /// Finishes the first `count` messages in flight, or all; returns how many these were.
    pub fn finish(&self, token: Token, count: Option<usize>, outcome: Outcome) -> usize {
        self.with(|queue, after| queue.finish(token, count, outcome, after))
    }

    pub fn reject(&self, token: Token, code: ErrorCode, reason: &str) {
        self.with(|queue, after| queue.reject(token, code, reason, after));
    }

    pub fn postpone(&self, token: Token, reason: &str) {
        self.with(|queue, after| queue.postpone(token, reason, after));
    }
}

impl<M: Clone> Core<M> {
    /// The next batch, as soon as there is one, and when that was. `idle` is told when it has to be waited for.
    pub async fn take(&self, token: Token, mut idle: impl FnMut()) -> (Taken<M>, Instant) {
        let mut company: Option<Pin<Box<tokio::time::Sleep>>> = None;
        std::future::poll_fn(move |cx| {
            loop {
                let now = Instant::now();
                let answer = self.with(|queue, after| queue.take(token, now, cx.waker(), after));
                let until = match answer {
                    Step::Taken(batch) => return Poll::Ready((batch, now)),
                    Step::Empty => {
                        idle();
                        return Poll::Pending;
                    }
                    Step::Until(until) => until,
                };
                idle();
                let timer = company.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
                if timer.deadline() != until {
                    timer.as_mut().reset(until);
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    pub fn hook_crashes(&self, token: Token) -> u32 {
        self.queue.lock().hook_crashes(token)
    }
}

/// A mailbox whatever its messages are, as supervisors use it.
pub(super) trait Port: Send + Sync {
    /// Depth and capacity.
    fn level(&self) -> (usize, usize);
    fn set_capacity(&self, capacity: usize);
    fn set_batch(&self, batch: BatchPolicy);
    fn counts(&self) -> MessageCounts;
    fn oldest_in_flight(&self) -> Option<Instant>;
    fn attach(&self, token: Token);
    fn recover(&self, token: Token, exit: &Exit, limit: u32) -> Recovery;
    /// Refuses further messages and lets workers end once it is empty.
    fn drain(&self);
    /// Drops what is left; returns how many these were.
    fn clear(&self) -> usize;
    fn wait_histogram(&self) -> &Histogram;
}

impl<M: Send> Port for Core<M> {
    fn level(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.depth(), queue.capacity)
    }

    fn set_capacity(&self, capacity: usize) {
        self.resize(capacity);
    }

    fn set_batch(&self, batch: BatchPolicy) {
        self.queue.lock().batch = batch;
    }

    fn counts(&self) -> MessageCounts {
        self.queue.lock().counts
    }

    fn oldest_in_flight(&self) -> Option<Instant> {
        self.queue.lock().oldest_in_flight()
    }

    fn attach(&self, token: Token) {
        self.queue.lock().attach(token);
    }

    fn recover(&self, token: Token, exit: &Exit, limit: u32) -> Recovery {
        self.with(|queue, after| queue.recover(token, exit, limit, after))
    }

    fn drain(&self) {
        self.with(|queue, after| {
            queue.draining = true;
            queue.close(after);
            queue.wake_all(after);
        });
    }

    fn clear(&self) -> usize {
        self.with(|queue, after| {
            queue.close(after);
            queue.clear(after)
        })
    }

    fn wait_histogram(&self) -> &Histogram {
        &self.waits
    }
}

/// Waits for a permit. Dropped before its end it leaves nothing behind.
struct Admission<'a, M> {
    core: &'a Core<M>,
    waiter: Option<Arc<Waiter>>,
}

impl<'a, M> Admission<'a, M> {
    fn new(core: &'a Core<M>) -> Self {
        Self { core, waiter: None }
    }
}

impl<M> Future for Admission<'_, M> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        if self.waiter.is_none() {
            let mut queue = self.core.queue.lock();
            if queue.closed {
                return Poll::Ready(false);
            }
            if queue.admit() {
                return Poll::Ready(true);
            }
            let waiter = queue.wait();
            drop(queue);
            self.waiter = Some(waiter);
        }
        let Some(waiter) = &self.waiter else { return Poll::Pending };
        waiter.waker.register(cx.waker());
        let Some(answer) = waiter.answer() else { return Poll::Pending };
        self.waiter = None;
        Poll::Ready(answer)
    }
}

impl<M> Drop for Admission<'_, M> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.core.with(|queue, after| queue.forget(&waiter, after));
        }
    }
}
