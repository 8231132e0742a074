//! Writes an answer for a client: a chat completion, or the chunks of one.
//!
//! Thoughts appear as `reasoning_content` (DeepSeek's API reference), and those that are worth
//! sending back as `reasoning_details` as well (OpenRouter's API reference, "Reasoning tokens"); a
//! signature on a call as `extra_content.google.thought_signature` (Google's documentation, "Thought
//! signatures"). Images stand in the text as Markdown with a `data:` URI.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use crate::canon::{ChatEvent, FinishReason, Issuer, Signature, Source, Usage};
use crate::dialect::sse;

/// What every part of an answer says of it.
#[derive(Clone, Debug)]
pub struct AnswerHead {
    /// `id`; one for the whole answer.
    pub id: String,
    /// `created`, in seconds since 1970.
    pub created: u64,
    /// `model`: the alias that the client asked for.
    pub model: String,
}

/// The word for a finish reason.
fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// OpenRouter's name of the provider's format of thoughts.
fn format_of(issuer: Issuer) -> &'static str {
    match issuer {
        Issuer::Anthropic => "anthropic-claude-v1",
        Issuer::Google => "google-gemini-v1",
        Issuer::Other => "unknown",
    }
}

fn usage_value(usage: &Usage) -> Value {
    let mut value = json!({
        "prompt_tokens": usage.prompt_tokens.unwrap_or(0),
        "completion_tokens": usage.completion_tokens.unwrap_or(0),
        "total_tokens": usage.total_tokens.unwrap_or(0),
    });
    let details = |fields: [(&str, Option<i64>); 2]| -> Option<Value> {
        let known: Map<String, Value> =
            fields.into_iter().filter_map(|(name, count)| Some((name.to_owned(), count?.into()))).collect();
        (!known.is_empty()).then_some(Value::Object(known))
    };
    let prompt = details([
        ("cached_tokens", usage.cached_tokens),
        // As OpenRouter calls it; OpenAI has no word for it.
        ("cache_write_tokens", usage.cache_creation_tokens),
    ]);
    let completion = details([("reasoning_tokens", usage.reasoning_tokens), ("", None)]);
    if let Value::Object(fields) = &mut value {
        fields.extend(prompt.map(|details| ("prompt_tokens_details".to_owned(), details)));
        fields.extend(completion.map(|details| ("completion_tokens_details".to_owned(), details)));
    }
    value
}

fn extra_content(signature: &Signature<'_>) -> Value {
    json!({ "google": { "thought_signature": signature.value } })
}

fn image_markdown(source: &Source<'_>) -> String {
    match source {
        Source::Base64 { media_type, data } => format!("![image](data:{media_type};base64,{data})"),
        Source::Url(url) | Source::FileId(url) => format!("![image]({url})"),
    }
}

/// A whole chat completion.
pub fn write_answer(head: &AnswerHead, events: &[ChatEvent<'_>]) -> Bytes {
    let mut answer = Completion::default();
    for event in events {
        answer.take(event);
    }
    let mut document = json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [{
            "index": 0,
            "message": answer.message(),
            "logprobs": null,
            "finish_reason": finish_word(answer.finish.unwrap_or(FinishReason::Stop)),
        }],
    });
    if let (Value::Object(fields), Some(usage)) = (&mut document, answer.usage) {
        fields.insert("usage".to_owned(), usage_value(&usage));
    }
    Bytes::from(document.to_string())
}

/// The parts of a message while its events come in.
#[derive(Default)]
struct Completion {
    text: Option<String>,
    refusal: Option<String>,
    thoughts: String,
    details: Vec<Value>,
    /// Whether the next piece of a thought continues the last detail.
    thinking: bool,
    calls: Vec<(Map<String, Value>, String, String)>,
    annotations: Vec<Value>,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
}

