//! The declared tree: supervisors, children, and who sends to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;

use super::child::{Child, ChildKind, ChildSpec};
use super::intensity::Intensity;
use super::strategy::{RestartType, Strategy};

/// The declaration of a supervisor and of all below it. Children start in the order they are declared and stop in
/// reverse: declare the receivers before the senders, so that a drain begins at the source.
pub struct SupervisorSpec {
    pub(super) name: String,
    pub(super) strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) children: Vec<NodeSpec>,
}

pub(super) enum NodeSpec {
    Child(Child),
    Supervisor(SupervisorSpec),
}

impl SupervisorSpec {
    /// A supervisor without children.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            strategy: Strategy::default(),
            intensity: Intensity::default(),
            children: Vec::new(),
        }
    }

    /// Which children are restarted when one has failed; only that one by default.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// How many restarts it takes to give up.
    #[must_use]
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Adds a child.
    #[must_use]
    pub fn child<M>(mut self, child: ChildSpec<M>) -> Self {
        self.children.push(NodeSpec::Child(child.build()));
        self
    }

    /// Adds a supervisor.
    #[must_use]
    pub fn supervisor(mut self, supervisor: Self) -> Self {
        self.children.push(NodeSpec::Supervisor(supervisor));
        self
    }

    /// The declaration as data; nothing is started.
    pub fn topology(&self) -> Topology {
        Topology { root: self.node() }
    }

    fn node(&self) -> SupervisorNode {
        let children = self.children.iter().map(|child| match child {
            NodeSpec::Child(child) => Node::Child(ChildNode {
                name: child.name.to_string(),
                kind: child.kind,
                restart: child.restart,
                workers: child.workers(),
                capacity: child.port.as_ref().map(|port| port.level().1),
                sends_to: child.sends_to.clone(),
            }),
            NodeSpec::Supervisor(supervisor) => Node::Supervisor(supervisor.node()),
        });
        SupervisorNode { name: self.name.clone(), strategy: self.strategy, children: children.collect() }
    }
}

/// A declared tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// The root supervisor.
    pub root: SupervisorNode,
}

/// A supervisor in a [`Topology`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SupervisorNode {
    /// Its name.
    pub name: String,
    /// Which children it restarts together.
    pub strategy: Strategy,
    /// In the order they start.
    pub children: Vec<Node>,
}

/// A node under a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Node {
    /// A supervisor.
    Supervisor(SupervisorNode),
    /// An actor or service.
    Child(ChildNode),
}

/// A child in a [`Topology`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChildNode {
    /// Its name.
    pub name: String,
    /// Actor or service.
    pub kind: ChildKind,
    /// Whether it is restarted.
    pub restart: RestartType,
    /// How many workers share its mailbox.
    pub workers: usize,
    /// Its mailbox's capacity; services have none.
    pub capacity: Option<usize>,
    /// Whom it sends to.
    pub sends_to: Vec<String>,
}

/// What is wrong with a declared tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Two children or supervisors have one name.
    #[error("two children are named {0}")]
    DuplicateName(String),
    /// A child sends to one that is not there.
    #[error("{from} sends to {to}, which is not in the tree")]
    UnknownEdge {
        /// The sender.
        from: String,
        /// The missing receiver.
        to: String,
    },
    /// Bounded mailboxes in a ring can wait for each other for ever.
    #[error("the edges form a ring: {}", .0.join(" → "))]
    Ring(Vec<String>),
}

