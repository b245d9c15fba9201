//! The imports of one source file, as written: what they mean is found later, when all files are known.
//!
//! Files with syntax errors are the rule, not the exception: what can be read of them is read. Nothing here
//! recurses, so that no nesting of the source can exhaust the stack.

mod go;
mod java;
mod python;
mod rust;
mod scripts;
mod syntax;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tree_sitter::Parser;

use super::languages::Language;

/// Changes whenever [`parse`] gives something else for the same text, so that what an older version kept is not used.
pub(super) const VERSION: u32 = 3;
/// Most imports taken from one file: bounds memory against generated or hostile files.
const MAX_IMPORTS: usize = 20_000;
/// Most names kept of one file, of each kind.
const MAX_NAMES: usize = 20_000;

/// An import as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// From 1.
    pub line: u32,
    /// What it names, by the rules of its language.
    pub what: Imported,
}

/// What an import names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Imported {
    /// Python: `import module` (no names) or `from ..module import names`; `*` is a name.
    Python {
        /// Dots before the module.
        level: u32,
        /// Dotted name after the dots; may be empty.
        module: String,
        /// Names taken from it.
        names: Vec<String>,
    },
    /// JavaScript and TypeScript: the module specifier.
    Script(String),
    /// Rust: `mod name;`.
    RustModule {
        /// Inline modules around it.
        scope: Vec<String>,
        /// Its name.
        name: String,
        /// Value of its `path` attribute.
        path: Option<String>,
    },
    /// Rust: a path, from `use` or in code.
    RustPath {
        /// Inline modules around it.
        scope: Vec<String>,
        /// Segments; the first may be `crate`, `self`, `super`, or empty for a leading `::`.
        path: Vec<String>,
        /// Whether it must name something: paths in code may also begin with a type or a variable.
        certain: bool,
    },
    /// Rust: `include!("file")`.
    RustInclude(String),
    /// Go: import path, and which names of the package are used.
    Go {
        /// Import path.
        path: String,
        /// Names used through it, sorted; empty for `.` and `_` imports.
        names: Vec<String>,
    },
    /// Java: a dotted name.
    Java {
        /// Segments without the `*`.
        path: Vec<String>,
        /// `import static`.
        is_static: bool,
        /// Ends in `.*`.
        wildcard: bool,
    },
}

impl Imported {
    /// As people would write it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Python { level, module, names } => {
                let dots = ".".repeat(*level as usize);
                if names.is_empty() {
                    format!("import {dots}{module}")
                } else {
                    format!("from {dots}{module} import {}", names.join(", "))
                }
            }
            Self::Script(specifier) => specifier.clone(),
            Self::RustModule { name, .. } => format!("mod {name}"),
            Self::RustPath { path, .. } => path.join("::"),
            Self::RustInclude(path) => format!("include!({path:?})"),
            Self::Go { path, .. } => path.clone(),
            Self::Java { path, is_static, wildcard } => {
                let (keyword, star) = (if *is_static { "static " } else { "" }, if *wildcard { ".*" } else { "" });
                format!("{keyword}{}{star}", path.join("."))
            }
        }
    }
}

/// What is kept of one parsed file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parsed {
    /// In the order of the text.
    pub imports: Vec<Import>,
    /// Go and Java: the package it says it belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub package: String,
    /// Go and Java: top-level names it declares, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declares: Vec<String>,
    /// Go and Java: names it uses that may belong to other files of its package, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<String>,
}

impl Parsed {
    fn push(&mut self, line: u32, what: Imported) {
        if self.imports.len() < MAX_IMPORTS {
            self.imports.push(Import { line, what });
        }
    }
}

/// Why nothing was read from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text has null bytes or is not UTF-8 in a way that no source file is.
    #[error("not text")]
    Binary,
    /// The deadline passed.
    #[error("takes too long to parse")]
    TooSlow,
    /// The parser gave no tree.
    #[error("does not parse")]
    NoTree,
}

/// Takes the imports out of one file.
///
/// # Errors
/// If it is not text or cannot be parsed in `patience`.
pub fn parse(language: Language, path: &str, source: &[u8], patience: Duration) -> Result<Parsed, ParseError> {
    if source.contains(&0) {
        return Err(ParseError::Binary);
    }
    if source.trim_ascii().is_empty() {
        return Ok(Parsed::default());
    }
    let mut parser = Parser::new();
    parser.set_language(&language.grammar(path)).map_err(|_| ParseError::NoTree)?;
    if language == Language::Python
        && let Some(parts) = python::parts(source)
    {
        if parts.is_empty() {
            return Ok(Parsed::default());
        }
        parser.set_included_ranges(&parts).map_err(|_| ParseError::NoTree)?;
    }
    let deadline = Instant::now() + patience;
    let tree = syntax::tree(&mut parser, source, deadline)?;
    if tree.root_node().is_error() && tree.root_node().named_child_count() == 0 {
        return Err(ParseError::NoTree);
    }
    let mut parsed = match language {
        Language::Python => python::extract(tree.root_node(), source),
        Language::JavaScript | Language::TypeScript => scripts::extract(tree.root_node(), source),
        Language::Rust => rust::extract(&mut parser, &tree, source, deadline),
        Language::Go => go::extract(tree.root_node(), source),
        Language::Java => java::extract(tree.root_node(), source),
    };
    parsed.declares.truncate(MAX_NAMES);
    parsed.uses.truncate(MAX_NAMES);
    Ok(parsed)
}
