//! The log on the standard error output: lines for people, or with `LOG_FORMAT=json` an object on
//! each line.
//!
//! ```text
//! [2026-01-02T03:04:05Z INFO  uni_api::request] request id=… channel=openai status=200 total_ms=340
//! {"timestamp":"2026-01-02T03:04:05.678Z","level":"INFO","target":"uni_api::request","message":"request",
//!  "fields":{"id":"…","channel":"openai","status":200,"total_ms":340}}
//! ```

mod queue;

use std::io::{self, IsTerminal, Write, stderr};
use std::sync::OnceLock;

use env_logger::Target;
use env_logger::fmt::Formatter;
use log::kv::{self, Key, Source, Value, VisitSource, VisitValue};
use log::{Level, Record};

use super::environment::InvalidVariable;
use queue::LogQueue;

/// A line for each worker thread, and an error for each client that speaks no HTTP, are of no use to
/// the people who run this.
const FILTER: &str = "info,actix_server=warn,actix_http=off";

/// Most lines are not longer.
const LINE_BYTES: usize = 512;

/// Where the lines go, to have them written at the end.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Starts the log as the variables say: `RUST_LOG`, `RUST_LOG_STYLE` and `LOG_FORMAT`. Panics go there, too.
///
/// # Errors
///
/// `LOG_FORMAT` is neither `text` nor `json`. The log is of text then.
pub fn start(variable: impl Fn(&str) -> Option<String>) -> Result<(), InvalidVariable> {
    let mut log = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(FILTER));
    let format = is_json(variable("LOG_FORMAT").as_deref());
    match format {
        Ok(true) => log.format(write_json),
        Ok(false) | Err(_) if is_coloured(&variable) => log.format(|log, record| write_text(log, record, colour_of)),
        Ok(false) | Err(_) => log.format(|log, record| write_text(log, record, |_| None)),
    };
    // Without a thread for it, each line is written by whoever logs it.
    if let Ok(queue) = LogQueue::start(stderr(), |lost| log::warn!("{lost} lines of the log found no reader")) {
        log.target(Target::Pipe(Box::new(QUEUE.get_or_init(|| queue).clone())));
    }
    log.init();
    log_panics();
    format.map(|_| ())
}

/// Has everything written that was logged. To be called before the process ends.
pub fn finish() {
    if let Some(queue) = QUEUE.get() {
        queue.flush();
    }
}

/// Panics are survived, and told by their place alone: their text may quote a request.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        match panic.location() {
            Some(place) => log::error!("panic at {place}"),
            None => log::error!("panic"),
        }
        // There it is the last thing that the process says; elsewhere others would have to wait.
        if std::thread::current().name() == Some("main") {
            finish();
        }
    }));
}

fn is_coloured(variable: impl Fn(&str) -> Option<String>) -> bool {
    match variable("RUST_LOG_STYLE").as_deref() {
        Some("always") => true,
        Some("never") => false,
        _ => variable("NO_COLOR").is_none_or(|no| no.is_empty()) && stderr().is_terminal(),
    }
}

/// The colour of a level on a terminal, by its number.
fn colour_of(level: Level) -> Option<u8> {
    Some(match level {
        Level::Error => 31,
        Level::Warn => 33,
        Level::Info => 32,
        Level::Debug => 34,
        Level::Trace => 36,
    })
}

fn is_json(format: Option<&str>) -> Result<bool, InvalidVariable> {
    match format.map(|format| format.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "text") => Ok(false),
        Some("json") => Ok(true),
        Some(_) => Err(InvalidVariable { name: "LOG_FORMAT", expected: "text or json" }),
    }
}

fn write_json(log: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let mut line = Vec::with_capacity(LINE_BYTES);
    let timestamp = log.timestamp_millis();
    write!(line, "{{\"timestamp\":\"{timestamp}\",\"level\":\"{}\",\"target\":", record.level())?;
    write_json_text(&mut line, record.target())?;
    line.write_all(b",\"message\":")?;
    match record.args().as_str() {
        Some(message) => write_json_text(&mut line, message)?,
        None => write_json_text(&mut line, &record.args().to_string())?,
    }
    write_json_fields(&mut line, record.key_values())?;
    line.write_all(b"}\n")?;
    log.write_all(&line)
}

fn write_text(log: &mut Formatter, record: &Record<'_>, colour: fn(Level) -> Option<u8>) -> io::Result<()> {
    let mut line = Vec::with_capacity(LINE_BYTES);
    let level = record.level();
    match colour(level) {
        Some(colour) => write!(line, "[{} \x1b[{colour}m{level:<5}\x1b[0m ", log.timestamp())?,
        None => write!(line, "[{} {level:<5} ", log.timestamp())?,
    }
    write!(line, "{}] ", record.target())?;
    match record.args().as_str() {
        Some(message) => line.extend_from_slice(message.as_bytes()),
        // Nobody who has a line break in a message can make up a line of the log.
        None => line.extend_from_slice(record.args().to_string().replace('\n', "\n    ").as_bytes()),
    }
    write_text_fields(&mut line, record.key_values())?;
    line.push(b'\n');
    log.write_all(&line)
}

