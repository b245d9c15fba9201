//! One hop of small messages, on one thread and across two, with all metrics on. Run: `cargo bench --bench mailbox`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemill::supervisors::{
    Actor, Backoff, BatchPolicy, ChildSpec, Context, Fault, Intensity, Options, Placement, SupervisorSpec, mailbox,
    start,
};

/// Messages per run.
const MESSAGES: u64 = 2_000_000;
/// Runs per case; the median is shown with the slowest and fastest.
const RUNS: usize = 5;
const CAPACITY: usize = 1_024;

/// Adds up what it gets.
struct Adder(Arc<AtomicU64>, u64);

impl Actor for Adder {
    type Message = u64;

    async fn handle(&mut self, batch: Vec<u64>, _ctx: &Context<u64>) -> Result<(), Fault> {
        self.1 += batch.iter().sum::<u64>();
        self.0.store(self.1, Ordering::Relaxed);
        Ok(())
    }
}

fn millions(messages: u64, elapsed: Duration) -> f64 {
    f64::from(u32::try_from(messages).unwrap_or(u32::MAX)) / elapsed.as_secs_f64() / 1e6
}

/// How long this thread has been on a processor, where the system tells.
fn on_processor() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Sends [`MESSAGES`] through one actor; returns millions a second, and per second this thread was on a processor,
/// which on a busy machine says more.
async fn hop(placement: Placement, batch: usize) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let (to, inbox) = mailbox("adder", CAPACITY);
    let sum = Arc::new(AtomicU64::new(0));
    let kept = sum.clone();
    let child = ChildSpec::actor("adder", inbox, move || Adder(kept.clone(), 0)).batch(BatchPolicy::of(batch));
    let tree = start(SupervisorSpec::new("root").child(child), Options { placement, ..Options::default() }).await?;
    let (started, before) = (Instant::now(), on_processor());
    for message in 0..MESSAGES {
        to.send(message).await?;
    }
    while to.depth() > 0 {
        tokio::task::yield_now().await;
    }
    let elapsed = started.elapsed();
    let busy = on_processor().zip(before).map_or(elapsed, |(after, before)| after.saturating_sub(before));
    let rates = (millions(MESSAGES, elapsed), millions(MESSAGES, busy));
    let expected = MESSAGES * (MESSAGES - 1) / 2;
    if sum.load(Ordering::Relaxed) != expected || !tree.stop().await.is_clean() {
        return Err("messages were lost".into());
    }
    Ok(rates)
}

/// Panics on every message the first time it sees it.
struct Fragile;

impl Actor for Fragile {
    type Message = Arc<parking_lot::Mutex<Vec<Instant>>>;

    async fn handle(&mut self, batch: Vec<Self::Message>, _ctx: &Context<Self::Message>) -> Result<(), Fault> {
        for times in batch {
            let mut times = times.lock();
            times.push(Instant::now());
            let tries = times.len();
            drop(times);
            assert!(tries > 1, "first try");
        }
        Ok(())
    }
}

/// Time from a panic to the same message's next try in the restarted actor, without backoff.
async fn restarts(count: usize) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let (to, inbox) = mailbox("fragile", 4);
    let none = Backoff { min: Duration::ZERO, max: Duration::ZERO, ..Backoff::default() };
    let child = ChildSpec::actor("fragile", inbox, || Fragile).backoff(none);
    let intensity = Intensity { max_restarts: 2 * count, window: Duration::from_mins(10) };
    let tree = start(SupervisorSpec::new("root").intensity(intensity).child(child), Options::default()).await?;
    let mut waits = Vec::new();
    for _ in 0..count {
        let times = Arc::new(parking_lot::Mutex::new(Vec::new()));
        to.send(times.clone()).await?;
        while to.depth() > 0 {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        let times = times.lock();
        waits.push(times[1] - times[0]);
    }
    tree.stop().await;
    waits.sort();
    Ok(waits)
}

/// Runs a case [`RUNS`] times and prints it. Across threads the processor second is the sender's alone.
async fn case<F: Future<Output = Result<(f64, f64), Box<dyn std::error::Error>>>>(
    name: &str,
    run: impl Fn() -> F,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        rates.push(run().await?);
    }
    rates.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (slowest, median, fastest) = (rates[0].0, rates[RUNS / 2], rates[RUNS - 1].0);
    eprintln!(
        "{name:<44} {:>6.2} M messages/s (slowest {slowest:.2}, fastest {fastest:.2}), {:.2} M per processor second",
        median.0, median.1
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    std::panic::set_hook(Box::new(|_| {}));
    actix::System::new().block_on(async {
        case("one thread, one message a call", || hop(Placement::Here, 1)).await?;
        case("one thread, up to 64 messages a call", || hop(Placement::Here, 64)).await?;
        case("across threads, one message a call", || hop(Placement::Arbiter, 1)).await?;
        case("across threads, up to 64 messages a call", || hop(Placement::Arbiter, 64)).await?;
        let waits = restarts(500).await?;
        let at = |share: usize| waits[(waits.len() * share / 100).min(waits.len() - 1)];
        eprintln!("restart after a panic: p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100));
        Ok(())
    })
}
