//! Logging: text or JSON, to standard error and to a rolling file, without secrets and without loss.
//!
//! Both ways out run through a thread of their own that never drops a line; the [`Guard`] writes out what is left, so
//! `main` holds it to its end.

use std::io::{self, IsTerminal as _, Write};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogFile, LogFormat, Logging, Rotation, Stderr};
use crate::secret::Redactor;

/// Lines that may wait for the writing thread; beyond that the writer waits, it does not drop.
const WAITING_LINES: usize = 16_384;

/// Libraries that say at INFO what nobody needs; the configured level comes after and wins.
const QUIET: &str = "tokio_cron_scheduler=warn,sqlx=error";

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is not one that can be read.
    #[error("the log level {0:?} cannot be read: {1}; use for example \"info\" or \"info,pgupkeep=debug\"")]
    Level(String, #[source] tracing_subscriber::filter::ParseError),
    /// The log folder cannot be written.
    #[error("the log folder {folder} cannot be written: {reason}; create it, or give the user of this process access")]
    Folder {
        /// The folder.
        folder: String,
        /// Why.
        reason: String,
    },
    /// Logging was set up before.
    #[error("logging was set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Writes out what is left when it is dropped.
#[derive(Debug)]
#[must_use = "dropped early, it loses the last lines"]
pub struct Guard(#[expect(dead_code, reason = "kept for its drop")] Vec<WorkerGuard>);

/// Sets logging up for the whole process.
///
/// # Errors
/// When the level cannot be read or the log folder cannot be written.
pub fn start(logging: &Logging, level_override: Option<&str>, redactor: &Redactor) -> Result<Guard, LoggingError> {
    let level = level_override.unwrap_or(&logging.level);
    let filter =
        EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|error| LoggingError::Level(level.to_owned(), error))?;
    let mut guards = Vec::new();
    let mut layers = Vec::new();
    if logging.stderr == Stderr::On {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        layers.push(layer(logging.format, Colour::from(colour), io::stderr(), redactor, &mut guards));
    }
    if let Some(file) = &logging.file {
        let appender = appender(file)?;
        layers.push(layer(logging.format, Colour::Never, appender, redactor, &mut guards));
    }
    tracing_subscriber::registry().with(layers).with(filter).try_init()?;
    Ok(Guard(guards))
}

/// Whether lines are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colour {
    Always,
    Never,
}

impl From<bool> for Colour {
    fn from(wanted: bool) -> Self {
        if wanted { Self::Always } else { Self::Never }
    }
}

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn layer(
    format: LogFormat,
    colour: Colour,
    writer: impl Write + Send + 'static,
    redactor: &Redactor,
    guards: &mut Vec<WorkerGuard>,
) -> AnyLayer {
    let (writer, guard) = NonBlockingBuilder::default().lossy(false).buffered_lines_limit(WAITING_LINES).finish(writer);
    guards.push(guard);
    let writer = Redacting { writer, redactor: redactor.clone(), format };
    match format {
        LogFormat::Text => {
            fmt::layer().with_target(false).with_ansi(colour == Colour::Always).with_writer(writer).boxed()
        }
        // The target of an event would be the module that it is from; ours is the database.
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_target(false).with_writer(writer).boxed(),
    }
}

fn appender(file: &LogFile) -> Result<rolling::RollingFileAppender, LoggingError> {
    let rotation = match file.rotation {
        Rotation::Hourly => rolling::Rotation::HOURLY,
        Rotation::Daily => rolling::Rotation::DAILY,
    };
    let refuse = |reason: String| LoggingError::Folder { folder: file.directory.display().to_string(), reason };
    // The appender would make it, too, but complain on standard error first that there is none.
    std::fs::create_dir_all(&file.directory).map_err(|error| refuse(error.to_string()))?;
    rolling::Builder::new()
        .rotation(rotation)
        .filename_prefix("pgupkeep")
        .filename_suffix("log")
        .max_log_files(usize::from(file.keep.get()))
        .build(&file.directory)
        .map_err(|error| refuse(error.to_string()))
}

/// A writer that cleans every line of secrets before it passes it on, and keeps it one line.
#[derive(Debug, Clone)]
struct Redacting {
    writer: NonBlocking,
    redactor: Redactor,
    format: LogFormat,
}

/// The text as one line, since what a server or a tool says may hold line breaks and would look like lines of ours.
///
/// Of what moves a terminal's cursor only colours are left, which the formatter writes too.
fn one_line(text: &str) -> String {
    let (text, end) = text.strip_suffix('\n').map_or((text, ""), |text| (text, "\n"));
    let mut line = String::with_capacity(text.len() + end.len());
    for (at, c) in text.char_indices() {
        if c.is_control() && !is_colour(&text[at..]) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line + end
}

/// Whether a text begins with an order to change the colour.
fn is_colour(text: &str) -> bool {
    let order =
        text.strip_prefix("\x1b[").map(|text| text.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    order.is_some_and(|rest| rest.starts_with('m'))
}

impl Write for Redacting {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line comes in one call; its text is UTF-8 because it came out of `fmt`.
        let clean = self.redactor.clean(&String::from_utf8_lossy(line));
        let clean = match self.format {
            LogFormat::Text => one_line(&clean),
            // It escapes what JSON has to.
            LogFormat::Json => clean,
        };
        self.writer.write_all(clean.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<'a> MakeWriter<'a> for Redacting {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands on what is written to it.
    struct Pipe(mpsc::Sender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Nobody reads any more when the test has failed.
            let _sent = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_stays_one_line_whatever_text_is_in_it() {
        for (format, colour) in
            [(LogFormat::Text, Colour::Never), (LogFormat::Text, Colour::Always), (LogFormat::Json, Colour::Never)]
        {
            let (sender, written) = mpsc::channel();
            let mut guards = Vec::new();
            let layer = layer(format, colour, Pipe(sender), &Redactor::new().1, &mut guards);
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                let said = "oops\n2026-01-01T00:00:00Z  INFO backup succeeded\r\x1b[2K\u{85}";
                tracing::info!(error = %said, "forge failed: {said}");
                tracing::info!("the next");
            });
            drop(guards);
            let text = String::from_utf8(written.iter().flatten().collect()).expect("UTF-8");
            let lines: Vec<&str> = text.lines().collect();
            let [first, second] = lines.as_slice() else { panic!("{format:?}: {text}") };
            assert!(first.contains("oops\\n2026") && second.contains("the next"), "{text}");
            assert!(!text.contains('\r') && !text.contains("\x1b[2K"), "{text:?}");
        }
    }
}
