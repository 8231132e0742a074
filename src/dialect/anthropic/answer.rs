//! Reads an answer, whole and streamed.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::{ChatEvent, Failure, FinishReason, Issuer, Signature, Text, Usage};
use crate::dialect::json::{Str, count, unreadable};
use crate::dialect::openai_chat::error_in_answer;
use crate::dialect::{Progress, StreamReader};

use super::JSON_TOOL;

/// One block of an answer, whole or as it starts in a stream. Told apart by its type, not by an
/// enum: serde copies what it reads into a tagged one.
#[derive(Deserialize)]
struct WireBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    citations: Option<Vec<WireCitation<'a>>>,
    #[serde(borrow)]
    thinking: Option<Str<'a>>,
    #[serde(borrow)]
    signature: Option<Str<'a>>,
    #[serde(borrow)]
    data: Option<Str<'a>>,
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireCitation<'a> {
    #[serde(borrow)]
    url: Option<Str<'a>>,
    #[serde(borrow)]
    title: Option<Str<'a>>,
}

/// Token counts; each may be missing, and a later one replaces an earlier one.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    #[serde(deserialize_with = "count")]
    input_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    output_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    cache_creation_input_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    cache_read_input_tokens: Option<i64>,
    output_tokens_details: Option<WireDetails>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct WireDetails {
    #[serde(deserialize_with = "count")]
    thinking_tokens: Option<i64>,
}

impl WireUsage {
    fn replace(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
    }

    /// Anthropic counts cached tokens apart from the others.
    fn usage(self) -> Usage {
        let cached = self.cache_read_input_tokens;
        let written = self.cache_creation_input_tokens;
        let prompt = self
            .input_tokens
            .map(|input| input.saturating_add(cached.unwrap_or(0)).saturating_add(written.unwrap_or(0)));
        Usage {
            cached_tokens: cached,
            cache_creation_tokens: written,
            reasoning_tokens: self.output_tokens_details.and_then(|details| details.thinking_tokens),
            ..Usage::of(prompt, self.output_tokens)
        }
    }
}

