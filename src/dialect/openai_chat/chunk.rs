//! Looks at what OpenAI-format providers answer, as far as a gateway that passes it on has to know.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::canon::{Failure, FailureKind, Usage};

use super::usage::WireUsage;
use crate::dialect::refusal::error_in_answer;

/// What one stream event says, as far as the gateway needs to know.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChunkFacts {
    /// More than the announcement of a role: text, a tool call, reasoning, a finish reason.
    pub has_substance: bool,
    /// Has no choices, as the chunk that carries only usage.
    pub has_no_choices: bool,
    /// Which choices finish here.
    pub finished: Vec<u32>,
    /// Token counts, if it carries them.
    pub usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(default)]
    delta: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

/// Reads one chunk entirely. An error object, or something that is no chunk, is a failure.
pub fn read_chunk(data: &[u8]) -> Result<ChunkFacts, Failure> {
    let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|_| {
        Failure::new(FailureKind::UnreadableAnswer, "the upstream sent a stream event that is not a chat chunk")
    })?;
    if let Some(error) = chunk.error {
        return Err(error_in_answer(error));
    }
    let choices = chunk.choices.unwrap_or_default();
    let finished = choices.iter().filter(|choice| choice.finishes());
    Ok(ChunkFacts {
        has_substance: choices.iter().any(Choice::has_substance),
        has_no_choices: choices.is_empty(),
        finished: finished.map(|choice| choice.index.unwrap_or(0)).collect(),
        usage: read_usage(chunk.usage),
    })
}

impl Choice<'_> {
    /// Some servers send an empty reason with every chunk.
    fn finishes(&self) -> bool {
        self.finish_reason.is_some_and(|reason| reason.get() != "\"\"")
    }

    fn has_substance(&self) -> bool {
        self.finishes()
            || self.text.as_ref().is_some_and(|text| !text.is_empty())
            || self.delta.iter().flatten().any(|(field, value)| {
                field != "role"
                    && match value {
                        serde_json::Value::Null => false,
                        serde_json::Value::String(text) => !text.is_empty(),
                        serde_json::Value::Array(items) => !items.is_empty(),
                        _ => true,
                    }
            })
    }
}

/// The keys whose presence makes a document worth reading.
struct Keys {
    finish_reason: Finder<'static>,
    usage: Finder<'static>,
    error: Finder<'static>,
    choices: Finder<'static>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    finish_reason: Finder::new(b"\"finish_reason\""),
    usage: Finder::new(b"\"usage\""),
    error: Finder::new(b"\"error\""),
    choices: Finder::new(b"\"choices\""),
});

/// Whether a chunk needs [`read_chunk`]: only then does it carry usage, a finish reason or an
/// error. Most chunks carry text alone and are told apart by three substring searches. A key
/// cannot be confused with text that spells it: inside a JSON string its quotes are escaped.
pub fn needs_reading(data: &[u8]) -> bool {
    !is_braced(data) || [&KEYS.finish_reason, &KEYS.usage, &KEYS.error].iter().any(|key| has_value(data, key))
}

fn is_braced(data: &[u8]) -> bool {
    data.first() == Some(&b'{') && data.last() == Some(&b'}')
}

/// Whether `key` stands in `data` with a value other than null.
fn has_value(data: &[u8], key: &Finder<'static>) -> bool {
    key.find_iter(data).any(|at| {
        let rest = data.get(at + key.needle().len()..).unwrap_or_default();
        let value = rest.trim_ascii_start().strip_prefix(b":").unwrap_or(rest).trim_ascii_start();
        !value.starts_with(b"null")
    })
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    choices: Option<IgnoredAny>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// Checks a whole (not streamed) answer that claims success; gives its usage.
///
/// `is_complete` says that as many bytes came as were announced. Then the ends and the keys are
/// looked at, which is a tenth of the work; otherwise only reading it all tells whether it is whole.
pub fn read_answer(body: &[u8], is_complete: bool) -> Result<Option<Usage>, Failure> {
    let trimmed = body.trim_ascii();
    if trimmed.is_empty() {
        return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent an empty answer"));
    }
    if is_complete && let Some(usage) = skim_answer(trimmed) {
        return Ok(usage);
    }
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| {
        if error.is_eof() {
            Failure::new(FailureKind::CutAnswer, "the upstream's answer ended before it was whole")
        } else {
            Failure::new(FailureKind::UnreadableAnswer, "the upstream's answer is not a chat completion")
        }
    })?;
    match answer {
        Answer { error: Some(error), .. } => Err(error_in_answer(error)),
        Answer { choices: None, .. } => Err(Failure::new(
            FailureKind::UnreadableAnswer,
            "the upstream's answer has no choices; is base_url a chat completions endpoint?",
        )),
        Answer { usage, .. } => Ok(read_usage(usage)),
    }
}

