//! Imports of Java, the types a file declares and the type names it uses: files of one package need no imports.

use std::collections::BTreeSet;

use tree_sitter::Node;

use super::syntax::{distinct, line, text, walk};
use super::{Imported, Parsed};

/// Takes imports, declared and used types out of a file.
pub(super) fn extract(root: Node<'_>, source: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let (mut declares, mut uses) = (Vec::new(), BTreeSet::new());
    walk(root, |node| match node.kind() {
        "package_declaration" => {
            parsed.package = name_of(node, source).join(".");
            false
        }
        "import_declaration" => {
            let has = |kind: &str| node.children(&mut node.walk()).any(|child| child.kind() == kind);
            let (path, is_static, wildcard) = (name_of(node, source), has("static"), has("asterisk"));
            if !path.is_empty() {
                parsed.push(line(node), Imported::Java { path, is_static, wildcard });
            }
            false
        }
        "class_declaration"
        | "interface_declaration"
        | "enum_declaration"
        | "record_declaration"
        | "annotation_type_declaration" => {
            let top = node.parent().is_some_and(|parent| parent.kind() == "program");
            if let Some(name) = node.child_by_field_name("name").filter(|_| top) {
                declares.push(text(name, source).to_owned());
            }
            true
        }
        "identifier" | "type_identifier" => {
            let name = text(node, source);
            if name.starts_with(|first: char| first.is_uppercase()) {
                uses.insert(name);
            }
            false
        }
        _ => true,
    });
    parsed.declares = distinct(declares);
    parsed.uses = uses.into_iter().map(str::to_owned).collect();
    parsed
}

/// Segments of the name in a declaration.
fn name_of(node: Node<'_>, source: &[u8]) -> Vec<String> {
    let name = node.children(&mut node.walk()).find(|child| matches!(child.kind(), "scoped_identifier" | "identifier"));
    name.map(|name| text(name, source).split('.').map(|segment| segment.trim().to_owned()).collect())
        .unwrap_or_default()
}
