//! Reads an answer of version 2, whole and streamed.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::canon::{ChatEvent, Failure, Usage};
use crate::dialect::json::{Str, unreadable};
use crate::dialect::openai_chat::error_in_answer;
use crate::dialect::{Progress, StreamReader};

use super::{WireUsage, finish_reason};

/// A message, or the part of one that an event of a stream adds.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Several<WireBlock<'a>>,
    #[serde(borrow)]
    tool_plan: Option<Str<'a>>,
    #[serde(borrow, default)]
    tool_calls: Several<WireCall<'a>>,
    #[serde(borrow, default)]
    citations: Several<WireCitation<'a>>,
}

#[derive(Deserialize)]
struct WireBlock<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    thinking: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct WireCall<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    function: Option<WireFunction<'a>>,
}

#[derive(Deserialize)]
struct WireFunction<'a> {
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    arguments: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct WireCitation<'a> {
    #[serde(borrow)]
    sources: Option<Vec<WireSource<'a>>>,
}

/// A document or the output of a tool; both are the client's own and may be anything.
#[derive(Deserialize)]
struct WireSource<'a> {
    #[serde(borrow)]
    document: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_output: Option<&'a RawValue>,
}

/// What is a list in a whole message and a single one in an event.
struct Several<T>(Vec<T>);

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct OneOrMore<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
            type Value = Several<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list of objects")
            }

            fn visit_unit<E>(self) -> Result<Several<T>, E> {
                Ok(Several::default())
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Several<T>, M::Error> {
                Ok(Several(vec![T::deserialize(MapAccessDeserializer::new(map))?]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Several<T>, S::Error> {
                let mut several = Vec::new();
                while let Some(one) = list.next_element()? {
                    several.push(one);
                }
                Ok(Several(several))
            }
        }
        json.deserialize_any(OneOrMore(PhantomData))
    }
}

fn not_a_message(_: serde_json::Error) -> Failure {
    unreadable("the upstream's answer is not a Cohere message; check base_url and engine")
}

/// Adds what a message says; tells whether it calls tools.
///
/// # Errors
///
/// A call has no id that its result could name.
fn add<'a>(message: Message<'a>, events: &mut Vec<ChatEvent<'a>>) -> Result<bool, Failure> {
    let thought = |Str(text)| ChatEvent::Thinking { text, issuer: None };
    let is_there = |text: &Str<'_>| !text.0.is_empty();
    events.extend(message.tool_plan.filter(is_there).map(thought));
    for block in message.content.0 {
        events.extend(block.thinking.filter(is_there).map(thought));
        events.extend(block.text.filter(is_there).map(|Str(text)| ChatEvent::Text(text)));
    }
    events.extend(message.citations.0.into_iter().filter_map(citation));
    let mut calls = false;
    for call in message.tool_calls.0 {
        let Some(function) = call.function else { continue };
        if let Some(Str(name)) = function.name.filter(is_there) {
            let Some(Str(id)) = call.id.filter(is_there) else {
                return Err(unreadable("the upstream calls a tool without an id for its result"));
            };
            events.push(ChatEvent::ToolCall { id, name, signature: None });
            calls = true;
        }
        events.extend(function.arguments.filter(is_there).map(|Str(piece)| ChatEvent::ToolArguments(piece)));
    }
    Ok(calls)
}

/// A citation of what can be found at an address. Others name places in the client's own documents.
fn citation(citation: WireCitation<'_>) -> Option<ChatEvent<'_>> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        url: Str<'a>,
        #[serde(borrow)]
        title: Option<Str<'a>>,
    }
    let sources = citation.sources?.into_iter().filter_map(|source| source.document.or(source.tool_output));
    let mut documents = sources.filter_map(|source| serde_json::from_str::<Document<'_>>(source.get()).ok());
    let document = documents.next()?;
    Some(ChatEvent::Citation { url: document.url.0, title: document.title.map(|Str(title)| title) })
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
        message: Option<&'a RawValue>,
        #[serde(borrow)]
        finish_reason: Option<Str<'a>>,
        usage: Option<WireUsage>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(not_a_message)?;
    let message = match (answer.error, answer.message) {
        (Some(error), _) => return Err(error_in_answer(error)),
        // An error is a sentence in the place of the message.
        (None, Some(error)) if error.get().starts_with('"') => return Err(error_in_answer(error)),
        (None, Some(message)) => serde_json::from_str(message.get()).map_err(not_a_message)?,
        (None, None) => {
            return Err(unreadable("the upstream's answer has no message; is base_url a Cohere /v2/chat endpoint?"));
        }
    };
    let mut events = Vec::new();
    let has_calls = add(message, &mut events)?;
    let word = answer.finish_reason.unwrap_or_default().0;
    events.extend(answer.usage.map(|usage| ChatEvent::Usage(Usage::from(usage))));
    events.push(ChatEvent::Finish(finish_reason(&word, has_calls)?));
    Ok(events)
}

/// Reads a streamed answer.
#[derive(Default)]
pub struct AnswerReader {
    has_calls: bool,
    is_over: bool,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
    usage: Option<WireUsage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl StreamReader for AnswerReader {
    fn read<'a>(&mut self, data: &'a [u8], events: &mut Vec<ChatEvent<'a>>) -> Result<(), Failure> {
        let event: Event<'a> = serde_json::from_slice(data).map_err(not_a_message)?;
        let kind = event.kind.as_ref().map_or("", |Str(kind)| kind.as_ref());
        if matches!(kind, "" | "error") {
            return Err(serde_json::from_slice(data).map_or_else(not_a_message, error_in_answer));
        }
        // What an event says is in its delta; `debug`, the ends of blocks, and whatever comes next have none.
        let delta = event.delta.unwrap_or_default();
        if let Some(message) = delta.message {
            self.has_calls |= add(message, events)?;
        }
        if let Some(error) = delta.error.filter(|error| error.get() != "\"\"") {
            return Err(error_in_answer(error));
        }
        if kind == "message-end" {
            let word = delta.finish_reason.unwrap_or_default().0;
            let reason = finish_reason(&word, self.has_calls)?;
            events.extend(delta.usage.map(|usage| ChatEvent::Usage(Usage::from(usage))));
            events.push(ChatEvent::Finish(reason));
            self.is_over = true;
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        if self.is_over { Progress::Over } else { Progress::Open }
    }
}
