//! Reads Prometheus' text format as far as our own metrics use it.

use std::collections::BTreeMap;

/// One series' value.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The values of one scrape, by series name.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(BTreeMap<String, Vec<Sample>>);

impl Samples {
    /// Reads a scrape; lines that make no sense are left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut samples = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, sample)) = parse_line(line) {
                samples.0.entry(name).or_default().push(sample);
            }
        }
        samples
    }

    /// Sum of a series over all labels that fit.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|it| it == value))
        };
        self.0.get(name).into_iter().flatten().filter(fits).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The values a label takes in a series.
    pub(super) fn label_values(&self, name: &str, label: &str) -> Vec<String> {
        let mut values: Vec<String> =
            self.0.get(name).into_iter().flatten().filter_map(|sample| sample.labels.get(label).cloned()).collect();
        values.sort();
        values.dedup();
        values
    }
}

fn parse_line(line: &str) -> Option<(String, Sample)> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (label, after) = inside.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim().to_owned(), value);
            inside = after.strip_prefix(',').unwrap_or(after);
        }
        rest = inside.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name.to_owned(), Sample { labels, value }))
}

/// A label value up to its closing quote, escapes undone, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_read_with_labels_and_escapes() {
        let text = "# HELP a b\na{x=\"1\",y=\"q\\\"},\\\\\"} 2.5\na{x=\"2\"} 1\nb 7\nbroken{x=\"\nc NaNsense\n";
        let samples = Samples::parse(text);
        assert!((samples.sum("a", &[]) - 3.5).abs() < 1e-9);
        assert!((samples.sum("a", &[("y", "q\"},\\")]) - 2.5).abs() < 1e-9);
        assert!((samples.sum("b", &[]) - 7.0).abs() < 1e-9);
        assert_eq!(samples.label_values("a", "x"), ["1", "2"]);
        assert!(samples.label_values("broken", "x").is_empty());
    }
}
