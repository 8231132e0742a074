//! A chat request on its way to an upstream of the same format.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::canon::Failure;
use crate::dialect::json::{Edit, edited, invalid, json_string};

use super::ChatStream;
use super::last_text::last_text;
use super::prompt_chars::prompt_chars;
use super::user_text::user_text;
use super::walk::{Places, walk};

/// A chat request as the client sent it, with what the gateway needs to know of it.
pub struct ChatRequest {
    body: Bytes,
    places: Places,
    /// The alias that the client asks for.
    pub model: Arc<str>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the client wants the usage chunk of a stream.
    pub wants_usage: bool,
    /// How many choices the answer has (`n`).
    choices: usize,
    /// The text of the last user message, cut to the length that was asked for.
    pub last_user_text: Option<String>,
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
        let text = simdutf8::basic::from_utf8(&body).map_err(|_| invalid("the body is not UTF-8"))?;
        let found = walk(text, text_chars > 0)?;
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

    /// The body as the client sent it.
    pub fn body(&self) -> &str {
        // Checked when it came in; checking again costs less than a type that remembers.
        simdutf8::basic::from_utf8(&self.body).unwrap_or_default()
    }

    /// The text to be moderated: that of the last message that has any, whoever said it, or its last
    /// part that is text. Read anew each time.
    pub fn last_text(&self) -> Option<String> {
        last_text(self.body())
    }

    /// How many characters the messages have, without images, sounds and files. Counted anew each
    /// time.
    pub fn prompt_chars(&self) -> usize {
        // What cannot be counted must not pass for short.
        prompt_chars(self.body()).unwrap_or(self.body.len())
    }

    /// The body for one upstream; the client's own bytes when nothing has to change.
    pub fn for_upstream(&self, demands: Demands<'_>) -> Bytes {
        let mut edits: Vec<Edit<'_>> = Vec::new();
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
        edited(&self.body, edits)
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

/// `stream_options` with `include_usage` set; its other fields stay.
fn with_usage(options: &[u8]) -> String {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(options).unwrap_or_default();
    fields.insert("include_usage".to_owned(), true.into());
    serde_json::Value::from(fields).to_string()
}

#[cfg(test)]
mod tests {
    use crate::canon::FailureKind;

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
        assert!(parse(r#"{"model":"m","messages":[],"Messages":[{"role":"user","content":"harm"}]}"#).is_err());
    }

    #[test]
    fn malformed_json_is_refused_with_its_position() {
        assert!(refusal("{\"model\":\"m\",\n \"messages\":[}").contains("line 2 column 14"));
        assert!(refusal("").contains("not valid JSON"));
        assert!(refusal("[1]").contains("must be a JSON object"));
        assert!(refusal(r#"{"model":"m","messages":[]} x"#).contains("column 29"));
        assert!(refusal(r#"{"messages":[]}"#).contains("no model"));
        assert!(refusal(r#"{"model":7,"messages":[]}"#).contains("\"model\" must be a string"));
        assert!(refusal(&format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(600))).contains("too long"));
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

    #[test]
    fn a_prompt_that_cannot_be_counted_is_as_long_as_its_body() {
        let chars = |body: &str| parse(body).unwrap().prompt_chars();
        assert_eq!(chars(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#), 6);
        let body = r#"{"model":"m","messages":["\ud800"]}"#;
        assert_eq!(chars(body), body.len());
    }
}
