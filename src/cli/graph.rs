//! `tidemill graph`.

mod drawing;
mod learned;
mod vectors;

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use self::drawing::Colours;
use self::learned::Space;
use super::exit::{Exit, UnavailableError, UsageError};
use super::options::ConfigOptions;
use super::output;
use crate::config::graph::GraphConfig;
use crate::graph::csr::Csr;
use crate::graph::edge_list::EdgeList;
use crate::graph::export;
use crate::graph::learning::{LearnError, Plan, learn};
use crate::graph::node2vec::{self, Node2VecConfig};
use crate::graph::repository::{Access, Places, Source, sweep};

/// Most edges of a file.
const MAX_EDGES: usize = 200_000_000;
/// Steps of the progress bar.
const STEPS: u64 = 1000;

/// Learn where a repository's files, or the nodes of a graph, sit among each other (node2vec). Works in this process: no
/// daemon is needed and nothing is stored but the files named. Parameters are those of section `graph` of the
/// configuration; `--set graph.training.dimension=128` changes one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidemill graph https://github.com/psf/requests --svg requests.svg
  tidemill graph . --similar src/main.rs
  tidemill graph --edges edges.tsv --out vectors.parquet --seed 7 --set graph.training.threads=1")]
pub struct GraphCommand {
    /// URL of a git repository, or a folder that is one.
    #[arg(value_name = "REPO_URL_OR_PATH", required_unless_present = "edges", conflicts_with = "edges")]
    repository: Option<String>,
    /// Learn these edges instead: one a line, two names and perhaps a weight, between tabs, commas or spaces.
    #[arg(long, value_name = "FILE")]
    edges: Option<PathBuf>,
    /// Branch to read instead of the repository's own choice.
    #[arg(long, value_name = "NAME", conflicts_with = "edges")]
    branch: Option<String>,
    /// Write the vectors here; the end of the name says how: .parquet or .csv.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Start of the random numbers. With `--set graph.training.threads=1` the same seed gives the same vectors.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Draw a picture of the graph here.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What colours in the picture mean [default: folders of a repository, else communities].
    #[arg(long, value_enum, value_name = "WHAT", requires = "svg")]
    colour: Option<Colours>,
    /// Write the import graph here; the end of the name says how: .graphml or .tsv.
    #[arg(long, value_name = "FILE", conflicts_with = "edges")]
    export: Option<PathBuf>,
    /// Print the nodes nearest to this one.
    #[arg(long, value_name = "NODE")]
    similar: Option<String>,
    /// How many of them.
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    k: u16,
    /// Print all figures as JSON.
    #[arg(long)]
    json: bool,
}

