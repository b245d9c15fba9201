//! Reads a graph from text: one edge a line, two names and perhaps a weight, between tabs, commas or spaces.

use std::collections::HashMap;
use std::io::{self, BufRead};

use thiserror::Error;

/// Longest line that is read.
const LINE_BYTES: usize = 64 * 1024;

/// Edges between named nodes. Nodes are numbered in the order they are first named.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EdgeList {
    /// Names of the nodes, by number.
    pub names: Vec<String>,
    /// From, to, weight (1 where the line has none).
    pub edges: Vec<(u32, u32, f32)>,
}

/// Why a line was not understood. Lines count from 1.
#[derive(Debug, Error)]
pub enum EdgeListError {
    /// The file could not be read.
    #[error("line {line}: {error}")]
    Read {
        /// The line.
        line: u64,
        /// What the operating system says.
        #[source]
        error: io::Error,
    },
    /// A line does not have two names and perhaps a weight.
    #[error("line {line}: {found} columns between {separator}, expected two names and perhaps a weight")]
    Columns {
        /// The line.
        line: u64,
        /// Columns found.
        found: usize,
        /// What separates columns in this file.
        separator: &'static str,
    },
    /// A name is empty.
    #[error("line {line}: column {column} is empty")]
    Empty {
        /// The line.
        line: u64,
        /// The column, from 1.
        column: usize,
    },
    /// A weight is no number above 0.
    #[error("line {line}: weight {text:?} is not a finite number above 0")]
    Weight {
        /// The line.
        line: u64,
        /// What stands there.
        text: String,
    },
    /// A line is not UTF-8.
    #[error("line {line}: not utf-8")]
    Encoding {
        /// The line.
        line: u64,
    },
    /// A line is too long to be an edge.
    #[error("line {line}: longer than {LINE_BYTES} bytes")]
    Long {
        /// The line.
        line: u64,
    },
    /// A quoted column has no end.
    #[error("line {line}: a quote is not closed")]
    Quote {
        /// The line.
        line: u64,
    },
    /// More edges than are allowed.
    #[error("line {line}: more than {limit} edges")]
    TooMany {
        /// The line.
        line: u64,
        /// How many are allowed.
        limit: usize,
    },
}

/// What separates columns: decided by the first line that has an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    Tab,
    Comma,
    Space,
}

impl Separator {
    fn of(line: &str) -> Self {
        if line.contains('\t') {
            Self::Tab
        } else if line.contains(',') {
            Self::Comma
        } else {
            Self::Space
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tab => "tabs",
            Self::Comma => "commas",
            Self::Space => "spaces",
        }
    }
}

impl EdgeList {
    /// Reads at most `limit` edges. Empty lines and lines that begin with `#` or `%` are passed over, and so is a first
    /// line that names its columns (`source`, `from`, `src` and `target`, `to`, `dst`). Commas may be quoted as in CSV.
    ///
    /// # Errors
    /// [`EdgeListError`] with the line.
    pub fn read(mut reader: impl BufRead, limit: usize) -> Result<Self, EdgeListError> {
        let mut list = Self::default();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut separator = None;
        let mut buffer = Vec::new();
        let mut line = 0;
        while next_line(&mut reader, &mut buffer, &mut line)? {
            let text = std::str::from_utf8(&buffer).map_err(|_| EdgeListError::Encoding { line })?;
            let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { text };
            let trimmed = text.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', '%']) {
                continue;
            }
            let first = separator.is_none();
            let separator = *separator.get_or_insert_with(|| Separator::of(text));
            let columns = split(text, separator).ok_or(EdgeListError::Quote { line })?;
            if first && is_header(&columns) {
                continue;
            }
            if list.edges.len() == limit {
                return Err(EdgeListError::TooMany { line, limit });
            }
            let (from, to, weight) = edge(&columns, separator, line)?;
            let mut number = |name: &str| {
                numbers.get(name).copied().unwrap_or_else(|| {
                    let number = u32::try_from(list.names.len()).unwrap_or(u32::MAX);
                    list.names.push(name.to_owned());
                    numbers.insert(name.to_owned(), number);
                    number
                })
            };
            let (from, to) = (number(from), number(to));
            list.edges.push((from, to, weight));
        }
        Ok(list)
    }
}

/// Reads the next line without its end into `buffer`; false at the end of the file.
fn next_line(reader: &mut impl BufRead, buffer: &mut Vec<u8>, line: &mut u64) -> Result<bool, EdgeListError> {
    buffer.clear();
    *line += 1;
    let read = io::Read::take(&mut *reader, LINE_BYTES as u64 + 1)
        .read_until(b'\n', buffer)
        .map_err(|error| EdgeListError::Read { line: *line, error })?;
    if buffer.len() > LINE_BYTES {
        return Err(EdgeListError::Long { line: *line });
    }
    while buffer.last().is_some_and(|&byte| byte == b'\n' || byte == b'\r') {
        buffer.pop();
    }
    Ok(read > 0)
}

/// The columns of a line; `None` where a quote is not closed.
fn split(line: &str, separator: Separator) -> Option<Vec<String>> {
    match separator {
        Separator::Tab => Some(line.split('\t').map(|column| column.trim().to_owned()).collect()),
        Separator::Space => Some(line.split_whitespace().map(str::to_owned).collect()),
        Separator::Comma => split_commas(line),
    }
}

/// The columns of a CSV line, quotes taken off.
fn split_commas(line: &str) -> Option<Vec<String>> {
    let mut columns = Vec::new();
    let mut rest = line.trim_start();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut column = String::new();
            let mut inside = quoted;
            rest = loop {
                let end = inside.find('"')?;
                column.push_str(&inside[..end]);
                inside = &inside[end + 1..];
                match inside.strip_prefix('"') {
                    Some(more) => {
                        column.push('"');
                        inside = more;
                    }
                    None => break inside.trim_start(),
                }
            };
            columns.push(column);
            if rest.is_empty() {
                return Some(columns);
            }
            rest = rest.strip_prefix(',')?.trim_start();
        } else if let Some((column, more)) = rest.split_once(',') {
            columns.push(column.trim().to_owned());
            rest = more.trim_start();
        } else {
            columns.push(rest.trim().to_owned());
            return Some(columns);
        }
    }
}

fn is_header(columns: &[String]) -> bool {
    let named = |place: usize, names: &[&str]| {
        columns.get(place).is_some_and(|column| names.iter().any(|name| column.eq_ignore_ascii_case(name)))
    };
    named(0, &["source", "from", "src"]) && named(1, &["target", "to", "dst"])
}

/// Two names and a weight.
fn edge(columns: &[String], separator: Separator, line: u64) -> Result<(&str, &str, f32), EdgeListError> {
    let (from, to, weight) = match columns {
        [from, to] => (from, to, None),
        [from, to, weight] => (from, to, Some(weight)),
        _ => return Err(EdgeListError::Columns { line, found: columns.len(), separator: separator.name() }),
    };
    if let Some(column) = [from, to].iter().position(|name| name.is_empty()) {
        return Err(EdgeListError::Empty { line, column: column + 1 });
    }
    let weight = match weight {
        None => 1.0,
        Some(text) => text
            .parse::<f32>()
            .ok()
            .filter(|weight| weight.is_finite() && *weight > 0.0)
            .ok_or_else(|| EdgeListError::Weight { line, text: text.clone() })?,
    };
    Ok((from, to, weight))
}
