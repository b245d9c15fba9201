//! CSV: separated by comma, semicolon or tab, whichever the head has.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use super::rows::{Cell, Collected, Rows};
use super::{BarFileError, BarFileRequest, time_ms};

/// Longest head that is looked at for the separator.
const MAX_HEAD: u64 = 65_536;

pub(super) fn read(path: &Path, request: &BarFileRequest<'_>) -> Result<Collected, BarFileError> {
    let failed = |reason: String| BarFileError::File { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let separator = separator(&file).map_err(|error| failed(error.to_string()))?;
    file.rewind().map_err(|error| failed(error.to_string()))?;
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(BufReader::new(file));
    let head = reader.headers().map_err(|error| failed(error.to_string()))?;
    let head: Vec<String> = head.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    let mut rows = Rows::new(path, request, head)?;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| failed(error.to_string()))? {
        rows.take(|_, column| Text(record.get(column).unwrap_or_default().trim()))?;
    }
    Ok(rows.finish())
}

/// The separator that the head has most of.
fn separator(file: &File) -> std::io::Result<u8> {
    let mut head = Vec::new();
    std::io::Read::take(BufReader::new(file), MAX_HEAD).read_until(b'\n', &mut head)?;
    let count = |separator: &u8| head.split(|byte| byte == separator).count();
    // of equals the last one is taken: the comma
    Ok([b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b','))
}

/// What stands between two separators.
struct Text<'a>(&'a str);

impl Cell for Text<'_> {
    fn time(&self) -> Result<i64, String> {
        let wrong =
            || format!("{:?} is no time: RFC 3339, 2026-01-31, 2026-01-31 09:30:00 or a number since 1970", self.0);
        time_ms(self.0).ok_or_else(wrong)
    }

    fn text(&self) -> Result<&str, String> {
        Ok(self.0)
    }

    /// Nothing, `nan` and `null` are a missing one.
    fn number(&self) -> Result<f64, String> {
        if self.0.is_empty() || ["nan", "null", "na", "n/a"].iter().any(|word| self.0.eq_ignore_ascii_case(word)) {
            return Ok(f64::NAN);
        }
        self.0.parse().map_err(|_| format!("{:?} is no number", self.0))
    }
}