impl GraphCommand {
    /// Learns, writes what was asked for and prints the figures.
    ///
    /// # Errors
    /// If the repository or the edges can't be read or learned, or a file can't be written.
    pub fn execute(self, options: &ConfigOptions) -> anyhow::Result<Exit> {
        let config = options.load()?.config.graph;
        self.check_names()?;
        let bar = ProgressBar::new(STEPS);
        bar.set_style(ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}, {elapsed}")?);
        let stop = stop_on_interrupt()?;
        let see = |fraction: f64, words: String| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share"
            )]
            bar.set_position((fraction.clamp(0.0, 1.0) * STEPS as f64) as u64);
            bar.set_message(words);
            if stop.load(Ordering::Relaxed) {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        };
        let space = match (&self.edges, &self.repository) {
            (Some(file), _) => self.learn_edges(file, &config, &see),
            (None, Some(repository)) => self.learn_repository(repository, &config, &see),
            (None, None) => Err(UsageError("name a repository, or a file of edges".to_owned()).into()),
        };
        bar.finish_and_clear();
        let space = space?;
        self.write(&space)?;
        self.report(&space)
    }

    /// Refuses names of files that say nothing of their form, before anything is computed.
    fn check_names(&self) -> anyhow::Result<()> {
        for (option, path, endings) in [
            ("--out", &self.out, &["parquet", "csv"][..]),
            ("--export", &self.export, &["graphml", "tsv"]),
            ("--svg", &self.svg, &["svg"]),
        ] {
            let Some(path) = path else { continue };
            let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default().to_ascii_lowercase();
            if !endings.contains(&ending.as_str()) {
                let said = format!("{option} {}: the name must end with .{}", path.display(), endings.join(" or ."));
                return Err(UsageError(said).into());
            }
        }
        Ok(())
    }

    fn training(&self, config: &GraphConfig) -> Node2VecConfig {
        Node2VecConfig { seed: self.seed.unwrap_or(config.training.seed), ..config.training.clone() }
    }

    fn learn_repository(&self, address: &str, config: &GraphConfig, see: See<'_>) -> anyhow::Result<Space> {
        let mut source = source_of(address)?;
        if let Some(branch) = &self.branch {
            source = source.with_branch(branch).map_err(|error| UsageError(error.to_string()))?;
        }
        let temporary = std::env::temp_dir();
        sweep(&temporary)?;
        let plan = Plan {
            source,
            limits: config.repository.limits(),
            places: Places::temporary(temporary),
            options: config.options(),
            directed: config.directed,
            training: self.training(config),
            known_commit: None,
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(config.training.threads).build()?;
        let learned = learn(&plan, &pool, &|progress| see(progress.fraction(), progress.words()));
        let learned = learned.map_err(|error| match &error {
            LearnError::Repository(inner) if inner.is_retriable() => UnavailableError(error.to_string()).into(),
            _ => anyhow::Error::from(error),
        })?;
        if let Some(path) = &self.export {
            let mut out = create(path)?;
            let graphml = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("graphml"));
            let written = if graphml {
                export::graphml(&learned.graph, &mut out)
            } else {
                export::edge_list(&learned.graph, &mut out)
            };
            written.and_then(|()| out.flush()).with_context(|| format!("writing {}", path.display()))?;
        }
        Space::of_repository(learned, plan.directed)
    }

    fn learn_edges(&self, file: &Path, config: &GraphConfig, see: See<'_>) -> anyhow::Result<Space> {
        let name = file.display();
        let reader = BufReader::new(File::open(file).with_context(|| format!("can't open {name}"))?);
        let list = EdgeList::read(reader, MAX_EDGES).with_context(|| name.to_string())?;
        if list.names.is_empty() {
            anyhow::bail!("{name}: there is no edge");
        }
        let csr = Csr::from_edges(list.names.len(), &list.edges, config.directed)?;
        let started = std::time::Instant::now();
        let embeddings = node2vec::train(&csr, &self.training(config), &mut |step| {
            see(step.done, format!("learning, epoch {} of {}", step.epoch, step.epochs))
        })?;
        let figures = json!({
            "edges_file": name.to_string(),
            "nodes": list.names.len(),
            "edges": list.edges.len(),
            "dimension": embeddings.dimension,
            "walk_steps": embeddings.steps,
            "training_pairs": embeddings.pairs,
            "loss": embeddings.losses.last().map(|epoch| epoch.loss),
            "losses": embeddings.losses.iter().map(|one| json!({ "epoch": one.epoch, "loss": one.loss })).collect::<Vec<_>>(),
            "seconds": { "train": started.elapsed().as_secs_f64() },
        });
        Ok(Space::of_edges(file, list, csr, embeddings, figures))
    }

    fn write(&self, space: &Space) -> anyhow::Result<()> {
        if let Some(path) = &self.out {
            vectors::write(path, space).with_context(|| format!("writing {}", path.display()))?;
        }
        if let Some(path) = &self.svg {
            let colours = self.colour.unwrap_or(if space.is_repository { Colours::Folder } else { Colours::Community });
            let svg = drawing::draw(space, colours);
            std::fs::write(path, svg).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    fn report(&self, space: &Space) -> anyhow::Result<Exit> {
        let near = self.similar.as_deref().map(|name| space.nearest(name, usize::from(self.k))).transpose()?;
        if self.json {
            let mut figures = space.figures.clone();
            if let Some(near) = near {
                figures["similar"] = json!(near);
            }
            output::json(&figures)?;
            return Ok(Exit::Done);
        }
        match near {
            None => print_figures(&space.figures)?,
            Some(near) => {
                let rows: Vec<Vec<String>> = near
                    .iter()
                    .map(|near| vec![format!("{:.3}", near.similarity), output::clip(&near.name, 120)])
                    .collect();
                output::line(output::table(&["similarity", "node"], &rows))?;
            }
        }
        for path in [&self.out, &self.svg, &self.export].into_iter().flatten() {
            output::note(format_args!("written: {}", path.display()));
        }
        Ok(Exit::Done)
    }
}

/// Shows progress; says whether to go on.
type See<'a> = &'a (dyn Fn(f64, String) -> std::ops::ControlFlow<()> + Sync);

/// A flag that Ctrl-C sets, so that what was fetched is deleted; a second one ends the process.
fn stop_on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        let interrupted = runtime.block_on(async {
            let first = tokio::signal::ctrl_c().await;
            told.store(true, Ordering::Relaxed);
            first?;
            tokio::signal::ctrl_c().await
        });
        if interrupted.is_ok() {
            std::process::exit(130);
        }
    });
    Ok(stop)
}

/// The repository that is meant. Who sits at the terminal may read whatever this process may.
fn source_of(address: &str) -> anyhow::Result<Source> {
    let is_url =
        address.contains("://") || (address.contains('@') && address.contains(':') && !Path::new(address).exists());
    if is_url {
        let all = Access { https: true, ssh: true, http: true, file: true, private_addresses: true };
        return Source::parse(address, all).map_err(|error| UsageError(error.to_string()).into());
    }
    let path = Path::new(address);
    if !path.is_dir() {
        return Err(UsageError(format!("{address}: is neither a URL nor a folder")).into());
    }
    Ok(Source::folder(path))
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    Ok(BufWriter::new(File::create(path).with_context(|| format!("can't write {}", path.display()))?))
}

/// The figures people ask for first.
fn print_figures(figures: &Value) -> anyhow::Result<()> {
    let names = [
        "repo_url",
        "edges_file",
        "commit",
        "nodes",
        "files",
        "connected_files",
        "externals",
        "edges",
        "imports_resolved",
        "imports_external",
        "imports_unresolved",
        "files_skipped",
        "dimension",
        "loss",
    ];
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: &Value| {
        let shown = match value {
            Value::Null => return,
            Value::String(text) => output::clip(text, 100),
            Value::Number(number) if number.is_f64() => format!("{:.4}", number.as_f64().unwrap_or_default()),
            other => other.to_string(),
        };
        rows.push(vec![name.replace('_', " "), shown]);
    };
    for name in names {
        row(name, &figures[name]);
    }
    for (part, seconds) in figures["seconds"].as_object().into_iter().flatten() {
        row(&format!("seconds to {part}"), seconds);
    }
    output::line(output::table(&["figure", "value"], &rows))?;
    Ok(())
}
