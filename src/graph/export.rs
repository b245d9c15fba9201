//! Writes dependency graphs for other programs: `GraphML`, and edge lists in lines.

use std::io::{self, Write};

use super::dependencies::DependencyGraph;

/// Writes `GraphML` (<http://graphml.graphdrawing.org/specification.html>), as Gephi, yEd and networkx read it. Nodes
/// have `path`, `kind` (`file` or `external`) and `language`, edges have `weight`.
///
/// # Errors
/// If `out` cannot be written to.
pub fn graphml(graph: &DependencyGraph, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(out, r#"<graphml xmlns="http://graphml.graphdrawing.org/xmlns">"#)?;
    for (id, of, kind) in [
        ("path", "node", "string"),
        ("kind", "node", "string"),
        ("language", "node", "string"),
        ("weight", "edge", "int"),
    ] {
        writeln!(out, r#"  <key id="{id}" for="{of}" attr.name="{id}" attr.type="{kind}"/>"#)?;
    }
    writeln!(out, r#"  <graph edgedefault="directed">"#)?;
    for (number, file) in graph.files.iter().enumerate() {
        let (path, language) = (escape(&file.path), file.language.name());
        writeln!(
            out,
            r#"    <node id="n{number}"><data key="path">{path}</data><data key="kind">file</data><data key="language">{language}</data></node>"#
        )?;
    }
    for (number, name) in (graph.files.len()..).zip(&graph.externals) {
        writeln!(
            out,
            r#"    <node id="n{number}"><data key="path">{}</data><data key="kind">external</data></node>"#,
            escape(name)
        )?;
    }
    for edge in &graph.edges {
        writeln!(
            out,
            r#"    <edge source="n{}" target="n{}"><data key="weight">{}</data></edge>"#,
            edge.from, edge.to, edge.count
        )?;
    }
    writeln!(out, "  </graph>\n</graphml>")
}

/// Writes one edge a line: importing file, what it imports, how often, with tabs between. Files that have no edge are
/// not in it.
///
/// # Errors
/// If `out` cannot be written to.
pub fn edge_list(graph: &DependencyGraph, out: &mut dyn Write) -> io::Result<()> {
    for edge in &graph.edges {
        writeln!(out, "{}\t{}\t{}", graph.name(edge.from), graph.name(edge.to), edge.count)?;
    }
    Ok(())
}

/// Text for XML. Control characters cannot stand in it at all; paths have none, names of packages may.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
