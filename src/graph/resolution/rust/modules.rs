//! The tree of modules of each crate, from its first file down its `mod` items.

use std::collections::{HashMap, HashSet};

use super::super::{Project, file_name, join, normalise, parent};
use super::crates::{Crates, stem};
use crate::graph::imports::Imported;
use crate::graph::languages::Language;

/// Deepest module.
const MAX_DEPTH: usize = 64;

/// Where a file stands in a crate.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) krate: usize,
    /// Names of the modules down to it.
    pub(super) path: Vec<String>,
}

/// Modules of all crates.
#[derive(Default)]
pub(super) struct Modules {
    files: HashMap<(usize, String), u32>,
    homes: HashMap<u32, Vec<Home>>,
}

impl Modules {
    pub(super) fn new(project: &Project<'_>, crates: &Crates) -> Self {
        let mut modules = Self::default();
        for (number, krate) in crates.all.iter().enumerate() {
            modules.grow(project, crates, number, krate.root);
        }
        modules.place_orphans(project, crates);
        modules
    }

    fn grow(&mut self, project: &Project<'_>, crates: &Crates, krate: usize, root: u32) {
        let mut seen = HashSet::from([root]);
        let mut open = vec![(root, Vec::<String>::new())];
        while let Some((file, path)) = open.pop() {
            self.place(project, file, krate, &path);
            let is_root = crates.is_root(file);
            for import in project.parsed[file as usize].iter().flat_map(|parsed| &parsed.imports) {
                let Imported::RustModule { scope, name, path: attribute } = &import.what else { continue };
                let child = file_of(project, (file, is_root), scope, (name, attribute.as_deref()));
                let Some(child) = child.filter(|child| path.len() < MAX_DEPTH && seen.insert(*child)) else { continue };
                open.push((child, path.iter().chain(scope).chain([name]).cloned().collect()));
            }
        }
    }

    fn place(&mut self, project: &Project<'_>, file: u32, krate: usize, path: &[String]) {
        let joined = path.join("::");
        for inline in project.parsed[file as usize].iter().flat_map(|parsed| &parsed.declares) {
            let inner = if joined.is_empty() { inline.clone() } else { format!("{joined}::{inline}") };
            self.files.entry((krate, inner)).or_insert(file);
        }
        self.files.insert((krate, joined), file);
        self.homes.entry(file).or_default().push(Home { krate, path: path.to_owned() });
    }

    /// Files that no `mod` leads to, because a macro we do not know writes it: their place tells their path.
    fn place_orphans(&mut self, project: &Project<'_>, crates: &Crates) {
        for file in project.of(Language::Rust) {
            if self.homes.contains_key(&file) {
                continue;
            }
            let path = project.path(file);
            let Some((krate, home)) = crates.around(project, path) else { continue };
            let below = stem(path);
            let below =
                below.strip_prefix(&home).map(|rest| rest.trim_start_matches('/')).filter(|rest| !rest.is_empty());
            let Some(below) = below else { continue };
            let below = below.strip_suffix("/mod").unwrap_or(below);
            let names: Vec<String> = below.split('/').map(str::to_owned).collect();
            if !self.files.contains_key(&(krate, names.join("::"))) {
                self.place(project, file, krate, &names);
            }
        }
    }

    pub(super) fn homes(&self, file: u32) -> &[Home] {
        self.homes.get(&file).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_module(&self, krate: usize, path: &[&str]) -> bool {
        self.file(krate, path).is_some()
    }

    /// The file of a module; for an inline one the file it stands in.
    pub(super) fn file(&self, krate: usize, path: &[&str]) -> Option<u32> {
        self.files.get(&(krate, path.join("::"))).copied()
    }
}

/// The file of a `mod name;`: beside the file if that is a crate's first or a `mod.rs`, else in the folder of its name.
pub(super) fn file_of(
    project: &Project<'_>,
    (from, is_root): (u32, bool),
    scope: &[String],
    (name, attribute): (&str, Option<&str>),
) -> Option<u32> {
    let path = project.path(from);
    let owns_folder = is_root || file_name(path) == "mod.rs";
    let folder = if owns_folder { parent(path).to_owned() } else { stem(path) };
    let inner = scope.iter().fold(folder, |folder, name| join(&folder, name));
    if let Some(attribute) = attribute {
        let base = if scope.is_empty() { parent(path) } else { &inner };
        return project.source(&normalise(base, attribute)?);
    }
    let name = name.trim_start_matches("r#");
    let candidates = [join(&inner, &format!("{name}.rs")), join(&inner, &format!("{name}/mod.rs"))];
    candidates.iter().find_map(|candidate| project.source(candidate))
}
