//! JavaScript and TypeScript: relative files with and without their ends, `tsconfig.json`, packages of the
//! repository by their `package.json`.

mod packages;
mod tsconfig;

use super::{Project, Target, join, normalise, parent};
use crate::graph::imports::Imported;
use crate::graph::languages::Language;

use packages::Packages;
use tsconfig::Configs;

/// Ends of modules in the order in which TypeScript tries them.
const TYPESCRIPT_ENDS: [&str; 9] = [".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mts", ".cts", ".mjs", ".cjs"];
/// Ends of modules in the order in which bundlers of JavaScript try them.
const JAVASCRIPT_ENDS: [&str; 9] = [".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".d.ts"];
/// Ends of other files that are imported without naming them.
const ASSET_ENDS: [&str; 5] = [".json", ".vue", ".svelte", ".astro", ".node"];
/// What an end in an import may stand for in the source: TypeScript names its modules as they are after compilation.
const COMPILED: [(&str, &[&str]); 4] = [
    (".js", &[".ts", ".tsx", ".d.ts"]),
    (".jsx", &[".tsx", ".d.ts"]),
    (".mjs", &[".mts", ".d.mts"]),
    (".cjs", &[".cts", ".d.cts"]),
];
/// Modules that come with Node.js.
const NODE: [&str; 42] = [
    "assert",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "domain",
    "events",
    "fs",
    "http",
    "http2",
    "https",
    "inspector",
    "module",
    "net",
    "os",
    "path",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "repl",
    "stream",
    "string_decoder",
    "sys",
    "timers",
    "tls",
    "trace_events",
    "tty",
    "url",
    "util",
    "v8",
    "vm",
    "wasi",
    "worker_threads",
    "zlib",
];

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// A module.
    Module(u32),
    /// A file that is no module.
    Asset,
}

pub(super) struct Resolver<'a> {
    files: Files<'a>,
    configs: Configs,
    packages: Packages,
}

/// Looks for files as loaders do.
struct Files<'a> {
    project: &'a Project<'a>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(project: &'a Project<'a>) -> Self {
        Self { files: Files { project }, configs: Configs::new(project), packages: Packages::new(project) }
    }

    pub(super) fn resolve(&self, from: u32, what: &Imported) -> Vec<Target> {
        let Imported::Script(written) = what else { return Vec::new() };
        let path = self.files.project.path(from);
        let typed = self.files.project.languages[from as usize] == Language::TypeScript;
        // loaders of bundlers stand before a `!`, their options after a `?`
        let specifier = written.rsplit('!').next().unwrap_or(written);
        let specifier =
            if specifier.starts_with('#') { specifier } else { specifier.split(['?', '#']).next().unwrap_or_default() };
        if specifier.is_empty() || specifier.starts_with('/') || specifier.starts_with("data:") {
            return Vec::new();
        }
        if specifier.contains("://") {
            return vec![Target::External(specifier.to_owned())];
        }
        if is_relative(specifier) {
            let found = normalise(parent(path), specifier)
                .and_then(|base| self.files.find(&base, typed, !specifier.ends_with('/')));
            return target(found, specifier);
        }
        match self.bare(path, specifier, typed) {
            Bare::Found(found) => target(Some(found), specifier),
            Bare::Missing => vec![Target::Missing(written.clone())],
            Bare::Unknown => self.external(path, specifier),
        }
    }

    fn bare(&self, path: &str, specifier: &str, typed: bool) -> Bare {
        if let Some(name) = specifier.strip_prefix("node:") {
            return if name.is_empty() { Bare::Missing } else { Bare::Unknown };
        }
        let config = self.configs.of(parent(path));
        let candidates = config.map(|config| config.candidates(specifier)).unwrap_or_default();
        if let Some(found) = candidates.iter().find_map(|candidate| self.files.find(candidate, typed, true)) {
            return Bare::Found(found);
        }
        if NODE.contains(&specifier) {
            return Bare::Unknown;
        }
        match self.packages.candidates(parent(path), specifier, typed) {
            Some(candidates) => {
                let found = candidates.iter().find_map(|candidate| self.files.find(candidate, typed, true));
                found.map_or(Bare::Missing, Bare::Found)
            }
            // a path that only an alias can explain, but the alias leads nowhere
            None if candidates.len() > usize::from(config.is_some_and(tsconfig::Config::has_base)) => Bare::Missing,
            None => Bare::Unknown,
        }
    }

    fn external(&self, path: &str, specifier: &str) -> Vec<Target> {
        let bare = specifier.strip_prefix("node:").unwrap_or(specifier);
        if bare.len() < specifier.len()
            || NODE.contains(&bare.split('/').next().unwrap_or(bare)) && !self.packages.depends(parent(path), bare)
        {
            return vec![Target::External(format!("node:{}", bare.split('/').next().unwrap_or(bare)))];
        }
        let name = package_name(specifier);
        let proper =
            !name.is_empty() && !name.starts_with(['~', '#', '$', '.']) && name != "@" && !name.starts_with("@/");
        vec![if proper { Target::External(name.to_owned()) } else { Target::Missing(specifier.to_owned()) }]
    }
}

