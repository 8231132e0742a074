//! One walk over a chat request that builds nothing of it: notes what the gateway needs to know and
//! where it stands.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::dialect::json::MAX_MODEL_BYTES;

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
/// It is no JSON object, or a field that the gateway reads is wrong or there twice.
pub fn walk(body: &str, want_text: bool) -> serde_json::Result<Found<'_>> {
    let mut found = Found::new(body);
    let mut json = serde_json::Deserializer::from_str(body);
    TopLevel { found: &mut found, want_text }.deserialize(&mut json)?;
    json.end()?;
    found.end(body);
    Ok(found)
}

/// The text of a message's content: the string, or the last text part; its first `chars`
/// characters.
pub fn user_text(message: &str, chars: usize) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: Content<'a>,
    }
    let text = serde_json::from_str::<Message<'_>>(message).ok()?.content.0?;
    let end = if text.len() <= chars { None } else { text.char_indices().nth(chars).map(|(at, _)| at) };
    Some(match end {
        Some(end) => text.get(..end)?.to_owned(),
        None => text.into_owned(),
    })
}

/// What a message says: a text, or parts of which the last one that is text counts.
struct Content<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Content<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(TextOrParts).map(Content)
    }
}

struct TextOrParts;

impl<'de> Visitor<'de> for TextOrParts {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of parts")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut parts: S) -> Result<Self::Value, S::Error> {
        #[derive(serde::Deserialize)]
        struct Part<'a> {
            #[serde(borrow)]
            text: Option<Cow<'a, str>>,
        }
        let mut last = None;
        while let Some(part) = parts.next_element::<Part<'de>>()? {
            last = part.text.or(last);
        }
        Ok(last)
    }
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

/// Walks over the top-level fields without building anything of their values.
struct TopLevel<'a, 'f> {
    found: &'f mut Found<'a>,
    want_text: bool,
}

impl<'de> DeserializeSeed<'de> for TopLevel<'de, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TopLevel<'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let found = self.found;
        while let Some(raw_key) = map.next_key::<&RawValue>()? {
            let raw_key = raw_key.get();
            let key: Cow<'_, str> = if raw_key.contains('\\') {
                Cow::Owned(serde_json::from_str(raw_key).map_err(M::Error::custom)?)
            } else {
                Cow::Borrowed(raw_key.trim_matches('"'))
            };
            let name = FieldName::of(&key);
            // Servers that do not mind the case would take these ones.
            let meant = ["model", "messages"].into_iter().find(|field| key.eq_ignore_ascii_case(field));
            if let Some(meant) = meant.filter(|meant| *meant != key) {
                return Err(M::Error::custom(format!("\"{key}\" is not \"{meant}\"; field names are in lower case")));
            }
            if name != FieldName::Other {
                if found.seen.contains(&name) {
                    return Err(M::Error::custom(format!("\"{key}\" is there twice; send it once")));
                }
                found.seen.push(name);
            }
            found.begin(name, raw_key);
            match name {
                FieldName::Other => map.next_value::<IgnoredAny>().map(drop)?,
                FieldName::Messages if self.want_text => found.last_user = map.next_value_seed(Messages)?,
                _ => {
                    let value = map.next_value::<&RawValue>()?.get();
                    found.read(name, value).map_err(M::Error::custom)?;
                }
            }
        }
        Ok(())
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

/// Walks over the list of messages and gives the last one of role user.
struct Messages;

impl<'de> DeserializeSeed<'de> for Messages {
    type Value = Option<&'de str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut messages: S) -> Result<Self::Value, S::Error> {
        let mut last_user = None;
        while let Some(message) = messages.next_element::<&RawValue>()? {
            if is_from_user(message.get()) {
                last_user = Some(message.get());
            }
        }
        Ok(last_user)
    }
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
