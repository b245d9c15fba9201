//! A strategy file: a request as HTTP takes it, in TOML or JSON, with the bars' file beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::exit::UsageError;
use crate::backtest::{BacktestRequest, Prices};
use crate::stores::bar_file::{self, BarFileRequest, ColumnNames};

/// Largest strategy file; bars belong into a file of their own.
const MAX_BYTES: u64 = 256 << 20;

/// What a strategy file says.
pub struct StrategyFile {
    /// Where the bars are, unless they are in the request or the store.
    bars: Option<PathBuf>,
    columns: ColumnNames,
    /// The request: all other keys.
    request: Value,
    path: PathBuf,
}

impl StrategyFile {
    /// Reads a file whose name ends in `.toml` or `.json`. `bars` in it names a file of bars, counted from its own
    /// directory, and `columns` that file's columns.
    ///
    /// # Errors
    /// If it can't be read or parsed; says where.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let bytes = std::fs::metadata(path).with_context(|| format!("can't read {name}"))?.len();
        if bytes > MAX_BYTES {
            bail!("{name} has {bytes} bytes, at most {MAX_BYTES} are read; put bars into a file of their own");
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("can't read {name}"))?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let whole = match extension.to_ascii_lowercase().as_str() {
            "toml" => plain(toml::from_str(&text).with_context(|| format!("{name} is no TOML"))?),
            "json" => serde_json::from_str(&text).with_context(|| format!("{name} is no JSON"))?,
            other => {
                let said = format!("{name}: {other:?} is no format of strategies: name it .toml or .json");
                return Err(UsageError(said).into());
            }
        };
        let Value::Object(mut fields) = whole else { bail!("{name} holds no table of keys and values") };
        let bars = take::<Option<PathBuf>>(&mut fields, "bars", path)?.flatten();
        let columns = take(&mut fields, "columns", path)?.unwrap_or_default();
        let bars = bars.map(|bars| path.parent().map_or_else(|| bars.clone(), |parent| parent.join(&bars)));
        Ok(Self { bars, columns, request: Value::Object(fields), path: path.to_owned() })
    }

    /// The request as typed.
    ///
    /// # Errors
    /// Names the key that is unknown, missing or wrong.
    pub fn request<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        typed(self.request.clone(), "", &self.path)
    }

    /// The request as it is sent to a daemon.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.request
    }

    /// The bars that come with the file, or `None` where the request asks for those of the store. Takes them out of the
    /// request.
    ///
    /// # Errors
    /// Names file, row and column of what is no bar.
    pub fn prices(&self, request: &mut BacktestRequest, max_bars: u64) -> anyhow::Result<Option<Prices>> {
        match (&self.bars, request.prices.take()) {
            (Some(_), Some(_)) => bail!("{}: bars and prices exclude each other", self.path.display()),
            (None, None) => Ok(None),
            (None, Some(columns)) => Ok(Some(Prices::new(columns)?)),
            (Some(bars), None) => {
                let wanted = BarFileRequest {
                    columns: self.columns.clone(),
                    symbol: request.symbol.as_deref(),
                    from_ms: request.from.map(|time| time.timestamp_millis()),
                    to_ms: request.to.map(|time| time.timestamp_millis()),
                    max_bars,
                };
                Ok(Some(bar_file::read(bars, &wanted)?))
            }
        }
    }
}

/// Takes a key out of the table, if it is there.
fn take<T: DeserializeOwned>(fields: &mut Map<String, Value>, key: &str, path: &Path) -> anyhow::Result<Option<T>> {
    fields.remove(key).map(|value| typed(value, key, path)).transpose()
}

fn typed<T: DeserializeOwned>(value: Value, within: &str, path: &Path) -> anyhow::Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = error.path().to_string();
        let said = error.inner().to_string();
        let place: Vec<&str> =
            [within, at.as_str()].into_iter().filter(|part| !part.is_empty() && *part != ".").collect();
        let name = path.display();
        // what the engine says names its field already
        if place.is_empty() || said.starts_with(place.join(".").as_str()) {
            anyhow::anyhow!("{name}: {said}")
        } else {
            anyhow::anyhow!("{name}: {}: {said}", place.join("."))
        }
    })
}

/// TOML as JSON; times become texts.
fn plain(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(switch) => switch.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(plain).collect(),
        toml::Value::Table(fields) => fields.into_iter().map(|(key, value)| (key, plain(value))).collect(),
    }
}
