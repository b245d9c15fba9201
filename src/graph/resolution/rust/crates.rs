//! Crates of the repository: what `Cargo.toml` and the customary layout say.

use std::collections::{BTreeMap, HashMap, HashSet};

use toml::{Table, Value};

use super::super::{Project, ancestors, file_name, join, normalise, parent};
use crate::graph::languages::Language;

/// One crate: a library, program, test, example, benchmark or build script.
#[derive(Debug)]
pub(super) struct Crate {
    /// Its first file.
    pub(super) root: u32,
    /// Number of its package.
    package: usize,
}

/// A `Cargo.toml` with a `[package]`.
#[derive(Debug, Default)]
struct Package {
    folder: String,
    /// As `use` names it.
    library_name: String,
    /// Number of the library's crate.
    library: Option<usize>,
    /// Names of packages by the names that `use` has for them.
    dependencies: HashMap<String, String>,
    /// Edition 2015: paths of `use` begin at the crate's root.
    is_old: bool,
}

/// All crates of a repository.
pub(super) struct Crates {
    pub(super) all: Vec<Crate>,
    packages: Vec<Package>,
    by_name: HashMap<String, usize>,
    by_folder: BTreeMap<String, usize>,
    roots: HashSet<u32>,
}

impl Crates {
    pub(super) fn new(project: &Project<'_>) -> Self {
        let mut crates = Self {
            all: Vec::new(),
            packages: Vec::new(),
            by_name: HashMap::new(),
            by_folder: BTreeMap::new(),
            roots: HashSet::new(),
        };
        let manifests = project.manifests.iter().filter(|(path, _)| file_name(path) == "Cargo.toml");
        let manifests: Vec<(&str, Table)> =
            manifests.filter_map(|(path, text)| Some((parent(path), text.parse().ok()?))).collect();
        let shared: Vec<&Table> =
            manifests.iter().filter_map(|(_, manifest)| table(manifest, &["workspace", "dependencies"])).collect();
        for (folder, manifest) in &manifests {
            if let Some(package) = manifest.get("package").and_then(Value::as_table) {
                crates.add_package(project, folder, manifest, package);
                let dependencies = dependencies(manifest, &shared);
                crates
                    .packages
                    .last_mut()
                    .into_iter()
                    .for_each(|package| package.dependencies.clone_from(&dependencies));
            }
        }
        crates.add_roots_in_layout(project);
        crates
    }

    fn add_package(&mut self, project: &Project<'_>, folder: &str, manifest: &Table, package: &Table) {
        let name = package.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let library = manifest.get("lib").and_then(Value::as_table);
        let text = |table: Option<&Table>, key: &str| {
            table.and_then(|table| table.get(key)).and_then(Value::as_str).map(str::to_owned)
        };
        let library_name = text(library, "name").unwrap_or_else(|| name.replace('-', "_"));
        let edition = package.get("edition").map_or(Some("2015"), Value::as_str);
        let number = self.packages.len();
        let is_old = edition == Some("2015");
        self.by_name.insert(name, number);
        self.by_folder.insert(folder.to_owned(), number);
        let (folder, dependencies) = (folder.to_owned(), HashMap::new());
        self.packages.push(Package { folder: folder.clone(), library_name, library: None, dependencies, is_old });
        let library = text(library, "path").unwrap_or_else(|| "src/lib.rs".to_owned());
        if let Some(root) = normalise(&folder, &library).and_then(|path| project.source(&path)) {
            self.packages[number].library = Some(self.add(root, number));
        }
        let tables =
            ["bin", "test", "example", "bench"].iter().filter_map(|kind| manifest.get(*kind)?.as_array()).flatten();
        let build = package.get("build").and_then(Value::as_str).unwrap_or("build.rs");
        let named = tables.filter_map(|target| target.get("path")?.as_str()).chain([build]);
        let roots: Vec<u32> = named.filter_map(|path| project.source(&normalise(&folder, path)?)).collect();
        for root in roots {
            self.add(root, number);
        }
    }

