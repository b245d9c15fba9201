//! Writing to standard output and standard error.

use std::io::{self, Write as _};

use serde::Serialize;

/// Writes text and a line end to standard output.
///
/// # Errors
/// If standard output is closed.
pub fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Writes text as it is to standard output.
///
/// # Errors
/// If standard output is closed.
pub fn raw(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes indented JSON to standard output.
///
/// # Errors
/// If standard output is closed.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(serde_json::to_string_pretty(value)?)?)
}

/// Writes an error with its causes to standard error.
pub fn complain(error: &anyhow::Error) {
    note(format_args!("tidemill: {error:#}"));
}

/// Writes a line to standard error. Nobody is left to tell if that is closed.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text from outside as it may go to a terminal: on one line, control characters gone, at most `width` characters.
#[must_use]
pub fn clip(text: &str, width: usize) -> String {
    let mut clean: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(width + 1).collect();
    if clean.chars().count() > width {
        clean = clean.chars().take(width.saturating_sub(1)).chain(['…']).collect();
    }
    clean
}

/// Rows in columns two spaces apart, the head first; the last column is not padded.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: Vec<&str>| {
        let last = cells.len().saturating_sub(1);
        let mut text = String::new();
        for (index, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if index < last {
                text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
            }
        }
        text
    };
    let mut lines = vec![render(head.to_vec())];
    lines.extend(rows.iter().map(|row| render(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clip_keeps_a_text_on_one_harmless_line() {
        assert_eq!(clip("a\nb\u{1b}[31mc", 20), "a b [31mc");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("abcd", 4), "abcd");
    }

    #[test]
    fn table_aligns_columns() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["id", "n"], &rows), "id    n\na     1\nlong  2");
    }
}
