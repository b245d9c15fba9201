//! What imports mean: from names in source files to the files of the repository.

mod go;
mod java;
mod python;
mod rust;
mod scripts;
mod stdlib;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::imports::{Import, Parsed};
use super::languages::Language;

/// What a part of an import names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A source file, by its number.
    File(u32),
    /// A package or module from elsewhere.
    External(String),
    /// It should be in the repository but is not; the text says which part.
    Missing(String),
}

/// What else resolvers need to know of a repository.
pub(super) struct Surroundings<'a> {
    /// Text of the files that describe packages, by path.
    pub(super) manifests: &'a BTreeMap<String, String>,
    /// How Go imports name the repository if no `go.mod` says otherwise.
    pub(super) import_path: Option<&'a str>,
}

/// The files of a repository as resolvers see them.
pub(super) struct Project<'a> {
    /// Paths of the source files, by number.
    pub(super) sources: Vec<&'a str>,
    /// Their languages.
    pub(super) languages: Vec<Language>,
    /// What was read from them; `None` if they were skipped.
    pub(super) parsed: &'a [Option<Parsed>],
    /// Numbers by path.
    numbers: HashMap<&'a str, u32>,
    /// Every file, source or not.
    every: HashSet<&'a str>,
    /// Every folder, without a slash at the end; the root is empty.
    folders: HashSet<&'a str>,
    pub(super) manifests: &'a BTreeMap<String, String>,
    pub(super) import_path: Option<&'a str>,
}

impl<'a> Project<'a> {
    pub(super) fn new(
        every: impl Iterator<Item = &'a str> + Clone,
        sources: Vec<&'a str>,
        parsed: &'a [Option<Parsed>],
        Surroundings { manifests, import_path }: Surroundings<'a>,
    ) -> Self {
        let (sources, languages): (Vec<_>, Vec<_>) =
            sources.into_iter().filter_map(|path| Language::of(path).map(|language| (path, language))).unzip();
        let numbers = (0..).zip(&sources).map(|(number, path)| (*path, number)).collect();
        let mut folders = HashSet::from([""]);
        for path in every.clone() {
            let mut folder = parent(path);
            while folders.insert(folder) {
                folder = parent(folder);
            }
        }
        Self { sources, languages, parsed, numbers, every: every.collect(), folders, manifests, import_path }
    }

    pub(super) fn source(&self, path: &str) -> Option<u32> {
        self.numbers.get(path).copied()
    }

    pub(super) fn has_file(&self, path: &str) -> bool {
        self.every.contains(path)
    }

    pub(super) fn has_folder(&self, path: &str) -> bool {
        self.folders.contains(path)
    }

    pub(super) fn path(&self, source: u32) -> &'a str {
        self.sources[source as usize]
    }

    /// Numbers of all files of a language.
    pub(super) fn of(&self, language: Language) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.languages).filter(move |(_, own)| **own == language).map(|(number, _)| number)
    }
}

/// Resolvers of all languages, ready for one repository.
pub(super) struct Resolvers<'a> {
    python: python::Resolver<'a>,
    scripts: scripts::Resolver<'a>,
    rust: rust::Resolver<'a>,
    go: go::Resolver<'a>,
    java: java::Resolver<'a>,
    project: &'a Project<'a>,
}

impl<'a> Resolvers<'a> {
    pub(super) fn new(project: &'a Project<'a>) -> Self {
        Self {
            python: python::Resolver::new(project),
            scripts: scripts::Resolver::new(project),
            rust: rust::Resolver::new(project),
            go: go::Resolver::new(project),
            java: java::Resolver::new(project),
            project,
        }
    }

    /// Everything an import of a file names. Empty if that is nothing of interest, such as an asset.
    pub(super) fn resolve(&self, from: u32, import: &Import) -> Vec<Target> {
        match self.project.languages[from as usize] {
            Language::Python => self.python.resolve(from, &import.what),
            Language::JavaScript | Language::TypeScript => self.scripts.resolve(from, &import.what),
            Language::Rust => self.rust.resolve(from, &import.what),
            Language::Go => self.go.resolve(from, &import.what),
            Language::Java => self.java.resolve(from, &import.what),
        }
    }

    /// Files of its own package that a file names without importing them.
    pub(super) fn neighbours(&self, from: u32) -> Vec<u32> {
        match self.project.languages[from as usize] {
            Language::Go => self.go.neighbours(from),
            Language::Java => self.java.neighbours(from),
            Language::Python | Language::JavaScript | Language::TypeScript | Language::Rust => Vec::new(),
        }
    }
}

/// Folder of a path; empty for the root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `folder/name`, or `name` in the root.
pub(super) fn join(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!("{folder}/{name}"),
    }
}

/// A relative path as seen from a folder, without `.` and `..`; `None` if it leads out of the repository.
pub(super) fn normalise(folder: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The folder itself and those around it, innermost first, the root last.
pub(super) fn ancestors(folder: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder), |folder| (!folder.is_empty()).then(|| parent(folder)))
}

/// How many leading folders two paths have in common.
pub(super) fn common_depth(a: &str, b: &str) -> usize {
    a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b).count()
}