    /// Programs, tests, examples and benchmarks that stand where Cargo looks for them.
    fn add_roots_in_layout(&mut self, project: &Project<'_>) {
        for source in project.of(Language::Rust) {
            let path = project.path(source);
            let Some((folder, package)) =
                ancestors(parent(path)).find_map(|folder| Some((folder, *self.by_folder.get(folder)?)))
            else {
                // no manifest: customary names alone tell
                if matches!(file_name(path), "lib.rs" | "main.rs") {
                    let library_name = file_name(parent(parent(path))).replace('-', "_");
                    let (folder, number) = (parent(path).to_owned(), self.packages.len());
                    let package = Package { folder, library_name, ..Package::default() };
                    self.packages.push(package);
                    self.add(source, number);
                }
                continue;
            };
            let inside: Vec<&str> = path[folder.len()..].trim_start_matches('/').split('/').collect();
            let is_root = matches!(
                inside.as_slice(),
                ["src", "main.rs"]
                    | ["src", "bin", _]
                    | ["src", "bin", _, "main.rs"]
                    | ["tests" | "examples" | "benches", _]
                    | ["tests" | "examples" | "benches", _, "main.rs"]
            );
            if is_root {
                self.add(source, package);
            }
        }
    }

    fn add(&mut self, root: u32, package: usize) -> usize {
        if !self.roots.insert(root) {
            return self.all.iter().position(|krate| krate.root == root).unwrap_or(0);
        }
        self.all.push(Crate { root, package });
        self.all.len() - 1
    }

    /// Whether a file is the first of a crate.
    pub(super) fn is_root(&self, file: u32) -> bool {
        self.roots.contains(&file)
    }

    /// Whether paths of `use` begin at the crate's root.
    pub(super) fn is_old(&self, krate: usize) -> bool {
        self.packages[self.all[krate].package].is_old
    }

    /// Whether a crate depends on another of that name.
    pub(super) fn knows(&self, krate: usize, name: &str) -> bool {
        let package = &self.packages[self.all[krate].package];
        package.dependencies.contains_key(name) || package.library_name == name
    }

    /// Whether nothing is known of what a crate depends on.
    pub(super) fn is_bare(&self, krate: usize) -> bool {
        self.packages[self.all[krate].package].dependencies.is_empty()
    }

    /// The package behind a name in `use`.
    pub(super) fn package(&self, krate: usize, name: &str) -> Option<&str> {
        self.packages[self.all[krate].package].dependencies.get(name).map(String::as_str)
    }

    /// The library of the repository that a crate means by a name.
    pub(super) fn library(&self, krate: usize, name: &str) -> Option<usize> {
        let own = &self.packages[self.all[krate].package];
        if own.library_name == name {
            return own.library;
        }
        let package = own.dependencies.get(name)?;
        self.packages[*self.by_name.get(package)?].library
    }

    /// The crate to which a file belongs by its place alone, and the folder where that crate's modules begin.
    pub(super) fn around(&self, project: &Project<'_>, path: &str) -> Option<(usize, String)> {
        let package = ancestors(parent(path)).find_map(|folder| self.by_folder.get(folder))?;
        let krate =
            self.packages[*package].library.or_else(|| self.all.iter().position(|krate| krate.package == *package))?;
        let sources = parent(project.path(self.all[krate].root)).to_owned();
        let home = if sources.is_empty() { self.packages[*package].folder.clone() } else { sources };
        Some((krate, home))
    }
}

fn table<'t>(table: &'t Table, keys: &[&str]) -> Option<&'t Table> {
    keys.iter().try_fold(table, |table, key| table.get(*key)?.as_table())
}

/// All dependencies of a package, whatever they are for.
fn dependencies(manifest: &Table, shared: &[&Table]) -> HashMap<String, String> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = table(manifest, &["target"]).into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let tables = std::iter::once(manifest).chain(targets);
    let tables = tables.flat_map(|table| KINDS.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    let mut found = HashMap::new();
    for (name, value) in tables.flatten() {
        let renamed = |value: &Value| value.get("package").and_then(Value::as_str).map(str::to_owned);
        let inherited = || shared.iter().find_map(|table| table.get(name)).and_then(renamed);
        let package = renamed(value).or_else(|| value.get("workspace").and_then(|_| inherited()));
        found.insert(name.replace('-', "_"), package.unwrap_or_else(|| name.clone()));
    }
    found
}

/// `folder` and `name` of a path that has both.
pub(super) fn stem(path: &str) -> String {
    join(parent(path), file_name(path).strip_suffix(".rs").unwrap_or(file_name(path)))
}
