//! Writes a whole answer for a client.
//!
//! Thoughts appear as `reasoning_content` (DeepSeek's API reference), and those that are worth
//! sending back as `reasoning_details` as well (OpenRouter's API reference, "Reasoning tokens"); a
//! signature on a call as `extra_content.google.thought_signature` (Google's documentation, "Thought
//! signatures"). Images stand in the text as Markdown with a `data:` URI.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::canon::{ChatEvent, FinishReason, Issuer, Signature, Source, Text};

use super::usage::UsageObject;

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
pub(super) fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// OpenRouter's name of the provider's format of thoughts.
pub(super) fn format_of(issuer: Issuer) -> &'static str {
    match issuer {
        Issuer::Anthropic => "anthropic-claude-v1",
        Issuer::Google => "google-gemini-v1",
        Issuer::Other => "unknown",
    }
}

pub(super) fn extra_content(signature: &Signature<'_>) -> Value {
    json!({ "google": { "thought_signature": signature.value } })
}

pub(super) fn image_markdown(source: &Source<'_>) -> String {
    match source {
        Source::Base64 { media_type, data } => format!("![image](data:{media_type};base64,{data})"),
        Source::Url(url) | Source::FileId(url) => format!("![image]({url})"),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageObject>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    message: Message<'a>,
    logprobs: (),
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CalledFunction<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Value>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: Text<'a>,
}

/// A whole chat completion.
pub fn write_answer(head: &AnswerHead, events: &[ChatEvent<'_>]) -> Bytes {
    let mut message = Completion::default();
    let (mut usage, mut finish) = (None, FinishReason::Stop);
    for event in events {
        match event {
            ChatEvent::Usage(counts) => usage = Some(UsageObject::from(counts)),
            ChatEvent::Finish(reason) => finish = *reason,
            event => message.take(event),
        }
    }
    let document = Document {
        id: &head.id,
        object: "chat.completion",
        created: head.created,
        model: &head.model,
        choices: [Choice { index: 0, message: message.end(), logprobs: (), finish_reason: finish_word(finish) }],
        usage,
    };
    // Structures of strings and numbers are not refused.
    Bytes::from(serde_json::to_vec(&document).unwrap_or_default())
}

/// A message while its events come in.
#[derive(Default)]
struct Completion<'a> {
    text: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    thoughts: Option<Text<'a>>,
    details: Vec<Value>,
    /// Whether the next piece of a thought continues the last detail.
    thinking: bool,
    calls: Vec<Call<'a>>,
    annotations: Vec<Value>,
}

/// Text with more text behind it; the only piece of one is borrowed.
fn join<'a>(text: &mut Option<Text<'a>>, piece: &'a str) {
    match text {
        None => *text = Some(Text::Borrowed(piece)),
        Some(text) => text.to_mut().push_str(piece),
    }
}

impl<'a> Completion<'a> {
    fn take(&mut self, event: &'a ChatEvent<'_>) {
        let was_thinking = std::mem::take(&mut self.thinking);
        match event {
            ChatEvent::Text(text) => join(&mut self.text, text),
            ChatEvent::Image(source) => self.text.get_or_insert_default().to_mut().push_str(&image_markdown(source)),
            ChatEvent::Refusal(text) => join(&mut self.refusal, text),
            ChatEvent::Thinking { text, issuer } => {
                join(&mut self.thoughts, text);
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
            ChatEvent::ToolCall { id, name, signature } => self.calls.push(Call {
                id,
                kind: "function",
                function: CalledFunction { name, arguments: Text::Borrowed("") },
                extra_content: signature.as_ref().map(extra_content),
            }),
            ChatEvent::ToolArguments(piece) => {
                if let Some(Call { function, .. }) = self.calls.last_mut() {
                    match function.arguments.is_empty() {
                        true => function.arguments = Text::Borrowed(piece),
                        false => function.arguments.to_mut().push_str(piece),
                    }
                }
            }
            ChatEvent::Citation { url, title } => {
                self.annotations.push(annotation(url, title.as_deref()));
            }
            ChatEvent::Usage(_) | ChatEvent::Finish(_) => {}
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

    fn end(mut self) -> Message<'a> {
        for call in self.calls.iter_mut().filter(|call| call.function.arguments.is_empty()) {
            call.function.arguments = Text::Borrowed("{}");
        }
        let says_nothing = self.text.is_none() && self.refusal.is_none() && self.calls.is_empty();
        Message {
            role: "assistant",
            content: self.text.or(says_nothing.then_some(Text::Borrowed(""))),
            refusal: self.refusal,
            reasoning_content: self.thoughts,
            reasoning_details: self.details,
            annotations: self.annotations,
            tool_calls: self.calls,
        }
    }
}

pub(super) fn redacted(signature: &Signature<'_>, index: usize) -> Value {
    json!({
        "type": "reasoning.encrypted",
        "data": signature.value,
        "format": format_of(signature.issuer),
        "index": index,
    })
}

pub(super) fn annotation(url: &str, title: Option<&str>) -> Value {
    json!({ "type": "url_citation", "url_citation": { "url": url, "title": title } })
}
