//! Reads the messages of a chat request.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::{
    Block, ChatRequest, Content, Failure, Issuer, Role, Signature, Source, Text, ToolCall, ToolResult, Turn,
};
use crate::dialect::data_uri::{sniffed, source};
use crate::dialect::json::{Str, field, invalid, untranslatable};

use super::request::{WireCache, cache};

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Str<'a>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<Str<'a>>,
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<WireToolCall<'a>>>,
    #[serde(borrow)]
    function_call: Option<WireCall<'a>>,
    #[serde(borrow)]
    tool_call_id: Option<Str<'a>>,
    is_error: Option<bool>,
    #[serde(borrow)]
    cache_control: Option<WireCache<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Str<'a>>,
    #[serde(borrow)]
    reasoning: Option<Str<'a>>,
    #[serde(borrow)]
    reasoning_details: Option<Vec<Detail<'a>>>,
    #[serde(borrow)]
    thinking_blocks: Option<Vec<ThinkingBlock<'a>>>,
}

#[derive(Deserialize)]
struct WireToolCall<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    function: Option<WireCall<'a>>,
    #[serde(borrow)]
    extra_content: Option<ExtraContent<'a>>,
}

#[derive(Deserialize)]
struct WireCall<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ExtraContent<'a> {
    #[serde(borrow)]
    google: Option<Google<'a>>,
}

#[derive(Deserialize)]
struct Google<'a> {
    #[serde(borrow)]
    thought_signature: Option<Str<'a>>,
}

/// One of OpenRouter's `reasoning_details`.
#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    summary: Option<Str<'a>>,
    #[serde(borrow)]
    signature: Option<Str<'a>>,
    #[serde(borrow)]
    data: Option<Str<'a>>,
    #[serde(borrow)]
    format: Option<Str<'a>>,
    index: Option<u64>,
    /// The tool call that an encrypted detail belongs to.
    #[serde(borrow)]
    id: Option<Str<'a>>,
}

/// One of LiteLLM's `thinking_blocks`, which are Anthropic's own.
#[derive(Deserialize)]
struct ThinkingBlock<'a> {
    #[serde(borrow)]
    thinking: Option<Str<'a>>,
    #[serde(borrow)]
    signature: Option<Str<'a>>,
    #[serde(borrow)]
    data: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    refusal: Option<Str<'a>>,
    /// Mistral has a list of parts here, Anthropic a string with its signature beside it.
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<Str<'a>>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    input_audio: Option<Audio<'a>>,
    #[serde(borrow)]
    file: Option<File<'a>>,
    #[serde(borrow)]
    cache_control: Option<WireCache<'a>>,
}

#[derive(Deserialize)]
struct Audio<'a> {
    #[serde(borrow)]
    data: Str<'a>,
    #[serde(borrow)]
    format: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    file_data: Option<Str<'a>>,
    #[serde(borrow)]
    file_id: Option<Str<'a>>,
    #[serde(borrow)]
    file_url: Option<Str<'a>>,
    #[serde(borrow)]
    filename: Option<Str<'a>>,
}

/// Calls without ids, as clients had them once and as some servers still make them; their results
/// answer in order.
#[derive(Default)]
struct LegacyCalls {
    made: usize,
    answered: usize,
}

/// Reads `messages` into the turns and the system text of a request.
pub(super) fn read_messages<'a>(value: &'a RawValue, request: &mut ChatRequest<'a>) -> Result<(), Failure> {
    let Ok(messages) = serde_json::from_str::<Vec<Message<'_>>>(value.get()) else {
        return Err(misplaced(value));
    };
    let mut legacy = LegacyCalls::default();
    request.turns.reserve(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        read_message(message, request, &mut legacy).map_err(|failure| at(index, failure))?;
    }
    Ok(())
}

