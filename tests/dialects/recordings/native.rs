//! Answers in formats of the providers' own say the same to a client of OpenAI's format.

use serde_json::Value;

use crate::client::{Details, answer, completion};
use crate::native::{Native, anthropic, cohere, gemini};
use crate::pipe::{answered, cut, streamed};

use super::{Answered, Matter, Recording, Tally, all};

/// How the provider of a recording speaks.
pub fn native(recording: &Recording) -> Option<Native> {
    match recording.provider.as_str() {
        "anthropic" => Some(anthropic::THINKING),
        "gemini" => Some(gemini::SECOND),
        "vertex" => Some(gemini::VERTEX_SECOND),
        "cohere" => Some(cohere::V2),
        _ => None,
    }
}

fn check_whole(name: &str, body: &Value, native: &Native) {
    let expected = (native.read_answer)(body);
    let got =
        answer(&answered(&body.to_string(), native.format).unwrap_or_else(|failure| panic!("{name}: {failure:?}")));
    assert_eq!(got.with_ids_of(&expected), expected, "{name}");
}

fn check_streamed(name: &str, stream: &str, native: &Native) {
    let expected = (native.read_stream)(stream);
    let (bytes, failure) = streamed(cut(stream, []), native.format);
    assert_eq!(failure, None, "{name}");
    assert_eq!(answer(&completion(&bytes, Details::Joined)).with_ids_of(&expected), expected, "{name}");
    // In two pieces, wherever the cut is; and byte by byte.
    let step = stream.len() / 500 + 1;
    for place in (0..stream.len()).step_by(step) {
        assert_eq!(streamed(cut(stream, [place]), native.format), (bytes.clone(), None), "{name}, cut at {place}");
    }
    assert_eq!(streamed(cut(stream, 0..stream.len()), native.format), (bytes, None), "{name}, cut everywhere");
}

#[test]
fn native_answers_reach_an_openai_client_without_loss() {
    let mut tally = Tally::default();
    for recording in all().iter().filter(|recording| recording.matter() == Matter::Native && recording.is_success()) {
        let Some(native) = native(recording) else { continue };
        match &recording.answer {
            Answered::Whole(body) => check_whole(&recording.name, body, &native),
            Answered::Streamed(stream) => check_streamed(&recording.name, stream, &native),
        }
        let kind = if matches!(recording.answer, Answered::Whole(_)) { "whole" } else { "streamed" };
        tally.add(&recording.provider, kind);
    }
    tally.check(
        "answers that an OpenAI client gets without loss",
        &["anthropic: 4 streamed, 31 whole", "cohere: 3 whole", "gemini: 2 streamed, 30 whole", "vertex: 17 whole"],
    );
}
