//! Fault injection for tests: a stage that panics on documents with a marker in their text, or takes its time.

use std::sync::Arc;
use std::time::Duration;

use crate::supervisors::{Actor, Context, Fault};

use super::shared::Carries;

/// Wraps a stage; does nothing of its own unless `[faults]` is enabled.
pub struct Faulty<A> {
    /// The stage.
    pub inner: A,
    /// What makes it panic; `None` lets everything pass.
    pub marker: Option<Arc<str>>,
    /// How long every batch takes beside its work.
    pub delay: Option<Duration>,
}

impl<A> Actor for Faulty<A>
where
    A: Actor,
    A::Message: Carries,
{
    type Message = A::Message;

    fn weight(message: &A::Message) -> u64 {
        A::weight(message)
    }

    async fn started(&mut self, ctx: &Context<A::Message>) -> Result<(), Fault> {
        self.inner.started(ctx).await
    }

    async fn handle(&mut self, batch: Vec<A::Message>, ctx: &Context<A::Message>) -> Result<(), Fault> {
        if let Some(marker) = &self.marker {
            let poisoned = batch.iter().any(|message| message.document().text.contains(&**marker));
            assert!(!poisoned, "poisoned document");
        }
        if let Some(delay) = self.delay {
            ctx.protect(tokio::time::sleep(delay)).await;
        }
        self.inner.handle(batch, ctx).await
    }

    async fn stopped(&mut self, ctx: &Context<A::Message>) {
        self.inner.stopped(ctx).await;
    }
}
