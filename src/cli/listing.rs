//! What commands that list and show the daemon's things share.

use serde_json::{Map, Value};

use super::client::{Client, ClientError, block_on};
use super::exit::Exit;
use super::output;

/// Most things of one page.
const PAGE: usize = 1000;
/// Longest text of a cell, in characters.
const CELL: usize = 2000;

/// A listing of the daemon.
pub(super) struct Listing<'a> {
    /// The API's path.
    pub path: &'a [&'a str],
    /// Parameters that narrow it down.
    pub filters: &'a [(&'a str, Option<String>)],
    /// Most things of it.
    pub limit: usize,
    /// Said where there is none.
    pub nothing: &'a str,
    /// Fields that are shown.
    pub columns: &'a [&'a str],
    /// A field as it is shown.
    pub shown: fn(&Value, &str) -> String,
}

impl Listing<'_> {
    /// Prints it, page after page, as a table or JSON.
    pub(super) fn print(&self, client: &Client, as_json: bool) -> anyhow::Result<Exit> {
        let items = block_on(async { Ok(self.items(client).await?) })?;
        if as_json {
            output::json(&serde_json::json!({ "items": items }))?;
        } else if items.is_empty() {
            output::note(self.nothing);
        } else {
            let row = |item: &Value| self.columns.iter().map(|name| (self.shown)(item, name)).collect();
            let rows: Vec<Vec<String>> = items.iter().map(row).collect();
            output::line(output::table(self.columns, &rows))?;
        }
        Ok(Exit::Done)
    }

    async fn items(&self, client: &Client) -> Result<Vec<Value>, ClientError> {
        let mut items: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < self.limit {
            let mut query = vec![("limit", (self.limit - items.len()).min(PAGE).to_string())];
            query.extend(self.filters.iter().filter_map(|(name, value)| Some((*name, value.clone()?))));
            query.extend(cursor.clone().map(|cursor| ("cursor", cursor)));
            let mut page: Value = client.get(self.path, &query).await?;
            let found = page["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            let ended = found.is_empty();
            items.extend(found);
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if ended || cursor.is_none() {
                break;
            }
        }
        Ok(items)
    }
}

/// Prints all fields of a thing.
pub(super) fn fields(thing: &Map<String, Value>) -> anyhow::Result<()> {
    for (name, value) in thing {
        match value {
            Value::Array(items) => {
                output::line(format_args!("{name}:"))?;
                for item in items {
                    output::line(format_args!("  {}", cell(item)))?;
                }
            }
            other => output::line(format_args!("{name}: {}", cell(other)))?,
        }
    }
    Ok(())
}

/// A value in a table.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => output::clip(text, CELL),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
