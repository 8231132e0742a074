//! A chat request on its way to an upstream of the same format.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::de::{DeserializeSeed, Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::canon::{Failure, FailureKind};

use super::ChatStream;

/// A chat request as the client sent it, with what the gateway needs to know of it.
pub struct ChatRequest {
    body: Bytes,
    fields: Vec<Field>,
    /// The alias that the client asks for.
    pub model: Arc<str>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the client wants the usage chunk of a stream.
    wants_usage: bool,
    /// How many choices the answer has (`n`).
    choices: usize,
    /// The text of the last user message, cut to the length that was asked for.
    pub last_user_text: Option<String>,
}

/// Where a top-level field stands in the body.
struct Field {
    name: FieldName,
    key: Range<usize>,
    value: Range<usize>,
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

/// What a channel demands of a request.
#[derive(Clone, Copy, Debug)]
pub struct Demands<'a> {
    /// The model's name at the upstream.
    pub model: &'a str,
    /// Whether tools may be sent.
    pub tools: bool,
    /// Whether usage may be asked for in streams when the client did not.
    pub stream_usage: bool,
}

impl ChatRequest {
    /// Reads a body. Up to `text_chars` characters of the last user message are kept.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for what is not JSON, names no model or names it more than once.
    pub fn parse(body: Bytes, text_chars: usize) -> Result<Self, Failure> {
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_slice(&body);
        let read = TopLevel { found: &mut found, want_text: text_chars > 0 }.deserialize(&mut json);
        read.and_then(|()| json.end()).map_err(|error| malformed(&error))?;

        let start = body.as_ptr().addr();
        let within = |part: &str| {
            let from = part.as_ptr().addr().wrapping_sub(start);
            from..from.wrapping_add(part.len())
        };
        let fields =
            found.fields.iter().map(|(name, key, value)| Field { name: *name, key: within(key), value: within(value) });
        let fields = fields.collect();
        let Some(model) = found.model else {
            return Err(invalid("the body names no model; add \"model\"").at("model"));
        };
        if !found.has_messages {
            return Err(invalid("the body has no messages; add \"messages\": [...]").at("messages"));
        }
        let last_user_text = found.last_user.and_then(|message| user_text(message, text_chars));
        let (model, stream) = (Arc::from(model), found.stream);
        let (wants_usage, choices) = (found.wants_usage, found.choices.unwrap_or(1));
        Ok(Self { fields, model, stream, wants_usage, choices, last_user_text, body })
    }

    /// The body for one upstream; the client's own bytes when nothing has to change.
    pub fn for_upstream(&self, demands: Demands<'_>) -> Bytes {
        let rename = demands.model != &*self.model;
        let ask_usage = self.asks_usage_itself(demands);
        let drop_tools = !demands.tools
            && self.fields.iter().any(|field| matches!(field.name, FieldName::Tools | FieldName::ToolChoice));
        if !rename && !ask_usage && !drop_tools {
            return self.body.clone();
        }
        let mut out = BytesMut::with_capacity(self.body.len() + demands.model.len() + 64);
        let mut put = |key: &[u8], value: &[u8]| {
            out.extend_from_slice(if out.is_empty() { b"{" } else { b"," });
            out.extend_from_slice(key);
            out.extend_from_slice(b":");
            out.extend_from_slice(value);
        };
        for field in &self.fields {
            let (key, value) = (self.part(&field.key), self.part(&field.value));
            match field.name {
                FieldName::Model if rename => put(key, json_string(demands.model).as_bytes()),
                FieldName::Tools | FieldName::ToolChoice if drop_tools => {}
                FieldName::StreamOptions if ask_usage => put(key, with_usage(value).as_bytes()),
                _ => put(key, value),
            }
        }
        if ask_usage && self.fields.iter().all(|field| field.name != FieldName::StreamOptions) {
            put(b"\"stream_options\"", br#"{"include_usage":true}"#);
        }
        out.extend_from_slice(b"}");
        out.freeze()
    }

    /// The reader of the answer stream to a request that was sent with these demands.
    pub fn answer_stream(&self, demands: Demands<'_>) -> ChatStream {
        ChatStream::new(self.asks_usage_itself(demands), self.choices)
    }

    /// Whether the gateway asks for usage although the client did not.
    fn asks_usage_itself(&self, demands: Demands<'_>) -> bool {
        self.stream && !self.wants_usage && demands.stream_usage
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.body.get(range.clone()).unwrap_or_default()
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidRequest, message)
}

fn malformed(error: &serde_json::Error) -> Failure {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    let place = format!("line {} column {}", error.line(), error.column());
    invalid(if reason.starts_with("invalid type") {
        // serde's own sentence would repeat the value.
        format!("the body must be a JSON object ({place})")
    } else if error.is_data() {
        format!("{reason} ({place})")
    } else {
        format!("the body is not valid JSON: {reason} at {place}")
    })
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `stream_options` with `include_usage` set; its other fields stay.
fn with_usage(options: &[u8]) -> String {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(options).unwrap_or_default();
    fields.insert("include_usage".to_owned(), true.into());
    serde_json::Value::from(fields).to_string()
}

/// The text of a message's content: the string, or the last text part.
fn user_text(message: &str, chars: usize) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let content = message.get("content")?;
    let text = match content.as_array() {
        None => content.as_str()?,
        Some(parts) => parts.iter().rev().find_map(|part| part.get("text")?.as_str())?,
    };
    Some(text.chars().take(chars).collect())
}

#[derive(Default)]
struct Found<'a> {
    fields: Vec<(FieldName, &'a str, &'a str)>,
    model: Option<Cow<'a, str>>,
    stream: bool,
    wants_usage: bool,
    choices: Option<usize>,
    has_messages: bool,
    last_user: Option<&'a str>,
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
            if name != FieldName::Model && key.eq_ignore_ascii_case("model") {
                return Err(M::Error::custom(format!("\"{key}\" is not \"model\"; field names are in lower case")));
            }
            if name != FieldName::Other && found.fields.iter().any(|(seen, ..)| *seen == name) {
                return Err(M::Error::custom(format!("\"{key}\" is there twice; send it once")));
            }
            let value: &RawValue = if name == FieldName::Messages && self.want_text {
                let (raw, last_user) = map.next_value_seed(Messages)?;
                found.last_user = last_user;
                raw
            } else {
                map.next_value()?
            };
            found.read(name, value.get()).map_err(M::Error::custom)?;
            found.fields.push((name, raw_key, value.get()));
        }
        Ok(())
    }
}

