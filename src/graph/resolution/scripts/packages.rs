//! Packages of the repository: `name`, `main` and its kin, `exports`, `imports`.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::super::{Project, ancestors, common_depth, file_name, join, normalise, parent};

/// Fields that name a package's main module, those nearest to the source first.
const MAIN_FIELDS: [&str; 6] = ["source", "types", "typings", "module", "main", "browser"];
/// Conditions of `exports`, those nearest to the source first; others come after them.
const CONDITIONS: [&str; 8] = ["source", "development", "types", "import", "module", "require", "node", "default"];
/// Folders that compilers write to: what stands there is not in the repository, its source is.
const BUILT: [&str; 11] = ["dist", "build", "lib", "out", "esm", "cjs", "es", "umd", "types", "typings", "output"];
/// Deepest nesting of conditions.
const MAX_DEPTH: usize = 8;

/// A `package.json`.
struct Package {
    folder: String,
    manifest: Value,
}

/// Packages of a repository.
pub(super) struct Packages {
    /// Several of one name happen: templates, fixtures.
    by_name: HashMap<String, Vec<usize>>,
    by_folder: BTreeMap<String, usize>,
    all: Vec<Package>,
}

impl Packages {
    pub(super) fn new(project: &Project<'_>) -> Self {
        let mut packages = Self { by_name: HashMap::new(), by_folder: BTreeMap::new(), all: Vec::new() };
        for (path, text) in project.manifests.iter().filter(|(path, _)| file_name(path) == "package.json") {
            let Ok(manifest) = serde_json::from_str::<Value>(text) else { continue };
            let (folder, number) = (parent(path).to_owned(), packages.all.len());
            if let Some(name) = manifest["name"].as_str() {
                packages.by_name.entry(name.to_owned()).or_default().push(number);
            }
            packages.by_folder.insert(folder.clone(), number);
            packages.all.push(Package { folder, manifest });
        }
        packages
    }

    /// Paths that a specifier may stand for; `None` if no package of the repository is meant.
    pub(super) fn candidates(&self, folder: &str, specifier: &str, typed: bool) -> Option<Vec<String>> {
        if specifier.starts_with('#') {
            let package = self.around(folder)?;
            let targets = mapped(&package.manifest["imports"], specifier, typed);
            return Some(targets.iter().flat_map(|target| package.sources(target)).collect());
        }
        let name = super::package_name(specifier);
        let homes = self.by_name.get(name)?;
        let nearest = homes
            .iter()
            .max_by_key(|number| (common_depth(&self.all[**number].folder, folder), std::cmp::Reverse(**number)));
        let package = &self.all[*nearest?];
        Some(package.entries(specifier[name.len()..].trim_start_matches('/'), typed))
    }

    /// Whether the package around a folder names a package among its dependencies.
    pub(super) fn depends(&self, folder: &str, specifier: &str) -> bool {
        let name = super::package_name(specifier);
        let kinds = ["dependencies", "devDependencies", "peerDependencies"];
        self.around(folder).is_some_and(|package| kinds.iter().any(|kind| package.manifest[kind].get(name).is_some()))
    }

    fn around(&self, folder: &str) -> Option<&Package> {
        ancestors(folder).find_map(|folder| self.by_folder.get(folder)).map(|number| &self.all[*number])
    }
}

impl Package {
    /// Where a part of the package may be; the whole of it is the empty part.
    fn entries(&self, part: &str, typed: bool) -> Vec<String> {
        let key = if part.is_empty() { ".".to_owned() } else { format!("./{part}") };
        let exports = &self.manifest["exports"];
        let mut targets = if part.is_empty() { leaves(exports, typed) } else { Vec::new() };
        targets.extend(mapped(exports, &key, typed));
        let mut candidates: Vec<String> = Vec::new();
        if part.is_empty() {
            targets.extend(main_fields(&self.manifest));
        }
        candidates.extend(targets.iter().flat_map(|target| self.sources(target)));
        let plain = if part.is_empty() { "index" } else { part };
        candidates.extend([join(&self.folder, plain), join(&self.folder, &format!("src/{plain}"))]);
        candidates.extend(part.is_empty().then(|| join(&self.folder, "lib/index")));
        candidates
    }

    /// The file itself, then where its source may be if it is compiled.
    fn sources(&self, target: &str) -> Vec<String> {
        let Some(path) = normalise("", target) else { return Vec::new() };
        let mut candidates = vec![join(&self.folder, &path)];
        let mut rest = path.as_str();
        while let Some((_, after)) = rest.split_once('/').filter(|(first, _)| BUILT.contains(first)) {
            rest = after;
            let stem = [".d.ts", ".d.mts", ".d.cts", ".js", ".mjs", ".cjs"]
                .iter()
                .find_map(|end| rest.strip_suffix(end))
                .unwrap_or(rest);
            candidates.extend([join(&self.folder, &format!("src/{stem}")), join(&self.folder, stem)]);
        }
        candidates
    }
}

/// Name in the text of a `package.json`.
pub(super) fn name(text: &str) -> Option<String> {
    serde_json::from_str::<Value>(text).ok()?["name"].as_str().map(str::to_owned)
}

/// Main modules in the text of a `package.json`.
pub(super) fn mains(text: &str) -> Option<Vec<String>> {
    Some(main_fields(&serde_json::from_str::<Value>(text).ok()?))
}

fn main_fields(manifest: &Value) -> Vec<String> {
    MAIN_FIELDS.iter().filter_map(|field| manifest[*field].as_str().map(str::to_owned)).collect()
}

/// What a map from keys, perhaps with a `*`, to conditions gives for a key.
fn mapped(map: &Value, key: &str, typed: bool) -> Vec<String> {
    let Some(map) = map.as_object() else { return Vec::new() };
    if let Some(exact) = map.get(key) {
        return leaves(exact, typed);
    }
    let matching = map.iter().filter_map(|(pattern, to)| {
        let (before, after) = pattern.split_once('*')?;
        let middle = key.strip_prefix(before)?.strip_suffix(after)?;
        Some((before.len(), to, middle))
    });
    let longest = matching.max_by_key(|(length, ..)| *length);
    longest
        .map(|(_, to, middle)| leaves(to, typed).iter().map(|leaf| leaf.replace('*', middle)).collect())
        .unwrap_or_default()
}

/// All targets under conditions, in the order of [`CONDITIONS`]; `types` last if the importing file has none.
fn leaves(value: &Value, typed: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        match value {
            Value::String(target) => found.push(target.clone()),
            Value::Array(all) if depth < MAX_DEPTH => open.extend(all.iter().rev().map(|value| (value, depth + 1))),
            Value::Object(conditions) if depth < MAX_DEPTH => {
                let rank = |name: &str| match CONDITIONS.iter().position(|known| *known == name) {
                    // declarations are not what a program without types loads
                    None => CONDITIONS.len(),
                    Some(_) if name == "types" && !typed => CONDITIONS.len() + 1,
                    Some(rank) => rank,
                };
                // keys that begin with a dot are no conditions but parts of the package
                let mut inner: Vec<_> = conditions.iter().filter(|(name, _)| !name.starts_with('.')).collect();
                inner.sort_by_key(|(name, _)| std::cmp::Reverse(rank(name)));
                open.extend(inner.into_iter().map(|(_, value)| (value, depth + 1)));
            }
            _ => {}
        }
    }
    found
}
