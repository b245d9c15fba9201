//! `tidemill train`: trains the local models.

use std::path::PathBuf;

use anyhow::Context;
use clap::builder::TypedValueParser;
use clap::{Args, Subcommand};

use crate::models::compute::Compute;
use crate::models::minilm::MiniLm;
use crate::models::minilm::weights::LAYERS;
use crate::models::sentiment::checkpoint::Checkpoints;
use crate::models::sentiment::dataset::read_csv;
use crate::models::sentiment::format::Weights;
use crate::models::sentiment::network::Network;
use crate::models::sentiment::train::{Options, Report, Trainer, train};

/// What to train.
#[derive(Debug, Subcommand)]
pub enum TrainCommand {
    /// Trains the sentiment model on labelled texts and cross-validates it
    #[command(after_help = "Example: tidemill train sentiment labelled.csv --folds 5 --out assets/sentiment")]
    Sentiment(TrainSentiment),
}

/// Arguments of `tidemill train sentiment`.
#[derive(Debug, Args)]
pub struct TrainSentiment {
    /// CSV file with the columns `text` and `label` (0 negative, 1 positive, 2 neutral, or these words)
    pub file: PathBuf,
    /// Parts for cross-validation
    #[arg(long, default_value_t = Options::default().folds, value_parser = clap::value_parser!(u8).range(2..=20).map(usize::from))]
    pub folds: usize,
    /// Directory for `weights.bin` and `report.json`
    #[arg(long, default_value = "sentiment")]
    pub out: PathBuf,
    /// Transformer layers of its own, the others being shared with the encoder
    #[arg(long, default_value_t = Options::default().layers, value_parser = clap::value_parser!(u8).range(1..=6).map(usize::from))]
    pub layers: usize,
    /// Passes over the texts
    #[arg(long, default_value_t = Options::default().epochs)]
    pub epochs: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = Options::default().rate)]
    pub rate: f32,
    /// Decides order, dropout and folds
    #[arg(long, default_value_t = Options::default().seed)]
    pub seed: u64,
    /// Directory of the encoder
    #[arg(long, default_value = "models/all-minilm-l6-v2")]
    pub model_dir: PathBuf,
    /// Threads; 0 takes every core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `tidemill train`.
///
/// # Errors
/// If the texts or the encoder can't be read, or the result can't be written.
pub fn run(command: &TrainCommand) -> anyhow::Result<()> {
    match command {
        TrainCommand::Sentiment(arguments) => sentiment(arguments),
    }
}

fn sentiment(arguments: &TrainSentiment) -> anyhow::Result<()> {
    let csv =
        std::fs::read_to_string(&arguments.file).with_context(|| format!("reading {}", arguments.file.display()))?;
    let examples = read_csv(&csv).with_context(|| arguments.file.display().to_string())?;
    let compute = Compute::new(arguments.threads)?;
    let encoder = MiniLm::open(&arguments.model_dir, compute.clone())?;
    let options = Options {
        layers: arguments.layers,
        epochs: arguments.epochs,
        rate: arguments.rate,
        folds: arguments.folds,
        seed: arguments.seed,
        ..Options::default()
    };
    let start = std::time::Instant::now();
    let progress = |line: &str| eprintln!("{:6.1} s  {line}", start.elapsed().as_secs_f32());
    let base = Network::from_base(&encoder.weights().layers[LAYERS - options.layers..]);
    let checkpoints = Checkpoints::open(&arguments.out, &examples, &options)
        .with_context(|| format!("writing to {}", arguments.out.display()))?;
    let (file, figures) = (arguments.out.join("weights.bin"), arguments.out.join("report.json"));
    let mut save = |weights: &Weights, report: &Report| {
        std::fs::write(&file, weights.to_bytes(&base)?)?;
        std::fs::write(&figures, serde_json::to_string_pretty(report)? + "\n")
    };
    let trainer = Trainer { compute: &compute, checkpoints: &checkpoints, progress: &progress };
    let report = train(&examples, &encoder, &options, &trainer, &mut save)?;
    checkpoints.remove()?;
    print(&report, arguments)
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print(report: &Report, arguments: &TrainSentiment) -> anyhow::Result<()> {
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        let whole = &report.combined;
        println!("accuracy {:.4}  macro-F1 {:.4}  over {} folds", whole.accuracy, whole.macro_f1, arguments.folds);
        println!(
            "calibration error {:.4}, before {:.4}",
            whole.calibration_error, report.uncalibrated.calibration_error
        );
        for (name, class) in [("negative", 0), ("positive", 1), ("neutral", 2)] {
            let row = whole.confusion[class];
            println!(
                "{name}: precision {:.4}  recall {:.4}  judged negative {} positive {} neutral {}",
                whole.precision[class], whole.recall[class], row[0], row[1], row[2]
            );
        }
        println!("written: weights.bin and report.json in {}", arguments.out.display());
    }
    Ok(())
}
