//! Python: relative imports by folders, absolute ones by the folders that `sys.path` would have.
//!
//! Which folders those are is not written anywhere. Tried in this order: where the file's own outermost package
//! stands; the file's own folder, if it is a script (its folder is no package); the folders around it, innermost first, and `src`
//! in them; and last any folder of the repository that has a top-level package or module of that name, the nearest first.

use std::collections::{HashMap, HashSet};

use super::stdlib::is_python_stdlib;
use super::{Project, Target, ancestors, common_depth, file_name, join, parent};
use crate::graph::imports::Imported;
use crate::graph::languages::Language;

/// Ends of module files, in the order in which they are tried.
const ENDS: [&str; 2] = [".py", ".pyi"];

/// What a dotted name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Module {
    /// A module's file or a package's `__init__`.
    File(u32),
    /// A folder without `__init__`.
    Namespace,
}

/// How far a dotted name can be followed.
struct Followed {
    /// What it leads to, if all of it can be followed.
    module: Option<Module>,
    /// Whether its first part is a module or a regular package, so that no other place is looked at.
    claimed: bool,
}

pub(super) struct Resolver<'a> {
    project: &'a Project<'a>,
    /// Folders with an `__init__`.
    packages: HashSet<&'a str>,
    /// Folders in which a top-level name is found, by that name.
    homes: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(project: &'a Project<'a>) -> Self {
        let own = || project.of(Language::Python).map(|source| project.path(source));
        let packages: HashSet<&str> =
            own().filter(|path| matches!(file_name(path), "__init__.py" | "__init__.pyi")).map(parent).collect();
        let mut homes: HashMap<&str, Vec<&str>> = HashMap::new();
        // outermost packages, and modules outside of packages
        for package in packages.iter().filter(|folder| !folder.is_empty() && !packages.contains(parent(folder))) {
            homes.entry(file_name(package)).or_default().push(parent(package));
        }
        for path in own().filter(|path| !packages.contains(parent(path))) {
            let stem = file_name(path).rsplit_once('.').map_or("", |(stem, _)| stem);
            homes.entry(stem).or_default().push(parent(path));
        }
        for folders in homes.values_mut() {
            folders.sort_unstable();
            folders.dedup();
        }
        Self { project, packages, homes }
    }

    pub(super) fn resolve(&self, from: u32, what: &Imported) -> Vec<Target> {
        let Imported::Python { level, module, names } = what else { return Vec::new() };
        let path = self.project.path(from);
        let mut targets =
            if *level > 0 { self.relative(path, *level, module, names) } else { self.absolute(path, module, names) };
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    fn relative(&self, path: &str, level: u32, module: &str, names: &[String]) -> Vec<Target> {
        let mut folder = parent(path);
        for _ in 1..level {
            if folder.is_empty() {
                return vec![Target::Missing(written(level, module, names))];
            }
            folder = parent(folder);
        }
        let base = join(folder, &module.replace('.', "/"));
        match self.module(&base) {
            Some(found) => self.taken(&base, &found, names, (level, module)),
            None => vec![Target::Missing(written(level, module, names))],
        }
    }

    fn absolute(&self, path: &str, module: &str, names: &[String]) -> Vec<Target> {
        let top = module.split('.').next().unwrap_or(module);
        let relative = module.replace('.', "/");
        let own = self.own_root(path);
        let is_script = !self.packages.contains(parent(path));
        let (mut claimed, mut is_namespace) = (false, false);
        let mut attempt = |root: &str| {
            let followed = self.follow(root, module);
            claimed |= followed.claimed;
            let Some(found) = followed.module else { return Err(followed.claimed) };
            let targets = self.taken(&join(root, &relative), &found, names, (0, module));
            if found == Module::Namespace && !targets.iter().any(|target| matches!(target, Target::File(_))) {
                // folders alone prove nothing: nearly every name is a folder somewhere
                is_namespace |= targets.is_empty();
                return Err(false);
            }
            Ok(targets)
        };
        let mut found = attempt(own);
        if found == Err(false) && is_script {
            found = attempt(parent(path));
        }
        // a module of the standard library is shadowed only by what stands beside the program itself
        if found == Err(false) && !is_python_stdlib(top) {
            let around = ancestors(parent(path)).flat_map(|folder| [folder.to_owned(), join(folder, "src")]);
            let around = around.filter(|root| !self.packages.contains(root.as_str()) && self.project.has_folder(root));
            let homes = self.nearest_homes(path, top).map(str::to_owned);
            found = around.chain(homes).map(|root| attempt(&root)).find(|found| *found != Err(false)).unwrap_or(found);
        }
        match found {
            Ok(targets) => targets,
            Err(_) if claimed => vec![Target::Missing(written(0, module, names))],
            Err(_) if is_namespace => Vec::new(),
            Err(_) => vec![Target::External(top.to_owned())],
        }
    }

    /// What `from base import names` or `import base` loads.
    fn taken(&self, base: &str, found: &Module, names: &[String], (level, module): (u32, &str)) -> Vec<Target> {
        if names.is_empty() {
            return match found {
                Module::File(file) => vec![Target::File(*file)],
                Module::Namespace => Vec::new(),
            };
        }
        let taken = names.iter().filter_map(|name| match (self.module(&join(base, name)), found) {
            (Some(Module::File(submodule)), _) if name != "*" => Some(Target::File(submodule)),
            (_, Module::File(package)) => Some(Target::File(*package)),
            (Some(Module::Namespace), Module::Namespace) => None,
            (_, Module::Namespace) => Some(Target::Missing(written(level, module, std::slice::from_ref(name)))),
        });
        taken.collect()
    }

    /// The folder in which the outermost package of a file stands.
    fn own_root<'p>(&self, path: &'p str) -> &'p str {
        ancestors(parent(path)).find(|folder| !self.packages.contains(folder)).unwrap_or("")
    }

    /// Folders that have a top-level name, those with most folders in common with `path` first.
    fn nearest_homes(&self, path: &str, top: &str) -> impl Iterator<Item = &'a str> {
        let mut homes = self.homes.get(top).cloned().unwrap_or_default();
        homes.sort_by_key(|home| std::cmp::Reverse(if home.is_empty() { 0 } else { common_depth(home, path) }));
        homes.into_iter()
    }

    fn follow(&self, root: &str, module: &str) -> Followed {
        let mut base = root.to_owned();
        let mut claimed = false;
        let mut last = None;
        for part in module.split('.') {
            base = join(&base, part);
            last = self.module(&base);
            match &last {
                Some(Module::File(_)) => claimed = true,
                Some(Module::Namespace) => {}
                None => break,
            }
        }
        Followed { module: last, claimed }
    }

    /// What stands at a path: a package before a module before a namespace, as Python's finder has it.
    fn module(&self, base: &str) -> Option<Module> {
        if base.is_empty() {
            return Some(Module::Namespace);
        }
        let package = ENDS.iter().find_map(|end| self.project.source(&format!("{base}/__init__{end}")));
        let module = || ENDS.iter().find_map(|end| self.project.source(&format!("{base}{end}")));
        match package.or_else(module) {
            Some(file) => Some(Module::File(file)),
            None => self.project.has_folder(base).then_some(Module::Namespace),
        }
    }
}

fn written(level: u32, module: &str, names: &[String]) -> String {
    Imported::Python { level, module: module.to_owned(), names: names.to_vec() }.text()
}
