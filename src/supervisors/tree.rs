//! The running tree, as its owner holds it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::watch;

use super::backoff::Backoff;
use super::child::{Child, Settings};
use super::drain::StopReport;
use super::fault::Exit;
use super::intensity::Intensity;
use super::link::{Injection, StopMode};
use super::placement::{Place, Placement};
use super::shell::Control;
use super::supervisor::{Cause, Env, NodeCore, Supervisor, SupervisorCore, SupervisorPhase};
use super::topology::{SupervisorSpec, Topology, TopologyError};

/// Settings of a whole tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Where actors and services run.
    pub placement: Placement,
    /// How often supervisors look for progress.
    pub heartbeat: Duration,
    /// A replaced actor that has not let go of its thread after this long has hung it.
    pub hung_grace: Duration,
    /// More hung threads than this end the tree.
    pub max_hung_threads: usize,
    /// Without progress for this long while starting, a service without a `stuck_after` of its own is replaced.
    pub start_limit: Duration,
    /// So many poison messages in a row, with no good one between, speak against the messages; more against the actor.
    pub max_poison_streak: u32,
    /// Wait before a supervisor that gave up is started again by its parent.
    pub supervisor_backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            placement: Placement::default(),
            heartbeat: Duration::from_millis(500),
            hung_grace: Duration::from_millis(250),
            max_hung_threads: 4,
            start_limit: Duration::from_mins(1),
            max_poison_streak: 16,
            supervisor_backoff: Backoff { min: Duration::from_millis(100), ..Backoff::default() },
        }
    }
}

/// Why a tree did not start. What had started was stopped again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The declaration is wrong.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A child ended while starting.
    #[error("{child} did not start: {exit}")]
    Child {
        /// Its name.
        child: String,
        /// How it ended.
        exit: Exit,
    },
    /// There is no thread for the supervisors.
    #[error("no thread for the supervisors: {0}")]
    Thread(String),
    /// It was stopped while starting.
    #[error("stopped while starting")]
    Stopped,
}

/// How the tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootExit {
    /// It was stopped.
    Stopped,
    /// The root supervisor gave up.
    Escalated {
        /// The first fault of those that led to it.
        cause: Cause,
    },
}

/// There is no child of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no child named {0}")]
pub struct UnknownChild(pub String);

/// What an operator can do to a child. The last three inject faults: they take effect with the next message in
/// flight, or at once when the child is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildCommand {
    /// End it at its next await point and start it anew, at once; messages in flight are tried again, unblamed.
    Restart,
    /// Panic.
    Panic,
    /// Block its thread.
    Hang(Duration),
    /// Wait for ever without blocking the thread.
    HangAsync,
}

/// A running tree. Clones are the same tree; when the last is dropped what still runs is cut off, so stop it before.
#[derive(Clone)]
pub struct Tree {
    shared: Arc<Shared>,
}

struct Shared {
    topology: Topology,
    root: Arc<SupervisorCore>,
    env: Arc<Env>,
    stop: watch::Sender<StopMode>,
    phase: watch::Receiver<SupervisorPhase>,
    _place: Place,
}

/// Starts a tree; returns when every child has started. Must be called inside an actix `System`.
///
/// # Errors
/// [`StartError`] if the declaration is wrong or a child does not start.
pub async fn start(spec: SupervisorSpec, options: Options) -> Result<Tree, StartError> {
    let topology = spec.topology();
    topology.check()?;
    let place = Place::new(options.placement, "supervisors").map_err(|error| StartError::Thread(error.to_string()))?;
    let env = Arc::new(Env { options, root: spec.name.clone(), hung: AtomicUsize::new(0) });
    let root = SupervisorCore::build(spec);
    let (stop, stop_receiver) = watch::channel(StopMode::Run);
    let (phase, phase_receiver) = watch::channel(SupervisorPhase::Starting);
    let (core, shared_env) = (root.clone(), env.clone());
    place.run(move || {
        actix_rt::spawn(Supervisor::new(core, shared_env, stop_receiver, phase).run());
    });
    let mut started = phase_receiver.clone();
    let tree = Tree { shared: Arc::new(Shared { topology, root, env, stop, phase: phase_receiver, _place: place }) };
    match started.wait_for(|phase| !matches!(phase, SupervisorPhase::Starting)).await.as_deref() {
        Ok(SupervisorPhase::Ended(Some(escalation), _)) => {
            let Cause { child, exit } = escalation.cause.clone();
            Err(StartError::Child { child, exit })
        }
        Ok(SupervisorPhase::Ended(None, _)) | Err(_) => Err(StartError::Stopped),
        Ok(SupervisorPhase::Starting | SupervisorPhase::Running) => Ok(tree),
    }
}

