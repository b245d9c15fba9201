//! Link prediction and node classification beside the peers, which learn from the same edges and are judged alike.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::io::BufReader;
use std::path::Path;

use tidemill::graph::csr::Csr;
use tidemill::graph::edge_list::EdgeList;
use tidemill::graph::evaluation::auc::auc;
use tidemill::graph::evaluation::heuristics::Heuristic;
use tidemill::graph::evaluation::split::LinkSplit;
use tidemill::graph::evaluation::{classify, link_auc};
use tidemill::graph::node2vec::Node2VecConfig;

use crate::generate::barabasi_albert;
use crate::speed::learn;

/// Share of the edges that is hidden.
const HIDDEN: f64 = 0.5;
/// The graph that is made here.
const MADE: &str = "barabasi-albert";

/// Seeds of splits and trainings. Small graphs get more, because luck weighs more there; the one that is made gets fewer,
/// because the peers take minutes for it.
fn seeds(name: &str, graph: &Csr) -> std::ops::RangeInclusive<u64> {
    1..=match graph.nodes() {
        ..100 => 20,
        _ if name == MADE => 2,
        _ => 5,
    }
}

/// A graph with classes of its nodes, where it has any.
struct Named {
    name: String,
    graph: Csr,
    labels: Vec<usize>,
}

/// Writes for every graph and seed the edges that are shown, and for every graph with classes all edges.
pub fn split(graphs: &Path, jobs: &Path) {
    fs::create_dir_all(jobs).unwrap();
    for Named { name, graph, labels } in load(graphs) {
        for seed in seeds(&name, &graph) {
            write(&jobs.join(format!("{name}.{seed}.train.tsv")), &LinkSplit::new(&graph, HIDDEN, seed).shown);
            if !labels.is_empty() {
                write(&jobs.join(format!("{name}-whole.{seed}.train.tsv")), &graph.edges().collect::<Vec<_>>());
            }
        }
        if name == MADE {
            write(&jobs.join(format!("{name}-whole.1.train.tsv")), &graph.edges().collect::<Vec<_>>());
        }
    }
}

/// Learns from the same edges and prints the tables: areas under the ROC curve, and mean seconds of walks and training.
pub fn score(graphs: &Path, jobs: &Path) {
    let all = load(graphs);
    let peer = seconds(&jobs.join("seconds.jsonl"));
    println!(
        "| graph | nodes, edges | seeds | Tidemill | without offset | PecanPy + gensim | {} | seconds | PecanPy + gensim | ratio |",
        Heuristic::ALL.map(Heuristic::name).join(" | ")
    );
    println!("|{}", "---|".repeat(13));
    for named in &all {
        link_row(named, jobs, &peer);
    }
    println!("\n| graph | classes | Tidemill accuracy / macro F1 | PecanPy + gensim |\n|---|---|---|---|");
    for named in all.iter().filter(|named| !named.labels.is_empty()) {
        class_row(named, jobs);
    }
    for named in all.iter().filter(|named| named.name == MADE) {
        let theirs = mean(peer.get(&format!("{MADE}-whole")).map_or(&[], Vec::as_slice), 2);
        let (ours, _) = learn(&named.graph, &Node2VecConfig::default());
        let (alone, _) = learn(&named.graph, &Node2VecConfig { threads: 1, ..Node2VecConfig::default() });
        println!("\n{MADE}, all edges: {ours:.2} s on all threads, {alone:.2} s on one; PecanPy + gensim {theirs} s");
    }
}

/// Seconds that the peers say they took, by graph.
fn seconds(path: &Path) -> HashMap<String, Vec<f64>> {
    let mut seconds: HashMap<String, Vec<f64>> = HashMap::new();
    for line in fs::read_to_string(path).unwrap_or_default().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let of = |name: &str| value[name].as_f64().unwrap();
        let graph = value["graph"].as_str().unwrap().to_owned();
        seconds.entry(graph).or_default().push(of("walk_seconds") + of("train_seconds"));
    }
    seconds
}

