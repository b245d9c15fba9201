//! `tsconfig.json` and `jsconfig.json`: `baseUrl`, `paths`, `extends`, `references`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::graph::languages::extension;

use super::super::{Project, ancestors, file_name, join, normalise, parent};

/// Longest chain of `extends`.
const MAX_CHAIN: usize = 16;

/// What a configuration says about where modules are.
#[derive(Debug, Clone, Default)]
pub(super) struct Config {
    base: Option<String>,
    /// Patterns and what they stand for, as paths from the repository's root.
    paths: Vec<(String, Vec<String>)>,
}

/// Configurations of a repository, by folder.
pub(super) struct Configs {
    by_folder: BTreeMap<String, Config>,
}

impl Configs {
    pub(super) fn new(project: &Project<'_>) -> Self {
        let loader = Loader { project, parsed: parse_all(project) };
        let mut by_folder = BTreeMap::new();
        // in this order, so that tsconfig.json wins
        for name in ["jsconfig.json", "tsconfig.json"] {
            for path in project.manifests.keys().filter(|path| file_name(path) == name) {
                by_folder.insert(parent(path).to_owned(), loader.with_references(path));
            }
        }
        Self { by_folder }
    }

    /// The configuration that holds for files of a folder: that of the nearest folder around it.
    pub(super) fn of(&self, folder: &str) -> Option<&Config> {
        ancestors(folder).find_map(|folder| self.by_folder.get(folder))
    }
}

impl Config {
    /// Paths that a specifier may stand for, the most likely first.
    pub(super) fn candidates(&self, specifier: &str) -> Vec<String> {
        let exact = self.paths.iter().find(|(pattern, _)| pattern == specifier).map(|(_, to)| (to, ""));
        let matching = self.paths.iter().filter_map(|(pattern, to)| {
            let (before, after) = pattern.split_once('*')?;
            let middle = specifier.strip_prefix(before)?.strip_suffix(after)?;
            Some((before.len(), to, middle))
        });
        // of the first of those with the longest beginning
        let longest = || matching.rev().max_by_key(|(length, ..)| *length).map(|(_, to, middle)| (to, middle));
        let mut candidates = Vec::new();
        if let Some((to, middle)) = exact.or_else(longest) {
            candidates.extend(to.iter().filter_map(|path| normalise("", &path.replacen('*', middle, 1))));
        }
        candidates.extend(self.base.as_ref().and_then(|base| normalise(base, specifier)));
        candidates
    }

    /// Whether modules are looked for in a folder too.
    pub(super) fn has_base(&self) -> bool {
        self.base.is_some()
    }

    fn is_empty(&self) -> bool {
        self.base.is_none() && self.paths.is_empty()
    }
}

/// Loads configurations with those that they extend.
struct Loader<'a> {
    project: &'a Project<'a>,
    parsed: BTreeMap<&'a str, Value>,
}

fn parse_all<'a>(project: &'a Project<'a>) -> BTreeMap<&'a str, Value> {
    let json = project
        .manifests
        .iter()
        .filter(|(path, _)| extension(path) == Some("json") && file_name(path) != "package.json");
    json.filter_map(|(path, text)| {
        let value = jsonc_parser::parse_to_serde_value::<Value>(text, &jsonc_parser::ParseOptions::default()).ok()?;
        Some((path.as_str(), value))
    })
    .collect()
}

impl Loader<'_> {
    /// A configuration; if it says nothing itself, the first of its references that does.
    fn with_references(&self, path: &str) -> Config {
        let config = self.load(path, parent(path), 0);
        if !config.is_empty() {
            return config;
        }
        let references = self.parsed.get(path).and_then(|value| value["references"].as_array());
        let paths = references.into_iter().flatten().filter_map(|reference| reference["path"].as_str());
        let paths = paths.filter_map(|reference| self.existing(&normalise(parent(path), reference)?));
        paths.map(|path| self.load(&path, parent(&path), 0)).find(|config| !config.is_empty()).unwrap_or(config)
    }

    fn load(&self, path: &str, leaf: &str, depth: usize) -> Config {
        let Some(value) = self.parsed.get(path).filter(|_| depth < MAX_CHAIN) else { return Config::default() };
        let mut config = Config::default();
        let extended: Vec<&str> = match &value["extends"] {
            Value::String(one) => vec![one],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        for extended in extended {
            if let Some(extended) = self.extended(parent(path), extended) {
                let inherited = self.load(&extended, leaf, depth + 1);
                config.base = inherited.base.or(config.base);
                config.paths = if inherited.paths.is_empty() { config.paths } else { inherited.paths };
            }
        }
        let options = &value["compilerOptions"];
        let place = |relative: &str| match relative.strip_prefix("${configDir}") {
            Some(rest) => normalise(leaf, rest),
            None => normalise(parent(path), relative),
        };
        if let Some(base) = options["baseUrl"].as_str() {
            config.base = place(base);
        }
        if let Some(paths) = options["paths"].as_object() {
            let from = config.base.clone().unwrap_or_else(|| parent(path).to_owned());
            let place = |relative: &str| match relative.strip_prefix("${configDir}") {
                Some(rest) => normalise(leaf, rest),
                None => normalise(&from, relative),
            };
            let place_all =
                |to: &Value| to.as_array().into_iter().flatten().filter_map(|to| place(to.as_str()?)).collect();
            config.paths = paths.iter().map(|(pattern, to)| (pattern.clone(), place_all(to))).collect();
        }
        config
    }

    /// The file that `extends` names.
    fn extended(&self, folder: &str, name: &str) -> Option<String> {
        if name.starts_with('.') {
            return self.existing(&normalise(folder, name)?);
        }
        // a package of the repository
        let package = super::package_name(name);
        let manifests = self.project.manifests.iter().filter(|(path, _)| file_name(path) == "package.json");
        let mut homes = manifests.filter(|(_, text)| super::packages::name(text).as_deref() == Some(package));
        let home = parent(homes.next()?.0);
        self.existing(&join(home, name[package.len()..].trim_start_matches('/')))
    }

    fn existing(&self, path: &str) -> Option<String> {
        let candidates = [path.to_owned(), format!("{path}.json"), join(path, "tsconfig.json")];
        candidates.into_iter().find(|path| self.parsed.contains_key(path.as_str()))
    }
}
