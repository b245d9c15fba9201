//! Parquet: flat columns of numbers, times and texts; other columns are not read.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;

use super::rows::{Cell, Collected, Rows};
use super::{BarFileError, BarFileRequest, epoch_ms, time_ms};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

pub(super) fn read(path: &Path, request: &BarFileRequest<'_>) -> Result<Collected, BarFileError> {
    let failed = |reason: String| BarFileError::File { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let reader = SerializedFileReader::new(file).map_err(|error| failed(error.to_string()))?;
    let schema = reader.metadata().file_metadata().schema();
    let head: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut bars = Rows::new(path, request, head)?;
    let fields: Vec<Arc<Type>> =
        bars.roles.iter().map(|(column, _)| Arc::clone(&schema.get_fields()[*column])).collect();
    if let Some(nested) = fields.iter().find(|field| !field.is_primitive()) {
        return Err(failed(format!("column {:?} is nested", nested.name())));
    }
    let projection = Type::group_type_builder(schema.name())
        .with_fields(fields)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let rows = reader.get_row_iter(Some(projection)).map_err(|error| failed(error.to_string()))?;
    for (row, found) in (1..).zip(rows) {
        let found = found.map_err(|error| failed(format!("row {row}: {error}")))?;
        let cells: Vec<&Field> = found.get_column_iter().map(|(_, value)| value).collect();
        bars.take(|place, _| cells[place])?;
    }
    Ok(bars.finish())
}

impl Cell for &Field {
    fn time(&self) -> Result<i64, String> {
        time(self).ok_or_else(|| format!("{self} is no time"))
    }

    fn text(&self) -> Result<&str, String> {
        match self {
            Field::Str(text) => Ok(text),
            other => Err(format!("{other} is no text")),
        }
    }

    fn number(&self) -> Result<f64, String> {
        number(self)
    }
}

fn time(value: &Field) -> Option<i64> {
    match value {
        Field::TimestampMillis(ms) => Some(*ms),
        Field::TimestampMicros(us) => Some(us.div_euclid(1000)),
        Field::Date(days) => Some(i64::from(*days) * DAY_MS),
        Field::Long(number) => epoch_ms(*number),
        Field::Int(number) => epoch_ms((*number).into()),
        Field::Str(text) => time_ms(text),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "prices and volumes over 2^53 are not exact in any backtest")]
fn number(value: &Field) -> Result<f64, String> {
    match value {
        Field::Null => Ok(f64::NAN),
        Field::Double(number) => Ok(*number),
        Field::Float(number) => Ok((*number).into()),
        Field::Long(number) => Ok(*number as f64),
        Field::ULong(number) => Ok(*number as f64),
        Field::Int(number) => Ok((*number).into()),
        Field::UInt(number) => Ok((*number).into()),
        Field::Short(number) => Ok((*number).into()),
        Field::UShort(number) => Ok((*number).into()),
        Field::Byte(number) => Ok((*number).into()),
        Field::UByte(number) => Ok((*number).into()),
        Field::Decimal(_) | Field::Str(_) => {
            let text = value.to_string();
            text.trim_matches('"').parse().map_err(|_| format!("{text} is no number"))
        }
        other => Err(format!("{other} is no number")),
    }
}