/// What a specifier that is no path leads to.
enum Bare {
    Found(Found),
    /// To the repository, but not to a file of it.
    Missing,
    /// Elsewhere.
    Unknown,
}

fn target(found: Option<Found>, specifier: &str) -> Vec<Target> {
    match found {
        Some(Found::Module(file)) => vec![Target::File(file)],
        Some(Found::Asset) => Vec::new(),
        None => vec![Target::Missing(specifier.to_owned())],
    }
}

fn is_relative(specifier: &str) -> bool {
    specifier == "." || specifier == ".." || specifier.starts_with("./") || specifier.starts_with("../")
}

/// `@scope/name` or `name` of a specifier.
fn package_name(specifier: &str) -> &str {
    let parts = if specifier.starts_with('@') { 2 } else { 1 };
    let end = specifier.match_indices('/').nth(parts - 1).map_or(specifier.len(), |(at, _)| at);
    &specifier[..end]
}

impl Files<'_> {
    /// The file that a path without, with or with another end stands for; a folder's main module if `or_file` or not.
    fn find(&self, base: &str, typed: bool, or_file: bool) -> Option<Found> {
        if or_file
            && !base.is_empty()
            && let Some(found) = self.file(base, typed)
        {
            return Some(found);
        }
        if !self.project.has_folder(base) {
            return None;
        }
        let main = self.project.manifests.get(&join(base, "package.json")).and_then(|text| packages::mains(text));
        let mains = main.into_iter().flatten().filter_map(|main| normalise(base, &main));
        let index = join(base, "index");
        mains.chain([index]).find_map(|candidate| self.file(&candidate, typed))
    }

    fn file(&self, base: &str, typed: bool) -> Option<Found> {
        let compiled = COMPILED.iter().find_map(|(end, ends)| Some((base.strip_suffix(end)?, *ends)));
        let compiled = || {
            let (stem, ends) = compiled?;
            self.module(stem, ends)
        };
        let exact = || self.project.source(base).filter(|file| self.is_module(*file));
        let module = if typed { compiled().or_else(exact) } else { exact().or_else(compiled) };
        let ends = if typed { &TYPESCRIPT_ENDS } else { &JAVASCRIPT_ENDS };
        if let Some(module) = module.or_else(|| self.module(base, ends)) {
            return Some(Found::Module(module));
        }
        let is_asset =
            self.project.has_file(base) || ASSET_ENDS.iter().any(|end| self.project.has_file(&format!("{base}{end}")));
        is_asset.then_some(Found::Asset)
    }

    fn module(&self, stem: &str, ends: &[&str]) -> Option<u32> {
        ends.iter().find_map(|end| self.project.source(&format!("{stem}{end}")))
    }

    fn is_module(&self, file: u32) -> bool {
        matches!(self.project.languages[file as usize], Language::JavaScript | Language::TypeScript)
    }
}