/// A usage object that cannot be read says nothing; the answer is none the worse for it.
fn read_usage(usage: Option<&RawValue>) -> Option<Usage> {
    usage.map(|usage| serde_json::from_str::<WireUsage>(usage.get()).map(Usage::from).unwrap_or_default())
}

/// The usage of an answer that is plainly one; `None` where a closer look is needed.
fn skim_answer(body: &[u8]) -> Option<Option<Usage>> {
    let is_plain = is_braced(body) && !has_value(body, &KEYS.error) && has_value(body, &KEYS.choices);
    let mut places = KEYS.usage.find_iter(body);
    match (is_plain, places.next(), places.next()) {
        (true, None, _) => Some(None),
        (true, Some(at), None) => {
            let value = body.get(at + KEYS.usage.needle().len()..)?.trim_ascii_start().strip_prefix(b":")?;
            let usage = Option::<WireUsage>::deserialize(&mut serde_json::Deserializer::from_slice(value)).ok()?;
            Some(usage.map(Usage::from))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(json: &str) -> ChunkFacts {
        read_chunk(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_role_alone_is_no_substance() {
        let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}]}"#;
        assert!(!facts(role).has_substance);
        for delta in [r#"{"content":"x"}"#, r#"{"tool_calls":[{}]}"#, r#"{"reasoning_content":"hm"}"#] {
            assert!(facts(&format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#)).has_substance, "{delta}");
        }
    }

    #[test]
    fn an_empty_finish_reason_is_none() {
        let empty = facts(r#"{"choices":[{"index":null,"delta":{"role":"assistant"},"finish_reason":""}]}"#);
        assert_eq!((empty.finished, empty.has_substance), (vec![], false));
    }

    #[test]
    fn odd_token_counts_spoil_no_answer() {
        let chunk =
            facts(r#"{"choices":[],"usage":{"prompt_tokens":3.0,"completion_tokens":"many","total_tokens":null}}"#);
        let usage = chunk.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (Some(3), None, None));
        for usage in [r#""none""#, "[1]", "7", "{}"] {
            let body = format!(r#"{{"choices":[],"usage":{usage}}}"#);
            assert_eq!(
                read_answer(body.as_bytes(), false).unwrap().and_then(|usage| usage.total_tokens),
                None,
                "{usage}"
            );
        }
    }

    #[test]
    fn finish_reasons_and_usage_are_found() {
        let finish = facts(r#"{"choices":[{"index":2,"delta":{},"finish_reason":"stop"}],"usage":null}"#);
        assert_eq!((finish.finished, finish.usage), (vec![2], None));
        let usage = facts(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#);
        assert!(usage.has_no_choices);
        assert_eq!(usage.usage.unwrap().total_tokens, Some(7));
    }

    #[test]
    fn only_chunks_with_something_to_say_are_read() {
        assert!(!needs_reading(br#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage": null}"#));
        assert!(!needs_reading(br#"{"choices":[{"delta":{"content":"\"usage\":1 \"error\":2"}}]}"#));
        assert!(needs_reading(br#"{"choices":[{"delta":{},"finish_reason": "stop"}]}"#));
        assert!(needs_reading(br#"{"choices":[],"usage" : {"prompt_tokens":1}}"#));
        assert!(needs_reading(br#"{"error":{"message":"x"}}"#));
        assert!(needs_reading(br#"{"choices":[{"delta":{"content":"cut"#));
    }

    #[test]
    fn an_error_in_an_answer_of_success_is_a_failure() {
        let failure =
            read_answer(br#"{"error":{"message":"no credit","code":"insufficient_quota"}}"#, true).unwrap_err();
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::ErrorInAnswer, "no credit"));
        assert_eq!(failure.upstream_code.as_deref(), Some("insufficient_quota"));
        assert!(read_answer(br#"{"error":null,"choices":[]}"#, true).is_ok());
    }

    #[test]
    fn empty_cut_and_foreign_answers_are_told_apart() {
        let kind = |body: &[u8]| read_answer(body, false).unwrap_err().kind;
        assert_eq!(kind(b" \n"), FailureKind::EmptyAnswer);
        assert_eq!(kind(br#"{"choices":[{"mess"#), FailureKind::CutAnswer);
        assert_eq!(kind(b"<html>busy</html>"), FailureKind::UnreadableAnswer);
        assert_eq!(kind(br#"{"hello":"world"}"#), FailureKind::UnreadableAnswer);
    }

    #[test]
    fn usage_is_found_by_skimming_as_by_reading() {
        for body in [
            r#"{"choices":[{"message":{"content":"say \"usage\": {}"}}],"usage":{"prompt_tokens":3,"total_tokens":9}} "#,
            r#"{"choices":[],"usage":null}"#,
            r#"{"choices":[]}"#,
            r#"{"x":{"usage":{"prompt_tokens":1}},"choices":[],"usage":{"prompt_tokens":2}}"#,
        ] {
            assert_eq!(read_answer(body.as_bytes(), true), read_answer(body.as_bytes(), false), "{body}");
        }
    }
}
