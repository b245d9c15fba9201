//! Imports of Rust: `mod`, `use`, `extern crate`, `include!` and qualified paths in code.
//!
//! Items are often hidden in macros (`cfg_if! { … }` and the like), of which the grammar sees only tokens: what stands
//! in braces where an item may stand is read once more as source text.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use tree_sitter::{Node, Parser, Tree};

use super::syntax::{self, distinct, line, literal, text};
use super::{Imported, Parsed};

/// Deepest macro in macro that is read.
const MAX_MACRO_DEPTH: u32 = 3;
/// Deepest list in list of one `use`.
const MAX_USE_DEPTH: usize = 64;

/// Inline modules around a node.
type Scope = Rc<Vec<String>>;

/// A text within the file that is read as source of its own.
struct Piece {
    start: usize,
    end: usize,
    first_line: u32,
    scope: Scope,
    depth: u32,
}

/// What was found so far.
struct Reader<'a> {
    source: &'a [u8],
    parsed: Parsed,
    /// Paths in code, each once.
    seen: BTreeSet<(Scope, String)>,
    /// Macros still to be read.
    pieces: Vec<Piece>,
}

/// Takes the imports out of a file; inline modules are what it `declares`.
pub(super) fn extract(parser: &mut Parser, tree: &Tree, source: &[u8], deadline: Instant) -> Parsed {
    let mut reader = Reader { source, parsed: Parsed::default(), seen: BTreeSet::new(), pieces: Vec::new() };
    let whole = Piece { start: 0, end: source.len(), first_line: 0, scope: Scope::default(), depth: 0 };
    reader.read(tree, &whole);
    while let Some(piece) = reader.pieces.pop() {
        // an error means that the deadline passed or the text is no source: what was found stands
        let Ok(tree) = syntax::tree(parser, &source[piece.start..piece.end], deadline) else { continue };
        reader.read(&tree, &piece);
    }
    let mut parsed = reader.parsed;
    parsed.declares = distinct(parsed.declares);
    parsed.imports.sort_by_key(|import| import.line);
    parsed
}

impl Reader<'_> {
    fn read(&mut self, tree: &Tree, piece: &Piece) {
        let mut open = vec![(tree.root_node(), Rc::clone(&piece.scope))];
        let source = &self.source[piece.start..piece.end];
        while let Some((node, scope)) = open.pop() {
            let at = piece.first_line + line(node);
            match node.kind() {
                "mod_item" => {
                    let Some(name) = node.child_by_field_name("name").map(|name| text(name, source)) else { continue };
                    if let Some(body) = node.child_by_field_name("body") {
                        let mut inner = (*scope).clone();
                        inner.push(name.to_owned());
                        self.parsed.declares.push(inner.join("::"));
                        open.push((body, Rc::new(inner)));
                    } else {
                        let (scope, path) = ((*scope).clone(), path_attribute(node, source));
                        self.parsed.push(at, Imported::RustModule { scope, name: name.to_owned(), path });
                    }
                }
                "use_declaration" => {
                    for path in used(node, source) {
                        self.parsed.push(at, Imported::RustPath { scope: (*scope).clone(), path, certain: true });
                    }
                }
                "extern_crate_declaration" => {
                    let name = node.child_by_field_name("name").map(|name| text(name, source)).unwrap_or_default();
                    let path = vec![String::new(), name.to_owned()];
                    self.parsed.push(at, Imported::RustPath { scope: (*scope).clone(), path, certain: true });
                }
                "macro_invocation" => self.macro_call(node, &scope, piece),
                "scoped_identifier" | "scoped_type_identifier" => {
                    let whole = self.code_path(text(node, source), at, &scope);
                    if !whole {
                        push_children(&mut open, node, &scope);
                    }
                }
                "macro_definition" | "line_comment" | "block_comment" | "string_literal" | "attribute_item" => {}
                _ => push_children(&mut open, node, &scope),
            }
        }
    }

    /// Notes a path in code; says whether nothing else can be in it.
    fn code_path(&mut self, written: &str, line: u32, scope: &Scope) -> bool {
        let plain = written.split('<').next().unwrap_or_default().trim_end_matches(':');
        let path = segments(plain);
        let first_is_module =
            path.first().is_some_and(|first| first.starts_with(|c: char| c.is_lowercase() || c == '_'));
        if path.len() > 1 && first_is_module && self.seen.insert((Rc::clone(scope), plain.to_owned())) {
            self.parsed.push(line, Imported::RustPath { scope: (**scope).clone(), path, certain: false });
        }
        plain.len() == written.len()
    }

    fn macro_call(&mut self, node: Node<'_>, scope: &Scope, piece: &Piece) {
        let source = &self.source[piece.start..piece.end];
        let name = node.child_by_field_name("macro").map(|name| text(name, source)).unwrap_or_default();
        let Some(tokens) = node.children(&mut node.walk()).find(|child| child.kind() == "token_tree") else { return };
        if name == "include" {
            if let Some(path) = tokens.named_child(0).and_then(|path| literal(path, source)) {
                self.parsed.push(piece.first_line + line(node), Imported::RustInclude(path.to_owned()));
            }
            return;
        }
        let mut parent = node.parent();
        if parent.is_some_and(|parent| parent.kind() == "expression_statement") {
            parent = parent.and_then(|parent| parent.parent());
        }
        // among items, or in what remains of a macro's own syntax
        let among_items =
            parent.is_some_and(|parent| matches!(parent.kind(), "source_file" | "declaration_list" | "ERROR"));
        let text = text(tokens, source);
        if among_items
            && text.starts_with('{')
            && text.contains("mod ") | text.contains("use ")
            && piece.depth < MAX_MACRO_DEPTH
        {
            let (start, end) = (piece.start + tokens.start_byte() + 1, piece.start + tokens.end_byte() - 1);
            let first_line = piece.first_line + line(tokens) - 1;
            self.pieces.push(Piece {
                start,
                end: end.max(start),
                first_line,
                scope: Rc::clone(scope),
                depth: piece.depth + 1,
            });
        }
    }
}