fn link_row(Named { name, graph, .. }: &Named, jobs: &Path, peer_seconds: &HashMap<String, Vec<f64>>) {
    let (mut own, mut plain, mut peer, mut own_seconds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut simple: HashMap<&str, Vec<f64>> = HashMap::new();
    for seed in seeds(name, graph) {
        let split = LinkSplit::new(graph, HIDDEN, seed);
        let shown = Csr::from_edges(graph.nodes(), &split.shown, false).unwrap();
        let judge = |values: &[f32], dimension| link_auc(values, dimension, &split, seed).unwrap();
        let config = Node2VecConfig { seed, ..Node2VecConfig::default() };
        let (taken, learned) = learn(&shown, &config);
        own_seconds.push(taken);
        own.push(judge(&learned.values, config.dimension));
        let config = Node2VecConfig { offset: 0.0, ..config };
        plain.push(judge(&learn(&shown, &config).1.values, config.dimension));
        let vectors = vectors(&jobs.join(format!("{name}.{seed}.pecanpy.vectors")), graph.nodes());
        peer.extend(vectors.map(|(values, dimension)| judge(&values, dimension)));
        for heuristic in Heuristic::ALL {
            let pairs = |pairs: &[(u32, u32)], kind| -> Vec<(f64, bool)> {
                pairs.iter().map(|&(one, two)| (heuristic.score(&shown, one, two), kind)).collect()
            };
            let scores = [pairs(&split.hidden, true), pairs(&split.absent, false)].concat();
            simple.entry(heuristic.name()).or_default().push(auc(&scores).unwrap());
        }
    }
    let edges = graph.edges().count();
    let simple = Heuristic::ALL.map(|heuristic| mean(&simple[heuristic.name()], 4)).join(" | ");
    let theirs = peer_seconds.get(name).map_or(&[][..], Vec::as_slice);
    let ratio =
        theirs.iter().sum::<f64>() / theirs.len().max(1) as f64 * own.len() as f64 / own_seconds.iter().sum::<f64>();
    println!(
        "| {name} | {}, {edges} | {} | {} | {} | {} | {simple} | {} | {} | {ratio:.1} |",
        graph.nodes(),
        own.len(),
        mean(&own, 4),
        mean(&plain, 4),
        mean(&peer, 4),
        mean(&own_seconds, 3),
        mean(theirs, 3),
    );
}

fn class_row(Named { name, graph, labels }: &Named, jobs: &Path) {
    let (mut own, mut peer) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    let judge = |values: &[f32], dimension, seed, into: &mut (Vec<f64>, Vec<f64>)| {
        let found = classify(values, dimension, labels, seed);
        into.0.push(found.accuracy);
        into.1.push(found.macro_f1);
    };
    for seed in seeds(name, graph) {
        let config = Node2VecConfig { seed, ..Node2VecConfig::default() };
        judge(&learn(graph, &config).1.values, config.dimension, seed, &mut own);
        let vectors = vectors(&jobs.join(format!("{name}-whole.{seed}.pecanpy.vectors")), graph.nodes());
        if let Some((values, dimension)) = vectors {
            judge(&values, dimension, seed, &mut peer);
        }
    }
    let classes = labels.iter().max().map_or(0, |most| most + 1);
    println!(
        "| {name} | {classes} | {} / {} | {} / {} |",
        mean(&own.0, 3),
        mean(&own.1, 3),
        mean(&peer.0, 3),
        mean(&peer.1, 3)
    );
}

/// A mean with so many digits, a dash where there is nothing.
fn mean(values: &[f64], digits: usize) -> String {
    if values.is_empty() {
        return "–".to_owned();
    }
    format!("{:.digits$}", values.iter().sum::<f64>() / values.len() as f64)
}

/// All graphs of a directory, and one that is made.
fn load(directory: &Path) -> Vec<Named> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut graphs = Vec::new();
    for path in paths {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".tsv").filter(|name| !name.contains('.')) else { continue };
        let list = EdgeList::read(BufReader::new(fs::File::open(&path).unwrap()), usize::MAX).unwrap();
        let graph = Csr::from_edges(list.names.len(), &list.edges, false).unwrap();
        let labels = labels(&directory.join(format!("{name}.labels.tsv")), &list.names);
        graphs.push(Named { name: name.to_owned(), graph, labels });
    }
    let graph = Csr::from_edges(10_000, &barabasi_albert(10_000, 3, 7), false).unwrap();
    graphs.push(Named { name: MADE.to_owned(), graph, labels: Vec::new() });
    graphs
}

/// Classes of the nodes, in their order; nothing where there is no such file.
fn labels(path: &Path, names: &[String]) -> Vec<usize> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let classes: HashMap<&str, usize> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, class)| (name, class.parse().unwrap()))
        .collect();
    if classes.is_empty() { Vec::new() } else { names.iter().map(|name| classes[name.as_str()]).collect() }
}

/// A peer's vectors, one node a line; zeros for nodes it has none for. Nothing where it did not learn this.
fn vectors(path: &Path, nodes: usize) -> Option<(Vec<f32>, usize)> {
    let text = fs::read_to_string(path).ok()?;
    let dimension = text.lines().next()?.split(' ').count() - 1;
    let mut values = vec![0.0; nodes * dimension];
    for line in text.lines() {
        let (node, numbers) = line.split_once(' ').unwrap();
        let row = &mut values[node.parse::<usize>().unwrap() * dimension..][..dimension];
        for (value, number) in row.iter_mut().zip(numbers.split(' ')) {
            *value = number.parse().unwrap();
        }
    }
    Some((values, dimension))
}

fn write(path: &Path, edges: &[(u32, u32, f32)]) {
    let mut text = String::new();
    for (from, to, _) in edges {
        writeln!(text, "{from}\t{to}").unwrap();
    }
    fs::write(path, text).unwrap();
}
