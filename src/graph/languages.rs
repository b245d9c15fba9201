//! Which files are source code, and by which grammar they are read.

use serde::{Deserialize, Serialize};

/// A programming language whose imports are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// `.py`, `.pyi`
    Python,
    /// `.js`, `.jsx`, `.mjs`, `.cjs`
    JavaScript,
    /// `.ts`, `.tsx`, `.mts`, `.cts`
    TypeScript,
    /// `.rs`
    Rust,
    /// `.go`
    Go,
    /// `.java`
    Java,
}

impl Language {
    /// The language of a file by its name; `None` if it is not source code of any of them.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        Some(match extension(path)? {
            "py" | "pyi" => Self::Python,
            "js" | "jsx" | "mjs" | "cjs" => Self::JavaScript,
            "ts" | "tsx" | "mts" | "cts" => Self::TypeScript,
            "rs" => Self::Rust,
            "go" => Self::Go,
            "java" => Self::Java,
            _ => return None,
        })
    }

    /// Its name in lower case, as in stored rows and exports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Java => "java",
        }
    }

    /// The grammar for a file of this language.
    pub(super) fn grammar(self, path: &str) -> tree_sitter::Language {
        match self {
            Self::Python => tree_sitter_python::LANGUAGE.into(),
            Self::JavaScript => tree_sitter_javascript::LANGUAGE.into(),
            Self::TypeScript if extension(path) == Some("tsx") => tree_sitter_typescript::LANGUAGE_TSX.into(),
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
            Self::Rust => tree_sitter_rust::LANGUAGE.into(),
            Self::Go => tree_sitter_go::LANGUAGE.into(),
            Self::Java => tree_sitter_java::LANGUAGE.into(),
        }
    }
}

/// What stands after the last dot of a file's name; case matters, as it does to compilers.
pub(super) fn extension(path: &str) -> Option<&str> {
    let (stem, extension) = path.rsplit('/').next()?.rsplit_once('.')?;
    (!stem.is_empty()).then_some(extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_follows_from_the_last_extension() {
        assert_eq!(Language::of("a/b.d.ts"), Some(Language::TypeScript));
        assert_eq!(Language::of("a.py/b.pyi"), Some(Language::Python));
        assert_eq!(Language::of("a.py/README"), None);
        assert_eq!(Language::of(".py"), None);
        assert_eq!(Language::of("x.PY"), None);
    }
}
