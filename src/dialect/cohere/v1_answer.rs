//! Reads an answer of version 1, whole and streamed.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::{ChatEvent, Failure, Text, Usage};
use crate::dialect::json::{Str, unreadable};
use crate::dialect::openai_chat::error_in_answer;
use crate::dialect::{Framing, Progress, StreamReader};

use super::{WireUsage, finish_reason};

/// A whole answer; a stream repeats it in its last event.
#[derive(Default, Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    generation_id: Option<Str<'a>>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<WireCall<'a>>>,
    #[serde(borrow)]
    citations: Option<Vec<WireCitation<'a>>>,
    #[serde(borrow)]
    documents: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
    meta: Option<WireUsage>,
    /// An error, in the place of everything else.
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireCall<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireCitation<'a> {
    #[serde(borrow)]
    document_ids: Option<Vec<Str<'a>>>,
}

/// A document that was found or that the client sent; it may be anything.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    id: Str<'a>,
    #[serde(borrow)]
    url: Str<'a>,
    #[serde(borrow)]
    title: Option<Str<'a>>,
}

fn not_an_answer(_: serde_json::Error) -> Failure {
    unreadable("the upstream's answer is not one of Cohere's chat version 1; check base_url and engine")
}

/// What has come of an answer up to here.
#[derive(Default)]
struct SoFar {
    generation_id: String,
    calls: usize,
    /// Text, or a plan.
    has_text: bool,
}

impl SoFar {
    /// The text of an answer; beside calls it is the plan for them.
    fn text<'a>(&mut self, text: Option<Str<'a>>, is_plan: bool, events: &mut Vec<ChatEvent<'a>>) {
        let Some(Str(text)) = text.filter(|Str(text)| !text.is_empty()) else { return };
        self.has_text = true;
        events.push(if is_plan { ChatEvent::Thinking { text, issuer: None } } else { ChatEvent::Text(text) });
    }

    /// Calls have no ids here. Theirs are made of the answer's own and a number, which is as long as
    /// OpenAI allows ids to be.
    fn calls<'a>(&mut self, calls: Vec<WireCall<'a>>, events: &mut Vec<ChatEvent<'a>>) {
        for WireCall { name: Str(name), parameters } in calls {
            let id = match self.generation_id.as_str() {
                "" => format!("call_{}", self.calls),
                answer => format!("{answer}_{}", self.calls),
            };
            self.calls += 1;
            events.push(ChatEvent::ToolCall { id: id.into(), name, signature: None });
            events.extend(parameters.map(|object| ChatEvent::ToolArguments(Text::Borrowed(object.get()))));
        }
    }

    /// The end of an answer; what has come already is not repeated.
    ///
    /// # Errors
    ///
    /// The model failed.
    fn end<'a>(&mut self, answer: Answer<'a>, word: &str, events: &mut Vec<ChatEvent<'a>>) -> Result<(), Failure> {
        if let Some(Str(id)) = answer.generation_id {
            self.generation_id = id.into_owned();
        }
        let calls = answer.tool_calls.filter(|_| self.calls == 0).unwrap_or_default();
        if !self.has_text {
            self.text(answer.text, !calls.is_empty(), events);
        }
        events.extend(cited(answer.citations, answer.documents));
        self.calls(calls, events);
        let reason = finish_reason(word, self.calls > 0)?;
        events.extend(answer.meta.map(|meta| ChatEvent::Usage(Usage::from(meta))));
        events.push(ChatEvent::Finish(reason));
        Ok(())
    }
}

/// The documents with an address that the answer cites.
fn cited<'a>(
    citations: Option<Vec<WireCitation<'a>>>,
    documents: Option<Vec<&'a RawValue>>,
) -> impl Iterator<Item = ChatEvent<'a>> {
    let ids: Vec<_> = citations.into_iter().flatten().filter_map(|citation| citation.document_ids).flatten().collect();
    let documents = documents.into_iter().flatten();
    let documents = documents.filter_map(|document| serde_json::from_str::<Document<'a>>(document.get()).ok());
    documents
        .filter(move |document| ids.iter().any(|Str(id)| *id == document.id.0))
        .map(|document| ChatEvent::Citation { url: document.url.0, title: document.title.map(|Str(title)| title) })
}

/// The events of a whole answer.
///
/// # Errors
///
/// The answer is an error, or not an answer at all.
pub fn read_answer(body: &[u8]) -> Result<Vec<ChatEvent<'_>>, Failure> {
    let mut answer: Answer<'_> = serde_json::from_slice(body).map_err(not_an_answer)?;
    if answer.text.is_none() && answer.tool_calls.is_none() {
        let unknown = || unreadable("the upstream's answer has no text; is base_url a Cohere /v1/chat endpoint?");
        return Err(answer.error.or(answer.message).map_or_else(unknown, error_in_answer));
    }
    let word = answer.finish_reason.take().unwrap_or_default().0;
    let mut events = Vec::new();
    SoFar::default().end(answer, &word, &mut events)?;
    Ok(events)
}

/// Reads a streamed answer: a JSON value on each line, or server-sent events taken line by line, as
/// some servers send.
#[derive(Default)]
pub struct AnswerReader {
    so_far: SoFar,
    is_over: bool,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    event_type: Option<Str<'a>>,
    is_finished: Option<bool>,
    #[serde(borrow)]
    generation_id: Option<Str<'a>>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<WireCall<'a>>>,
    #[serde(borrow)]
    response: Option<Answer<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
}

/// The event on a line; `None` where server-sent events have something else.
fn event_on(line: &[u8]) -> Option<&[u8]> {
    let data = line.strip_prefix(b"data:").unwrap_or(line).trim_ascii();
    let is_other = [&b":"[..], b"event:", b"id:", b"retry:"].iter().any(|field| line.starts_with(field));
    (!is_other && !data.is_empty() && data != b"[DONE]").then_some(data)
}

impl StreamReader for AnswerReader {
    fn read<'a>(&mut self, line: &'a [u8], events: &mut Vec<ChatEvent<'a>>) -> Result<(), Failure> {
        let Some(data) = event_on(line) else { return Ok(()) };
        let mut event: Event<'a> = serde_json::from_slice(data).map_err(not_an_answer)?;
        let so_far = &mut self.so_far;
        match event.event_type.as_ref().map(|Str(kind)| kind.as_ref()) {
            None => return Err(serde_json::from_slice(data).map_or_else(not_an_answer, error_in_answer)),
            Some("stream-start") => {
                so_far.generation_id = event.generation_id.take().map(|Str(id)| id.into_owned()).unwrap_or_default();
            }
            Some("text-generation") => so_far.text(event.text.take(), false, events),
            // Pieces of calls come as well, those of several mixed; the whole calls follow.
            Some("tool-calls-chunk") => so_far.text(event.text.take(), true, events),
            Some("tool-calls-generation") => {
                if !so_far.has_text {
                    so_far.text(event.text.take(), true, events);
                }
                so_far.calls(event.tool_calls.take().unwrap_or_default(), events);
            }
            // Searches, citations, which the end repeats, and whatever comes next.
            Some(_) => {}
        }
        if event.is_finished == Some(true) || event.event_type.is_some_and(|Str(kind)| kind == "stream-end") {
            let mut answer = event.response.unwrap_or_default();
            let word = event.finish_reason.or(answer.finish_reason.take()).unwrap_or_default().0;
            so_far.end(answer, &word, events)?;
            self.is_over = true;
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        if self.is_over { Progress::Over } else { Progress::Open }
    }

    fn framing(&self) -> Framing {
        Framing::Lines
    }
}
