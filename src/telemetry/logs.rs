//! Log lines: JSON or pretty, to standard error, level changeable while running.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use super::format::OneLine;
use super::tap::LogTap;
use crate::config::logging::{LogColor, LogFormat, LoggingConfig};

/// Why logs can't be written as configured.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level is not one, nor a list of directives.
    #[error("logging.level is invalid: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was set up already.
    #[error("logging is set up already")]
    Taken,
    /// The subscriber is gone.
    #[error("the log level can't be changed: {0}")]
    Gone(String),
}

/// Changes the level of the running log.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>, LogTap);

impl LogLevel {
    /// Sets the level or directives from now on.
    ///
    /// # Errors
    /// If they are invalid; the old stay.
    pub fn set(&self, level: &str) -> Result<(), LogsError> {
        let filter = EnvFilter::try_new(level)?;
        self.0.reload(filter).map_err(|error| LogsError::Gone(error.to_string()))
    }

    /// Where the running log's lines can be had besides standard error.
    #[must_use]
    pub const fn tap(&self) -> &LogTap {
        &self.1
    }
}

/// Starts logging for the process, panics included: a panic is one line like every other event.
///
/// # Errors
/// If the level is invalid or logging was set up already.
pub fn install(config: &LoggingConfig) -> Result<LogLevel, LogsError> {
    let (subscriber, level) = subscriber(config, stderr)?;
    subscriber.try_init().map_err(|_| LogsError::Taken)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(level)
}

/// A subscriber that writes as configured to `writer`.
///
/// # Errors
/// If the level is invalid.
pub fn subscriber<W>(
    config: &LoggingConfig,
    writer: W,
) -> Result<(impl tracing::Subscriber + Send + Sync, LogLevel), LogsError>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&config.level)?);
    let lines = match config.format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
        LogFormat::Pretty => {
            fmt::layer().event_format(OneLine).with_ansi(colored(config.color)).with_writer(writer).boxed()
        }
    };
    let tap = LogTap::default();
    Ok((tracing_subscriber::registry().with(filter).with(lines).with(tap.clone()), LogLevel(handle, tap)))
}

fn colored(color: LogColor) -> bool {
    match color {
        LogColor::Always => true,
        LogColor::Never => false,
        LogColor::Auto => stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let text = panic.payload_as_str().unwrap_or("a value that is not text");
    // only with RUST_BACKTRACE in the environment; on one line like everything else
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| one_line(&backtrace.to_string()));
    tracing::error!(panic = text, location, thread = thread.name().unwrap_or(""), backtrace, "a thread panicked");
}

fn one_line(backtrace: &str) -> String {
    backtrace.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    fn logged(format: LogFormat, events: impl FnOnce(&LogLevel)) -> Vec<String> {
        let sink = Sink::default();
        let writer = sink.clone();
        let config = LoggingConfig { format, color: LogColor::Never, ..LoggingConfig::default() };
        let (subscriber, level) = subscriber(&config, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || events(&level));
        sink.lines()
    }

    #[test]
    fn json_line_has_fields_at_the_top() {
        let lines = logged(LogFormat::Json, |_| {
            tracing::info!(correlation_id = %"c-1", count = 3, "line one\nline two");
        });
        let [line] = lines.as_slice() else { panic!("one event, one line: {lines:?}") };
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["message"], "line one\nline two");
        assert_eq!(line["correlation_id"], "c-1");
        assert_eq!(line["count"], 3);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn pretty_event_stays_on_one_line() {
        let lines = logged(LogFormat::Pretty, |_| {
            tracing::warn!(error = %"first\nsecond\u{1b}[31m", name = "two words", "stage failed");
        });
        let [line] = lines.as_slice() else { panic!("one event, one line: {lines:?}") };
        assert!(line.ends_with(r#"stage failed error=first\nsecond\u{1b}[31m name="two words""#), "{line}");
        assert!(line.contains(" WARN "), "{line}");
    }

    #[test]
    fn level_changes_while_running() {
        let lines = logged(LogFormat::Pretty, |level| {
            tracing::debug!("before");
            level.set("debug").unwrap();
            tracing::debug!("after");
            assert!(level.set("tidemill=nonsense").is_err());
            tracing::debug!("still");
        });
        let messages: Vec<&str> = lines.iter().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(messages, ["after", "still"]);
    }
}
