//! Writes a streamed answer for a client.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde_json::{Value, json};

use crate::canon::{ChatEvent, FinishReason, Usage};
use crate::dialect::sse;

use super::answer::{AnswerHead, annotation, extra_content, finish_word, format_of, image_markdown, redacted};
use super::usage::UsageObject;

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
    finish: Option<FinishReason>,
}

/// A piece of a thought that will be signed.
#[derive(Serialize)]
struct ThoughtDelta<'a> {
    reasoning_content: &'a str,
    reasoning_details: [TextDetail<'a>; 1],
}

#[derive(Serialize)]
struct TextDetail<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
    format: &'static str,
    index: usize,
}

/// A piece of the arguments of a call.
#[derive(Serialize)]
struct ArgumentsDelta<'a> {
    tool_calls: [ArgumentsOf<'a>; 1],
}

#[derive(Serialize)]
struct ArgumentsOf<'a> {
    index: usize,
    function: Arguments<'a>,
}

#[derive(Serialize)]
struct Arguments<'a> {
    arguments: &'a str,
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
            finish: None,
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
        let goes_on = matches!(event, ChatEvent::Thinking { .. } | ChatEvent::Signature(_) | ChatEvent::Finish(_));
        if self.thinking && !goes_on {
            self.thought_ends();
        }
        match event {
            ChatEvent::Text(text) => self.text_delta("content", text),
            ChatEvent::Refusal(text) => self.text_delta("refusal", text),
            ChatEvent::Image(source) => self.text_delta("content", &image_markdown(source)),
            ChatEvent::Thinking { text, issuer: None } => self.text_delta("reasoning_content", text),
            ChatEvent::Thinking { text, issuer: Some(issuer) } => {
                self.thinking = true;
                let detail =
                    TextDetail { kind: "reasoning.text", text, format: format_of(*issuer), index: self.thoughts };
                self.value_delta(&ThoughtDelta { reasoning_content: text, reasoning_details: [detail] });
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
            // Held back: some servers give a reason with every event.
            ChatEvent::Finish(reason) => self.finish = Some(*reason),
            ChatEvent::Usage(_) => {}
        }
    }

    /// Writes what comes behind the last event: why the answer ends, token counts, if they were asked
    /// for, and `[DONE]`.
    pub fn end(&mut self) {
        self.complete_arguments();
        if let Some(reason) = self.finish.take() {
            self.out.put(self.head.as_bytes());
            self.out.put(&b"{\"index\":0,\"delta\":{},\"finish_reason\":\""[..]);
            self.out.put(finish_word(reason).as_bytes());
            self.out.put(&b"\"}]}\n\n"[..]);
        }
        if let (true, Some(usage)) = (self.include_usage, self.usage) {
            self.out.put(self.head.as_bytes());
            self.out.put(&b"],\"usage\":"[..]);
            self.json(&UsageObject::from(&usage));
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
        let call = ArgumentsOf { index: self.calls - 1, function: Arguments { arguments: piece } };
        self.value_delta(&ArgumentsDelta { tool_calls: [call] });
    }

    fn text_delta(&mut self, field: &str, text: &str) {
        self.begin_delta();
        self.out.put(&b"{\""[..]);
        self.out.put(field.as_bytes());
        self.out.put(&b"\":"[..]);
        self.json(text);
        self.out.put(&b"}"[..]);
        self.end_delta();
    }

    fn value_delta(&mut self, delta: &impl Serialize) {
        self.begin_delta();
        self.json(delta);
        self.end_delta();
    }

    fn delta(&mut self, delta: &str) {
        self.begin_delta();
        self.out.put(delta.as_bytes());
        self.end_delta();
    }

    fn begin_delta(&mut self) {
        self.out.put(self.head.as_bytes());
        self.out.put(&b"{\"index\":0,\"delta\":"[..]);
    }

    fn end_delta(&mut self) {
        self.out.put(&b",\"finish_reason\":null}]}\n\n"[..]);
    }

    fn json<T: Serialize + ?Sized>(&mut self, value: &T) {
        // Neither a buffer nor strings and numbers refuse to be written.
        let _ = serde_json::to_writer((&mut self.out).writer(), value);
    }
}