impl Topology {
    /// All children, in the order they start.
    pub fn children(&self) -> Vec<&ChildNode> {
        fn collect<'a>(supervisor: &'a SupervisorNode, found: &mut Vec<&'a ChildNode>) {
            for node in &supervisor.children {
                match node {
                    Node::Child(child) => found.push(child),
                    Node::Supervisor(supervisor) => collect(supervisor, found),
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.root, &mut found);
        found
    }

    /// Whether a child or supervisor of this name is declared.
    pub fn has(&self, name: &str) -> bool {
        let is_child = self.children().iter().any(|child| child.name == name);
        is_child || self.supervisors().iter().any(|supervisor| supervisor.name == name)
    }

    fn supervisors(&self) -> Vec<&SupervisorNode> {
        let mut found = vec![&self.root];
        let mut next = 0;
        while let Some(supervisor) = found.get(next).copied() {
            next += 1;
            found.extend(supervisor.children.iter().filter_map(|node| match node {
                Node::Supervisor(supervisor) => Some(supervisor),
                Node::Child(_) => None,
            }));
        }
        found
    }

    /// Checks that names are unique, edges lead somewhere, and no ring is formed.
    ///
    /// # Errors
    /// The first [`TopologyError`] found.
    pub fn check(&self) -> Result<(), TopologyError> {
        let children = self.children();
        let mut names = BTreeSet::new();
        let all = self.supervisors().into_iter().map(|node| &node.name).chain(children.iter().map(|node| &node.name));
        for name in all {
            if !names.insert(name.as_str()) {
                return Err(TopologyError::DuplicateName(name.clone()));
            }
        }
        let edges: BTreeMap<&str, &[String]> =
            children.iter().map(|child| (child.name.as_str(), child.sends_to.as_slice())).collect();
        for (from, receivers) in &edges {
            if let Some(to) = receivers.iter().find(|to| !edges.contains_key(to.as_str())) {
                return Err(TopologyError::UnknownEdge { from: (*from).to_owned(), to: to.clone() });
            }
        }
        let mut cleared = BTreeSet::new();
        for name in edges.keys() {
            if let Some(ring) = ring_from(name, &edges, &mut Vec::new(), &mut cleared) {
                return Err(TopologyError::Ring(ring));
            }
        }
        Ok(())
    }

    /// An indented tree.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        text(&self.root, 0, &mut out);
        out
    }

    /// A Mermaid flowchart.
    pub fn to_mermaid(&self) -> String {
        let mut out = "flowchart TD\n".to_owned();
        mermaid(&self.root, 1, &mut out);
        for child in self.children() {
            for to in &child.sends_to {
                let _ = writeln!(out, "  {} --> {}", id(&child.name), id(to));
            }
        }
        out
    }
}

/// Depth-first search for a ring through `name`.
fn ring_from<'a>(
    name: &'a str,
    edges: &BTreeMap<&'a str, &'a [String]>,
    path: &mut Vec<&'a str>,
    cleared: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if cleared.contains(name) {
        return None;
    }
    if let Some(start) = path.iter().position(|seen| *seen == name) {
        return Some(path[start..].iter().chain([&name]).map(|name| (*name).to_owned()).collect());
    }
    path.push(name);
    for to in edges.get(name).copied().unwrap_or_default() {
        if let Some(ring) = ring_from(to, edges, path, cleared) {
            return Some(ring);
        }
    }
    path.pop();
    cleared.insert(name);
    None
}

fn text(supervisor: &SupervisorNode, level: usize, out: &mut String) {
    let indent = "  ".repeat(level);
    let _ = writeln!(out, "{indent}{} [{}]", supervisor.name, strategy_name(supervisor.strategy));
    for node in &supervisor.children {
        match node {
            Node::Supervisor(supervisor) => text(supervisor, level + 1, out),
            Node::Child(child) => {
                let _ = write!(out, "{indent}  {}", child.name);
                if child.workers > 1 {
                    let _ = write!(out, " ×{}", child.workers);
                }
                if let Some(capacity) = child.capacity {
                    let _ = write!(out, " ({capacity})");
                }
                if !child.sends_to.is_empty() {
                    let _ = write!(out, " → {}", child.sends_to.join(", "));
                }
                out.push('\n');
            }
        }
    }
}

fn mermaid(supervisor: &SupervisorNode, level: usize, out: &mut String) {
    let indent = "  ".repeat(level);
    let _ = writeln!(
        out,
        "{indent}subgraph {}[\"{} ({})\"]",
        id(&supervisor.name),
        supervisor.name,
        strategy_name(supervisor.strategy)
    );
    for node in &supervisor.children {
        match node {
            Node::Supervisor(supervisor) => mermaid(supervisor, level + 1, out),
            Node::Child(child) => {
                let (open, close) = match child.kind {
                    ChildKind::Actor => ("[", "]"),
                    ChildKind::Service => ("([", "])"),
                };
                let workers = if child.workers > 1 { format!(" ×{}", child.workers) } else { String::new() };
                let _ = writeln!(out, "{indent}  {}{open}\"{}{workers}\"{close}", id(&child.name), child.name);
            }
        }
    }
    let _ = writeln!(out, "{indent}end");
}

/// A name Mermaid takes as an identifier and not as a keyword.
fn id(name: &str) -> String {
    let plain = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
    std::iter::once('n').chain(std::iter::once('_')).chain(plain).collect()
}

const fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
    }
}
