//! Parquet: flat columns of numbers, times and texts; other columns are not read.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;

use super::{BarFileError, BarFileRequest, Collected, Parts, Role, epoch_ms, roles, time_ms};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

pub(super) fn read(path: &Path, request: &BarFileRequest<'_>) -> Result<Collected, BarFileError> {
    let failed = |reason: String| BarFileError::File { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let reader = SerializedFileReader::new(file).map_err(|error| failed(error.to_string()))?;
    let schema = reader.metadata().file_metadata().schema();
    let head: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let chosen = roles(&head, &request.columns).map_err(failed)?;
    let fields: Vec<Arc<Type>> = chosen.iter().map(|(column, _)| Arc::clone(&schema.get_fields()[*column])).collect();
    if let Some(nested) = fields.iter().find(|field| !field.is_primitive()) {
        return Err(failed(format!("column {:?} is nested", nested.name())));
    }
    let projection = Type::group_type_builder(schema.name())
        .with_fields(fields)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let mut collected = Collected::new(&chosen);
    let rows = reader.get_row_iter(Some(projection)).map_err(|error| failed(error.to_string()))?;
    for (row, found) in (1..).zip(rows) {
        let found = found.map_err(|error| failed(format!("row {row}: {error}")))?;
        let mut bar = Parts::default();
        for ((column, role), (_, value)) in chosen.iter().zip(found.get_column_iter()) {
            set(&mut bar, *role, value, request).map_err(|reason| BarFileError::Value {
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

fn set(bar: &mut Parts, role: Role, value: &Field, request: &BarFileRequest<'_>) -> Result<(), String> {
    match role {
        Role::Time => bar.time = Some(time(value).ok_or_else(|| format!("{value} is no time"))?),
        Role::Symbol => {
            let Field::Str(text) = value else { return Err(format!("{value} is no text")) };
            bar.symbol_differs = request.symbol.is_some_and(|symbol| !symbol.eq_ignore_ascii_case(text));
        }
        Role::Open => bar.open = number(value)?,
        Role::High => bar.high = number(value)?,
        Role::Low => bar.low = number(value)?,
        Role::Close => bar.close = number(value)?,
        Role::Volume => bar.volume = number(value)?,
    }
    Ok(())
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