/// Writes the field `fields`, unless there are none.
fn write_json_fields(line: &mut impl Write, source: &dyn Source) -> io::Result<()> {
    let mut before = ",\"fields\":{";
    for_each(source, |name, field| {
        line.write_all(before.as_bytes())?;
        before = ",";
        write_json_text(line, name)?;
        line.write_all(b":")?;
        match field {
            Field::Null => line.write_all(b"null"),
            Field::Text(text) => write_json_text(line, text),
            Field::Plain(value) => Ok(serde_json::to_writer(&mut *line, &value)?),
        }
    })?;
    line.write_all(if before == "," { b"}" } else { b"" })
}

fn write_json_text(line: &mut impl Write, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(line, text)?)
}

/// Writes fields behind a line: ` name=value`, in quotes where the value could be taken for more than
/// one. What is nothing is left out.
fn write_text_fields(line: &mut impl Write, source: &dyn Source) -> io::Result<()> {
    for_each(source, |name, field| {
        if matches!(field, Field::Null) {
            return Ok(());
        }
        for part in [" ", name, "="] {
            line.write_all(part.as_bytes())?;
        }
        match field {
            Field::Null => Ok(()),
            Field::Text(text) if is_one_word(text) => line.write_all(text.as_bytes()),
            Field::Text(text) => write!(line, "{text:?}"),
            Field::Plain(value) => Ok(serde_json::to_writer(&mut *line, &value)?),
        }
    })
}

fn is_one_word(text: &str) -> bool {
    let has_no_meaning = |byte: u8| byte.is_ascii_graphic() && !b"\"'=\\".contains(&byte);
    // Nearly every word is of ASCII alone.
    if text.bytes().all(has_no_meaning) {
        return !text.is_empty();
    }
    text.chars().all(|c| match u8::try_from(c) {
        Ok(byte) if byte.is_ascii() => has_no_meaning(byte),
        _ => c == '…' || c.is_alphanumeric(),
    })
}

/// The value of a field.
enum Field<'a> {
    Null,
    Text(&'a str),
    /// A number or a truth value, which is written alike everywhere.
    Plain(serde_json::Value),
}

/// Has each field of a record written.
fn for_each(source: &dyn Source, write: impl FnMut(&str, Field<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut fields = Fields { write, written: Ok(()) };
    // The visits themselves never fail.
    let _ = source.visit(&mut fields);
    fields.written
}

struct Fields<W> {
    write: W,
    written: io::Result<()>,
}

impl<'kvs, W: FnMut(&str, Field<'_>) -> io::Result<()>> VisitSource<'kvs> for Fields<W> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let write = |field: Field<'_>| {
            if self.written.is_ok() {
                self.written = (self.write)(key.as_str(), field);
            }
        };
        value.visit(OneField(write))
    }
}

struct OneField<W>(W);

impl<W: FnMut(Field<'_>)> OneField<W> {
    fn write(&mut self, field: Field<'_>) -> Result<(), kv::Error> {
        (self.0)(field);
        Ok(())
    }
}

impl<'v, W: FnMut(Field<'_>)> VisitValue<'v> for OneField<W> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.write(Field::Text(&value.to_string()))
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.write(Field::Null)
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.write(Field::Plain(value.into()))
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.write(Field::Plain(value.into()))
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.write(Field::Plain(value.into()))
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.write(Field::Text(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(
        write: impl FnOnce(&mut Vec<u8>, &dyn Source) -> io::Result<()>,
        fields: &[(&str, Value<'_>)],
    ) -> String {
        let mut line = Vec::new();
        write(&mut line, &fields).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn values_keep_their_type() {
        let fields = [
            ("text", Value::from("a \"b\"\n")),
            ("word", Value::from("gpt-4o")),
            ("count", Value::from(7_u64)),
            ("below", Value::from(-1_i64)),
            ("yes", Value::from(true)),
            ("none", Value::null()),
        ];
        assert_eq!(
            written(write_json_fields, &fields),
            r#","fields":{"text":"a \"b\"\n","word":"gpt-4o","count":7,"below":-1,"yes":true,"none":null}"#
        );
        assert_eq!(written(write_text_fields, &fields), r#" text="a \"b\"\n" word=gpt-4o count=7 below=-1 yes=true"#);
        assert_eq!((written(write_json_fields, &[]), written(write_text_fields, &[])), Default::default());
    }

    #[test]
    fn what_is_no_word_is_quoted() {
        for word in ["gpt-4o", "org/model:free", "sk-ab…yz#0011aaff", "我的"] {
            assert!(is_one_word(word), "{word}");
        }
        for text in ["", "a b", "a\nb", "a=b", "\"a\"", "a\u{1b}[31m", "a\u{202e}b", "a\u{2028}b"] {
            assert!(!is_one_word(text), "{text:?}");
        }
    }

    #[test]
    fn there_are_two_formats() {
        assert_eq!(
            [None, Some(""), Some("text"), Some(" JSON ")].map(|format| is_json(format).ok()),
            [Some(false), Some(false), Some(false), Some(true)]
        );
        assert_eq!(is_json(Some("xml")).unwrap_err().to_string(), "LOG_FORMAT: expected text or json");
    }
}