impl Completion {
    fn take(&mut self, event: &ChatEvent<'_>) {
        if let ChatEvent::Usage(usage) = event {
            self.usage = Some(*usage);
            return;
        }
        let was_thinking = std::mem::take(&mut self.thinking);
        match event {
            ChatEvent::Text(text) => self.text.get_or_insert_default().push_str(text),
            ChatEvent::Image(source) => self.text.get_or_insert_default().push_str(&image_markdown(source)),
            ChatEvent::Refusal(text) => self.refusal.get_or_insert_default().push_str(text),
            ChatEvent::Thinking { text, issuer } => {
                self.thoughts.push_str(text);
                if let Some(issuer) = issuer {
                    let detail = self.open_thought(was_thinking, *issuer);
                    if let Some(Value::String(so_far)) = detail.and_then(|detail| detail.get_mut("text")) {
                        so_far.push_str(text);
                    }
                    self.thinking = true;
                }
            }
            ChatEvent::Signature(signature) => {
                if let Some(detail) = self.open_thought(was_thinking, signature.issuer) {
                    detail.insert("signature".to_owned(), signature.value.as_ref().into());
                }
            }
            ChatEvent::RedactedThinking(signature) => {
                let index = self.details.len();
                self.details.push(redacted(signature, index));
            }
            ChatEvent::ToolCall { id, name, signature } => {
                let mut call = Map::new();
                call.insert("id".to_owned(), id.as_ref().into());
                if let Some(signature) = signature {
                    call.insert("extra_content".to_owned(), extra_content(signature));
                }
                self.calls.push((call, name.as_ref().to_owned(), String::new()));
            }
            ChatEvent::ToolArguments(piece) => {
                if let Some((_, _, arguments)) = self.calls.last_mut() {
                    arguments.push_str(piece);
                }
            }
            ChatEvent::Citation { url, title } => {
                self.annotations.push(annotation(url, title.as_deref()));
            }
            ChatEvent::Finish(reason) => self.finish = Some(*reason),
            ChatEvent::Usage(_) => {}
        }
    }

    /// The detail of the thought that is going on, or a new one.
    fn open_thought(&mut self, continues: bool, issuer: Issuer) -> Option<&mut Map<String, Value>> {
        if !continues {
            let index = self.details.len();
            self.details
                .push(json!({ "type": "reasoning.text", "text": "", "format": format_of(issuer), "index": index }));
        }
        self.details.last_mut()?.as_object_mut()
    }

    fn message(&mut self) -> Value {
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        message.insert("content".to_owned(), std::mem::take(&mut self.text).into());
        message.insert("refusal".to_owned(), std::mem::take(&mut self.refusal).into());
        if !self.thoughts.is_empty() {
            message.insert("reasoning_content".to_owned(), std::mem::take(&mut self.thoughts).into());
        }
        if !self.details.is_empty() {
            message.insert("reasoning_details".to_owned(), std::mem::take(&mut self.details).into());
        }
        if !self.annotations.is_empty() {
            message.insert("annotations".to_owned(), std::mem::take(&mut self.annotations).into());
        }
        if !self.calls.is_empty() {
            let calls = std::mem::take(&mut self.calls).into_iter().map(|(mut call, name, arguments)| {
                let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
                call.insert("type".to_owned(), "function".into());
                call.insert("function".to_owned(), json!({ "name": name, "arguments": arguments }));
                Value::Object(call)
            });
            message.insert("tool_calls".to_owned(), calls.collect::<Vec<_>>().into());
        }
        Value::Object(message)
    }
}

fn redacted(signature: &Signature<'_>, index: usize) -> Value {
    json!({
        "type": "reasoning.encrypted",
        "data": signature.value,
        "format": format_of(signature.issuer),
        "index": index,
    })
}

fn annotation(url: &str, title: Option<&str>) -> Value {
    json!({ "type": "url_citation", "url_citation": { "url": url, "title": title } })
}

/// Writes the chunks of a streamed answer as server-sent events.
pub struct ChunkWriter {
    out: BytesMut,
    /// Every chunk up to its choices.
    head: String,
    include_usage: bool,
    has_begun: bool,
    /// How many calls have begun.
    calls: usize,
    /// Whether the latest call has got arguments.
    has_arguments: bool,
    /// How many thoughts are complete, and whether one is going on.
    thoughts: usize,
    thinking: bool,
    usage: Option<Usage>,
}

impl ChunkWriter {
    /// A writer of this answer; `include_usage` ends it with a chunk of token counts.
    pub fn new(head: &AnswerHead, include_usage: bool) -> Self {
        let AnswerHead { id, created, model } = head;
        let (id, model) = (Value::from(id.as_str()), Value::from(model.as_str()));
        let head = format!(
            r#"data: {{"id":{id},"object":"chat.completion.chunk","created":{created},"model":{model},"choices":["#
        );
        Self {
            out: BytesMut::new(),
            head,
            include_usage,
            has_begun: false,
            calls: 0,
            has_arguments: true,
            thoughts: 0,
            thinking: false,
            usage: None,
        }
    }

