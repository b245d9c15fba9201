//! Tables of numbers as CSV or Parquet: what a sweep leaves behind.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, Repetition, Type as Physical};
use parquet::data_type::DoubleType;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

/// Rows of one group of a Parquet file.
const GROUP_ROWS: usize = 65_536;

/// Why a table can't be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct TableError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// A table being written, beside its place: [`TableFile::finish`] moves it there, whole.
pub struct TableFile {
    path: PathBuf,
    fresh: PathBuf,
    sink: Sink,
}

enum Sink {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Parquet { writer: Box<SerializedFileWriter<BufWriter<File>>>, columns: Vec<Vec<Option<f64>>> },
}

impl TableFile {
    /// Begins a table with these columns; `.csv` or `.parquet` by the file's name.
    ///
    /// # Errors
    /// If the name has another ending or the file can't be made.
    pub fn create(path: &Path, names: &[String]) -> Result<Self, TableError> {
        let failed = |reason: String| TableError { path: path.to_owned(), reason };
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_parquet = match extension.to_ascii_lowercase().as_str() {
            "csv" => false,
            "parquet" => true,
            other => return Err(failed(format!("{other:?} is no format of tables: name it .csv or .parquet"))),
        };
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let file = BufWriter::new(File::create(&fresh).map_err(|error| failed(error.to_string()))?);
        let sink = if is_parquet {
            let writer = parquet_writer(file, names).map_err(|error| failed(error.to_string()))?;
            Sink::Parquet { writer: Box::new(writer), columns: vec![Vec::new(); names.len()] }
        } else {
            let mut writer = csv::Writer::from_writer(file);
            writer.write_record(names).map_err(|error| failed(error.to_string()))?;
            Sink::Csv(Box::new(writer))
        };
        Ok(Self { path: path.to_owned(), fresh, sink })
    }

    /// Adds a row, a value a column; `None` where there is none.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn push(&mut self, row: &[Option<f64>]) -> Result<(), TableError> {
        let failed = |reason: String| TableError { path: self.path.clone(), reason };
        match &mut self.sink {
            Sink::Csv(writer) => {
                let cells = row.iter().map(|cell| cell.map_or_else(String::new, |value| value.to_string()));
                writer.write_record(cells).map_err(|error| failed(error.to_string()))
            }
            Sink::Parquet { writer, columns } => {
                columns.iter_mut().zip(row).for_each(|(column, cell)| column.push(*cell));
                if columns.first().is_some_and(|column| column.len() >= GROUP_ROWS) {
                    write_group(writer, columns).map_err(|error| failed(error.to_string()))?;
                }
                Ok(())
            }
        }
    }

    /// Writes the rest and moves the file to its place.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn finish(self) -> Result<(), TableError> {
        let path = self.path.clone();
        let failed = |reason: String| TableError { path: path.clone(), reason };
        let file = match self.sink {
            Sink::Csv(writer) => writer.into_inner().map_err(|error| failed(error.to_string()))?,
            Sink::Parquet { mut writer, mut columns } => {
                let whole = write_group(&mut writer, &mut columns).and_then(|()| writer.into_inner());
                whole.map_err(|error| failed(error.to_string()))?
            }
        };
        let file = file.into_inner().map_err(|error| failed(error.to_string()))?;
        file.sync_all().and_then(|()| std::fs::rename(&self.fresh, &path)).map_err(|error| failed(error.to_string()))
    }
}

fn parquet_writer<W: Write + Send>(file: W, names: &[String]) -> Result<SerializedFileWriter<W>, ParquetError> {
    let column = |name: &String| {
        let column = Type::primitive_type_builder(name, Physical::DOUBLE).with_repetition(Repetition::OPTIONAL);
        column.build().map(Arc::new)
    };
    let fields = names.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("sweep").with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
}

fn write_group<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    columns: &mut [Vec<Option<f64>>],
) -> Result<(), ParquetError> {
    if columns.first().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let mut group = writer.next_row_group()?;
    for cells in columns {
        let values: Vec<f64> = cells.iter().flatten().copied().collect();
        let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
        if let Some(mut column) = group.next_column()? {
            column.typed::<DoubleType>().write_batch(&values, Some(&levels), None)?;
            column.close()?;
        }
        cells.clear();
    }
    group.close().map(drop)
}
