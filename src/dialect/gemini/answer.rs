//! Reads an answer, whole and streamed.
//!
//! A whole answer is one `GenerateContentResponse`, or a list of them, as a stream without `alt=sse`
//! has it; a streamed one is an event for each.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::canon::{ChatEvent, Failure, FailureKind, FinishReason, Issuer, Signature, Source, Text, Usage};
use crate::dialect::json::{Str, unreadable};
use crate::dialect::openai_chat::error_in_answer;
use crate::dialect::{Progress, StreamReader};

/// `GenerateContentResponse`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, alias = "prompt_feedback")]
    prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(alias = "usage_metadata")]
    usage_metadata: Option<UsageMetadata>,
    #[serde(borrow, alias = "response_id")]
    response_id: Option<Str<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow, alias = "finish_reason")]
    pub(super) finish_reason: Option<Str<'a>>,
    #[serde(borrow, alias = "grounding_metadata")]
    grounding_metadata: Option<GroundingMetadata<'a>>,
    #[serde(borrow, alias = "citation_metadata")]
    citation_metadata: Option<CitationMetadata<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow)]
    pub(super) parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    pub(super) thought: Option<bool>,
    #[serde(borrow, alias = "thought_signature")]
    thought_signature: Option<Str<'a>>,
    #[serde(borrow, alias = "function_call")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(borrow, alias = "inline_data")]
    pub(super) inline_data: Option<Blob<'a>>,
    #[serde(borrow, alias = "executable_code")]
    executable_code: Option<ExecutableCode<'a>>,
    #[serde(borrow, alias = "code_execution_result")]
    code_execution_result: Option<CodeExecutionResult<'a>>,
    /// Of a tool that runs at the provider.
    #[serde(alias = "tool_call")]
    tool_call: Option<IgnoredAny>,
    #[serde(alias = "tool_response")]
    tool_response: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    #[serde(borrow, alias = "mime_type")]
    pub(super) mime_type: Option<Str<'a>>,
    #[serde(borrow)]
    pub(super) data: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct ExecutableCode<'a> {
    #[serde(borrow)]
    language: Option<Str<'a>>,
    #[serde(borrow)]
    code: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct CodeExecutionResult<'a> {
    #[serde(borrow)]
    output: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback<'a> {
    #[serde(borrow, alias = "block_reason")]
    pub(super) block_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroundingMetadata<'a> {
    #[serde(borrow, alias = "grounding_chunks")]
    grounding_chunks: Option<Vec<GroundingChunk<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroundingChunk<'a> {
    #[serde(borrow)]
    web: Option<Place<'a>>,
    #[serde(borrow, alias = "retrieved_context")]
    retrieved_context: Option<Place<'a>>,
    #[serde(borrow)]
    maps: Option<Place<'a>>,
}

/// The Gemini API and Vertex AI call the list by different names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CitationMetadata<'a> {
    #[serde(borrow, alias = "citation_sources", alias = "citations")]
    citation_sources: Option<Vec<Place<'a>>>,
}

#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow)]
    uri: Option<Str<'a>>,
    #[serde(borrow)]
    title: Option<Str<'a>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct UsageMetadata {
    #[serde(alias = "prompt_token_count")]
    prompt_token_count: Option<i64>,
    #[serde(alias = "tool_use_prompt_token_count")]
    tool_use_prompt_token_count: Option<i64>,
    #[serde(alias = "candidates_token_count")]
    candidates_token_count: Option<i64>,
    #[serde(alias = "thoughts_token_count")]
    thoughts_token_count: Option<i64>,
    #[serde(alias = "cached_content_token_count")]
    cached_content_token_count: Option<i64>,
    #[serde(alias = "total_token_count")]
    total_token_count: Option<i64>,
}

impl UsageMetadata {
    /// Takes later counts; a count that is missing there still holds, and a total without it does not.
    fn replace(&mut self, later: Self) {
        let is_whole = later.candidates_token_count.is_some() || self.candidates_token_count.is_none();
        self.total_token_count = later.total_token_count.filter(|_| is_whole);
        self.prompt_token_count = later.prompt_token_count.or(self.prompt_token_count);
        self.tool_use_prompt_token_count = later.tool_use_prompt_token_count.or(self.tool_use_prompt_token_count);
        self.candidates_token_count = later.candidates_token_count.or(self.candidates_token_count);
        self.thoughts_token_count = later.thoughts_token_count.or(self.thoughts_token_count);
        self.cached_content_token_count = later.cached_content_token_count.or(self.cached_content_token_count);
    }

