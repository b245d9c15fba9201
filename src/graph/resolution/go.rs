//! Go: modules by the paths in their `go.mod`, packages by folders, files by the names they declare.

use std::collections::HashMap;

use super::{Project, Target, file_name, normalise, parent};
use crate::graph::imports::Imported;
use crate::graph::languages::Language;

/// Files of one package.
#[derive(Debug, Default)]
struct Package {
    /// Files without tests: what others can import.
    importable: Vec<u32>,
    /// Declaring files, tests included, by name.
    declared: HashMap<String, Vec<u32>>,
}

pub(super) struct Resolver<'a> {
    project: &'a Project<'a>,
    /// Module paths and their folders, longest path first.
    modules: Vec<(String, String)>,
    /// Folders that modules replace others by: folder of the module, path replaced, folder instead.
    replaced: Vec<(String, String, String)>,
    packages: HashMap<&'a str, Package>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(project: &'a Project<'a>) -> Self {
        let mut resolver = Self { project, modules: Vec::new(), replaced: Vec::new(), packages: packages(project) };
        for (path, text) in project.manifests.iter().filter(|(path, _)| file_name(path) == "go.mod") {
            resolver.add_module(parent(path), text);
        }
        let has_root = resolver.modules.iter().any(|(_, folder)| folder.is_empty());
        resolver.modules.extend(project.import_path.filter(|_| !has_root).map(|path| (path.to_owned(), String::new())));
        resolver.modules.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        resolver
    }

    fn add_module(&mut self, folder: &str, text: &str) {
        let mut in_replace = false;
        for line in text.lines() {
            let line = line.split("//").next().unwrap_or_default().trim();
            let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches('"')).collect();
            match words.as_slice() {
                ["module", path] => self.modules.push(((*path).to_owned(), folder.to_owned())),
                ["replace", "("] => in_replace = true,
                [")"] => in_replace = false,
                ["replace", old, rest @ ..] => self.add_replacement(folder, old, rest),
                [old, rest @ ..] if in_replace => self.add_replacement(folder, old, rest),
                _ => {}
            }
        }
    }

    /// `old [version] => ./folder`
    fn add_replacement(&mut self, folder: &str, old: &str, rest: &[&str]) {
        let new = rest.iter().skip_while(|word| **word != "=>").nth(1);
        if let Some(new) = new.filter(|new| new.starts_with('.')).and_then(|new| normalise(folder, new)) {
            self.replaced.push((folder.to_owned(), old.to_owned(), new));
        }
    }

    pub(super) fn resolve(&self, from: u32, what: &Imported) -> Vec<Target> {
        let Imported::Go { path, names } = what else { return Vec::new() };
        if path == "C" || path == "unsafe" {
            return Vec::new();
        }
        let Some(folder) = self.folder(self.project.path(from), path) else {
            return vec![Target::External(path.clone())];
        };
        let Some(package) = self.packages.get(folder.as_str()).filter(|package| !package.importable.is_empty()) else {
            return vec![Target::Missing(path.clone())];
        };
        let is_importable = |file: &u32| package.importable.binary_search(file).is_ok();
        let mut files: Vec<u32> =
            names.iter().filter_map(|name| package.declared.get(name)).flatten().copied().collect();
        files.retain(is_importable);
        if files.is_empty() {
            // imported for its effects, or under a name that could not be guessed
            files.clone_from(&package.importable);
        }
        files.sort_unstable();
        files.dedup();
        files.into_iter().map(Target::File).collect()
    }

    /// The folder an import path leads to, if it is in the repository.
    fn folder(&self, from: &str, path: &str) -> Option<String> {
        if path.starts_with("./") || path.starts_with("../") {
            return normalise(parent(from), path);
        }
        let below = |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let inside =
            |module: &str| module.is_empty() || from.strip_prefix(module).is_some_and(|rest| rest.starts_with('/'));
        for (module, old, new) in &self.replaced {
            if let Some(rest) = below(old).filter(|_| inside(module)) {
                return normalise(new, rest);
            }
        }
        let (folder, rest) =
            self.modules.iter().find_map(|(module, folder)| below(module).map(|rest| (folder, rest)))?;
        normalise(folder, rest)
    }

    /// Files of the same package that declare what a file uses.
    pub(super) fn neighbours(&self, from: u32) -> Vec<u32> {
        let path = self.project.path(from);
        let (Some(package), Some(parsed)) = (self.packages.get(parent(path)), &self.project.parsed[from as usize])
        else {
            return Vec::new();
        };
        let is_test = is_test(path);
        let mut files: Vec<u32> = Vec::new();
        for name in &parsed.uses {
            let declaring = package.declared.get(name).into_iter().flatten().copied();
            files.extend(declaring.filter(|file| {
                let other = self.project.parsed[*file as usize].as_ref();
                let same = other.is_some_and(|other| other.package == parsed.package);
                *file != from && same && (is_test || !self::is_test(self.project.path(*file)))
            }));
        }
        files.sort_unstable();
        files.dedup();
        files
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("_test.go")
}

fn packages<'a>(project: &'a Project<'a>) -> HashMap<&'a str, Package> {
    let mut packages: HashMap<&str, Package> = HashMap::new();
    for file in project.of(Language::Go) {
        let path = project.path(file);
        let package = packages.entry(parent(path)).or_default();
        if !is_test(path) {
            package.importable.push(file);
        }
        for name in project.parsed[file as usize].iter().flat_map(|parsed| &parsed.declares) {
            package.declared.entry(name.clone()).or_default().push(file);
        }
    }
    packages
}
