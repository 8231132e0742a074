//! The log on the standard error output: lines for people, or with `LOG_FORMAT=json` an object on
//! each line.
//!
//! ```text
//! [2026-01-02T03:04:05Z INFO  uni_api::request] request id=… channel=openai status=200 total_ms=340
//! {"timestamp":"2026-01-02T03:04:05.678Z","level":"INFO","target":"uni_api::request","message":"request",
//!  "fields":{"id":"…","channel":"openai","status":200,"total_ms":340}}
//! ```

use std::io::{self, Write};

use env_logger::fmt::Formatter;
use log::Record;
use log::kv::{self, Key, Source, Value, VisitSource, VisitValue};
use serde_json::{Map, Number, Value as Json, json};

use super::environment::InvalidVariable;

/// A line for each worker thread, and an error for each client that speaks no HTTP, are of no use to
/// the people who run this.
const FILTER: &str = "info,actix_server=warn,actix_http=off";

/// Starts the log as the variables say: `RUST_LOG`, `RUST_LOG_STYLE` and `LOG_FORMAT`.
///
/// # Errors
///
/// `LOG_FORMAT` is neither `text` nor `json`. The log is of text then.
pub fn start(variable: impl Fn(&str) -> Option<String>) -> Result<(), InvalidVariable> {
    let mut log = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(FILTER));
    let format = is_json(variable("LOG_FORMAT").as_deref());
    match format {
        Ok(true) => log.format(|line, record| write_json(line, record)),
        Ok(false) | Err(_) => log.format_key_values(|line, fields| write_text(line, fields)),
    };
    log.init();
    format.map(|_| ())
}

fn is_json(format: Option<&str>) -> Result<bool, InvalidVariable> {
    match format.map(|format| format.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "text") => Ok(false),
        Some("json") => Ok(true),
        Some(_) => Err(InvalidVariable { name: "LOG_FORMAT", expected: "text or json" }),
    }
}

fn write_json(line: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let mut object = json!({
        "timestamp": line.timestamp_millis().to_string(),
        "level": record.level().as_str(),
        "target": record.target(),
        "message": record.args().to_string(),
    });
    let fields = fields(record.key_values());
    if !fields.is_empty() {
        object["fields"] = Json::Object(fields);
    }
    writeln!(line, "{object}")
}

/// Writes fields behind a line: ` name=value`, in quotes where the value could be taken for more than
/// one. What is nothing is left out.
fn write_text(line: &mut Formatter, source: &dyn Source) -> io::Result<()> {
    for (name, value) in fields(source) {
        match value {
            Json::Null => {}
            Json::String(text) if is_one_word(&text) => write!(line, " {name}={text}")?,
            Json::String(text) => write!(line, " {name}={text:?}")?,
            value => write!(line, " {name}={value}")?,
        }
    }
    Ok(())
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || (c.is_ascii_graphic() && !"\"'=\\".contains(c)) || c == '…')
}

/// The fields of a record as JSON.
fn fields(source: &dyn Source) -> Map<String, Json> {
    let mut fields = Fields::default();
    // None of the visits fails.
    let _ = source.visit(&mut fields);
    fields.0
}

#[derive(Default)]
struct Fields(Map<String, Json>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut read = Read(Json::Null);
        value.visit(&mut read)?;
        self.0.insert(key.as_str().to_owned(), read.0);
        Ok(())
    }
}

/// One value.
struct Read(Json);

impl<'v> VisitValue<'v> for Read {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.visit_str(&value.to_string())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0 = Json::Null;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = Number::from_f64(value).map_or(Json::Null, Json::Number);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_type() {
        let source = [
            ("text", Value::from("a \"b\"\n")),
            ("count", Value::from(7_u64)),
            ("below", Value::from(-1_i64)),
            ("part", Value::from(0.5)),
            ("yes", Value::from(true)),
            ("none", Value::null()),
        ];
        let expected = json!({"text": "a \"b\"\n", "count": 7, "below": -1, "part": 0.5, "yes": true, "none": null});
        assert_eq!(Json::Object(fields(&source)), expected);
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
