//! The one declaration of the daemon: which actors there are, who supervises them and who sends to whom. Supervision
//! tree, metric labels, `tidemill topology`, the console and the docs all follow from it.
//!
//! Children start in the order declared, writers first and intake last, and drain in reverse.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::config::actors::ActorConfig;
use crate::messages::dead_letter::DeadLetter;
use crate::messages::pipeline::{BarIntake, Embedded, Fingerprinted, Intake, Judged};
use crate::supervisors::{
    Actor, ChildSpec, Death, Fault, Inbox, Intensity, Mailbox, RestartType, ServiceContext, Strategy, SupervisorSpec,
    mailbox,
};

use super::backup_schedule;
use super::bar_source;
use super::bar_writer::BarWriter;
use super::dead_letters::DeadLetters;
use super::deduplicator::Deduplicator;
use super::dispatcher;
use super::embedder::Embedder;
use super::faulty::Faulty;
use super::fingerprinter::Fingerprinter;
use super::housekeeper;
use super::publisher::Publisher;
use super::reloader;
use super::sentiment_analyzer::SentimentAnalyzer;
use super::servers;
use super::services::{Services, ServicesCell};
use super::shared::{Carries, bury};
use super::source;
use super::sql_writer::{SqlWriter, Verdict};
use super::vector_writer::VectorWriter;

/// Time a service has to end in: the source waits that long for the verdicts of what it handed over.
pub const SERVICE_DRAIN: Duration = Duration::from_secs(30);

/// The supervisors, from the root down.
pub const SUPERVISORS: [&str; 3] = ["tidemill", "documents", "intake"];

/// Mailboxes of the document path.
#[derive(Clone)]
pub struct Mailboxes {
    /// To [`Fingerprinter`].
    pub fingerprinter: Mailbox<Intake>,
    /// To [`Embedder`].
    pub embedder: Mailbox<Fingerprinted>,
    /// To [`Deduplicator`].
    pub deduplicator: Mailbox<Embedded>,
    /// To [`SentimentAnalyzer`].
    pub sentiment_analyzer: Mailbox<Judged>,
    /// To [`SqlWriter`].
    pub sql_writer: Mailbox<Judged>,
    /// To [`VectorWriter`].
    pub vector_writer: Mailbox<Verdict>,
    /// To [`Publisher`].
    pub publisher: Mailbox<Verdict>,
    /// To [`BarWriter`].
    pub bar_writer: Mailbox<BarIntake>,
    /// To [`DeadLetters`].
    pub dead_letters: Mailbox<DeadLetter>,
}

/// Inboxes of the document path, each taken once by its actor.
struct Inboxes {
    fingerprinter: Inbox<Intake>,
    embedder: Inbox<Fingerprinted>,
    deduplicator: Inbox<Embedded>,
    sentiment_analyzer: Inbox<Judged>,
    sql_writer: Inbox<Judged>,
    vector_writer: Inbox<Verdict>,
    publisher: Inbox<Verdict>,
    bar_writer: Inbox<BarIntake>,
    dead_letters: Inbox<DeadLetter>,
}

fn mailboxes(config: &Config) -> (Mailboxes, Inboxes) {
    let actors = &config.actors;
    let (fingerprinter, fingerprinter_in) = mailbox("fingerprinter", actors.fingerprinter.mailbox_capacity);
    let (embedder, embedder_in) = mailbox("embedder", actors.embedder.mailbox_capacity);
    let (deduplicator, deduplicator_in) = mailbox("deduplicator", actors.deduplicator.mailbox_capacity);
    let (sentiment_analyzer, sentiment_in) = mailbox("sentiment_analyzer", actors.sentiment_analyzer.mailbox_capacity);
    let (sql_writer, sql_writer_in) = mailbox("sql_writer", actors.sql_writer.mailbox_capacity);
    let (vector_writer, vector_writer_in) = mailbox("vector_writer", actors.vector_writer.mailbox_capacity);
    let (publisher, publisher_in) = mailbox("publisher", actors.publisher.mailbox_capacity);
    let (bar_writer, bar_writer_in) = mailbox("bar_writer", actors.bar_writer.mailbox_capacity);
    let (dead_letters, dead_letters_in) = mailbox("dead_letters", actors.dead_letters.mailbox_capacity);
    (
        Mailboxes {
            fingerprinter,
            embedder,
            deduplicator,
            sentiment_analyzer,
            sql_writer,
            vector_writer,
            publisher,
            bar_writer,
            dead_letters,
        },
        Inboxes {
            fingerprinter: fingerprinter_in,
            embedder: embedder_in,
            deduplicator: deduplicator_in,
            sentiment_analyzer: sentiment_in,
            sql_writer: sql_writer_in,
            vector_writer: vector_writer_in,
            publisher: publisher_in,
            bar_writer: bar_writer_in,
            dead_letters: dead_letters_in,
        },
    )
}

