//! Imports of JavaScript and TypeScript: `import`, `export … from`, `import … = require()`, `require` and `import()`
//! with a literal, import types, and reference comments.

use tree_sitter::Node;

use super::syntax::{line, literal, mentions, text, walk};
use super::{Imported, Parsed};

/// Takes the imports out of a module or script.
pub(super) fn extract(root: Node<'_>, source: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut add = |node: Node<'_>, specifier: Option<&str>| {
        if let Some(specifier) = specifier.filter(|specifier| !specifier.is_empty()) {
            parsed.push(line(node), Imported::Script(specifier.to_owned()));
        }
    };
    // without imports by call only what stands at the top matters
    let has_calls = mentions(source, &["require", "import("]);
    walk(root, |node| match node.kind() {
        "import_statement" | "export_statement" | "import_require_clause" => {
            add(node, node.child_by_field_name("source").and_then(|literal_| literal(literal_, source)));
            true
        }
        "call_expression" => {
            add(node, call(node, source));
            true
        }
        "comment" => {
            add(node, reference(text(node, source)).as_deref());
            false
        }
        "expression_statement" | "lexical_declaration" | "variable_declaration" | "class_body" | "statement_block"
            if !has_calls =>
        {
            // a namespace or an ambient module has statements of its own
            node.parent().is_some_and(|parent| matches!(parent.kind(), "module" | "internal_module"))
        }
        "string" | "template_string" | "identifier" | "jsx_text" => node.kind() == "template_string",
        _ => true,
    });
    parsed
}

/// `require('x')`, `import('x')`; the latter also as a type.
fn call<'a>(node: Node<'_>, source: &'a [u8]) -> Option<&'a str> {
    let function = node.child_by_field_name("function")?;
    let imports = function.kind() == "import" || matches!(text(function, source), "require" | "require.resolve");
    if !imports {
        return None;
    }
    literal(node.child_by_field_name("arguments")?.named_child(0)?, source)
}

/// `./x` of `/// <reference path="x" />`.
fn reference(comment: &str) -> Option<String> {
    let rest = comment.strip_prefix("///")?.trim_start().strip_prefix("<reference")?;
    let rest = rest.trim_start().strip_prefix("path")?.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let path = rest[1..].split(quote).next()?;
    // relative even without a dot
    Some(if path.starts_with('.') { path.to_owned() } else { format!("./{path}") })
}
