//! Vectors as a file for other programs: CSV, or Parquet with one list a row.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::learned::Space;

/// Rows of a row group.
const GROUP: usize = 65_536;

/// Writes name, language where nodes are files, and vector of every node, in the order of the nodes.
///
/// # Errors
/// If the file can't be written. One that was begun is not left behind.
pub(super) fn write(path: &Path, space: &Space) -> anyhow::Result<()> {
    let written = if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) {
        csv(path, space)
    } else {
        parquet(path, space)
    };
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

fn name_of_nodes(space: &Space) -> &'static str {
    if space.is_repository { "file_path" } else { "node" }
}

fn csv(path: &Path, space: &Space) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_path(path)?;
    let dimension = space.embeddings.dimension;
    let has_language = !space.languages.is_empty();
    let mut head = vec![name_of_nodes(space).to_owned()];
    if has_language {
        head.push("language".to_owned());
    }
    head.extend((0..dimension).map(|index| format!("v{index}")));
    writer.write_record(&head)?;
    let mut fields: Vec<String> = Vec::with_capacity(head.len());
    for (index, values) in space.embeddings.values.chunks_exact(dimension).enumerate() {
        fields.clear();
        fields.push(space.names[index].clone());
        if has_language {
            fields.push(space.languages[index].unwrap_or_default().to_owned());
        }
        // the shortest text that reads as the same number
        fields.extend(values.iter().map(f32::to_string));
        writer.write_record(&fields)?;
    }
    writer.flush()?;
    Ok(())
}

fn parquet(path: &Path, space: &Space) -> anyhow::Result<()> {
    let language = if space.languages.is_empty() { "" } else { "optional binary language (STRING);" };
    let schema = format!(
        "message vectors {{ required binary {} (STRING); {language}
            required group vector (LIST) {{ repeated group list {{ required float element; }} }} }}",
        name_of_nodes(space)
    );
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer =
        SerializedFileWriter::new(File::create(path)?, Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
    for first in (0..space.names.len()).step_by(GROUP) {
        let rows = first..space.names.len().min(first + GROUP);
        let mut group = writer.next_row_group()?;
        // the columns of a group come in the order of the schema
        let names: Vec<ByteArray> = space.names[rows.clone()].iter().map(|name| name.as_str().into()).collect();
        let mut column = group.next_column()?.context("a column too many")?;
        column.typed::<ByteArrayType>().write_batch(&names, None, None)?;
        column.close()?;
        if !space.languages.is_empty() {
            let languages = &space.languages[rows.clone()];
            let known: Vec<ByteArray> = languages.iter().filter_map(|language| Some((*language)?.into())).collect();
            let levels: Vec<i16> = languages.iter().map(|language| i16::from(language.is_some())).collect();
            let mut column = group.next_column()?.context("a column too many")?;
            column.typed::<ByteArrayType>().write_batch(&known, Some(&levels), None)?;
            column.close()?;
        }
        let dimension = space.embeddings.dimension;
        let values = &space.embeddings.values[rows.start * dimension..rows.end * dimension];
        // a list of `dimension` values a row: the first begins the row, the others go on with it
        let repetition: Vec<i16> = (0..values.len()).map(|index| i16::from(index % dimension != 0)).collect();
        let mut column = group.next_column()?.context("a column too many")?;
        column.typed::<FloatType>().write_batch(values, Some(&vec![1; values.len()]), Some(&repetition))?;
        column.close()?;
        group.close()?;
    }
    writer.close()?;
    Ok(())
}