    /// Results of tools that run at the provider are a prompt as well, and thoughts an answer.
    pub(super) fn usage(self) -> Usage {
        fn sum(one: Option<i64>, other: Option<i64>) -> Option<i64> {
            match (one, other) {
                (Some(one), Some(other)) => Some(one.saturating_add(other)),
                (one, other) => one.or(other),
            }
        }
        let prompt = sum(self.prompt_token_count, self.tool_use_prompt_token_count);
        let completion = sum(self.candidates_token_count, self.thoughts_token_count);
        let counted = Usage::of(prompt, completion);
        Usage {
            total_tokens: self.total_token_count.or(counted.total_tokens),
            cached_tokens: self.cached_content_token_count,
            reasoning_tokens: self.thoughts_token_count,
            ..counted
        }
    }
}

/// Reasons to finish for what the answer says.
pub(super) const WITHHELD: [&str; 9] = [
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
];

/// Reasons to finish that leave an answer in pieces, whatever it has said.
const BROKEN_OFF: [&str; 5] = [
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
];

/// Reads a streamed answer.
#[derive(Default)]
pub struct AnswerReader {
    /// Ids of calls so far.
    calls: HashSet<String>,
    /// Addresses so far.
    cited: HashSet<String>,
    usage: UsageMetadata,
    /// Something of the answer was said, beside thoughts.
    has_said: bool,
    finished: bool,
}

/// The events of a whole answer.
///
/// # Errors
///
/// The answer is an error, a refusal of the prompt, or no answer of Gemini's.
pub fn read_answer(body: &[u8]) -> Result<Vec<ChatEvent<'_>>, Failure> {
    let mut reader = AnswerReader::default();
    let mut events = Vec::new();
    let has_candidates = reader.read_data(body, &mut events)?;
    if !has_candidates {
        return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent an answer without candidates"));
    }
    if !reader.finished {
        events.push(ChatEvent::Finish(reader.stop()));
    }
    Ok(events)
}

impl StreamReader for AnswerReader {
    fn read<'a>(&mut self, data: &'a [u8], events: &mut Vec<ChatEvent<'a>>) -> Result<(), Failure> {
        // Some servers end their stream as OpenAI does.
        if data != b"[DONE]" {
            self.read_data(data, events)?;
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        if self.finished { Progress::Finished } else { Progress::Open }
    }
}

/// The prompt was blocked for this reason.
pub(super) fn prompt_refused(reason: &str) -> Failure {
    let message = format!("the provider refuses the prompt ({reason}); change what it says");
    Failure::new(FailureKind::ContentFiltered, message)
}

pub(super) fn not_an_answer(_: serde_json::Error) -> Failure {
    unreadable("the upstream's answer is not one of Gemini's generateContent; check base_url and engine")
}

