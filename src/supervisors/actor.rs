//! The actor: one state, batches of messages.

use std::future::Future;

use super::context::Context;
use super::fault::Fault;

/// One state that handles batches of messages, one batch at a time. Its futures may be `!Send`: they stay on the
/// actor's own thread, so they must not block it; heavy work goes to a compute pool and is awaited in
/// [`Context::protect`] or with [`Context::progress`].
pub trait Actor: Sized + 'static {
    /// Cheap to clone (an `Arc` inside): the runtime keeps a copy of what is in flight. `clone` must not send.
    type Message: Clone + Send + 'static;

    /// What counts towards [`super::BatchPolicy::max_weight`], such as tokens.
    fn weight(_message: &Self::Message) -> u64 {
        1
    }

    /// Called before the first batch of each incarnation. [`Fault::Unavailable`] is tried again, others end the incarnation.
    fn started(&mut self, _ctx: &Context<Self::Message>) -> impl Future<Output = Result<(), Fault>> {
        async { Ok(()) }
    }

    /// Handles one message or more, in mailbox order. `Ok` finishes all of them.
    fn handle(
        &mut self,
        batch: Vec<Self::Message>,
        ctx: &Context<Self::Message>,
    ) -> impl Future<Output = Result<(), Fault>>;

    /// Called after the last batch of an incarnation that was stopped in order, not after a fault or panic.
    fn stopped(&mut self, _ctx: &Context<Self::Message>) -> impl Future<Output = ()> {
        async {}
    }
}
