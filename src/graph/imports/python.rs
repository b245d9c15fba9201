//! Imports of Python: statements, `__import__` and `importlib.import_module` with a literal.

mod statements;

use tree_sitter::{Node, Point, Range};

use super::syntax::{line, literal, mentions, text, walk};
use super::{Imported, Parsed};

/// Names of the functions that import by call.
const CALLS: [&str; 2] = ["__import__", "import_module"];

/// The parts of a module that have to be parsed; `None` where that is all of it.
pub(super) fn parts(source: &[u8]) -> Option<Vec<Range>> {
    if mentions(source, &CALLS) {
        return None;
    }
    let mut parts = Vec::new();
    let (mut at, mut point) = (0, Point::new(0, 0));
    let mut go_to = |to: usize| {
        for byte in &source[at..to] {
            point = if *byte == b'\n' { Point::new(point.row + 1, 0) } else { Point::new(point.row, point.column + 1) };
        }
        at = to;
        point
    };
    for statement in statements::import_statements(source)? {
        let (start_point, end_point) = (go_to(statement.start), go_to(statement.end));
        parts.push(Range { start_byte: statement.start, end_byte: statement.end, start_point, end_point });
    }
    Some(parts)
}

/// Takes the imports out of a module.
pub(super) fn extract(root: Node<'_>, source: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    // imports by call are rare: without them expressions need not be looked into
    let has_calls = mentions(source, &CALLS);
    walk(root, |node| match node.kind() {
        "import_statement" => {
            for name in children(node, "name") {
                let module = dotted(name, source);
                parsed.push(line(node), Imported::Python { level: 0, module, names: Vec::new() });
            }
            false
        }
        "import_from_statement" => {
            if let Some(what) = from_import(node, source) {
                parsed.push(line(node), what);
            }
            false
        }
        "call" => {
            if let Some(module) = dynamic_import(node, source) {
                let level = u32::try_from(module.bytes().take_while(|byte| *byte == b'.').count()).unwrap_or(0);
                let module = module.trim_start_matches('.').to_owned();
                parsed.push(line(node), Imported::Python { level, module, names: Vec::new() });
            }
            true
        }
        "string" | "comment" | "identifier" | "future_import_statement" => false,
        "expression_statement" | "return_statement" | "assert_statement" | "parameters" => has_calls,
        _ => true,
    });
    parsed
}

fn children<'tree>(node: Node<'tree>, field: &str) -> Vec<Node<'tree>> {
    node.children_by_field_name(field, &mut node.walk()).collect()
}

/// `a.b` of `a . b` or `a.b as c`.
fn dotted(node: Node<'_>, source: &[u8]) -> String {
    let node = if node.kind() == "aliased_import" { node.child_by_field_name("name").unwrap_or(node) } else { node };
    text(node, source).split_whitespace().collect()
}

fn from_import(node: Node<'_>, source: &[u8]) -> Option<Imported> {
    let module: String = text(node.child_by_field_name("module_name")?, source).split_whitespace().collect();
    let level = module.bytes().take_while(|byte| *byte == b'.').count();
    let mut names: Vec<String> = children(node, "name").into_iter().map(|name| dotted(name, source)).collect();
    if names.is_empty() {
        names.push("*".to_owned());
    }
    Some(Imported::Python { level: u32::try_from(level).ok()?, module: module[level..].to_owned(), names })
}

fn dynamic_import<'a>(call: Node<'_>, source: &'a [u8]) -> Option<&'a str> {
    let function = call.child_by_field_name("function")?;
    if !matches!(text(function, source), "__import__" | "import_module" | "importlib.import_module") {
        return None;
    }
    let arguments = call.child_by_field_name("arguments")?;
    let module = literal(arguments.named_child(0)?, source)?;
    // relative to another package, which only the running program knows
    let package = arguments
        .named_child(1)
        .map(|package| text(package, source).trim_start_matches("package").trim_start_matches(['=', ' ']));
    if module.starts_with('.') && !matches!(package, Some("__name__" | "__package__")) {
        return None;
    }
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || byte >= 0x80;
    (module.bytes().all(named) && module.bytes().any(|byte| byte != b'.')).then_some(module)
}