impl<'a> Found<'a> {
    fn read(&mut self, name: FieldName, value: &'a str) -> Result<(), &'static str> {
        match name {
            FieldName::Model => {
                let text = |value: &'a str| serde_json::from_str::<JsonText<'a>>(value).ok();
                let model = text(value).map(|text| text.0).filter(|model| !model.is_empty());
                self.model = Some(model.ok_or("\"model\" must be a string that is not empty")?);
            }
            FieldName::Stream => {
                self.stream = serde_json::from_str::<Option<bool>>(value)
                    .map_err(|_| "\"stream\" must be true or false")?
                    .unwrap_or(false);
            }
            FieldName::StreamOptions => {
                let options: Option<serde_json::Map<String, serde_json::Value>> =
                    serde_json::from_str(value).map_err(|_| "\"stream_options\" must be an object")?;
                self.wants_usage = options
                    .iter()
                    .flatten()
                    .any(|(key, value)| key == "include_usage" && value.as_bool() == Some(true));
            }
            FieldName::N => self.choices = serde_json::from_str(value).ok(),
            FieldName::Messages => {
                if !value.starts_with('[') {
                    return Err("\"messages\" must be a list");
                }
                self.has_messages = true;
            }
            FieldName::Tools | FieldName::ToolChoice | FieldName::Other => {}
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

/// Takes the list of messages as one raw value and notes the last one of role user.
struct Messages;

impl<'de> DeserializeSeed<'de> for Messages {
    type Value = (&'de RawValue, Option<&'de str>);

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        let raw: &RawValue = serde::Deserialize::deserialize(json)?;
        let mut last_user = None;
        // A list that is not one of objects is the upstream's to refuse.
        let _ = serde_json::Deserializer::from_str(raw.get()).deserialize_seq(LastUser(&mut last_user));
        Ok((raw, last_user))
    }
}

struct LastUser<'de, 'f>(&'f mut Option<&'de str>);

impl<'de> Visitor<'de> for LastUser<'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut messages: S) -> Result<(), S::Error> {
        while let Some(message) = messages.next_element::<&RawValue>()? {
            if is_from_user(message.get()) {
                *self.0 = Some(message.get());
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Demands<'_> = Demands { model: "m", tools: true, stream_usage: true };

    fn parse(body: &str) -> Result<ChatRequest, Failure> {
        ChatRequest::parse(Bytes::from(body.to_owned()), 100)
    }

    fn refusal(body: &str) -> String {
        let failure = parse(body).err().unwrap();
        assert_eq!(failure.kind, FailureKind::InvalidRequest);
        failure.message
    }

    fn sent(body: &str, demands: Demands<'_>) -> String {
        String::from_utf8(parse(body).unwrap().for_upstream(demands).to_vec()).unwrap()
    }

    #[test]
    fn an_unchanged_request_is_the_clients_own_bytes() {
        let body = Bytes::from_static(br#" {"messages" : [], "model":"m","unknown":{"a":1e400}} "#);
        let request = ChatRequest::parse(body.clone(), 0).unwrap();
        assert_eq!(request.for_upstream(PLAIN).as_ptr(), body.as_ptr());
    }

    #[test]
    fn only_the_model_is_rewritten_and_unknown_fields_survive_as_they_were() {
        let body = r#"{"model": "alias", "x-unknown": [1.0, 1e2, "\u00e9"], "messages": [ ]}"#;
        let demands = Demands { model: "up\"stream", ..PLAIN };
        assert_eq!(sent(body, demands), r#"{"model":"up\"stream","x-unknown":[1.0, 1e2, "\u00e9"],"messages":[ ]}"#);
    }

    #[test]
    fn usage_is_asked_for_in_streams_when_the_client_did_not() {
        let asked = |options: &str| sent(&format!(r#"{{"model":"m","messages":[],"stream":true{options}}}"#), PLAIN);
        assert!(asked("").ends_with(r#","stream_options":{"include_usage":true}}"#));
        assert!(asked(r#","stream_options":null"#).ends_with(r#","stream_options":{"include_usage":true}}"#));
        let kept = asked(r#","stream_options":{"include_obfuscation":false}"#);
        assert!(kept.contains(r#""include_obfuscation":false"#) && kept.contains(r#""include_usage":true"#), "{kept}");
        let own = asked(r#","stream_options":{ "include_usage":true}"#);
        assert!(own.ends_with(r#""stream_options":{ "include_usage":true}}"#));
    }

    #[test]
    fn usage_is_not_asked_for_where_it_is_switched_off_or_nothing_streams() {
        let off = Demands { stream_usage: false, ..PLAIN };
        assert!(!sent(r#"{"model":"m","messages":[],"stream":true}"#, off).contains("usage"));
        assert!(!sent(r#"{"model":"m","messages":[]}"#, PLAIN).contains("usage"));
    }

    #[test]
    fn tools_are_removed_for_a_channel_without_them() {
        let body = r#"{"model":"m","tools":[{}],"tool_choice":"auto","messages":[]}"#;
        assert_eq!(sent(body, Demands { tools: false, ..PLAIN }), r#"{"model":"m","messages":[]}"#);
        assert_eq!(sent(body, PLAIN), body);
    }

    #[test]
    fn a_second_model_in_any_disguise_is_refused() {
        for second in ["model", "Model", "MODEL", "\\u006dodel", "m\\u004fdel"] {
            let body = format!(r#"{{"model":"cheap","messages":[],"{second}":"dear"}}"#);
            assert!(parse(&body).is_err(), "{body}");
        }
        assert_eq!(parse(r#"{"\u006dodel":"m","messages":[]}"#).unwrap().model.as_ref(), "m");
    }

    #[test]
    fn malformed_json_is_refused_with_its_position() {
        assert!(refusal("{\"model\":\"m\",\n \"messages\":[}").contains("line 2 column 14"));
        assert!(refusal("").contains("not valid JSON"));
        assert!(refusal("[1]").contains("must be a JSON object"));
        assert!(refusal(r#"{"model":"m","messages":[]} x"#).contains("column 29"));
        assert!(refusal(r#"{"messages":[]}"#).contains("no model"));
        assert!(refusal(r#"{"model":7,"messages":[]}"#).contains("\"model\" must be a string"));
        assert!(refusal(r#"{"model":"m"}"#).contains("no messages"));
        assert!(refusal(r#"{"model":"m","messages":{}}"#).contains("must be a list"));
        assert!(refusal(r#"{"model":"m","messages":[],"stream":"yes"}"#).contains("\"stream\""));
    }

    #[test]
    fn a_refusal_does_not_repeat_what_the_client_wrote() {
        let told = refusal(r#"{"model":["my secret"],"messages":[]}"#) + &refusal("\"my secret\"");
        assert!(!told.contains("my secret"), "{told}");
    }

    #[test]
    fn invalid_utf8_is_refused() {
        let body = Bytes::from_static(b"{\"model\":\"m\",\"messages\":[\"\xff\"]}");
        assert!(ChatRequest::parse(body, 0).is_err());
    }

    #[test]
    fn the_last_user_text_is_kept_up_to_its_limit() {
        let text = |messages: &str, chars| {
            let body = format!(r#"{{"model":"m","messages":[{messages}]}}"#);
            ChatRequest::parse(Bytes::from(body), chars).unwrap().last_user_text
        };
        let user = r#"{"role":"user","content":"hé llo"},{"role":"assistant","content":"no"}"#;
        assert_eq!(text(user, 100).as_deref(), Some("hé llo"));
        assert_eq!(text(user, 2).as_deref(), Some("hé"));
        assert_eq!(text(user, 0), None);
        let parts = r#"{"content":[{"type":"text","text":"a"},{"type":"image_url"}], "role" : "user"}"#;
        assert_eq!(text(parts, 9).as_deref(), Some("a"));
        assert_eq!(text("1,null", 9), None);
    }
}