fn at(index: usize, failure: Failure) -> Failure {
    let place = format!("messages[{index}]");
    Failure { message: format!("{place}: {}", failure.message), param: Some(Cow::Owned(place)), ..failure }
}

/// Which message is none.
fn misplaced(value: &RawValue) -> Failure {
    let messages: Vec<&RawValue> = match field(value, "messages") {
        Ok(messages) => messages,
        Err(failure) => return failure,
    };
    let wrong = |(index, message): (usize, &RawValue)| Some(at(index, field::<Message<'_>>(message, "message").err()?));
    messages.into_iter().enumerate().find_map(wrong).unwrap_or_else(|| invalid("\"messages\" must be a list"))
}

fn read_message<'a>(
    message: Message<'a>,
    request: &mut ChatRequest<'a>,
    legacy: &mut LegacyCalls,
) -> Result<(), Failure> {
    let mut blocks = message.content.map(read_content).transpose()?.unwrap_or_default();
    match message.role.0.as_ref() {
        "system" | "developer" => {
            set_cache(&mut blocks, message.cache_control);
            request.system.append(&mut blocks);
        }
        "user" => {
            set_cache(&mut blocks, message.cache_control);
            request.turns.push(Turn { role: Role::User, blocks });
        }
        "assistant" => request.turns.push(Turn { role: Role::Assistant, blocks: said(message, blocks, legacy)? }),
        "tool" | "function" => {
            let call_id = match message.tool_call_id {
                Some(Str(id)) if !id.is_empty() => id,
                None if message.role.0 == "tool" => return Err(invalid("a tool message needs \"tool_call_id\"")),
                _ => {
                    legacy.answered += 1;
                    legacy_id(legacy.answered)
                }
            };
            let name = message.name.map(|Str(name)| name);
            let is_error = message.is_error.unwrap_or(false);
            let result = ToolResult { call_id, name, parts: blocks, is_error };
            let mut block = vec![Content::ToolResult(result).into()];
            set_cache(&mut block, message.cache_control);
            request.turns.push(Turn { role: Role::User, blocks: block });
        }
        _ => return Err(invalid("\"role\" must be system, developer, user, assistant, tool or function")),
    }
    Ok(())
}

/// What the model said: thoughts first, then text, then calls, as every provider orders them.
fn said<'a>(message: Message<'a>, text: Vec<Block<'a>>, legacy: &mut LegacyCalls) -> Result<Vec<Block<'a>>, Failure> {
    let details = message.reasoning_details.unwrap_or_default();
    // Of several with the same id, the first one.
    let of_calls: HashMap<&str, &Detail<'_>> =
        details.iter().rev().filter_map(|detail| Some((detail.id.as_ref()?.0.as_ref(), detail))).collect();
    let signature_of = |id: &str| {
        let detail = of_calls.get(id)?;
        Some(Signature { issuer: issuer(detail), value: detail.data.clone()?.0 })
    };
    let mut calls = Vec::new();
    for call in message.tool_calls.unwrap_or_default() {
        let Some(function) = call.function else {
            return Err(untranslatable("only calls of functions can be sent to this channel"));
        };
        let id = call.id.map(|Str(id)| id).filter(|id| !id.is_empty()).unwrap_or_else(|| {
            legacy.made += 1;
            legacy_id(legacy.made)
        });
        let google = call.extra_content.and_then(|extra| extra.google?.thought_signature);
        let signature =
            google.map(|Str(value)| Signature { issuer: Issuer::Google, value }).or_else(|| signature_of(&id));
        calls.push(Content::ToolCall(tool_call(id, function, signature)?).into());
    }
    if let Some(function) = message.function_call {
        legacy.made += 1;
        calls.push(Content::ToolCall(tool_call(legacy_id(legacy.made), function, None)?).into());
    }
    let mut blocks = match message.thinking_blocks {
        Some(blocks) => blocks.into_iter().filter_map(thought).map(Block::from).collect(),
        None => thoughts(details),
    };
    let plain = message.reasoning_content.or(message.reasoning).map(|Str(text)| text).filter(|text| !text.is_empty());
    if let (true, Some(text)) = (blocks.is_empty(), plain) {
        blocks.push(Content::Thinking { text, signature: None }.into());
    }
    blocks.extend(text);
    blocks.extend(message.refusal.filter(|Str(text)| !text.is_empty()).map(|Str(text)| Block::text(text)));
    blocks.append(&mut calls);
    set_cache(&mut blocks, message.cache_control);
    Ok(blocks)
}

fn legacy_id(number: usize) -> Text<'static> {
    Cow::Owned(format!("call_{number}"))
}

