//! Java: types by package and name, wherever their files stand.

use std::collections::HashMap;

use super::{Project, Target, common_depth};
use crate::graph::imports::{Imported, Parsed};
use crate::graph::languages::Language;

pub(super) struct Resolver<'a> {
    project: &'a Project<'a>,
    /// Declaring files by name, by package: several if modules or test trees have the same.
    packages: HashMap<&'a str, HashMap<&'a str, Vec<u32>>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(project: &'a Project<'a>) -> Self {
        let mut packages: HashMap<&str, HashMap<&str, Vec<u32>>> = HashMap::new();
        for file in project.of(Language::Java) {
            let Some(parsed) = &project.parsed[file as usize] else { continue };
            let types = packages.entry(parsed.package.as_str()).or_default();
            for name in &parsed.declares {
                types.entry(name.as_str()).or_default().push(file);
            }
        }
        Self { project, packages }
    }

    pub(super) fn resolve(&self, from: u32, what: &Imported) -> Vec<Target> {
        let Imported::Java { path, is_static, wildcard } = what else { return Vec::new() };
        let dotted = path.join(".");
        if *wildcard
            && !is_static
            && let Some(types) = self.packages.get(dotted.as_str())
        {
            // only the types that are used; the others were not needed
            let used = self.parsed(from).map(|parsed| &parsed.uses).into_iter().flatten();
            let used = used.filter_map(|name| types.get(name.as_str())).map(|files| self.nearest(from, files));
            return used.filter(|file| *file != from).map(Target::File).collect();
        }
        // from the longest package on: what follows is a type, then its members
        for end in (0..path.len()).rev() {
            let Some(types) = self.packages.get(path[..end].join(".").as_str()) else { continue };
            if let Some(files) = path.get(end).and_then(|name| types.get(name.as_str())) {
                return vec![Target::File(self.nearest(from, files))];
            }
            if end > 0 && path[end].starts_with(|first: char| first.is_uppercase()) {
                return vec![Target::Missing(what.text())];
            }
        }
        vec![Target::External(external(path))]
    }

    /// Of several files, the one nearest in the tree.
    fn nearest(&self, from: u32, files: &[u32]) -> u32 {
        let path = self.project.path(from);
        let key = |file: &&u32| (common_depth(self.project.path(**file), path), std::cmp::Reverse(**file));
        files.iter().max_by_key(key).copied().unwrap_or(from)
    }

    fn parsed(&self, file: u32) -> Option<&Parsed> {
        self.project.parsed[file as usize].as_ref()
    }

    /// Files of the same package that declare types a file uses, unless it imports types of that name.
    pub(super) fn neighbours(&self, from: u32) -> Vec<u32> {
        let Some(parsed) = self.parsed(from) else { return Vec::new() };
        let Some(types) = self.packages.get(parsed.package.as_str()) else { return Vec::new() };
        let imported = |name: &str| {
            parsed.imports.iter().any(|import| match &import.what {
                Imported::Java { path, wildcard: false, .. } => path.last().is_some_and(|last| last == name),
                _ => false,
            })
        };
        let own = |name: &str| parsed.declares.binary_search_by(|own| own.as_str().cmp(name)).is_ok();
        let names = parsed.uses.iter().map(String::as_str).filter(|name| !own(name));
        let found = names.filter_map(|name| types.get(name).filter(|_| !imported(name)));
        let mut files: Vec<u32> = found.map(|files| self.nearest(from, files)).filter(|file| *file != from).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

/// The package: everything before the first type.
fn external(path: &[String]) -> String {
    let end = path.iter().position(|part| part.starts_with(|first: char| first.is_uppercase())).unwrap_or(path.len());
    path[..end.max(1)].join(".")
}
