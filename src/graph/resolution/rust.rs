//! Rust: `mod` by the layout of files, paths by the tree of modules of each crate of the repository.

mod crates;
mod modules;

use super::{Project, Target, normalise, parent};
use crate::graph::imports::Imported;

use crates::Crates;
use modules::{Home, Modules};

/// Crates that come with the compiler.
const SYSROOT: [&str; 5] = ["std", "core", "alloc", "proc_macro", "test"];
/// Longest chain of names that lead to names.
const MAX_ALIASES: usize = 4;

pub(super) struct Resolver<'a> {
    project: &'a Project<'a>,
    crates: Crates,
    modules: Modules,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(project: &'a Project<'a>) -> Self {
        let crates = Crates::new(project);
        let modules = Modules::new(project, &crates);
        Self { project, crates, modules }
    }

    pub(super) fn resolve(&self, from: u32, what: &Imported) -> Vec<Target> {
        match what {
            Imported::RustModule { scope, name, path } => {
                let is_root = self.crates.is_root(from);
                match modules::file_of(self.project, (from, is_root), scope, (name, path.as_deref())) {
                    Some(file) => vec![Target::File(file)],
                    None => vec![Target::Missing(what.text())],
                }
            }
            Imported::RustInclude(path) => {
                let target = normalise(parent(self.project.path(from)), path);
                target.and_then(|path| self.project.source(&path)).map(Target::File).into_iter().collect()
            }
            Imported::RustPath { scope, path, certain } => {
                let mut best = Vec::new();
                for home in self.modules.homes(from) {
                    best = self.path(from, home, (scope, path, *certain), 0);
                    if matches!(best.first(), Some(Target::File(_))) {
                        break;
                    }
                }
                best
            }
            _ => Vec::new(),
        }
    }

    /// What a path means in one of the crates that have the file.
    fn path(
        &self,
        from: u32,
        home: &Home,
        (scope, path, certain): (&[String], &[String], bool),
        depth: usize,
    ) -> Vec<Target> {
        let mut base: Vec<&str> = home.path.iter().chain(scope).map(String::as_str).collect();
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let mut rest = rest;
        match first.as_str() {
            "crate" | "$crate" => base.clear(),
            "self" => {}
            "super" => {
                if base.pop().is_none() {
                    return vec![Target::Missing(path.join("::"))];
                }
            }
            "" => {
                return rest
                    .split_first()
                    .map(|(name, rest)| self.foreign(home, name, rest, certain))
                    .unwrap_or_default();
            }
            name => {
                base.push(name);
                if self.modules.is_module(home.krate, &base) {
                    return self.within(home.krate, base, rest);
                }
                base.pop();
                if self.crates.is_old(home.krate) && self.modules.is_module(home.krate, &[name]) {
                    return self.within(home.krate, vec![name], rest);
                }
                let known = self.crates.knows(home.krate, name) || SYSROOT.contains(&name);
                if !known
                    && depth < MAX_ALIASES
                    && let Some(alias) = self.alias(from, name)
                {
                    let whole: Vec<String> = alias.iter().chain(rest).cloned().collect();
                    return self.path(from, home, (&[], &whole, certain), depth + 1);
                }
                return self.foreign(home, name, rest, certain);
            }
        }
        while let Some((next, after)) = rest.split_first().filter(|(next, _)| next.as_str() == "super") {
            if base.pop().is_none() {
                return vec![Target::Missing(format!("{}::{next}", path.join("::")))];
            }
            rest = after;
        }
        self.within(home.krate, base, rest)
    }

    /// Follows modules as far as they go; what comes after is an item of the last.
    fn within(&self, krate: usize, base: Vec<&str>, rest: &[String]) -> Vec<Target> {
        let mut base = base;
        for segment in rest {
            base.push(segment);
            if !self.modules.is_module(krate, &base) {
                base.pop();
                break;
            }
        }
        self.modules.file(krate, &base).map(Target::File).into_iter().collect()
    }

    /// A path that begins with the name of another crate.
    fn foreign(&self, home: &Home, name: &str, rest: &[String], certain: bool) -> Vec<Target> {
        if let Some(library) = self.crates.library(home.krate, name) {
            return self.within(library, Vec::new(), rest);
        }
        // otherwise a type, macro or module that a wildcard or a macro brought in
        let known = SYSROOT.contains(&name) || self.crates.knows(home.krate, name);
        let may_be_new = certain && self.crates.is_bare(home.krate);
        if !(known || may_be_new) {
            return Vec::new();
        }
        vec![Target::External(self.crates.package(home.krate, name).unwrap_or(name).to_owned())]
    }

    /// The path under which a file brings in a name.
    fn alias(&self, from: u32, name: &str) -> Option<&[String]> {
        let imports = &self.project.parsed[from as usize].as_ref()?.imports;
        imports.iter().find_map(|import| match &import.what {
            Imported::RustPath { path, certain: true, .. }
                if path.len() > 1 && path.last().is_some_and(|last| last == name) =>
            {
                Some(path.as_slice())
            }
            _ => None,
        })
    }
}
