//! One walk over a chat request that builds nothing of it: notes what the gateway needs to know and
//! where it stands.

use std::borrow::Cow;
use std::ops::Range;

use crate::canon::Failure;
use crate::dialect::json::{Fields, MAX_MODEL_BYTES, invalid, malformed};

use super::skim::{Malformed, Skim};

/// Where in the body the fields stand that may have to change.
#[derive(Default)]
pub struct Places {
    /// Behind the opening brace.
    pub start: usize,
    /// The value of `model`.
    pub model: Range<usize>,
    /// The value of `stream_options`.
    pub stream_options: Option<Range<usize>>,
    /// `tools` and `tool_choice` with their keys, and with the comma to a neighbour.
    pub tools: Vec<Range<usize>>,
}

/// What the walk over the body has found.
pub struct Found<'a> {
    /// Where the body begins in memory, to turn its parts into places.
    body_start: usize,
    /// What may have to change.
    pub places: Places,
    /// Fields that may be there once only and were seen.
    seen: Vec<FieldName>,
    /// Where the tools field begins that was read last: it ends where the next field begins.
    open_tools: Option<usize>,
    /// `model`.
    pub model: Option<Cow<'a, str>>,
    /// `stream`.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub wants_usage: bool,
    /// `n`.
    pub choices: Option<usize>,
    /// Whether there is a list of `messages`.
    pub has_messages: bool,
    /// The last message of role user, as it stands there.
    pub last_user: Option<&'a str>,
}

/// Walks over a body. `want_text` looks for the last user message as well.
///
/// # Errors
///
/// `InvalidRequest`: it is no JSON object, or a field that the gateway reads is wrong or there twice.
pub fn walk(body: &str, want_text: bool) -> Result<Found<'_>, Failure> {
    let mut json = Skim::new(body);
    let mut found = Found::new(body);
    found.walk(&mut json, want_text).map_err(|wrong| match wrong {
        Wrong::Syntax => not_an_object(body),
        Wrong::Field(reason) => invalid(format!("{reason} ({})", line_and_column(body, json.position()))),
    })?;
    found.end(body);
    Ok(found)
}

/// Why a body cannot be walked over.
enum Wrong {
    Syntax,
    /// A field is not what it must be; in words.
    Field(Cow<'static, str>),
}

impl From<Malformed> for Wrong {
    fn from(Malformed: Malformed) -> Self {
        Self::Syntax
    }
}

/// What is wrong with the syntax, and where, in the words of serde_json.
fn not_an_object(body: &str) -> Failure {
    match serde_json::from_str::<Fields<'_>>(body) {
        Err(error) => malformed(&error),
        Ok(_) => invalid("the body is not valid JSON"),
    }
}

