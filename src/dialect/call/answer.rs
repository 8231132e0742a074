//! Looks at a whole answer that is passed on as it came: whether it is one, and what it used.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::{AnswerKind, Failure, FailureKind, Operation, Usage};
use crate::dialect::json::{Fields, unreadable};
use crate::dialect::refusal::error_in_answer;

use super::usage::read_usage;

/// What a whole answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A JSON document, with what it used.
    Json(Option<Usage>),
    /// A text in a form that the client has asked for.
    Text,
}

/// Looks at the whole answer to a request for this operation, of this media type.
///
/// # Errors
///
/// It is an error, empty, or not an answer of this operation.
pub fn read_answer(operation: Operation, body: &[u8], media_type: &str) -> Result<Told, Failure> {
    let row = operation.row();
    if body.is_empty() {
        return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent an empty answer"));
    }
    let fields = match serde_json::from_slice::<Fields<'_>>(body) {
        Ok(Fields(fields)) => fields,
        Err(_) if row.answer == AnswerKind::JsonOrText && is_text(body, media_type) => return Ok(Told::Text),
        Err(error) if error.is_eof() => {
            return Err(Failure::new(FailureKind::CutAnswer, "the upstream's answer ended before it was whole"));
        }
        Err(_) => {
            let message = format!("the upstream's answer to a request for {} is not a JSON object", row.name);
            return Err(unreadable(message));
        }
    };
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| *value);
    if let Some(error) = field("error").filter(|error| error.get() != "null") {
        return Err(error_in_answer(error));
    }
    if let AnswerKind::Json(lists @ [first, ..]) = row.answer {
        match lists.iter().find_map(|name| field(name)).map(holds_something) {
            Some(true) => {}
            Some(false) => {
                let message = format!("the upstream's answer to a request for {} has nothing in it", row.name);
                return Err(Failure::new(FailureKind::EmptyAnswer, message));
            }
            None => {
                let message =
                    format!("the upstream's answer has no {first}; does the channel's model do {}?", row.name);
                return Err(unreadable(message));
            }
        }
    }
    Ok(Told::Json(read_usage(field("usage"))))
}

/// Whether this is a list with something in it.
fn holds_something(list: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct First<'a>(#[serde(borrow)] Vec<&'a RawValue>);
    serde_json::from_str::<First<'_>>(list.get()).is_ok_and(|First(items)| !items.is_empty())
}

/// Whether it is text and meant to be: no JSON that was cut, no page for people.
fn is_text(body: &[u8], media_type: &str) -> bool {
    let is_page = media_type.starts_with("text/html") || body.trim_ascii_start().starts_with(b"<");
    !is_page && !media_type.starts_with("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(operation: Operation, body: &str) -> Result<Told, FailureKind> {
        let media_type = if body.starts_with('<') { "text/plain" } else { "application/json" };
        read_answer(operation, body.as_bytes(), media_type).map_err(|failure| failure.kind)
    }

    #[test]
    fn an_answer_with_its_list_is_one() {
        let body = r#"{"object":"list","data":[{"embedding":[1]}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
        let Ok(Told::Json(Some(usage))) = told(Operation::Embeddings, body) else { panic!() };
        assert_eq!((usage.prompt_tokens, usage.total_tokens), (Some(3), Some(3)));
        assert_eq!(told(Operation::Rerank, r#"{"data":[{"index":0}]}"#), Ok(Told::Json(None)));
        assert_eq!(told(Operation::Moderations, r#"{"results":[{}],"error":null}"#), Ok(Told::Json(None)));
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        for (operation, body, kind) in [
            (Operation::Embeddings, "", FailureKind::EmptyAnswer),
            (Operation::Embeddings, r#"{"data":[]}"#, FailureKind::EmptyAnswer),
            (Operation::Embeddings, r#"{"data":{}}"#, FailureKind::EmptyAnswer),
            (Operation::Embeddings, r#"{"choices":[1]}"#, FailureKind::UnreadableAnswer),
            (Operation::Embeddings, r#"{"data":[1]"#, FailureKind::CutAnswer),
            (Operation::Embeddings, "<html>", FailureKind::UnreadableAnswer),
            (Operation::Embeddings, "[1]", FailureKind::UnreadableAnswer),
            (
                Operation::Rerank,
                r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#,
                FailureKind::RateLimited,
            ),
            (Operation::Transcriptions, r#"{"error":"overloaded"}"#, FailureKind::Overloaded),
            (Operation::Transcriptions, "<!DOCTYPE html>", FailureKind::UnreadableAnswer),
            (Operation::Transcriptions, "", FailureKind::EmptyAnswer),
            (Operation::Speech, r#"{"error":{"message":"no such voice"}}"#, FailureKind::ErrorInAnswer),
        ] {
            assert_eq!(told(operation, body), Err(kind), "{body}");
        }
    }

    #[test]
    fn a_transcript_is_json_or_any_text() {
        let transcript = |body: &str, media_type| read_answer(Operation::Transcriptions, body.as_bytes(), media_type);
        let usage = transcript(r#"{"text":"","usage":{"type":"duration","seconds":9}}"#, "application/json");
        assert_eq!(usage, Ok(Told::Json(None)));
        for (body, media_type) in [
            ("WEBVTT\n\n", "text/vtt"),
            ("1\n00:00:00,000 --> 00:00:01,000\nhi\n", "text/plain; charset=utf-8"),
            ("\n", "text/plain"),
            ("{laughs}\n", "text/plain"),
        ] {
            assert_eq!(transcript(body, media_type), Ok(Told::Text), "{body}");
        }
    }
}
