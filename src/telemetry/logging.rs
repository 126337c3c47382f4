//! Logs to standard error, for people or for machines.

use std::io::{self, IsTerminal as _};

use bullpen_access::shown;
use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// The module of the client library that logs whole answers of the API server: those that it cannot parse, at WARN. An
/// answer may be a Secret, so nothing of this module is ever logged. Whoever sent the request logs what came of it.
const LOGS_ANSWERS: &str = "kube_client::client";

/// Log options: arguments of every command that logs.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// How log lines look on standard error
    #[arg(long, value_enum, default_value_t, env = "BULLPEN_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, or a filter such as info,bullpen=debug
    #[arg(long, value_name = "FILTER", default_value = "info", env = "RUST_LOG")]
    pub log_level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text an event, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error("cannot read {filter:?} as a log level or filter: {source}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Logging was set up before.
    #[error("logging is set up already: {0}")]
    AlreadySet(#[from] TryInitError),
}

/// Sets up logging for the whole process, once.
///
/// # Errors
/// When the filter does not parse, or logging was set up before.
pub fn init_logging(args: &LogArgs) -> Result<(), LoggingError> {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    subscriber(args, coloured, std::io::stderr)?.try_init()?;
    Ok(())
}

fn subscriber<W>(args: &LogArgs, coloured: bool, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&args.log_level)
        .map_err(|source| LoggingError::Filter { filter: args.log_level.clone(), source })?;
    let format = args.log_format;
    let writer = SafeWriters { writers: writer, format, coloured };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(coloured);
    let no_answers = filter_fn(|metadata| metadata.is_span() || metadata.target() != LOGS_ANSWERS);
    Ok(match format {
        LogFormat::Text => Box::new(builder.finish().with(no_answers)),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish().with(no_answers)),
    })
}

/// Makes writers that keep an event one line and a terminal undriven, whatever users and clouds wrote into it.
struct SafeWriters<W> {
    writers: W,
    format: LogFormat,
    coloured: bool,
}

/// Writes events, each by one call, as `tracing-subscriber` does.
struct SafeWriter<W> {
    writer: W,
    format: LogFormat,
    coloured: bool,
}

impl<'writer, W: MakeWriter<'writer>> MakeWriter<'writer> for SafeWriters<W> {
    type Writer = SafeWriter<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        SafeWriter { writer: self.writers.make_writer(), format: self.format, coloured: self.coloured }
    }
}

/// The sequences by which `tracing-subscriber` colours its own parts of a line.
const COLOURS: [&str; 9] = ["[0m", "[1m", "[2m", "[3m", "[31m", "[32m", "[33m", "[34m", "[35m"];

/// The line, safe but for the colours of `tracing-subscriber`. A value can have these too, and nothing worse.
fn keeping_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut safe = parts.next().map(shown::line).unwrap_or_default().into_owned();
    for part in parts {
        let is_colour = COLOURS.iter().any(|colour| part.starts_with(colour));
        safe.push_str(if is_colour { "\u{1b}" } else { "^[" });
        safe.push_str(&shown::line(part));
    }
    safe
}

impl<W: io::Write> io::Write for SafeWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        let safe = match self.format {
            LogFormat::Json => shown::json(line),
            LogFormat::Text if self.coloured => keeping_colours(line).into(),
            LogFormat::Text => shown::line(line),
        };
        self.writer.write_all(safe.as_bytes())?;
        self.writer.write_all(end.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use parking_lot::Mutex;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        log: LogArgs,
    }

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn captured(log_format: LogFormat, log_level: &str, coloured: bool, events: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let args = LogArgs { log_format, log_level: log_level.to_owned() };
        let subscriber = subscriber(&args, coloured, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        let bytes = captured.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn logged(log_format: LogFormat, log_level: &str) -> String {
        captured(log_format, log_level, false, || {
            tracing::debug!("not at info");
            tracing::info!(claim = "build-1", "bound");
        })
    }

    #[test]
    fn an_event_is_one_line_that_drives_no_terminal_whatever_others_wrote_into_it() {
        let hidden: String = ('\0'..=char::MAX).filter(|character| shown::is_hidden(*character)).collect();
        let message = format!("no\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J{hidden}");
        let event = || tracing::warn!(error = %message, by = message, "the cloud said {message}");
        let text = captured(LogFormat::Text, "info", false, event);
        assert!(text.ends_with('\n') && !text.trim_end_matches('\n').chars().any(shown::is_hidden), "{text:?}");
        let coloured = captured(LogFormat::Text, "info", true, event);
        let plain = coloured.trim_end_matches('\n');
        assert!(plain.chars().all(|sign| sign == '\u{1b}' || !shown::is_hidden(sign)), "{coloured:?}");
        let mut escapes = plain.split('\u{1b}').skip(1);
        assert!(escapes.all(|rest| COLOURS.iter().any(|colour| rest.starts_with(colour))), "{coloured:?}");
        let json = captured(LogFormat::Json, "info", false, event);
        assert!(!json.trim_end_matches('\n').chars().any(shown::is_hidden), "{json:?}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["by"], message);
    }

    #[test]
    fn text_is_one_line_an_event_without_colours() {
        let text = logged(LogFormat::Text, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("bound claim=\"build-1\""), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn json_is_one_object_an_event_with_the_fields_beside_the_message() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, "info")).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "bound");
        assert_eq!(line["claim"], "build-1");
    }

    #[test]
    fn the_level_decides_what_is_logged() {
        assert_eq!(logged(LogFormat::Text, "debug").lines().count(), 2);
        assert_eq!(logged(LogFormat::Text, "warn"), "");
        assert_eq!(logged(LogFormat::Text, "warn,bullpen=debug").lines().count(), 2);
    }

    #[test]
    fn an_answer_that_cannot_be_parsed_is_not_logged_at_any_level() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for body in [r#"{"kind": "Secret", "metadata": 7, "data": {"key": "aHVudGVyMg=="}}"#, "aHVudGVyMg== is no JSON"]
        {
            for code in [200, 500] {
                for (format, level) in [(LogFormat::Text, "trace"), (LogFormat::Json, "warn,kube_client::client=trace")]
                {
                    let server = tower::service_fn(move |_: http::Request<kube::client::Body>| async move {
                        let answer = kube::client::Body::from(body.as_bytes().to_vec());
                        Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(answer).unwrap())
                    });
                    let text = captured(format, level, false, || {
                        runtime.block_on(async {
                            let client = kube::Client::new(server, "ci");
                            let secrets = kube::Api::<k8s_openapi::api::core::v1::Secret>::default_namespaced(client);
                            let error = secrets.get("build-1-binding").await.unwrap_err();
                            if !matches!(error, kube::Error::Api(_)) {
                                tracing::warn!(%error, "the one who asked says so");
                            }
                        });
                    });
                    assert!(!text.contains("aHVudGVyMg"), "{text}");
                    assert!(code != 200 || text.contains("the one who asked"), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_filter_that_does_not_parse_is_an_error_that_shows_it() {
        let args = LogArgs { log_format: LogFormat::Text, log_level: "bullpen=loud".into() };
        let error = subscriber(&args, false, io::stderr).err().unwrap();
        assert!(error.to_string().contains("\"bullpen=loud\""), "{error}");
    }

    #[test]
    fn the_format_is_given_in_lower_case() {
        let command = Command::try_parse_from(["bullpen", "--log-format", "json", "--log-level", "warn"]).unwrap();
        assert_eq!(command.log.log_format, LogFormat::Json);
        assert_eq!(command.log.log_level, "warn");
        assert!(Command::try_parse_from(["bullpen", "--log-format", "xml"]).is_err());
    }
}
