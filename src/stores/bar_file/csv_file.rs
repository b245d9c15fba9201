//! CSV: separated by comma, semicolon or tab, whichever the head has.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use super::{BarFileError, BarFileRequest, Collected, Parts, Role, roles, time_ms};

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
    let roles = roles(&head, &request.columns).map_err(failed)?;
    let mut collected = Collected::new(&roles);
    let mut record = csv::StringRecord::new();
    let mut row = 0;
    while reader.read_record(&mut record).map_err(|error| failed(error.to_string()))? {
        row += 1;
        let mut bar = Parts::default();
        for (column, role) in &roles {
            let text = record.get(*column).unwrap_or_default().trim();
            set(&mut bar, *role, text, request).map_err(|reason| BarFileError::Value {
                path: path.to_owned(),
                row,
                column: head[*column].clone(),
                reason,
            })?;
        }
        collected.push(&bar, request).map_err(failed)?;
    }
    Ok(collected)
}

/// The separator that the head has most of.
fn separator(file: &File) -> std::io::Result<u8> {
    let mut head = Vec::new();
    std::io::Read::take(BufReader::new(file), MAX_HEAD).read_until(b'\n', &mut head)?;
    let count = |separator: &u8| head.split(|byte| byte == separator).count();
    // of equals the last one is taken: the comma
    Ok([b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b','))
}

fn set(bar: &mut Parts, role: Role, text: &str, request: &BarFileRequest<'_>) -> Result<(), String> {
    match role {
        Role::Time => {
            let time = time_ms(text).ok_or_else(|| {
                format!("{text:?} is no time: RFC 3339, 2026-01-31, 2026-01-31 09:30:00 or a number since 1970")
            })?;
            bar.time = Some(time);
        }
        Role::Symbol => bar.symbol_differs = request.symbol.is_some_and(|symbol| !symbol.eq_ignore_ascii_case(text)),
        Role::Open => bar.open = number(text)?,
        Role::High => bar.high = number(text)?,
        Role::Low => bar.low = number(text)?,
        Role::Close => bar.close = number(text)?,
        Role::Volume => bar.volume = number(text)?,
    }
    Ok(())
}

/// A number; nothing, `nan` and `null` are a missing one.
fn number(text: &str) -> Result<f64, String> {
    if text.is_empty() || ["nan", "null", "na", "n/a"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Ok(f64::NAN);
    }
    text.parse().map_err(|_| format!("{text:?} is no number"))
}
