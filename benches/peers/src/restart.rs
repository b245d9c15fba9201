//! From a panic to the next message handled.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tidemill::supervisors::{self, Backoff, ChildSpec, Intensity, Options, Placement, SupervisorSpec};

use crate::Error;

/// When the last panic was, and the waits after it.
#[derive(Default)]
pub struct Times(Mutex<(Option<Instant>, Vec<Duration>)>);

impl Times {
    fn panic(&self) -> ! {
        if let Ok(mut times) = self.0.lock() {
            times.0 = Some(Instant::now());
        }
        panic!("as told");
    }

    fn back(&self) {
        if let Ok(mut times) = self.0.lock()
            && let Some(panicked) = times.0.take()
        {
            times.1.push(panicked.elapsed());
        }
    }

    fn count(&self) -> usize {
        self.0.lock().map_or(0, |times| times.1.len())
    }

    fn waits(&self) -> Vec<Duration> {
        self.0.lock().map_or_else(|_| Vec::new(), |times| times.1.clone())
    }

    /// Waits for so many; an error after two seconds without.
    async fn reached(&self, count: usize) -> Result<(), Error> {
        let wait = async {
            while self.count() < count {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        };
        let late = format!("not back two seconds after panic {count}");
        tokio::time::timeout(Duration::from_secs(2), wait).await.map_err(|_| late.into())
    }
}

struct Ours(Arc<Times>);

impl supervisors::Actor for Ours {
    type Message = bool;

    async fn handle(&mut self, batch: Vec<bool>, _: &supervisors::Context<bool>) -> Result<(), supervisors::Fault> {
        for bad in batch {
            if bad {
                self.0.panic();
            }
            self.0.back();
        }
        Ok(())
    }
}

pub async fn tidemill(panics: usize) -> Result<Vec<Duration>, Error> {
    let times = Arc::new(Times::default());
    let kept = times.clone();
    let (to, inbox) = supervisors::mailbox("ours", 8);
    let none = Backoff { min: Duration::ZERO, max: Duration::ZERO, ..Backoff::default() };
    let child = ChildSpec::actor("ours", inbox, move || Ours(kept.clone())).attempts(1).backoff(none);
    let intensity = Intensity { max_restarts: 2 * panics, window: Duration::from_mins(10) };
    let spec = SupervisorSpec::new("root").intensity(intensity).child(child);
    let tree = supervisors::start(spec, Options { placement: Placement::Here, ..Options::default() }).await?;
    for panic in 1..=panics {
        to.send(true).await?;
        to.send(false).await?;
        times.reached(panic).await?;
    }
    tree.stop().await;
    Ok(times.waits())
}

/// Supervises a [`Kameo`].
struct KameoParent;

impl kameo::Actor for KameoParent {
    type Args = ();
    type Error = kameo::error::Infallible;

    async fn on_start(_: (), _: kameo::actor::ActorRef<Self>) -> Result<Self, Self::Error> {
        Ok(Self)
    }
}

#[derive(Clone)]
struct Kameo(Arc<Times>);

impl kameo::Actor for Kameo {
    type Args = Self;
    type Error = kameo::error::Infallible;

    async fn on_start(state: Self, _: kameo::actor::ActorRef<Self>) -> Result<Self, Self::Error> {
        state.0.back();
        Ok(state)
    }
}

impl kameo::message::Message<bool> for Kameo {
    type Reply = ();

    async fn handle(&mut self, bad: bool, _: &mut kameo::message::Context<Self, ()>) {
        if bad {
            self.0.panic();
        }
    }
}

pub async fn kameo(panics: usize) -> Result<Vec<Duration>, Error> {
    use kameo::actor::Spawn;
    let times = Arc::new(Times::default());
    let parent = KameoParent::spawn(());
    let child = Kameo::supervise(&parent, Kameo(times.clone()))
        .restart_limit(u32::try_from(2 * panics)?, Duration::from_mins(10))
        .spawn()
        .await;
    for panic in 1..=panics {
        child.tell(true).await.map_err(|error| error.to_string())?;
        times.reached(panic).await?;
    }
    let _ = parent.stop_gracefully().await;
    Ok(times.waits())
}

/// Respawns a [`Ractor`] whenever it fails.
struct RactorParent;

impl ractor::Actor for RactorParent {
    type Msg = ();
    type State = (Arc<Times>, ractor::ActorRef<bool>);
    type Arguments = (Arc<Times>, Current);

    async fn pre_start(
        &self,
        myself: ractor::ActorRef<()>,
        (times, current): Self::Arguments,
    ) -> Result<Self::State, ractor::ActorProcessingErr> {
        let (child, _) = ractor::Actor::spawn_linked(None, Ractor(current), times.clone(), myself.get_cell()).await?;
        Ok((times, child))
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ractor::ActorRef<()>,
        event: ractor::SupervisionEvent,
        (times, child): &mut Self::State,
    ) -> Result<(), ractor::ActorProcessingErr> {
        if let ractor::SupervisionEvent::ActorFailed(..) = event {
            let current = CURRENT.with(Clone::clone);
            let spawned = ractor::Actor::spawn_linked(None, Ractor(current), times.clone(), myself.get_cell()).await?;
            *child = spawned.0;
        }
        Ok(())
    }
}

/// The child that is alive now.
type Current = Arc<Mutex<Option<ractor::ActorRef<bool>>>>;

thread_local! {
    static CURRENT: Current = Current::default();
}

struct Ractor(Current);

impl ractor::Actor for Ractor {
    type Msg = bool;
    type State = Arc<Times>;
    type Arguments = Arc<Times>;

    async fn pre_start(
        &self,
        myself: ractor::ActorRef<bool>,
        times: Arc<Times>,
    ) -> Result<Arc<Times>, ractor::ActorProcessingErr> {
        if let Ok(mut current) = self.0.lock() {
            *current = Some(myself);
        }
        times.back();
        Ok(times)
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<bool>,
        _: bool,
        times: &mut Arc<Times>,
    ) -> Result<(), ractor::ActorProcessingErr> {
        times.panic();
    }
}

pub async fn ractor(panics: usize) -> Result<Vec<Duration>, Error> {
    let times = Arc::new(Times::default());
    let current = CURRENT.with(Clone::clone);
    let (parent, _) = ractor::Actor::spawn(None, RactorParent, (times.clone(), current.clone())).await?;
    for panic in 1..=panics {
        let child = current.lock().ok().and_then(|current| current.clone()).ok_or("no child")?;
        child.cast(true)?;
        times.reached(panic).await?;
    }
    parent.stop(None);
    Ok(times.waits())
}
