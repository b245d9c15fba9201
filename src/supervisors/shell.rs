//! The actix side: each incarnation is an actix actor on its Arbiter; its actix mailbox is the control lane.
//!
//! `actix::Supervisor` does not restart after a panic, and a `ContextFut` polls its actor once more when dropped. So the
//! runner polls the context itself, under `catch_unwind`, and takes it apart piece by piece, each piece under its own.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use actix::{ActorContext, ActorFutureExt, AsyncContext, WrapFuture};
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;

use super::fault::{Exit, ExitReason, quietly};
use super::link::{Injection, Link, StopMode};

/// Control messages. Their lane is unbounded, but only supervisors and operators write to it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Control {
    Stop(StopMode),
    /// End at the next await point; an operator's restart.
    Kill,
    Inject(Injection),
}

impl actix::Message for Control {
    type Result = ();
}

/// The way to an incarnation's control lane, from before it exists until it is gone.
#[derive(Default)]
pub(super) struct ControlPort(Mutex<Lane>);

#[derive(Default)]
enum Lane {
    /// Not there yet: kept until it is.
    #[default]
    Opening,
    Kept(Vec<Control>),
    Open(actix::Addr<Shell>),
    Closed,
}

impl ControlPort {
    #[expect(clippy::disallowed_methods, reason = "the control lane is unbounded on purpose")]
    pub fn send(&self, control: Control) {
        let mut lane = self.0.lock();
        match &mut *lane {
            Lane::Opening => *lane = Lane::Kept(vec![control]),
            Lane::Kept(kept) => kept.push(control),
            Lane::Open(address) => {
                let address = address.clone();
                drop(lane);
                address.do_send(control);
            }
            Lane::Closed => {}
        }
    }

    fn open(&self, address: &actix::Addr<Shell>) {
        let before = std::mem::replace(&mut *self.0.lock(), Lane::Open(address.clone()));
        if let Lane::Kept(kept) = before {
            for control in kept {
                self.send(control);
            }
        }
    }

    pub fn close(&self) {
        *self.0.lock() = Lane::Closed;
    }
}

/// What an incarnation does, and its state, which is kept apart so that each can be dropped on its own.
pub(super) struct Work {
    pub future: LocalBoxFuture<'static, Exit>,
    pub state: Rc<dyn Any>,
}

/// The actix actor around an incarnation.
pub(super) struct Shell {
    link: Arc<Link>,
    work: Option<LocalBoxFuture<'static, Exit>>,
    exit: Rc<RefCell<Option<Exit>>>,
}

impl actix::Actor for Shell {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(work) = self.work.take() {
            ctx.spawn(work.into_actor(self).map(|exit, shell, ctx| {
                shell.exit.borrow_mut().get_or_insert(exit);
                ctx.stop();
            }));
        }
    }
}

impl actix::Handler<Control> for Shell {
    type Result = ();

    fn handle(&mut self, control: Control, ctx: &mut Self::Context) {
        match control {
            Control::Stop(mode) => self.link.request_stop(mode),
            Control::Inject(injection) => self.link.inject(injection),
            Control::Kill => {
                self.exit.borrow_mut().get_or_insert(Exit::new(ExitReason::Killed, "restarted by an operator"));
                ctx.terminate();
            }
        }
    }
}

type ShellFut = actix::dev::ContextFut<Shell, actix::Context<Shell>>;

/// Called with how an incarnation ended, on its thread.
pub(super) type OnExit = Box<dyn FnOnce(&Arc<Link>, Exit)>;

/// Polls an incarnation to its end, whatever that is.
pub(super) struct Runner {
    link: Arc<Link>,
    context: Option<ShellFut>,
    state: Option<Rc<dyn Any>>,
    exit: Rc<RefCell<Option<Exit>>>,
    on_exit: Option<OnExit>,
}

impl Runner {
    /// Wraps `work` into an actix actor; nothing runs until the runner is polled.
    pub fn new(link: Arc<Link>, work: Work, on_exit: OnExit) -> Self {
        let exit = Rc::new(RefCell::new(None));
        let shell = Shell { link: link.clone(), work: Some(work.future), exit: exit.clone() };
        let context = actix::Context::new();
        link.control.open(&context.address());
        std::thread::current().name().unwrap_or_default().clone_into(&mut link.thread.lock());
        Self { link, context: Some(context.into_future(shell)), state: Some(work.state), exit, on_exit: Some(on_exit) }
    }

    /// Drops context and state, each on its own, and reports.
    fn end(&mut self, exit: Exit) {
        let Some(on_exit) = self.on_exit.take() else { return };
        let (context, state) = (self.context.take(), self.state.take());
        let clean = quietly(|| drop(context)) & quietly(|| drop(state));
        if !clean {
            tracing::error!(actor = %self.link.name, exit = %exit, "panic while dropping an actor's state");
        }
        quietly(|| on_exit(&self.link, exit));
    }
}

impl Future for Runner {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.link.register_runner(cx.waker());
        if let Some(reason) = self.link.aborted() {
            let detail = match reason {
                ExitReason::Unresponsive => "no progress",
                _ => "stopped by its supervisor",
            };
            self.end(Exit::new(reason, detail));
            return Poll::Ready(());
        }
        let Some(context) = &mut self.context else { return Poll::Ready(()) };
        let exit = match catch_unwind(AssertUnwindSafe(|| Pin::new(context).poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => self.exit.borrow_mut().take(),
            Err(payload) => Some(Exit::panicked(payload)),
        };
        let exit = exit.unwrap_or_else(|| Exit::new(ExitReason::Killed, "its arbiter stopped"));
        self.end(exit);
        Poll::Ready(())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.end(Exit::new(ExitReason::Killed, "its arbiter stopped"));
    }
}
