//! The actor runtime on actix: mailboxes, supervision tree, drain. See `docs/semantics.md`.
//!
//! actix schedules: each incarnation of an actor is an actix actor on its own `Arbiter`, and its actix mailbox is the
//! control lane. Mailboxes, restarts and drains are this module's own, as actix bounds no mailbox and restarts no
//! actor that panicked. One concept per file:
//!
//! - what users write against: [`Actor`], [`Context`], [`Mailbox`], [`ChildSpec`], [`SupervisorSpec`], [`start`], [`Tree`]
//! - messages: `mailbox` (both ends), `queue` (the state behind them), `envelope`, `batch`
//! - an incarnation: `worker` (the loop), `shell` (the actix side), `link` (shared with its supervisor), `progress`
//! - supervision: `supervisor`, `seat`, `strategy`, `intensity`, `backoff`, `drain`, `placement`
//! - views: `topology`, `status`, `metrics`, `histogram`

mod actor;
mod backoff;
mod batch;
mod child;
mod context;
mod drain;
mod envelope;
mod fault;
mod histogram;
mod intensity;
mod link;
mod mailbox;
mod metrics;
mod placement;
mod progress;
mod queue;
mod seat;
mod shell;
mod status;
mod strategy;
mod supervisor;
mod topology;
mod tree;
mod worker;

pub use actor::Actor;
pub use backoff::Backoff;
pub use batch::BatchPolicy;
pub use child::{ChildKind, ChildSpec, ChildState, Settings};
pub use context::{Context, ServiceContext};
pub use drain::{ChildStop, StopReport};
pub use fault::{Death, Exit, ExitReason, Fault};
pub use intensity::Intensity;
pub use mailbox::{Inbox, Mailbox, MailboxClosed, SendError, SendTimeoutError, TrySendError, mailbox};
pub use placement::Placement;
pub use queue::MessageCounts;
pub use status::{ChildStatus, LastExit, MailboxStatus, NodeStatus, RestartCounts, SupervisorStatus, WorkerStatus};
pub use strategy::{RestartType, Strategy};
pub use supervisor::Cause;
pub use topology::{ChildNode, Node, SupervisorNode, SupervisorSpec, Topology, TopologyError};
pub use tree::{ChildCommand, Options, RootExit, StartError, Tree, UnknownChild, start};
