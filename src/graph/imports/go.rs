//! Imports of Go, and what a file declares and uses: a package is all files of a directory, so that only names tell
//! which of them an import is about.

use std::collections::{BTreeMap, BTreeSet};

use tree_sitter::Node;

use super::syntax::{distinct, line, literal, text, walk};
use super::{Imported, Parsed};

/// Takes imports, declarations and uses out of a file.
pub(super) fn extract(root: Node<'_>, source: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut specs = Vec::new();
    let mut qualified: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut uses = BTreeSet::new();
    walk(root, |node| match node.kind() {
        "package_clause" => {
            parsed.package = node.named_child(0).map(|name| text(name, source).to_owned()).unwrap_or_default();
            false
        }
        "import_spec" => {
            specs.push(node);
            false
        }
        "selector_expression" | "qualified_type" => {
            let (of, name) = if node.kind() == "qualified_type" { ("package", "name") } else { ("operand", "field") };
            let (of, name) = (node.child_by_field_name(of), node.child_by_field_name(name));
            if let (Some(of), Some(name)) = (of, name)
                && matches!(of.kind(), "identifier" | "package_identifier")
            {
                qualified.entry(text(of, source)).or_default().insert(text(name, source));
            }
            true
        }
        "identifier" | "type_identifier" => {
            uses.insert(text(node, source));
            false
        }
        _ => true,
    });
    parsed.declares = distinct(declared(root, source));
    parsed.uses = uses
        .iter()
        .filter(|name| parsed.declares.binary_search_by(|own| own.as_str().cmp(name)).is_err())
        .map(|name| (*name).to_owned())
        .collect();
    for spec in specs {
        if let Some(path) = spec.child_by_field_name("path").and_then(|path| literal(path, source)) {
            let alias = spec.child_by_field_name("name").map(|name| text(name, source));
            let names = names_of(path, alias, &qualified);
            parsed.push(line(spec), Imported::Go { path: path.to_owned(), names });
        }
    }
    parsed
}

/// Names used of an imported package. Its own name is not known here; it is nearly always the last element of the
/// path that is no version, perhaps without `go-` or `.go`.
fn names_of(path: &str, alias: Option<&str>, qualified: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let used = |name: &str| qualified.get(name).map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    if let Some(alias) = alias {
        return used(alias).unwrap_or_default();
    }
    let is_version = |element: &str| element.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok());
    let Some(last) = path.rsplit('/').find(|element| !is_version(element)) else { return Vec::new() };
    let last = last.split(".v").next().unwrap_or(last);
    let stem = last.strip_prefix("go-").unwrap_or(last);
    let stem = stem.strip_suffix(".go").or_else(|| stem.strip_suffix("-go")).unwrap_or(stem);
    let after_dash = last.rsplit('-').next().unwrap_or(last);
    [last, stem, after_dash].into_iter().find_map(used).unwrap_or_default()
}

/// Names declared at the top level, without methods.
fn declared(root: Node<'_>, source: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    walk(root, |node| match node.kind() {
        "source_file" | "const_declaration" | "type_declaration" | "var_declaration" | "var_spec_list" => true,
        "function_declaration" | "type_spec" | "type_alias" | "const_spec" | "var_spec" => {
            let named = node
                .children_by_field_name("name", &mut node.walk())
                .map(|name| text(name, source).to_owned())
                .collect::<Vec<_>>();
            names.extend(named.into_iter().filter(|name| name != "_" && !name.is_empty() && name != ","));
            false
        }
        _ => false,
    });
    names
}
