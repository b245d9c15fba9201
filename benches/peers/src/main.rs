//! The same work on this runtime, raw actix, kameo and ractor, in one run on one thread. Run: `cargo run --release`.
//!
//! Work one: a million numbers through one actor that adds them up. This runtime and kameo bound the mailbox; actix
//! (`do_send`) and ractor (`cast`) do not, so the sender yields every [`CAPACITY`] messages to let them keep up.
//! Work two: from a panic to the next message handled (kameo and ractor: to the new actor's start).

mod restart;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemill::supervisors::{self, ChildSpec, Options, Placement, SupervisorSpec};

const MESSAGES: u64 = 1_000_000;
const RUNS: usize = 5;
const CAPACITY: u64 = 1_024;
/// Panics measured per runtime.
const PANICS: usize = 200;

type Error = Box<dyn std::error::Error>;

/// What the actors add up to.
type Sum = Arc<AtomicU64>;

const EXPECTED: u64 = MESSAGES * (MESSAGES - 1) / 2;

async fn added(sum: &Sum) {
    while sum.load(Ordering::Relaxed) < EXPECTED {
        tokio::task::yield_now().await;
    }
}

struct Ours(Sum);

impl supervisors::Actor for Ours {
    type Message = u64;

    async fn handle(&mut self, batch: Vec<u64>, _: &supervisors::Context<u64>) -> Result<(), supervisors::Fault> {
        for number in batch {
            self.0.fetch_add(number, Ordering::Relaxed);
        }
        Ok(())
    }
}

async fn tidemill() -> Result<Duration, Error> {
    let sum = Sum::default();
    let (to, inbox) = supervisors::mailbox("adder", usize::try_from(CAPACITY)?);
    let kept = sum.clone();
    let spec = SupervisorSpec::new("root").child(ChildSpec::actor("adder", inbox, move || Ours(kept.clone())));
    let tree = supervisors::start(spec, Options { placement: Placement::Here, ..Options::default() }).await?;
    let started = Instant::now();
    for number in 0..MESSAGES {
        to.send(number).await?;
    }
    added(&sum).await;
    let elapsed = started.elapsed();
    tree.stop().await;
    Ok(elapsed)
}

struct Actix(Sum);

struct Number(u64);

impl actix::Message for Number {
    type Result = ();
}

impl actix::Actor for Actix {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Number> for Actix {
    type Result = ();

    fn handle(&mut self, Number(number): Number, _: &mut Self::Context) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }
}

async fn actix() -> Result<Duration, Error> {
    let sum = Sum::default();
    let address = actix::Actor::start(Actix(sum.clone()));
    let started = Instant::now();
    for number in 0..MESSAGES {
        address.do_send(Number(number));
        if number % CAPACITY == CAPACITY - 1 {
            tokio::task::yield_now().await;
        }
    }
    added(&sum).await;
    Ok(started.elapsed())
}

struct Kameo(Sum);

impl kameo::Actor for Kameo {
    type Args = Sum;
    type Error = kameo::error::Infallible;

    async fn on_start(sum: Sum, _: kameo::actor::ActorRef<Self>) -> Result<Self, Self::Error> {
        Ok(Self(sum))
    }
}

impl kameo::message::Message<u64> for Kameo {
    type Reply = ();

    async fn handle(&mut self, number: u64, _: &mut kameo::message::Context<Self, ()>) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }
}

async fn kameo() -> Result<Duration, Error> {
    use kameo::actor::Spawn;
    let sum = Sum::default();
    let actor = Kameo::spawn_with_mailbox(sum.clone(), kameo::mailbox::bounded(usize::try_from(CAPACITY)?));
    let started = Instant::now();
    for number in 0..MESSAGES {
        actor.tell(number).await.map_err(|error| error.to_string())?;
    }
    added(&sum).await;
    let elapsed = started.elapsed();
    let _ = actor.stop_gracefully().await;
    Ok(elapsed)
}

struct Ractor;

impl ractor::Actor for Ractor {
    type Msg = u64;
    type State = Sum;
    type Arguments = Sum;

    async fn pre_start(&self, _: ractor::ActorRef<u64>, sum: Sum) -> Result<Sum, ractor::ActorProcessingErr> {
        Ok(sum)
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<u64>,
        number: u64,
        sum: &mut Sum,
    ) -> Result<(), ractor::ActorProcessingErr> {
        sum.fetch_add(number, Ordering::Relaxed);
        Ok(())
    }
}

async fn ractor() -> Result<Duration, Error> {
    let sum = Sum::default();
    let (actor, _) = ractor::Actor::spawn(None, Ractor, sum.clone()).await?;
    let started = Instant::now();
    for number in 0..MESSAGES {
        actor.cast(number)?;
        if number % CAPACITY == CAPACITY - 1 {
            tokio::task::yield_now().await;
        }
    }
    added(&sum).await;
    let elapsed = started.elapsed();
    actor.stop(None);
    Ok(elapsed)
}

async fn median<F: Future<Output = Result<Duration, Error>>>(run: impl Fn() -> F) -> Result<f64, Error> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        times.push(run().await?);
    }
    times.sort();
    Ok(f64::from(u32::try_from(MESSAGES)?) / times[RUNS / 2].as_secs_f64() / 1e6)
}

fn print_waits(name: &str, note: &str, waits: Result<Vec<Duration>, Error>) {
    let mut waits = match waits {
        Ok(waits) if !waits.is_empty() => waits,
        Ok(_) => return,
        Err(error) => {
            println!("| {name:<9} |         - |         - |         - | {error} |");
            return;
        }
    };
    waits.sort();
    let at = |share: usize| waits[(waits.len() * share / 100).min(waits.len() - 1)].as_secs_f64() * 1e3;
    println!("| {name:<9} | {:>9.3} | {:>9.3} | {:>9.3} | {note} |", at(50), at(99), at(100));
}

fn main() -> Result<(), Error> {
    std::panic::set_hook(Box::new(|_| {}));
    actix::System::new().block_on(async {
        let ours = median(tidemill).await?;
        let peers = [
            ("tidemill", ours, "bounded, metrics, restart, retry"),
            ("actix", median(actix).await?, "unbounded, queue lost at a panic"),
            ("kameo", median(kameo).await?, "bounded, restart, message lost at a panic"),
            ("ractor", median(ractor).await?, "unbounded, queue lost at a panic"),
        ];
        println!("| runtime   | M messages/s | ratio | with |\n|---|---|---|---|");
        for (name, rate, note) in peers {
            println!("| {name:<9} | {rate:>12.2} | {:>5.2} | {note} |", rate / ours);
        }
        println!("\n| restart   | p50 ms    | p99 ms    | max ms    | from a panic to |\n|---|---|---|---|---|");
        print_waits("tidemill", "the next queued message handled", restart::tidemill(PANICS).await);
        print_waits("kameo", "the restarted actor's start", restart::kameo(PANICS).await);
        print_waits("ractor", "a hand-written respawn; the queue is lost", restart::ractor(PANICS).await);
        println!(
            "| actix     |         - |         - |         - | never: its supervisor does not restart after a panic |"
        );
        Ok(())
    })
}
