//! Where a Python module's import statements are.
//!
//! A module is long and its imports are few: to find them and parse nothing else is many times as fast as to parse
//! everything. For that it is enough to tell code from strings and comments, and to know where statements begin. Where
//! that is in doubt nothing is answered, and the whole module is to be parsed.

use std::ops::Range;

/// Most brackets that are open at once; more is no module that anybody wrote.
const DEPTH_MAX: usize = 1000;

/// Places of the statements that begin with `import` or `from`, in order, each up to the end of the statement with its
/// newline or semicolon. `None` if the text is odd.
pub(super) fn import_statements(source: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut scan = Scan { source, at: 0, brackets: Vec::new(), begun: None, found: Vec::new() };
    if source.starts_with(b"\xef\xbb\xbf") {
        scan.at = 3;
    }
    while scan.at < source.len() {
        scan.statement()?;
    }
    scan.end_import();
    scan.brackets.is_empty().then_some(scan.found)
}

struct Scan<'a> {
    source: &'a [u8],
    at: usize,
    /// What closes each open bracket.
    brackets: Vec<u8>,
    /// Where the import statement began that is being read.
    begun: Option<usize>,
    found: Vec<Range<usize>>,
}

impl Scan<'_> {
    /// Goes on to the next place where a statement may begin.
    fn statement(&mut self) -> Option<()> {
        let mut fresh = true;
        while let Some(&byte) = self.source.get(self.at) {
            match byte {
                b'\n' | b';' | b':' if self.brackets.is_empty() => {
                    self.at += 1;
                    if byte != b':' {
                        self.end_import();
                    }
                    return Some(());
                }
                b' ' | b'\t' | b'\n' | 0x0c => self.at += 1,
                b'\r' if self.follows(b"\r\n") => self.at += 1,
                b'\\' if self.follows(b"\\\n") => self.at += 2,
                b'\\' if self.follows(b"\\\r\n") => self.at += 3,
                b'\r' | b'\\' => return None,
                b'#' => self.at += self.source[self.at..].iter().take_while(|byte| **byte != b'\n').count(),
                _ => {
                    self.token(byte, fresh)?;
                    fresh = false;
                }
            }
        }
        Some(())
    }

    /// Goes past a bracket, a string, a word or a sign.
    fn token(&mut self, byte: u8, fresh: bool) -> Option<()> {
        match byte {
            b'(' | b'[' | b'{' => {
                self.brackets.push(if byte == b'(' { b')' } else { byte + 2 });
                self.at += 1;
                (self.brackets.len() <= DEPTH_MAX).then_some(())
            }
            b')' | b']' | b'}' => {
                self.at += 1;
                (self.brackets.pop() == Some(byte)).then_some(())
            }
            b'"' | b'\'' => self.string(false),
            _ if is_word(byte) => {
                let start = self.at;
                self.at += self.source[start..].iter().take_while(|byte| is_word(**byte)).count();
                let word = &self.source[start..self.at];
                let quoted = matches!(self.source.get(self.at), Some(b'"' | b'\''));
                if quoted && word.len() <= 2 && word.iter().all(|byte| b"rRuUbBfFtT".contains(byte)) {
                    return self.string(word.iter().any(|byte| b"fFtT".contains(byte)));
                }
                if fresh && matches!(word, b"import" | b"from") {
                    self.begun = Some(start);
                }
                Some(())
            }
            _ => {
                self.at += 1;
                Some(())
            }
        }
    }

    /// Goes past a string, from its first quote. A quote within a field of a formatted one may be part of an expression:
    /// then braces are open where the string seems to end, which is odd.
    fn string(&mut self, formatted: bool) -> Option<()> {
        let quote = self.source[self.at];
        let triple = self.follows(&[quote; 3]);
        self.at += if triple { 3 } else { 1 };
        let mut braces = 0_usize;
        loop {
            match *self.source.get(self.at)? {
                b'\\' => self.at += 2,
                b'\n' if !triple => return None,
                byte if byte == quote && (!triple || self.follows(&[quote; 3])) => {
                    self.at += if triple { 3 } else { 1 };
                    return (braces == 0).then_some(());
                }
                byte => {
                    match byte {
                        b'{' if formatted => braces += 1,
                        b'}' if formatted => braces = braces.checked_sub(1)?,
                        _ => {}
                    }
                    self.at += 1;
                }
            }
        }
    }

    fn end_import(&mut self) {
        self.found.extend(self.begun.take().map(|begun| begun..self.at));
    }

    fn follows(&self, bytes: &[u8]) -> bool {
        self.source[self.at..].starts_with(bytes)
    }
}

/// Whether a byte is part of a name, a keyword or a number.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn found(source: &str) -> Option<Vec<&str>> {
        Some(import_statements(source.as_bytes())?.into_iter().map(|range| &source[range]).collect())
    }

    #[test]
    fn statements_are_found_wherever_they_begin() {
        let source = "\u{feff}import a; import b.c as d\nif x: from . import (e, # ) \"\n  f)\ntry:\n\tfrom g import \\\n  h\n\
                      def f(a: int = 3) -> 'from': return {1: 2}\nclass A: import i";
        assert_eq!(
            found(source).unwrap(),
            [
                "import a;",
                "import b.c as d\n",
                "from . import (e, # ) \"\n  f)\n",
                "from g import \\\n  h\n",
                "import i"
            ]
        );
    }

    #[test]
    fn what_only_looks_like_a_statement_is_none() {
        let source = "'''\nimport a\n\\'''\nimport a'''\nx = r'\\\\'; y = \"\"\"'\nimport b\"\"\"\n# import c\n\
                      y = (\nimport_, 'd', f'{z!r:>{w}} import e', rb\"\\\nimport f\")\nyield_ = a \\\n  from_\n\
                      raise E from e\n";
        assert_eq!(found(source).unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn odd_texts_give_no_answer() {
        for odd in
            ["x = 'a\n'", "x = (1]", "(", ")", "'''", "f'{a['b']}'", "f'}'", "a \\ b", "import a\rimport b", "'\\"]
        {
            assert_eq!(found(odd), None, "{odd:?}");
        }
    }
}