impl Tree {
    /// Stops all children in reverse order, each after it has worked off its mailbox or its deadline has passed.
    pub async fn stop(&self) -> StopReport {
        self.shared.stop.send_if_modified(|mode| {
            let first = *mode == StopMode::Run;
            *mode = StopMode::Drain;
            first
        });
        self.ended().await.1
    }

    /// Waits until the tree has ended.
    pub async fn wait(&self) -> RootExit {
        self.ended().await.0
    }

    async fn ended(&self) -> (RootExit, StopReport) {
        let mut phase = self.shared.phase.clone();
        let ended = phase.wait_for(|phase| matches!(phase, SupervisorPhase::Ended(..))).await;
        match ended.as_deref() {
            Ok(SupervisorPhase::Ended(escalation, stops)) => {
                let exit = match escalation {
                    Some(escalation) => RootExit::Escalated { cause: escalation.cause.clone() },
                    None => RootExit::Stopped,
                };
                (exit, StopReport { children: stops.clone() })
            }
            Ok(SupervisorPhase::Starting | SupervisorPhase::Running) | Err(_) => {
                (RootExit::Stopped, StopReport::default())
            }
        }
    }

    /// The declared tree.
    pub fn topology(&self) -> &Topology {
        &self.shared.topology
    }

    pub(super) fn root(&self) -> &Arc<SupervisorCore> {
        &self.shared.root
    }

    pub(super) fn env(&self) -> &Env {
        &self.shared.env
    }

    /// Acts on a child: on all its workers with [`ChildCommand::Restart`], on the first with a fault.
    ///
    /// # Errors
    /// [`UnknownChild`] if there is none of this name.
    pub fn command(&self, child: &str, command: ChildCommand) -> Result<(), UnknownChild> {
        let child = self.child(child)?;
        let links: Vec<_> = child.seats.lock().iter().filter_map(|seat| seat.link.clone()).collect();
        let (control, count) = match command {
            ChildCommand::Restart => (Control::Kill, links.len()),
            ChildCommand::Panic => (Control::Inject(Injection::Panic), 1),
            ChildCommand::Hang(time) => (Control::Inject(Injection::Hang(time)), 1),
            ChildCommand::HangAsync => (Control::Inject(Injection::HangAsync), 1),
        };
        for link in links.iter().take(count) {
            link.ask(control);
        }
        Ok(())
    }

    /// Changes the capacity of a child's mailbox; services have none and ignore it.
    ///
    /// # Errors
    /// [`UnknownChild`] if there is none of this name.
    pub fn set_capacity(&self, child: &str, capacity: usize) -> Result<(), UnknownChild> {
        if let Some(port) = &self.child(child)?.port {
            port.set_capacity(capacity);
        }
        Ok(())
    }

    /// Changes a child's settings while it runs.
    ///
    /// # Errors
    /// [`UnknownChild`] if there is none of this name.
    pub fn set_policy(&self, child: &str, change: impl FnOnce(&mut Settings)) -> Result<(), UnknownChild> {
        self.child(child)?.change(change);
        Ok(())
    }

    /// Changes how many restarts it takes a supervisor to give up.
    ///
    /// # Errors
    /// [`UnknownChild`] if there is no supervisor of this name.
    pub fn set_intensity(&self, supervisor: &str, intensity: Intensity) -> Result<(), UnknownChild> {
        let mut found = vec![self.shared.root.clone()];
        while let Some(core) = found.pop() {
            if core.name == supervisor {
                *core.intensity.lock() = intensity;
                return Ok(());
            }
            found.extend(core.nodes.iter().filter_map(|node| match node {
                NodeCore::Supervisor(core) => Some(core.clone()),
                NodeCore::Child(_) => None,
            }));
        }
        Err(UnknownChild(supervisor.to_owned()))
    }

    fn child(&self, name: &str) -> Result<Arc<Child>, UnknownChild> {
        let found = self.all_children().into_iter().find(|(_, child)| &*child.name == name);
        found.map(|(_, child)| child).ok_or_else(|| UnknownChild(name.to_owned()))
    }

    /// All children with their supervisors, in the order they start.
    pub(super) fn all_children(&self) -> Vec<(Arc<SupervisorCore>, Arc<Child>)> {
        fn collect(core: &Arc<SupervisorCore>, found: &mut Vec<(Arc<SupervisorCore>, Arc<Child>)>) {
            for node in &core.nodes {
                match node {
                    NodeCore::Child(child) => found.push((core.clone(), child.clone())),
                    NodeCore::Supervisor(core) => collect(core, found),
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.shared.root, &mut found);
        found
    }
}