    /// Writes what an event says.
    pub fn write(&mut self, event: &ChatEvent<'_>) {
        if let ChatEvent::Usage(usage) = event {
            self.usage = Some(*usage);
            return;
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            self.delta(r#"{"role":"assistant","content":""}"#);
        }
        if self.thinking && !matches!(event, ChatEvent::Thinking { .. } | ChatEvent::Signature(_)) {
            self.thought_ends();
        }
        match event {
            ChatEvent::Text(text) => self.text_delta("content", text),
            ChatEvent::Refusal(text) => self.text_delta("refusal", text),
            ChatEvent::Image(source) => self.text_delta("content", &image_markdown(source)),
            ChatEvent::Thinking { text, issuer: None } => self.text_delta("reasoning_content", text),
            ChatEvent::Thinking { text, issuer: Some(issuer) } => {
                self.thinking = true;
                let detail = json!({
                    "type": "reasoning.text", "text": text, "format": format_of(*issuer), "index": self.thoughts,
                });
                self.value_delta(&json!({ "reasoning_content": text, "reasoning_details": [detail] }));
            }
            ChatEvent::Signature(signature) => {
                let detail = json!({
                    "type": "reasoning.text",
                    "signature": signature.value,
                    "format": format_of(signature.issuer),
                    "index": self.thoughts,
                });
                self.value_delta(&json!({ "reasoning_details": [detail] }));
                self.thought_ends();
            }
            ChatEvent::RedactedThinking(signature) => {
                let detail = redacted(signature, self.thoughts);
                self.value_delta(&json!({ "reasoning_details": [detail] }));
                self.thoughts += 1;
            }
            ChatEvent::ToolCall { id, name, signature } => {
                self.complete_arguments();
                self.has_arguments = false;
                let mut call = json!({
                    "index": self.calls,
                    "id": id,
                    "type": "function",
                    "function": { "name": name, "arguments": "" },
                });
                if let (Value::Object(fields), Some(signature)) = (&mut call, signature) {
                    fields.insert("extra_content".to_owned(), extra_content(signature));
                }
                self.calls += 1;
                self.value_delta(&json!({ "tool_calls": [call] }));
            }
            ChatEvent::ToolArguments(piece) => self.arguments(piece),
            ChatEvent::Citation { url, title } => {
                self.value_delta(&json!({ "annotations": [annotation(url, title.as_deref())] }));
            }
            ChatEvent::Finish(reason) => {
                self.complete_arguments();
                self.out.put(self.head.as_bytes());
                self.out.put(&b"{\"index\":0,\"delta\":{},\"finish_reason\":\""[..]);
                self.out.put(finish_word(*reason).as_bytes());
                self.out.put(&b"\"}]}\n\n"[..]);
            }
            ChatEvent::Usage(_) => {}
        }
    }

    /// Writes what comes behind the last event: token counts, if they were asked for, and `[DONE]`.
    pub fn end(&mut self) {
        if let (true, Some(usage)) = (self.include_usage, self.usage) {
            self.out.put(self.head.as_bytes());
            self.out.put(&b"],\"usage\":"[..]);
            self.out.put(usage_value(&usage).to_string().as_bytes());
            self.out.put(&b"}\n\n"[..]);
        }
        self.out.put(sse::DONE);
    }

    /// What was written since the last call.
    pub fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// The token counts, if any came.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn thought_ends(&mut self) {
        self.thinking = false;
        self.thoughts += 1;
    }

    /// A call without arguments has an empty object of them.
    fn complete_arguments(&mut self) {
        if !self.has_arguments {
            self.arguments("{}");
        }
    }

    fn arguments(&mut self, piece: &str) {
        if self.calls == 0 || piece.is_empty() {
            return;
        }
        self.has_arguments = true;
        let index = self.calls - 1;
        self.value_delta(&json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] }));
    }

    fn text_delta(&mut self, field: &str, text: &str) {
        self.begin();
        self.out.put(&b"{\""[..]);
        self.out.put(field.as_bytes());
        self.out.put(&b"\":"[..]);
        self.json(text);
        self.out.put(&b"}"[..]);
        self.finish();
    }

    fn value_delta(&mut self, delta: &Value) {
        self.begin();
        self.json(delta);
        self.finish();
    }

    fn delta(&mut self, delta: &str) {
        self.begin();
        self.out.put(delta.as_bytes());
        self.finish();
    }

    fn begin(&mut self) {
        self.out.put(self.head.as_bytes());
        self.out.put(&b"{\"index\":0,\"delta\":"[..]);
    }

    fn finish(&mut self) {
        self.out.put(&b",\"finish_reason\":null}]}\n\n"[..]);
    }

    fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        // Neither a buffer nor a string or a Value refuses to be written.
        let _ = serde_json::to_writer((&mut self.out).writer(), value);
    }
}