/// As serde_json counts: bytes of a line, and the last one that was read.
fn line_and_column(body: &str, position: usize) -> String {
    let read = body.as_bytes().get(..position).unwrap_or_default();
    let lines = memchr::memchr_iter(b'\n', read).count() + 1;
    let column = memchr::memrchr(b'\n', read).map_or(position, |newline| position - newline - 1);
    format!("line {lines} column {column}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldName {
    Model,
    Stream,
    StreamOptions,
    Tools,
    ToolChoice,
    Messages,
    N,
    Other,
}

impl FieldName {
    fn of(key: &str) -> Self {
        match key {
            "model" => Self::Model,
            "stream" => Self::Stream,
            "stream_options" => Self::StreamOptions,
            "tools" => Self::Tools,
            "tool_choice" => Self::ToolChoice,
            "messages" => Self::Messages,
            "n" => Self::N,
            _ => Self::Other,
        }
    }
}

impl<'a> Found<'a> {
    fn new(body: &str) -> Self {
        let start = body.find('{').map_or(0, |brace| brace + 1);
        Self {
            body_start: body.as_ptr().addr(),
            places: Places { start, ..Places::default() },
            seen: Vec::with_capacity(8),
            open_tools: None,
            model: None,
            stream: false,
            wants_usage: false,
            choices: None,
            has_messages: false,
            last_user: None,
        }
    }

    fn walk(&mut self, json: &mut Skim<'a>, want_text: bool) -> Result<(), Wrong> {
        let mut fields = json.open(b'{')?;
        while json.has_next(&mut fields)? {
            let raw_key = json.key()?;
            let key: Cow<'_, str> = if raw_key.contains('\\') {
                Cow::Owned(serde_json::from_str(raw_key).map_err(|_| Wrong::Syntax)?)
            } else {
                Cow::Borrowed(raw_key.trim_matches('"'))
            };
            let name = FieldName::of(&key);
            // Servers that do not mind the case would take these ones.
            let meant = ["model", "messages"].into_iter().find(|field| key.eq_ignore_ascii_case(field));
            if let Some(meant) = meant.filter(|meant| *meant != key) {
                let reason = format!("\"{key}\" is not \"{meant}\"; field names are in lower case");
                return Err(Wrong::Field(reason.into()));
            }
            if name != FieldName::Other {
                if self.seen.contains(&name) {
                    return Err(Wrong::Field(format!("\"{key}\" is there twice; send it once").into()));
                }
                self.seen.push(name);
            }
            self.begin(name, raw_key);
            if name == FieldName::Messages && want_text && json.is_at_list() {
                self.last_user = last_user(json)?;
            } else {
                let value = json.value()?;
                self.read(name, value).map_err(|reason| Wrong::Field(reason.into()))?;
            }
        }
        Ok(json.end()?)
    }

    fn place(&self, part: &str) -> Range<usize> {
        let from = part.as_ptr().addr().wrapping_sub(self.body_start);
        from..from.wrapping_add(part.len())
    }

    /// A field begins: the tools field before it ends here, comma included.
    fn begin(&mut self, name: FieldName, raw_key: &str) {
        let here = self.place(raw_key).start;
        if let Some(from) = self.open_tools.take() {
            self.places.tools.push(from..here);
        }
        if matches!(name, FieldName::Tools | FieldName::ToolChoice) {
            self.open_tools = Some(here);
        }
        self.has_messages |= name == FieldName::Messages;
    }

    /// The last field ends. If that is a tools field, the comma that goes with it stands before it,
    /// or before the tools field that it follows.
    fn end(&mut self, body: &str) {
        let Some(mut from) = self.open_tools.take() else { return };
        while let Some(before) = self.places.tools.pop_if(|place| place.end == from) {
            from = before.start;
        }
        let kept = body.get(..from).unwrap_or_default().trim_ascii_end();
        let kept = kept.strip_suffix(',').unwrap_or(kept);
        let close = body.rfind('}').unwrap_or(from);
        self.places.tools.push(kept.len()..close);
    }

    fn read(&mut self, name: FieldName, value: &'a str) -> Result<(), &'static str> {
        match name {
            FieldName::Model => {
                self.places.model = self.place(value);
                if value.len() > MAX_MODEL_BYTES {
                    return Err("\"model\" is too long to be the name of a model");
                }
                let model = serde_json::from_str::<JsonText<'a>>(value).ok();
                let model = model.map(|text| text.0).filter(|model| !model.is_empty());
                self.model = Some(model.ok_or("\"model\" must be a string that is not empty")?);
            }
            FieldName::Stream => {
                self.stream = serde_json::from_str::<Option<bool>>(value)
                    .map_err(|_| "\"stream\" must be true or false")?
                    .unwrap_or(false);
            }
            FieldName::StreamOptions => {
                self.places.stream_options = Some(self.place(value));
                let options: Option<serde_json::Map<String, serde_json::Value>> =
                    serde_json::from_str(value).map_err(|_| "\"stream_options\" must be an object")?;
                self.wants_usage = options
                    .iter()
                    .flatten()
                    .any(|(key, value)| key == "include_usage" && value.as_bool() == Some(true));
            }
            FieldName::N => self.choices = serde_json::from_str(value).ok(),
            FieldName::Messages if !value.starts_with('[') => return Err("\"messages\" must be a list"),
            FieldName::Messages | FieldName::Tools | FieldName::ToolChoice | FieldName::Other => {}
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

/// Steps over the list of messages; the last one of role user.
fn last_user<'a>(json: &mut Skim<'a>) -> Result<Option<&'a str>, Malformed> {
    let mut last_user = None;
    let mut messages = json.open(b'[')?;
    while json.has_next(&mut messages)? {
        let message = json.value()?;
        if is_from_user(message) {
            last_user = Some(message);
        }
    }
    Ok(last_user)
}

fn is_from_user(message: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        role: Cow<'a, str>,
    }
    // Nearly every client writes the role first; only for the others is the message read.
    match message.strip_prefix("{\"role\":").map(str::trim_start) {
        Some(rest) => rest.starts_with("\"user\""),
        None => serde_json::from_str::<Message<'_>>(message).is_ok_and(|message| message.role == "user"),
    }
}
