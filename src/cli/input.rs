//! Texts from the command line or standard input.

use std::io::Read as _;

use anyhow::{Context as _, bail};

/// Most bytes read from standard input.
const MAX_BYTES: u64 = 64 << 20;

/// The text itself, or with `-` the lines of standard input that are not blank.
///
/// # Errors
/// If standard input can't be read, is not UTF-8, too long, or there is no text at all.
pub fn texts(argument: &str) -> anyhow::Result<Vec<String>> {
    let texts: Vec<String> = if argument == "-" {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text).context("standard input")?;
        if read as u64 > MAX_BYTES {
            bail!("standard input has more than {MAX_BYTES} bytes");
        }
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
    } else {
        vec![argument.to_owned()]
    };
    if texts.iter().all(|text| text.trim().is_empty()) {
        bail!("there is no text");
    }
    Ok(texts)
}
