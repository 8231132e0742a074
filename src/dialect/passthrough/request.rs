//! A chat request on its way to an upstream of the same format.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::canon::{Failure, FailureKind};

use super::ChatStream;

/// A chat request as the client sent it, with what the gateway needs to know of it.
pub struct ChatRequest {
    body: Bytes,
    places: Places,
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

/// Where in the body the fields stand that may have to change.
#[derive(Default)]
struct Places {
    /// Behind the opening brace.
    start: usize,
    /// The value of `model`.
    model: Range<usize>,
    /// The value of `stream_options`.
    stream_options: Option<Range<usize>>,
    /// `tools` and `tool_choice` with their keys, and with the comma to a neighbour.
    tools: Vec<Range<usize>>,
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
        let mut found = Found::new(&body);
        let text = simdutf8::basic::from_utf8(&body).map_err(|_| invalid("the body is not UTF-8"))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let read = TopLevel { found: &mut found, want_text: text_chars > 0 }.deserialize(&mut json);
        read.and_then(|()| json.end()).map_err(|error| malformed(&error))?;
        found.end(&body);

        let Some(model) = found.model else {
            return Err(invalid("the body names no model; add \"model\"").at("model"));
        };
        if !found.has_messages {
            return Err(invalid("the body has no messages; add \"messages\": [...]").at("messages"));
        }
        let model = Arc::from(model);
        let last_user_text = found.last_user.and_then(|message| user_text(message, text_chars));
        let (stream, wants_usage, choices) = (found.stream, found.wants_usage, found.choices.unwrap_or(1));
        Ok(Self { places: found.places, model, stream, wants_usage, choices, last_user_text, body })
    }

    /// The body for one upstream; the client's own bytes when nothing has to change.
    pub fn for_upstream(&self, demands: Demands<'_>) -> Bytes {
        let mut edits: Vec<(Range<usize>, Cow<'_, str>)> = Vec::new();
        if demands.model != &*self.model {
            edits.push((self.places.model.clone(), json_string(demands.model).into()));
        }
        if self.asks_usage_itself(demands) {
            edits.push(match &self.places.stream_options {
                Some(place) => (place.clone(), with_usage(self.part(place)).into()),
                None => (self.places.start..self.places.start, r#""stream_options":{"include_usage":true},"#.into()),
            });
        }
        if !demands.tools {
            edits.extend(self.places.tools.iter().map(|place| (place.clone(), Cow::Borrowed(""))));
        }
        if edits.is_empty() { self.body.clone() } else { self.edited(edits) }
    }

    fn edited(&self, mut edits: Vec<(Range<usize>, Cow<'_, str>)>) -> Bytes {
        edits.sort_unstable_by_key(|(place, _)| place.start);
        let growth: usize = edits.iter().map(|(_, text)| text.len()).sum();
        let mut out = BytesMut::with_capacity(self.body.len() + growth);
        let mut from = 0;
        for (place, text) in edits {
            out.extend_from_slice(self.part(&(from..place.start)));
            out.extend_from_slice(text.as_bytes());
            from = place.end;
        }
        out.extend_from_slice(self.part(&(from..self.body.len())));
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
    invalid(if reason.ends_with("expected a list of messages") {
        // serde's own sentences would repeat the value.
        format!("\"messages\" must be a list ({place})")
    } else if reason.starts_with("invalid type") {
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

/// The text of a message's content: the string, or the last text part; its first `chars`
/// characters.
fn user_text(message: &str, chars: usize) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    #[derive(serde::Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        text: Option<Cow<'a, str>>,
    }
    let content = serde_json::from_str::<Message<'_>>(message).ok()?.content.get();
    let text = match content.starts_with('"') {
        true => serde_json::from_str::<JsonText<'_>>(content).ok()?.0,
        false => serde_json::from_str::<Vec<Part<'_>>>(content).ok()?.into_iter().rev().find_map(|part| part.text)?,
    };
    let end = if text.len() <= chars { None } else { text.char_indices().nth(chars).map(|(at, _)| at) };
    Some(match end {
        Some(end) => text.get(..end)?.to_owned(),
        None => text.into_owned(),
    })
}

/// What the walk over the body has found so far.
struct Found<'a> {
    /// Where the body begins in memory, to turn its parts into places.
    body_start: usize,
    places: Places,
    /// Fields that may be there once only and were seen.
    seen: Vec<FieldName>,
    /// Where the tools field begins that was read last: it ends where the next field begins.
    open_tools: Option<usize>,
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
    fn new(body: &[u8]) -> Self {
        let start = body.iter().position(|byte| *byte == b'{').map_or(0, |brace| brace + 1);
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
    fn end(&mut self, body: &[u8]) {
        let Some(mut from) = self.open_tools.take() else { return };
        while let Some(before) = self.places.tools.pop_if(|place| place.end == from) {
            from = before.start;
        }
        let kept = body.get(..from).unwrap_or_default().trim_ascii_end();
        let kept = kept.strip_suffix(b",").unwrap_or(kept);
        let close = body.iter().rposition(|byte| *byte == b'}').unwrap_or(from);
        self.places.tools.push(kept.len()..close);
    }

    fn read(&mut self, name: FieldName, value: &'a str) -> Result<(), &'static str> {
        match name {
            FieldName::Model => {
                self.places.model = self.place(value);
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
        assert_eq!(
            sent(body, demands),
            r#"{"model": "up\"stream", "x-unknown": [1.0, 1e2, "\u00e9"], "messages": [ ]}"#
        );
    }

    #[test]
    fn usage_is_asked_for_in_streams_when_the_client_did_not() {
        let asked = |options: &str| sent(&format!(r#"{{"model":"m","messages":[],"stream":true{options}}}"#), PLAIN);
        assert!(asked("").starts_with(r#"{"stream_options":{"include_usage":true},"model""#));
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
    fn tools_are_removed_wherever_they_stand() {
        let without = Demands { tools: false, ..PLAIN };
        let (rest, tools, choice) = (r#""model":"m","messages":[]"#, r#""tools":[{}]"#, r#""tool_choice":"auto""#);
        for body in [
            format!("{{{rest},{tools},{choice}}}"),
            format!("{{{tools}, {choice}, {rest}}}"),
            format!("{{{tools},{rest} , {choice} }}"),
            format!("{{{rest}\n,\n{choice}}}"),
        ] {
            let sent = sent(&body, without);
            let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
            assert_eq!(sent, serde_json::json!({"model": "m", "messages": []}), "{body}");
        }
        let body = format!("{{{rest},{tools}}}");
        assert_eq!(sent(&body, PLAIN), body);
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