fn tool_call<'a>(
    id: Text<'a>,
    function: WireCall<'a>,
    signature: Option<Signature<'a>>,
) -> Result<ToolCall<'a>, Failure> {
    let arguments = match function.arguments {
        None => Cow::Borrowed(""),
        Some(text) if text.get().starts_with('"') => field::<Str>(text, "arguments")?.0,
        // Some clients send the object itself.
        Some(object) => Cow::Borrowed(object.get()),
    };
    Ok(ToolCall { id, name: function.name.0, arguments, signature })
}

fn issuer(detail: &Detail<'_>) -> Issuer {
    let format = detail.format.as_ref().map_or("", |Str(format)| format.as_ref());
    match format {
        _ if format.starts_with("anthropic") => Issuer::Anthropic,
        _ if format.starts_with("google") => Issuer::Google,
        _ => Issuer::Other,
    }
}

/// Pieces of one thought have the same index and come one after the other; its signature ends it.
fn thoughts(details: Vec<Detail<'_>>) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open: Option<u64> = None;
    for detail in details {
        let issuer = issuer(&detail);
        let index = detail.index.unwrap_or(0);
        if let Some(Str(value)) = detail.data {
            open = None;
            // One with the id of a call was put there already.
            if detail.id.is_none() {
                blocks.push(Content::RedactedThinking(Signature { issuer, value }).into());
            }
            continue;
        }
        let piece = detail.text.or(detail.summary).map_or(Cow::Borrowed(""), |Str(text)| text);
        let signed = detail.signature.map(|Str(value)| Signature { issuer, value });
        let ends = signed.is_some();
        match blocks.last_mut().map(|block| &mut block.content) {
            Some(Content::Thinking { text, signature }) if open == Some(index) => {
                if text.is_empty() {
                    *text = piece;
                } else if !piece.is_empty() {
                    text.to_mut().push_str(&piece);
                }
                *signature = signed;
            }
            _ => blocks.push(Content::Thinking { text: piece, signature: signed }.into()),
        }
        open = if ends { None } else { Some(index) };
    }
    blocks
}

fn thought(block: ThinkingBlock<'_>) -> Option<Content<'_>> {
    let by_anthropic = |Str(value)| Signature { issuer: Issuer::Anthropic, value };
    if let Some(data) = block.data {
        return Some(Content::RedactedThinking(by_anthropic(data)));
    }
    Some(Content::Thinking { text: block.thinking?.0, signature: block.signature.map(by_anthropic) })
}

/// A hint on a whole message is one behind its last block.
fn set_cache<'a>(blocks: &mut [Block<'a>], hint: Option<WireCache<'a>>) {
    if let (Some(last), Some(hint)) = (blocks.last_mut(), cache(hint)) {
        last.cache = Some(hint);
    }
}

