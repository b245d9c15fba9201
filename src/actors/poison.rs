//! Fault injection for tests: a stage that panics on documents with a marker in their text.

use std::sync::Arc;

use crate::supervisors::{Actor, Context, Fault};

use super::shared::Carries;

/// Wraps a stage; used only when `[faults]` is enabled.
pub struct Poisoned<A> {
    /// The stage.
    pub inner: A,
    /// What makes it panic; `None` lets everything pass.
    pub marker: Option<Arc<str>>,
}

impl<A> Actor for Poisoned<A>
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
        self.inner.handle(batch, ctx).await
    }

    async fn stopped(&mut self, ctx: &Context<A::Message>) {
        self.inner.stopped(ctx).await;
    }
}
