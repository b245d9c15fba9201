//! Every path of the API, once: the router and the API's description are both made of this table.

use axum::extract::{OriginalUri, State};
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post};

use super::api::{
    analyze, backtests, bars, charts, console, dead_letters, documents, embeddings, explain, faults, graphs, health,
    ingestion, intake, jobs, operations, search, stream,
};
use super::app::AppState;
use super::error::ApiError;
use super::forward::{self, Node};
use super::parameters::Parameter;
use super::{envelope, guard};
use crate::messages::code::ErrorCode;

/// One path and method.
pub(crate) struct Endpoint {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// Name of the body's schema, if it takes one.
    pub(crate) body: Option<&'static str>,
    /// Status, name of the schema or content type of the usual answer.
    pub(crate) answer: (u16, &'static str),
    /// Whether it exists only with fault injection on.
    pub(crate) fault: bool,
    /// Whether it needs a model or cores, which only workers have.
    model: bool,
    handler: fn() -> MethodRouter<AppState>,
}

const fn parameter(name: &'static str, kind: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind, description }
}

const SOURCE: Parameter = parameter("source", "string", "only this source");
const SYMBOL: Parameter = parameter("symbol", "string", "only documents with this symbol");
const SINCE: Parameter = parameter("since", "string", "only at or after this time, RFC 3339 or a date");
const LIMIT: Parameter = parameter("limit", "integer", "items in a page, 1 to 1000");
const CURSOR: Parameter = parameter("cursor", "string", "next_cursor of the page before");
const FROM: Parameter = parameter("from", "string", "at or after this time, RFC 3339 or a date");
const TO: Parameter = parameter("to", "string", "before this time, RFC 3339 or a date");
const MARKET_LIMIT: Parameter = parameter("limit", "integer", "items in a page, 1 to 10000");
const STAGE: Parameter = parameter("stage", "string", "only dead letters of this stage");
const CODE: Parameter = parameter("code", "string", "only dead letters of this error code");

pub(crate) const DOCUMENT_FILTERS: &[Parameter] =
    &[parameter("verdict", "string", "stored or duplicate"), SOURCE, SYMBOL, SINCE, LIMIT, CURSOR];
pub(crate) const BAR_FILTERS: &[Parameter] = &[
    parameter("symbol", "string", "of this symbol; required"),
    parameter("interval", "string", "of this interval, such as 5m or 1d; required"),
    FROM,
    TO,
    MARKET_LIMIT,
    CURSOR,
];
pub(crate) const SIGNAL_FILTERS: &[Parameter] =
    &[parameter("symbol", "string", "about this symbol; required"), FROM, TO, MARKET_LIMIT, CURSOR];
pub(crate) const BACKTEST_PARAMETERS: &[Parameter] =
    &[parameter("wait", "boolean", "false makes a job of it, whatever its size")];
pub(crate) const RUN_FILTERS: &[Parameter] = &[
    parameter("kind", "string", "backtest or sweep"),
    parameter("symbol", "string", "only on bars of this symbol"),
    parameter("strategy", "string", "only of this strategy"),
    LIMIT,
    CURSOR,
];
pub(crate) const SWEEP_ROW_PARAMETERS: &[Parameter] = &[LIMIT, CURSOR];
pub(crate) const SEARCH_PARAMETERS: &[Parameter] = &[
    parameter("q", "string", "text to search for"),
    parameter("k", "integer", "results, 1 to 200"),
    SOURCE,
    SYMBOL,
    SINCE,
];
pub(crate) const DEAD_LETTER_FILTERS: &[Parameter] =
    &[STAGE, CODE, parameter("replayed", "boolean", "only those replayed, or only those not"), LIMIT, CURSOR];
pub(crate) const JOB_FILTERS: &[Parameter] = &[
    parameter("state", "string", "queued, delayed, running, succeeded, dead, cancelled or skipped"),
    parameter("kind", "string", "only jobs of this kind"),
    LIMIT,
    CURSOR,
];
pub(crate) const INGESTION_HISTORY: &[Parameter] = &[parameter("limit", "integer", "jobs, 1 to 100")];
pub(crate) const SIMILAR_PARAMETERS: &[Parameter] =
    &[parameter("file", "string", "path of a file in the repository"), parameter("k", "integer", "results, 1 to 200")];
pub(crate) const REPLAY_FILTERS: &[Parameter] = &[STAGE, CODE];
pub(crate) const TOPOLOGY_PARAMETERS: &[Parameter] = &[parameter("format", "string", "json, mermaid or text")];
pub(crate) const HISTORY_PARAMETERS: &[Parameter] = &[parameter("limit", "integer", "events, 1 to 10000")];
pub(crate) const CACHE_PARAMETERS: &[Parameter] = &[parameter(
    "pattern",
    "string",
    "keys KIND:NAME to forget, such as search:*; the kinds are embedding, quality, search, resource and other",
)];
pub(crate) const STREAM_PARAMETERS: &[Parameter] = &[parameter(
    "types",
    "string",
    "only these, separated by commas: verdict, dead_letter, actor_restarted, config_reloaded, job, metrics",
)];

/// A reading endpoint that answers JSON of the named schema.
const fn read(
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    schema: &'static str,
    handler: fn() -> MethodRouter<AppState>,
) -> Endpoint {
    Endpoint {
        method: "GET",
        path,
        tag,
        summary,
        parameters: &[],
        body: None,
        answer: (200, schema),
        fault: false,
        model: false,
        handler,
    }
}

/// A writing endpoint.
const fn write(
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    answer: (u16, &'static str),
    handler: fn() -> MethodRouter<AppState>,
) -> Endpoint {
    Endpoint {
        method: "POST",
        path,
        tag,
        summary,
        parameters: &[],
        body: None,
        answer,
        fault: false,
        model: false,
        handler,
    }
}

impl Endpoint {
    const fn takes(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }

    const fn with_body(self, schema: &'static str) -> Self {
        Self { body: Some(schema), ..self }
    }

    const fn deleting(self) -> Self {
        Self { method: "DELETE", ..self }
    }

    const fn for_faults(self) -> Self {
        Self { fault: true, ..self }
    }

    const fn with_model(self) -> Self {
        Self { model: true, ..self }
    }

    /// Whether every node serves it, whatever its roles are: what operators and their tools need.
    fn is_everywhere(&self) -> bool {
        matches!(self.tag, "operations" | "health" | "console" | "faults")
    }

    /// Its handler on this node: its own, one that asks a worker, or one that says who serves it.
    fn handler_on(&self, node: &Node) -> MethodRouter<AppState> {
        let here = self.is_everywhere() || if self.model { node.worker } else { node.api };
        match (here, self.model, self.method) {
            (true, ..) => (self.handler)(),
            (false, true, "POST") => post(forward::pass_on),
            (false, true, _) => get(forward::pass_on),
            (false, false, "POST") => post(forward::refuse),
            (false, false, "DELETE") => delete(forward::refuse),
            (false, false, _) => get(forward::refuse),
        }
    }
}

/// The table.
pub(crate) const ENDPOINTS: &[Endpoint] = &[
    write("/v1/documents", "documents", "Take one document, an array or NDJSON", (202, "Receipt"), || {
        post(intake::post)
    })
    .with_body("Documents"),
    write("/v1/bars", "market data", "Take one bar, an array or NDJSON", (202, "Receipt"), || post(intake::post_bars))
        .with_body("Bars"),
    read("/v1/bars", "market data", "Bars of a symbol and interval, oldest first", "BarPage", || get(bars::list))
        .takes(BAR_FILTERS),
    read("/v1/signals", "market data", "What documents said of a symbol, oldest first", "SignalPage", || {
        get(bars::signals)
    })
    .takes(SIGNAL_FILTERS),
    write(
        "/v1/backtests",
        "backtests",
        "Simulate a strategy: 200 with the result, 202 when it became a job",
        (200, "BacktestResult"),
        || post(backtests::run),
    )
    .with_body("BacktestRequest")
    .takes(BACKTEST_PARAMETERS)
    .with_model(),
    read("/v1/backtests", "backtests", "List backtests and sweeps, newest first", "RunPage", || get(backtests::list))
        .takes(RUN_FILTERS),
    read("/v1/backtests/{id}", "backtests", "Show a backtest or sweep", "BacktestResult", || get(backtests::show)),
    read(
        "/v1/backtests/{id}/chart.svg",
        "backtests",
        "Equity and drawdown of a backtest, or the heat map of a sweep with a surface",
        "image/svg+xml",
        || get(charts::show),
    ),
    write("/v1/sweeps", "backtests", "Simulate many sets of parameters, as a job", (202, "RunJob"), || {
        post(backtests::sweep)
    })
    .with_body("SweepRequest"),
    read("/v1/sweeps/{id}", "backtests", "Rows of a sweep, the best first where they were kept", "SweepPage", || {
        get(backtests::rows)
    })
    .takes(SWEEP_ROW_PARAMETERS),
    read("/v1/documents", "documents", "List documents, newest first", "DocumentPage", || get(documents::list))
        .takes(DOCUMENT_FILTERS),
    read("/v1/documents/{id}", "documents", "Show a document with its verdict", "Document", || get(documents::show)),
    read(
        "/v1/explain/{id}",
        "documents",
        "The whole way of a document, correlation or dead letter id",
        "Explanation",
        || get(explain::explain),
    ),
    read("/v1/search", "documents", "Find the documents nearest in meaning", "SearchResult", || get(search::search))
        .takes(SEARCH_PARAMETERS)
        .with_model(),
    write("/v1/analyze", "models", "Judge texts without storing them", (200, "AnalyzeResult"), || {
        post(analyze::analyze)
    })
    .with_body("AnalyzeRequest")
    .with_model(),
    write("/v1/embeddings", "models", "Embed texts, in OpenAI's shape", (200, "EmbeddingsResult"), || {
        post(embeddings::embeddings)
    })
    .with_body("EmbeddingsRequest")
    .with_model(),
    read("/v1/dead-letters", "dead letters", "List dead letters, newest first", "DeadLetterPage", || {
        get(dead_letters::list)
    })
    .takes(DEAD_LETTER_FILTERS),
    write("/v1/dead-letters", "dead letters", "Delete all dead letters", (200, "Deleted"), || {
        delete(dead_letters::delete_all)
    })
    .deleting(),
    write("/v1/dead-letters/replay", "dead letters", "Replay all that were not replayed", (202, "Replayed"), || {
        post(dead_letters::replay_all)
    })
    .takes(REPLAY_FILTERS),
    read("/v1/dead-letters/{id}", "dead letters", "Show a dead letter with its bytes", "DeadLetter", || {
        get(dead_letters::show)
    }),
    write("/v1/dead-letters/{id}", "dead letters", "Delete a dead letter", (200, "Deleted"), || {
        delete(dead_letters::delete)
    })
    .deleting(),
    write(
        "/v1/dead-letters/{id}/replay",
        "dead letters",
        "Append its original record again",
        (202, "Replayed"),
        || post(dead_letters::replay),
    ),
    write("/v1/jobs", "jobs", "Put a job in the queue", (202, "Job"), || post(jobs::submit)).with_body("JobRequest"),
    read("/v1/jobs", "jobs", "List jobs, newest first", "JobPage", || get(jobs::list)).takes(JOB_FILTERS),
    read("/v1/jobs/{id}", "jobs", "Show a job with progress and errors", "Job", || get(jobs::show)),
    write(
        "/v1/jobs/{id}",
        "jobs",
        "Call a job off: 200 when it is cancelled, 202 when its handler was told",
        (200, "Job"),
        || delete(jobs::cancel),
    )
    .deleting(),
    write("/v1/jobs/{id}/replay", "jobs", "Run a dead, cancelled or skipped job again", (202, "Job"), || {
        post(jobs::replay)
    }),
    write("/api/v1/ingestion/ingest", "graphs", "Learn a repository", (202, "Ingested"), || post(ingestion::ingest))
        .with_body("IngestRequest"),
    write(
        "/api/v1/ingestion/ingest/{repo_url}",
        "graphs",
        "Learn the repository of this percent-encoded URL",
        (202, "Ingested"),
        || post(ingestion::ingest_path),
    ),
    read("/api/v1/ingestion/worker/status", "graphs", "What the worker does", "IngestionStatus", || {
        get(ingestion::status)
    }),
    read(
        "/api/v1/ingestion/jobs/history",
        "graphs",
        "The last jobs that ended, newest first",
        "IngestionHistory",
        || get(ingestion::history),
    )
    .takes(INGESTION_HISTORY),
    read("/v1/graphs", "graphs", "List learned repositories, newest first", "GraphList", || get(graphs::list)),
    read(
        "/v1/graphs/{repo}/similar",
        "graphs",
        "The files nearest to one; repo is a percent-encoded URL, or the end of one such as owner%2Fname",
        "SimilarFiles",
        || get(graphs::similar),
    )
    .takes(SIMILAR_PARAMETERS),
    read("/v1/actors", "operations", "The supervision tree with its numbers", "Object", || get(operations::actors)),
    read("/v1/topology", "operations", "The stages and the ways between them", "Object", || get(operations::topology))
        .takes(TOPOLOGY_PARAMETERS),
    write("/v1/actors/{name}/restart", "operations", "Restart an actor", (202, "Object"), || post(operations::restart)),
    write("/v1/config/reload", "operations", "Read the configuration again", (200, "Object"), || {
        post(operations::reload)
    }),
    read("/v1/stream", "operations", "Live events and snapshots", "text/event-stream", || get(stream::stream))
        .takes(STREAM_PARAMETERS),
    read("/events/history", "operations", "The last events", "EventHistory", || get(operations::history))
        .takes(HISTORY_PARAMETERS),
    read("/cache/stats", "operations", "Numbers of the caches", "Object", || get(operations::cache_stats)),
    write("/cache", "operations", "Forget the cache entries that fit a pattern", (200, "Object"), || {
        delete(operations::invalidate_cache)
    })
    .takes(CACHE_PARAMETERS)
    .deleting(),
    read("/workers/status", "operations", "Workers: actors, and jobs by kind", "Object", || {
        get(operations::worker_status)
    }),
    read("/db/pool", "operations", "Numbers of the database pools", "Object", || get(operations::pool_status)),
    read("/health", "health", "State of the daemon and each dependency", "Health", || get(health::health)),
    read("/health/live", "health", "Whether the process answers", "Object", || get(health::live)),
    read("/health/ready", "health", "Whether work can be taken", "Readiness", || get(health::ready)),
    read("/metrics", "health", "Metrics for Prometheus", "text/plain", || get(health::metrics)),
    read("/openapi.json", "health", "This description", "Object", || get(health::description)),
    read("/", "console", "The console page", "text/html", || get(console::page)),
    read("/console.css", "console", "The console's style", "text/css", || get(console::style)),
    read("/console.js", "console", "The console's script", "text/javascript", || get(console::script)),
    write("/v1/faults/actors/{name}", "faults", "Inject a fault into an actor", (202, "Object"), || {
        post(faults::actor)
    })
    .with_body("Fault")
    .for_faults(),
    write("/v1/faults/store", "faults", "Make the stores fail for a while", (202, "Object"), || post(faults::store))
        .with_body("Outage")
        .for_faults(),
    write("/v1/faults/log", "faults", "Make the log fail for a while", (202, "Object"), || post(faults::log))
        .with_body("Outage")
        .for_faults(),
];

/// The endpoints that exist with or without fault injection.
pub(crate) fn existing(faults: bool) -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS.iter().filter(move |endpoint| faults || !endpoint.fault)
}

/// A path of the API, for docs and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// HTTP method, upper case.
    pub method: &'static str,
    /// Path pattern, `{name}` for parts that vary.
    pub path: &'static str,
}

/// Every path the router takes.
pub fn listed(faults: bool) -> Vec<Listed> {
    existing(faults).map(|&Endpoint { method, path, .. }| Listed { method, path }).collect()
}

/// The API with everything that surrounds it.
pub(crate) fn router(app: AppState) -> axum::Router {
    let mut router = axum::Router::new();
    for endpoint in existing(app.api.faults_enabled) {
        router = router.route(endpoint.path, endpoint.handler_on(&app.api.node));
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(app.clone(), guard::check))
        .layer(from_fn(envelope::wrap))
        .with_state(app)
}

async fn unknown_path(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no {}; see /openapi.json", uri.path()))
}

async fn unknown_method(State(_): State<AppState>, method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::new(ErrorCode::UnsupportedMethod, format!("{} does not take {method}; see /openapi.json", uri.path()))
}