fn push_children<'tree>(open: &mut Vec<(Node<'tree>, Scope)>, node: Node<'tree>, scope: &Scope) {
    let from = open.len();
    open.extend(node.named_children(&mut node.walk()).map(|child| (child, Rc::clone(scope))));
    open[from..].reverse();
}

/// Segments of `a::b`; the first is empty for a leading `::`.
fn segments(path: &str) -> Vec<String> {
    path.split("::").map(|segment| segment.trim().trim_start_matches("r#").to_owned()).collect()
}

/// All paths of a `use`, without the names they get here.
fn used(declaration: Node<'_>, source: &[u8]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut open: Vec<(Node<'_>, Rc<Vec<String>>, usize)> = Vec::new();
    open.extend(declaration.child_by_field_name("argument").map(|argument| (argument, Rc::default(), 0)));
    while let Some((node, prefix, depth)) = open.pop() {
        if depth > MAX_USE_DEPTH {
            continue;
        }
        match node.kind() {
            "use_as_clause" => open.extend(node.child_by_field_name("path").map(|path| (path, prefix, depth + 1))),
            "use_wildcard" => open.extend(node.named_child(0).map(|path| (path, prefix, depth + 1))),
            "scoped_use_list" => {
                let mut inner = (*prefix).clone();
                let path = node.child_by_field_name("path").map(|path| segments(text(path, source)));
                inner.extend(path.unwrap_or_default());
                open.extend(node.child_by_field_name("list").map(|list| (list, Rc::new(inner), depth + 1)));
            }
            "use_list" => {
                let from = open.len();
                open.extend(node.named_children(&mut node.walk()).map(|child| (child, Rc::clone(&prefix), depth + 1)));
                open[from..].reverse();
            }
            "scoped_identifier" | "identifier" | "self" | "super" | "crate" => {
                let mut path = (*prefix).clone();
                path.extend(segments(text(node, source)));
                if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                    path.pop();
                }
                paths.push(path);
            }
            _ => {}
        }
    }
    paths
}

/// `x` of `#[path = "x"]` before an item.
fn path_attribute(item: Node<'_>, source: &[u8]) -> Option<String> {
    let mut before = item.prev_named_sibling();
    while let Some(node) =
        before.filter(|node| matches!(node.kind(), "attribute_item" | "line_comment" | "block_comment"))
    {
        let attribute = text(node, source).strip_prefix("#[").and_then(|rest| rest.trim_start().strip_prefix("path"));
        let value = attribute
            .and_then(|rest| rest.trim_start().strip_prefix('='))
            .map(|rest| rest.trim().trim_end_matches(']').trim());
        if let Some(path) = value.and_then(|value| value.strip_prefix('"')?.strip_suffix('"')) {
            return Some(path.to_owned());
        }
        before = node.prev_named_sibling();
    }
    None
}
