//! Labelled texts: reading them, and dividing them so that no near-copy is on both sides.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::features::clean;

/// Index of a class: 0 negative, 1 positive, 2 neutral, as in the data.
pub type Class = usize;

/// One labelled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Cleaned as the pipeline cleans.
    pub text: String,
    /// Its label.
    pub class: Class,
}

/// Why a file of labelled texts can't be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DatasetError {
    /// The first line isn't as expected.
    #[error("line 1: the header must name the columns text and label")]
    Header,
    /// A record isn't as expected.
    #[error("record {record}: {reason}")]
    Record {
        /// Number of the record, the header being 1.
        record: usize,
        /// What is wrong.
        reason: String,
    },
    /// Too little to learn from.
    #[error("class {class} has {found} texts, fewer than the {wanted} that are needed")]
    TooFew {
        /// The class.
        class: Class,
        /// Its texts.
        found: usize,
        /// One for each fold at least.
        wanted: usize,
    },
}

/// Splits CSV text into records of fields (RFC 4180: quoted fields may hold commas, quotes and line ends).
fn records(csv: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let (mut record, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = csv.trim_start_matches('\u{feff}').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                all.push(std::mem::take(&mut record));
            }
            c => field.push(c),
        }
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        all.push(record);
    }
    all
}

/// Reads a CSV file with the columns `text` and `label`; labels are 0, 1, 2 or negative/bearish, positive/bullish,
/// neutral.
///
/// # Errors
/// [`DatasetError`], naming the record.
pub fn read_csv(csv: &str) -> Result<Vec<Example>, DatasetError> {
    let mut records = records(csv).into_iter();
    let header = records.next().ok_or(DatasetError::Header)?;
    let column = |name: &str| header.iter().position(|h| h.trim() == name).ok_or(DatasetError::Header);
    let (text, label) = (column("text")?, column("label")?);
    let example = |(index, record): (usize, Vec<String>)| {
        let wrong = |reason: String| DatasetError::Record { record: index + 2, reason };
        let field = |at: usize| record.get(at).ok_or_else(|| wrong(format!("it has {} columns", record.len())));
        let class = match field(label)?.trim() {
            "0" | "negative" | "bearish" => 0,
            "1" | "positive" | "bullish" => 1,
            "2" | "neutral" => 2,
            other => return Err(wrong(format!("label {other:?} is none of 0, 1, 2, negative, positive, neutral"))),
        };
        Ok(Example { text: clean(field(text)?), class })
    };
    records.enumerate().filter(|(_, record)| record.len() > 1 || !record[0].is_empty()).map(example).collect()
}

/// What near-copies have in common: the words, without numbers, symbols and case.
fn group_key(text: &str) -> u64 {
    let lower = text.to_lowercase();
    let words = lower.split_whitespace().filter(|word| !word.starts_with('$'));
    let letters = words.flat_map(|word| word.chars().filter(|c| c.is_alphabetic()).chain([' ']));
    xxh3_64(letters.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ").as_bytes())
}

/// The fold of every example: near-copies share one, and every fold has its part of every class.
///
/// # Errors
/// [`DatasetError::TooFew`] if a class can't be spread over the folds.
pub fn folds(examples: &[Example], count: usize, seed: u64) -> Result<Vec<usize>, DatasetError> {
    let mut groups: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, example) in examples.iter().enumerate() {
        groups.entry(group_key(&example.text)).or_default().push(index);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.sort_unstable();
    fastrand::Rng::with_seed(seed).shuffle(&mut groups);
    let mut sizes = vec![[0usize; super::CLASSES]; count];
    let mut fold_of = vec![0; examples.len()];
    for group in groups {
        let class = examples[group[0]].class;
        let fold = (0..count).min_by_key(|fold| sizes[*fold][class]).unwrap_or_default();
        for index in group {
            sizes[fold][examples[index].class] += 1;
            fold_of[index] = fold;
        }
    }
    for class in 0..super::CLASSES {
        let found: usize = sizes.iter().map(|size| size[class]).sum();
        if found < count.max(2) {
            return Err(DatasetError::TooFew { class, found, wanted: count.max(2) });
        }
    }
    Ok(fold_of)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn quoted_fields_keep_commas_quotes_and_line_ends() {
        let csv = "text,label\r\n\"a, \"\"b\"\"\nc https://x.y/z\",1\r\nplain,bearish\n";
        let examples = read_csv(csv).unwrap();
        assert_eq!(examples[0], Example { text: "a, \"b\" c".into(), class: 1 });
        assert_eq!(examples[1], Example { text: "plain".into(), class: 0 });
    }

    #[test]
    fn errors_name_the_record() {
        assert_eq!(read_csv("a,b\n").unwrap_err(), DatasetError::Header);
        let error = read_csv("text,label\nfine,2\nbad,7\n").unwrap_err().to_string();
        assert_eq!(error, "record 3: label \"7\" is none of 0, 1, 2, negative, positive, neutral");
    }

    #[test]
    fn near_copies_share_a_fold_and_classes_are_spread() {
        let mut examples = Vec::new();
        for i in 0..90 {
            let word: String = format!("{i}").bytes().map(|b| char::from(b - b'0' + b'a')).collect();
            examples.push(Example { text: format!("$AA {word} gains 5% today"), class: i % 3 });
            examples.push(Example { text: format!("$BB {word} gains 7.5% today!"), class: i % 3 });
        }
        let folds = folds(&examples, 3, 1).unwrap();
        for pair in folds.chunks(2) {
            assert_eq!(pair[0], pair[1]);
        }
        for fold in 0..3 {
            for class in 0..3 {
                let n = (0..examples.len()).filter(|i| folds[*i] == fold && examples[*i].class == class).count();
                assert_eq!(n, 20);
            }
        }
    }
}
