//! The pretty log format: one line per event, whatever is in the fields.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `TIME LEVEL target: message field=value …`, control characters escaped.
#[derive(Debug, Clone, Copy)]
pub struct OneLine;

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let data = event.metadata();
        let color = writer.has_ansi_escapes();
        SystemTime.format_time(&mut writer)?;
        let (start, end) = if color { (color_of(*data.level()), "\x1b[0m") } else { ("", "") };
        write!(writer, " {start}{:>5}{end} {}:", data.level(), data.target())?;
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(writer, "{}{}", line.message, line.fields)
    }
}

fn color_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Collects an event's fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn put(&mut self, field: &Field, value: &str) {
        let text = if field.name() == "message" {
            self.message.push(' ');
            &mut self.message
        } else {
            // Writing to a String can't fail.
            let _ = write!(self.fields, " {}=", field.name());
            &mut self.fields
        };
        for character in value.chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = field.name() == "message" || (!value.is_empty() && !value.contains([' ', '"', '=']));
        if plain { self.put(field, value) } else { self.put(field, &format!("{value:?}")) }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}
