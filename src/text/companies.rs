//! The built-in list of companies: names and trading symbols.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

const LIST: &str = include_str!("../../assets/companies.tsv");

/// A name, split at spaces and lower-cased, and its symbol.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) words: Vec<String>,
    pub(super) symbol: &'static str,
}

/// The list, ready for look-ups.
#[derive(Debug)]
pub(super) struct Companies {
    /// Names by first word, longest first.
    pub(super) by_first_word: HashMap<String, Vec<Name>>,
    /// Known symbols.
    pub(super) symbols: HashSet<&'static str>,
}

/// The built-in list.
pub(super) static COMPANIES: LazyLock<Companies> = LazyLock::new(|| {
    let (mut by_first_word, mut symbols) = (HashMap::<String, Vec<Name>>::new(), HashSet::new());
    for line in LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (symbol, names) = line.split_once('\t').unwrap_or((line, ""));
        symbols.insert(symbol);
        for name in names.split('|').filter(|name| !name.is_empty()) {
            let words: Vec<String> = name.split(' ').map(str::to_lowercase).collect();
            by_first_word.entry(words[0].clone()).or_default().push(Name { words, symbol });
        }
    }
    for names in by_first_word.values_mut() {
        names.sort_by_key(|name| std::cmp::Reverse(name.words.len()));
    }
    Companies { by_first_word, symbols }
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_has_no_symbol_twice_and_no_odd_lines() {
        let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(lines.clone().count(), COMPANIES.symbols.len());
        for line in lines {
            let (symbol, names) = line.split_once('\t').unwrap_or((line, ""));
            assert!(symbol.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'.'), "{line}");
            assert!(names.split('|').all(|name| name.trim() == name && !name.contains("  ")), "{line}");
        }
    }
}