/// Declares the daemon by the node's roles: without the role of a worker there are no stages and no source. `cell` may
/// stay empty when the tree is only drawn.
pub fn declare(config: &Config, cell: &ServicesCell) -> (SupervisorSpec, Mailboxes) {
    let (to, inboxes) = mailboxes(config);
    let declaration = Declaration { config, cell, to: &to };
    let mut tree = SupervisorSpec::new(SUPERVISORS[0])
        .strategy(Strategy::OneForOne)
        .intensity(declaration.intensity())
        .child(declaration.service("housekeeper", housekeeper::run))
        .child(declaration.service("reloader", reloader::run));
    if !config.backup.schedule.is_empty() {
        tree = tree.child(declaration.service("backup_schedule", backup_schedule::run));
    }
    if config.node.is_worker() {
        let dispatcher = declaration.service("dispatcher", dispatcher::run).drain(dispatcher::drain_time(&config.jobs));
        tree = tree.child(dispatcher).supervisor(declaration.document_path(inboxes));
    }
    (tree.supervisor(declaration.intake()), to)
}

/// What every part of the declaration needs.
struct Declaration<'a> {
    config: &'a Config,
    cell: &'a ServicesCell,
    to: &'a Mailboxes,
}

impl Declaration<'_> {
    fn intensity(&self) -> Intensity {
        self.config.supervision.intensity()
    }

    /// Dead letters first, since everything sends to them, then the stages from the last to the first.
    fn document_path(&self, inboxes: Inboxes) -> SupervisorSpec {
        let actors = &self.config.actors;
        SupervisorSpec::new(SUPERVISORS[1])
            .strategy(Strategy::OneForOne)
            .intensity(self.intensity())
            .child(self.actor("dead_letters", inboxes.dead_letters, &actors.dead_letters, |services, _| DeadLetters {
                log: Arc::clone(&services.log),
                topic: Arc::clone(&services.dead_letters_topic),
                documents: Arc::clone(&services.documents),
                events: services.events.clone(),
            }))
            .child(self.bar_writer(inboxes.bar_writer))
            .child(self.publisher(inboxes.publisher))
            .child(self.vector_writer(inboxes.vector_writer))
            .child(self.stage(
                ("sql_writer", inboxes.sql_writer),
                &actors.sql_writer,
                &["vector_writer"],
                |services, to| SqlWriter {
                    documents: Arc::clone(&services.documents),
                    vectors: Arc::clone(&services.vectors),
                    embedding: services.encoder.info().clone(),
                    recall: services.recall.clone(),
                    dedup: Arc::clone(&services.live.dedup),
                    itself: to.sql_writer.clone(),
                    vector_writer: to.vector_writer.clone(),
                },
            ))
            .child(self.stage(
                ("sentiment_analyzer", inboxes.sentiment_analyzer),
                &actors.sentiment_analyzer,
                &["sql_writer"],
                |services, to| SentimentAnalyzer {
                    config: Arc::clone(&services.live.sentiment),
                    model: Arc::clone(&services.sentiment),
                    sql_writer: to.sql_writer.clone(),
                },
            ))
            .child(self.stage(
                ("deduplicator", inboxes.deduplicator),
                &actors.deduplicator,
                &["sentiment_analyzer"],
                |services, to| Deduplicator {
                    config: Arc::clone(&services.live.dedup),
                    vectors: Arc::clone(&services.vectors),
                    lock: Arc::clone(&services.lock),
                    recall: services.recall.clone(),
                    sentiment_analyzer: to.sentiment_analyzer.clone(),
                },
            ))
            .child(self.stage(("embedder", inboxes.embedder), &actors.embedder, &["deduplicator"], |services, to| {
                Embedder { encoder: Arc::clone(&services.encoder), deduplicator: to.deduplicator.clone() }
            }))
            .child(self.stage(
                ("fingerprinter", inboxes.fingerprinter),
                &actors.fingerprinter,
                &["embedder"],
                |services, to| Fingerprinter { recall: services.recall.clone(), embedder: to.embedder.clone() },
            ))
    }

    /// What it gives up goes to the dead letters; bars have no duplicate memory to be forgotten by.
    fn bar_writer(&self, inbox: Inbox<BarIntake>) -> ChildSpec<BarIntake> {
        let make = |services: &Services, _: &Mailboxes| BarWriter { bars: Arc::clone(&services.market.bars) };
        let dead_letters = self.to.dead_letters.clone();
        let config = &self.config.actors.bar_writer;
        self.actor("bar_writer", inbox, config, make).sends_to(&["dead_letters"]).on_dead(move |intake, death| {
            let dead_letters = dead_letters.clone();
            let letter = DeadLetter {
                delivery: intake.delivery,
                document_id: None,
                stage: death.stage,
                code: death.code,
                error: death.reason,
                attempts: death.attempts,
                history: death.history,
            };
            Box::pin(async move {
                if dead_letters.send(letter).await.is_err() {
                    tracing::warn!("dead letters are closed, the record stays with its source");
                }
            })
        })
    }

    /// The verdict is durable when it comes here: one that can't be published is still the verdict, and is completed.
    fn publisher(&self, inbox: Inbox<Verdict>) -> ChildSpec<Verdict> {
        let make = |services: &Services, _: &Mailboxes| Publisher {
            log: Arc::clone(&services.log),
            outbox: services.log.outbox(),
            topic: Arc::clone(&services.analyses_topic),
            signals_topic: Arc::clone(&services.signals_topic),
            events: Arc::clone(&services.events),
        };
        let config = &self.config.actors.publisher;
        self.actor("publisher", inbox, config, self.faulty("publisher", make)).on_dead(|verdict, death| {
            abandoned(&verdict, &death);
            verdict.judged.delivery.complete();
            Box::pin(std::future::ready(()))
        })
    }

    /// The verdict is durable when it comes here: one that can't be indexed goes on; the next start's index has it.
    fn vector_writer(&self, inbox: Inbox<Verdict>) -> ChildSpec<Verdict> {
        let make = |services: &Services, to: &Mailboxes| VectorWriter {
            vectors: Arc::clone(&services.vectors),
            cache: Arc::clone(&services.cache),
            recall: services.recall.clone(),
            publisher: to.publisher.clone(),
        };
        let publisher = self.to.publisher.clone();
        let config = &self.config.actors.vector_writer;
        let child = self.actor("vector_writer", inbox, config, self.faulty("vector_writer", make));
        child.sends_to(&["publisher"]).on_dead(move |verdict, death| {
            abandoned(&verdict, &death);
            let publisher = publisher.clone();
            Box::pin(async move {
                // when the publisher is closed the delivery is dropped, and with it goes back to its source
                let _ = publisher.send(verdict).await;
            })
        })
    }

    /// Where documents and bars come from.
    fn intake(&self) -> SupervisorSpec {
        let mut intake = SupervisorSpec::new(SUPERVISORS[2]).strategy(Strategy::OneForOne).intensity(self.intensity());
        if self.config.node.is_worker() {
            let to = self.to.clone();
            let source = self.service("source", move |services, ctx| source::run(services, to.clone(), ctx));
            intake = intake.child(source.sends_to(&["fingerprinter", "dead_letters"]));
            let to = self.to.clone();
            let bars = self.service("bar_source", move |services, ctx| bar_source::run(services, to.clone(), ctx));
            intake = intake.child(bars.sends_to(&["bar_writer", "dead_letters"]));
        }
        if servers::listener_is_on(self.config) {
            intake = intake.child(self.service("kafka_listener", servers::kafka_listener));
        }
        intake.child(self.service("http", servers::http))
    }

    /// An actor whose dead messages can't go to the dead letters.
    fn actor<A: Actor>(
        &self,
        name: &str,
        inbox: Inbox<A::Message>,
        config: &ActorConfig,
        make: impl Fn(&Services, &Mailboxes) -> A + Send + Sync + 'static,
    ) -> ChildSpec<A::Message> {
        let cell = self.cell.clone();
        let to = self.to.clone();
        ChildSpec::actor_try(name, inbox, move || {
            let services = cell.get().ok_or_else(|| Fault::broken("the stores are not open"))?;
            Ok(make(&services, &to))
        })
        .restart(RestartType::Permanent)
        .settings(config.settings())
        .workers(config.workers)
    }

    /// A stage before the verdict is durable: what it gives up goes to the dead letters.
    fn stage<A>(
        &self,
        (name, inbox): (&str, Inbox<A::Message>),
        config: &ActorConfig,
        sends_to: &[&str],
        make: impl Fn(&Services, &Mailboxes) -> A + Send + Sync + 'static,
    ) -> ChildSpec<A::Message>
    where
        A: Actor,
        A::Message: Carries + Sync,
    {
        let cell = self.cell.clone();
        let dead_letters = self.to.dead_letters.clone();
        let edges: Vec<&str> = sends_to.iter().copied().chain(["dead_letters"]).collect();
        self.actor(name, inbox, config, self.faulty(name, make)).sends_to(&edges).on_dead(move |message, death| {
            let recall = cell.get().map(|services| services.recall);
            let dead_letters = dead_letters.clone();
            Box::pin(async move {
                if let Some(recall) = recall {
                    bury(message, death, recall, dead_letters).await;
                }
            })
        })
    }

    /// The stage, with the faults that the configuration injects into it.
    fn faulty<A>(
        &self,
        name: &str,
        make: impl Fn(&Services, &Mailboxes) -> A + Send + Sync + 'static,
    ) -> impl Fn(&Services, &Mailboxes) -> Faulty<A> + Send + Sync + 'static {
        let faults = &self.config.faults;
        let marker = (faults.enabled && faults.poison_stage == name && !faults.poison_marker.is_empty())
            .then(|| Arc::<str>::from(faults.poison_marker.as_str()));
        let delay = (faults.enabled && faults.delayed_stage == name).then(|| Duration::from_millis(faults.delay_ms));
        move |services, to| Faulty { inner: make(services, to), marker: marker.clone(), delay }
    }

    /// A supervised future.
    fn service<F, R>(&self, name: &str, run: F) -> ChildSpec
    where
        F: Fn(Services, ServiceContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Fault>> + 'static,
    {
        let cell = self.cell.clone();
        let run = Arc::new(run);
        ChildSpec::service(name, move |ctx| {
            let services = cell.get();
            let run = Arc::clone(&run);
            async move {
                match services {
                    Some(services) => run(services, ctx).await,
                    None => Err(Fault::broken("the stores are not open")),
                }
            }
        })
        .restart(RestartType::Permanent)
        .drain(SERVICE_DRAIN)
    }
}

/// A stage after the verdict gave it up.
fn abandoned(verdict: &Verdict, death: &Death) {
    tracing::error!(
        document = %verdict.analysis.document_id,
        correlation_id = %verdict.analysis.correlation_id,
        stage = %death.stage,
        code = %death.code,
        error = %death.reason,
        "verdict stands, but a later stage gave it up"
    );
}
