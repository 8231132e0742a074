//! Asks a moderation model whether a text may be sent on, and reads what it says.
//!
//! Source: OpenAI's API reference, "Create moderation" (the request, the moderation object).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::Failure;

use super::json::{read_whole, unreadable};
use super::refusal::error_in_answer;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    results: Option<Vec<Classified>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// What it says of one of the texts.
#[derive(Deserialize)]
struct Classified {
    flagged: bool,
}

/// The body of a request that has this text looked at by this model.
pub fn write_request(text: &str, model: &str) -> String {
    serde_json::json!({ "model": model, "input": text }).to_string()
}

/// Whether the text, or any part of it, is flagged.
///
/// # Errors
///
/// The answer is an error, or does not say.
pub fn read_answer(body: &[u8]) -> Result<bool, Failure> {
    let answer: Answer<'_> = read_whole(body, "the upstream's answer is not a moderation")?;
    if let Some(error) = answer.error {
        return Err(error_in_answer(error));
    }
    match answer.results.as_deref() {
        None | Some([]) => Err(unreadable(
            "the upstream's moderation has no results; check that the channel's model is one for moderation",
        )),
        Some(results) => Ok(results.iter().any(|result| result.flagged)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::FailureKind;

    #[test]
    fn a_request_names_the_model_and_has_the_text_as_it_is() {
        assert_eq!(
            write_request("a \"quoted\"\nline", "omni-moderation-latest"),
            r#"{"model":"omni-moderation-latest","input":"a \"quoted\"\nline"}"#
        );
    }

    #[test]
    fn a_text_is_flagged_when_any_result_is() {
        let answer = |results: &str| {
            let body = format!(r#"{{"id":"modr-1","model":"m","error":null,"results":[{results}]}}"#);
            read_answer(body.as_bytes()).unwrap()
        };
        let good = r#"{"flagged":false,"categories":{"violence":false},"category_scores":{"violence":1.2e-7}}"#;
        let bad = r#"{"categories":{"violence":true,"illicit":null},"flagged":true}"#;
        assert!(!answer(good));
        assert!(answer(bad));
        assert!(answer(&format!("{good},{bad}")));
        assert!(!answer(&format!("{good},{good}")));
    }

    #[test]
    fn an_error_object_is_the_failure_that_it_says() {
        let error = r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
        for body in [error.to_owned(), error.replacen('{', r#"{"results":null,"#, 1)] {
            let failure = read_answer(body.as_bytes()).unwrap_err();
            assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::RateLimited, "slow down"));
        }
    }

    #[test]
    fn what_does_not_say_whether_it_is_flagged_is_a_failure() {
        for (body, kind) in [
            ("", FailureKind::EmptyAnswer),
            (" \n", FailureKind::EmptyAnswer),
            (r#"{"results":[{"flagged":false"#, FailureKind::CutAnswer),
            (r#"{"results":[]}"#, FailureKind::UnreadableAnswer),
            (r#"{"results":null}"#, FailureKind::UnreadableAnswer),
            (r#"{"results":[{"categories":{}}]}"#, FailureKind::UnreadableAnswer),
            (r#"{"results":[{"flagged":false},{"flagged":"no"}]}"#, FailureKind::UnreadableAnswer),
            (r#"{"choices":[{"message":{"content":"flagged"}}]}"#, FailureKind::UnreadableAnswer),
            ("<html>", FailureKind::UnreadableAnswer),
            ("[]", FailureKind::UnreadableAnswer),
            ("false", FailureKind::UnreadableAnswer),
        ] {
            assert_eq!(read_answer(body.as_bytes()).unwrap_err().kind, kind, "{body}");
        }
    }
}