impl AnswerReader {
    /// Reads one response, or a list of them; tells whether there was a candidate.
    fn read_data<'a>(&mut self, data: &'a [u8], events: &mut Vec<ChatEvent<'a>>) -> Result<bool, Failure> {
        if !data.trim_ascii_start().starts_with(b"[") {
            return self.read_chunk(serde_json::from_slice(data).map_err(not_an_answer)?, data, events);
        }
        let chunks: Vec<Chunk<'a>> = serde_json::from_slice(data).map_err(not_an_answer)?;
        let mut has_candidates = false;
        for chunk in chunks {
            has_candidates |= self.read_chunk(chunk, data, events)?;
        }
        Ok(has_candidates)
    }

    fn read_chunk<'a>(
        &mut self,
        chunk: Chunk<'a>,
        data: &[u8],
        events: &mut Vec<ChatEvent<'a>>,
    ) -> Result<bool, Failure> {
        if let Some(error) = chunk.error {
            return Err(error_in_answer(error));
        }
        let first = chunk.candidates.into_iter().flatten().find(|candidate| candidate.index.unwrap_or(0) == 0);
        if let (None, Some(Str(reason))) = (&first, chunk.prompt_feedback.and_then(|feedback| feedback.block_reason)) {
            if self.has_said {
                self.finish("SAFETY", events)?;
                return Ok(true);
            }
            return Err(prompt_refused(&reason));
        }
        let usage = chunk.usage_metadata.map(|usage| {
            self.usage.replace(usage);
            ChatEvent::Usage(self.usage.usage())
        });
        let Some(candidate) = first else {
            events.extend(usage);
            return Ok(false);
        };
        for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
            self.read_part(part, chunk.response_id.as_ref(), data, events);
        }
        let grounds = candidate.grounding_metadata.and_then(|metadata| metadata.grounding_chunks);
        let grounds =
            grounds.into_iter().flatten().filter_map(|chunk| chunk.web.or(chunk.retrieved_context).or(chunk.maps));
        let sources = candidate.citation_metadata.and_then(|metadata| metadata.citation_sources);
        for place in grounds.chain(sources.into_iter().flatten()) {
            events.extend(self.citation(place));
        }
        events.extend(usage);
        if let Some(Str(reason)) = candidate.finish_reason {
            self.finish(&reason, events)?;
        }
        Ok(true)
    }

    fn read_part<'a>(
        &mut self,
        part: Part<'a>,
        response_id: Option<&Str<'a>>,
        data: &[u8],
        events: &mut Vec<ChatEvent<'a>>,
    ) {
        let is_thought = part.thought == Some(true);
        let signature = part.thought_signature.filter(|Str(value)| !value.is_empty());
        let signature = signature.map(|Str(value)| Signature { issuer: Issuer::Google, value });
        if part.tool_call.is_some() || part.tool_response.is_some() {
            return;
        }
        if let Some(call) = part.function_call {
            let Some(Str(name)) = call.name else { return };
            self.has_said = true;
            let id = self.call_id(call.id, response_id, data);
            let arguments = call.args.map(RawValue::get).filter(|arguments| *arguments != "null").unwrap_or("{}");
            events.push(ChatEvent::ToolCall { id, name, signature });
            events.push(ChatEvent::ToolArguments(compact(arguments)));
            return;
        }
        if let Some(Blob { mime_type: Some(Str(media_type)), data: Some(Str(data)) }) = part.inline_data {
            if media_type.starts_with("image/") && !is_thought {
                self.has_said = true;
                events.push(ChatEvent::Image(Source::Base64 { media_type, data }));
            }
            return;
        }
        let block = match (part.executable_code, part.code_execution_result) {
            (Some(code), _) => code.code.map(|Str(text)| {
                let language = code.language.map(|Str(name)| name.to_ascii_lowercase());
                code_block(language.as_deref().filter(|name| *name == "python").unwrap_or_default(), &text)
            }),
            (None, Some(result)) => result.output.map(|Str(text)| code_block("", &text)),
            (None, None) => {
                let text = part.text.map(|Str(text)| text).filter(|text| !text.is_empty());
                if is_thought {
                    let issuer = signature.as_ref().map(|signature| signature.issuer);
                    events.extend(text.map(|text| ChatEvent::Thinking { text, issuer }));
                } else {
                    self.has_said |= text.is_some();
                    events.extend(text.map(ChatEvent::Text));
                }
                events.extend(signature.map(ChatEvent::Signature));
                return;
            }
        };
        self.has_said |= block.is_some();
        events.extend(block.map(|text| ChatEvent::Text(Cow::Owned(text))));
    }

    /// The upstream's id, or one that is like no other in this conversation: it is made of the id of
    /// the response, or else of all that the response says, with its growing token counts.
    fn call_id<'a>(&mut self, own: Option<Str<'a>>, response_id: Option<&Str<'a>>, data: &[u8]) -> Text<'a> {
        if let Some(Str(own)) = own.filter(|Str(own)| !own.is_empty())
            && self.calls.insert(own.to_string())
        {
            return own;
        }
        let answer = match response_id {
            Some(Str(id)) if !id.is_empty() => {
                id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(24).collect()
            }
            _ => {
                let mut hasher = DefaultHasher::new();
                data.hash(&mut hasher);
                format!("{:016x}", hasher.finish())
            }
        };
        let mut number = self.calls.len() + 1;
        loop {
            let id = format!("call_{answer}_{number}");
            if self.calls.insert(id.clone()) {
                return Cow::Owned(id);
            }
            number += 1;
        }
    }

    fn citation<'a>(&mut self, place: Place<'a>) -> Option<ChatEvent<'a>> {
        let Str(url) = place.uri?;
        let is_new = self.cited.insert(url.to_string());
        is_new.then(|| ChatEvent::Citation { url, title: place.title.map(|Str(title)| title) })
    }

    fn finish(&mut self, reason: &str, events: &mut Vec<ChatEvent<'_>>) -> Result<(), Failure> {
        let reason = match reason {
            "STOP" => self.stop(),
            "MAX_TOKENS" => FinishReason::Length,
            other if WITHHELD.contains(&other) => FinishReason::ContentFilter,
            // A reason that is not known yet is no reason to doubt what was said.
            other if self.has_said && !BROKEN_OFF.contains(&other) => self.stop(),
            // The next attempt may go better.
            other => {
                let message = format!("the model broke off its answer ({other}); try again");
                return Err(Failure::new(FailureKind::ErrorInAnswer, message));
            }
        };
        self.finished = true;
        events.push(ChatEvent::Finish(reason));
        Ok(())
    }

    /// The end of an answer that is complete.
    fn stop(&self) -> FinishReason {
        if self.calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls }
    }
}

/// The text of a JSON value without the line breaks and spaces between its parts, which whole answers
/// have.
fn compact(json: &str) -> Text<'_> {
    if !json.contains('\n') {
        return Cow::Borrowed(json);
    }
    let (mut in_text, mut escaped) = (false, false);
    let is_part = |c: &char| {
        in_text ^= *c == '"' && !escaped;
        escaped = in_text && *c == '\\' && !escaped;
        in_text || !c.is_ascii_whitespace()
    };
    Cow::Owned(json.chars().filter(is_part).collect())
}

fn code_block(language: &str, text: &str) -> String {
    format!("\n```{language}\n{}\n```\n", text.trim_end_matches('\n'))
}
