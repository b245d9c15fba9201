//! What the languages' readers share: parsing with a deadline, walking trees without recursion, literals.

use std::ops::ControlFlow;
use std::time::Instant;

use tree_sitter::{Node, ParseOptions, Parser, Tree};

use super::ParseError;

/// Parses a text, at most until the deadline.
pub(super) fn tree(parser: &mut Parser, source: &[u8], deadline: Instant) -> Result<Tree, ParseError> {
    let mut late = |_: &tree_sitter::ParseState| {
        if Instant::now() > deadline { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut late);
    let read = &mut |offset: usize, _| source.get(offset..).unwrap_or_default();
    let tree = parser.parse_with_options(read, None, Some(options));
    tree.ok_or_else(|| {
        parser.reset();
        if Instant::now() > deadline { ParseError::TooSlow } else { ParseError::NoTree }
    })
}

/// Calls `visit` for every node under and including `root`, in the order of the text; children are left out where it
/// answers `false`.
pub(super) fn walk<'tree>(root: Node<'tree>, mut visit: impl FnMut(Node<'tree>) -> bool) {
    let mut cursor = root.walk();
    loop {
        if visit(cursor.node()) && cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return;
            }
        }
    }
}

/// Line of a node, from 1.
pub(super) fn line(node: Node<'_>) -> u32 {
    u32::try_from(node.start_position().row).unwrap_or(u32::MAX).saturating_add(1)
}

/// Text of a node; empty if it is not UTF-8.
pub(super) fn text<'a>(node: Node<'_>, source: &'a [u8]) -> &'a str {
    node.utf8_text(source).unwrap_or_default()
}

/// Value of a string literal without escapes or interpolation; `None` for any other node.
pub(super) fn literal<'a>(node: Node<'_>, source: &'a [u8]) -> Option<&'a str> {
    if !matches!(
        node.kind(),
        "string" | "template_string" | "string_literal" | "interpreted_string_literal" | "raw_string_literal"
    ) {
        return None;
    }
    let plain = (0..node.named_child_count())
        .filter_map(|at| node.named_child(u32::try_from(at).ok()?))
        .all(|child| !matches!(child.kind(), "escape_sequence" | "interpolation" | "template_substitution"));
    let text = text(node, source).trim_start_matches(['r', 'u', 'b', 'R', 'U', 'B', '#']).trim_end_matches('#');
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\'' | '`'))?;
    plain.then(|| text.trim_matches(quote))
}

/// Whether a text has any of some words; bytes that are not UTF-8 may hide them.
pub(super) fn mentions(source: &[u8], words: &[&str]) -> bool {
    std::str::from_utf8(source).map_or(true, |text| words.iter().any(|word| text.contains(word)))
}

/// Sorted, each once.
pub(super) fn distinct(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}