fn finish_reason(word: &str) -> FinishReason {
    match word {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

fn signature(value: Str<'_>) -> ChatEvent<'_> {
    ChatEvent::Signature(proof(value))
}

fn proof(Str(value): Str<'_>) -> Signature<'_> {
    Signature { issuer: Issuer::Anthropic, value }
}

fn thought(Str(text): Str<'_>) -> ChatEvent<'_> {
    ChatEvent::Thinking { text, issuer: Some(Issuer::Anthropic) }
}

fn citation(citation: WireCitation<'_>) -> Option<ChatEvent<'_>> {
    Some(ChatEvent::Citation { url: citation.url?.0, title: citation.title.map(|Str(title)| title) })
}

fn not_a_message(_: serde_json::Error) -> Failure {
    unreadable("the upstream's answer is not an Anthropic message; check base_url and engine")
}

/// What becomes of arguments.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Arguments {
    /// They belong to a tool that runs at the provider.
    #[default]
    Ignored,
    /// They belong to a call of the client's tool.
    OfCall,
    /// They are the JSON answer.
    AreText,
}

/// The events that begin a block. Tools that run at the provider, and whatever comes next, say
/// nothing that a client could answer.
fn begin<'a>(block: WireBlock<'a>, events: &mut Vec<ChatEvent<'a>>) -> Arguments {
    match block.kind.0.as_ref() {
        "text" => {
            events.extend(block.text.filter(|Str(text)| !text.is_empty()).map(|Str(text)| ChatEvent::Text(text)));
            events.extend(block.citations.into_iter().flatten().filter_map(citation));
        }
        "thinking" => {
            events.extend(block.thinking.filter(|Str(text)| !text.is_empty()).map(thought));
            events.extend(block.signature.filter(|Str(value)| !value.is_empty()).map(signature));
        }
        "redacted_thinking" => {
            events.extend(block.data.map(|data| ChatEvent::RedactedThinking(proof(data))));
        }
        "tool_use" => match (block.id, block.name) {
            (_, Some(Str(name))) if name == JSON_TOOL => return Arguments::AreText,
            (Some(Str(id)), Some(Str(name))) => {
                events.push(ChatEvent::ToolCall { id, name, signature: None });
                return Arguments::OfCall;
            }
            _ => {}
        },
        _ => {}
    }
    Arguments::Ignored
}

fn continued(arguments: Arguments, piece: Text<'_>) -> Option<ChatEvent<'_>> {
    match arguments {
        _ if piece.is_empty() => None,
        Arguments::Ignored => None,
        Arguments::OfCall => Some(ChatEvent::ToolArguments(piece)),
        Arguments::AreText => Some(ChatEvent::Text(piece)),
    }
}

/// What the client's tools and the tool that stands for a JSON answer were called for.
#[derive(Clone, Copy, Default)]
struct Called {
    tools: bool,
    json_answer: bool,
}

impl Called {
    fn add(&mut self, arguments: Arguments) {
        self.tools |= arguments == Arguments::OfCall;
        self.json_answer |= arguments == Arguments::AreText;
    }

    /// A JSON answer is no call that waits for a result.
    fn finished(self, word: &str) -> FinishReason {
        match finish_reason(word) {
            FinishReason::ToolCalls if self.json_answer && !self.tools => FinishReason::Stop,
            reason => reason,
        }
    }
}

/// The events of a whole answer.
///
/// # Errors
///
/// The answer is an error, or not a message.
pub fn read_answer(body: &[u8]) -> Result<Vec<ChatEvent<'_>>, Failure> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        content: Option<Vec<WireBlock<'a>>>,
        #[serde(borrow)]
        stop_reason: Option<Str<'a>>,
        usage: Option<WireUsage>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(not_a_message)?;
    if let Some(error) = answer.error {
        return Err(error_in_answer(error));
    }
    let Some(content) = answer.content else {
        return Err(unreadable("the upstream's answer has no content; is base_url an Anthropic messages endpoint?"));
    };
    let mut events = Vec::with_capacity(2 * content.len() + 2);
    let mut called = Called::default();
    for mut block in content {
        let input = Text::Borrowed(block.input.take().map_or("{}", RawValue::get));
        let arguments = begin(block, &mut events);
        called.add(arguments);
        events.extend(continued(arguments, input));
    }
    let reason = answer.stop_reason.map_or(FinishReason::Stop, |Str(word)| called.finished(&word));
    events.extend(answer.usage.map(|usage| ChatEvent::Usage(usage.usage())));
    events.push(ChatEvent::Finish(reason));
    Ok(events)
}

/// Reads a streamed answer.
#[derive(Default)]
pub struct AnswerReader {
    usage: WireUsage,
    arguments: Arguments,
    called: Called,
    is_over: bool,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    content_block: Option<WireBlock<'a>>,
    message: Option<Started>,
    usage: Option<WireUsage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Started {
    usage: Option<WireUsage>,
}

/// A piece of a block, or the end of the message.
#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    partial_json: Option<Str<'a>>,
    #[serde(borrow)]
    thinking: Option<Str<'a>>,
    #[serde(borrow)]
    signature: Option<Str<'a>>,
    #[serde(borrow)]
    citation: Option<WireCitation<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Str<'a>>,
}

impl StreamReader for AnswerReader {
    fn read<'a>(&mut self, data: &'a [u8], events: &mut Vec<ChatEvent<'a>>) -> Result<(), Failure> {
        let event: Event<'a> = serde_json::from_slice(data).map_err(not_a_message)?;
        match event.kind.0.as_ref() {
            "content_block_delta" => {
                let Some(delta) = event.delta else { return Ok(()) };
                events.extend(delta.text.map(|Str(text)| ChatEvent::Text(text)));
                events.extend(delta.thinking.map(thought));
                events.extend(delta.signature.map(signature));
                events.extend(delta.partial_json.and_then(|Str(piece)| continued(self.arguments, piece)));
                events.extend(delta.citation.and_then(citation));
            }
            "content_block_start" => {
                let Some(block) = event.content_block else { return Ok(()) };
                self.arguments = begin(block, events);
                self.called.add(self.arguments);
            }
            "content_block_stop" => self.arguments = Arguments::Ignored,
            "message_start" => {
                self.usage.replace(event.message.and_then(|message| message.usage).unwrap_or_default());
                events.push(ChatEvent::Usage(self.usage.usage()));
            }
            "message_delta" => {
                if let Some(usage) = event.usage {
                    self.usage.replace(usage);
                    events.push(ChatEvent::Usage(self.usage.usage()));
                }
                let reason = event.delta.and_then(|delta| delta.stop_reason);
                events.extend(reason.map(|Str(word)| ChatEvent::Finish(self.called.finished(&word))));
            }
            "message_stop" => self.is_over = true,
            "error" => {
                let unknown = || unreadable("the upstream reported an error without saying which");
                return Err(event.error.map_or_else(unknown, error_in_answer));
            }
            // `ping`, and whatever comes next.
            _ => {}
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        if self.is_over { Progress::Over } else { Progress::Open }
    }
}