/// A string, or a list of parts. Empty text says nothing.
fn read_content(value: &RawValue) -> Result<Vec<Block<'_>>, Failure> {
    if value.get().starts_with('"') {
        let Str(text) = field(value, "content")?;
        return Ok(if text.is_empty() { Vec::new() } else { vec![Block::text(text)] });
    }
    let parts: Vec<Part<'_>> = field(value, "content")?;
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        let hint = cache(part.cache_control);
        let content = match part.kind.as_ref().map(|Str(kind)| kind.as_ref()) {
            Some("text" | "input_text" | "output_text") | None => match part.text {
                Some(Str(text)) if text.is_empty() => continue,
                Some(Str(text)) => Content::Text(text),
                None => return Err(invalid("a part of type text needs \"text\"")),
            },
            Some("refusal") => Content::Text(part.refusal.unwrap_or_default().0),
            Some("thinking") => match part.thinking {
                Some(thought) => read_thought(thought, part.signature)?,
                None => return Err(invalid("a part of type thinking needs \"thinking\"")),
            },
            Some("image_url") => match part.image_url {
                Some(image) => read_image(image)?,
                None => return Err(invalid("a part of type image_url needs \"image_url\"")),
            },
            Some("input_audio") => match part.input_audio {
                Some(Audio { data: Str(data), format }) => Content::Audio { source: audio(data, format) },
                None => return Err(invalid("a part of type input_audio needs \"input_audio\"")),
            },
            Some("file") => match part.file {
                Some(file) => read_file(file)?,
                None => return Err(invalid("a part of type file needs \"file\"")),
            },
            Some(_) => {
                let known = "text, image_url, input_audio or file";
                return Err(untranslatable(format!("a part of a message must have type {known} for this channel")));
            }
        };
        blocks.push(Block { content, cache: hint });
    }
    Ok(blocks)
}

fn read_thought<'a>(value: &'a RawValue, signature: Option<Str<'a>>) -> Result<Content<'a>, Failure> {
    let text = if value.get().starts_with('"') {
        field::<Str>(value, "thinking")?.0
    } else {
        let parts: Vec<Part<'a>> = field(value, "thinking")?;
        let texts = parts.into_iter().filter_map(|part| part.text);
        Cow::Owned(texts.fold(String::new(), |text, Str(piece)| text + &piece))
    };
    let signature = signature.map(|Str(value)| Signature { issuer: Issuer::Anthropic, value });
    Ok(Content::Thinking { text, signature })
}

fn read_image(value: &RawValue) -> Result<Content<'_>, Failure> {
    #[derive(Deserialize)]
    struct Image<'a> {
        #[serde(borrow)]
        url: Str<'a>,
        #[serde(borrow)]
        detail: Option<Str<'a>>,
    }
    let image = if value.get().starts_with('"') {
        Image { url: field(value, "image_url")?, detail: None }
    } else {
        field(value, "image_url")?
    };
    Ok(Content::Image { source: source(image.url.0, "image/png"), detail: image.detail.map(|Str(detail)| detail) })
}

fn audio<'a>(data: Text<'a>, format: Option<Str<'a>>) -> Source<'a> {
    let format = format.map_or(Cow::Borrowed("wav"), |Str(format)| format);
    let media_type = match format.as_ref() {
        "mp3" => Cow::Borrowed("audio/mpeg"),
        format => Cow::Owned(format!("audio/{format}")),
    };
    match source(data, &media_type) {
        // Plain base64, without the scheme of an address.
        Source::Url(data) if !data.contains("://") => Source::Base64 { media_type, data },
        source => source,
    }
}

fn read_file(file: File<'_>) -> Result<Content<'_>, Failure> {
    let source = match (file.file_data, file.file_id, file.file_url) {
        (Some(Str(data)), _, _) => match source(data, "application/pdf") {
            Source::Url(data) if !data.contains("://") => {
                Source::Base64 { media_type: sniffed(&data).unwrap_or("application/pdf").into(), data }
            }
            source => source,
        },
        (None, Some(Str(id)), _) => Source::FileId(id),
        (None, None, Some(Str(url))) => Source::Url(url),
        (None, None, None) => return Err(invalid("a file needs \"file_data\" or \"file_id\"")),
    };
    Ok(Content::File { source, name: file.filename.map(|Str(name)| name) })
}
