use bytes::{Bytes, BytesMut};
use insta::assert_snapshot;
use proptest::prelude::*;

use crate::canon::{Failure, FailureKind};
use crate::dialect::openai_chat::AnswerHead;
use crate::dialect::translated::TranslatedStream;
use crate::dialect::{Format, gemini};

const TEXT: &str = include_str!("fixtures/text.sse");
const THINKING: &str = include_str!("fixtures/thinking.sse");
const TOOLS: &str = include_str!("fixtures/tools.sse");
const SEARCH: &str = include_str!("fixtures/search.sse");
const IMAGE: &str = include_str!("fixtures/image.sse");
const FILTERED: &str = include_str!("fixtures/filtered.sse");
const ERROR: &str = include_str!("fixtures/error.sse");

/// What the client reads of a stream that comes in these pieces, and how it failed.
fn pass(pieces: impl IntoIterator<Item = Bytes>) -> (String, Option<Failure>) {
    let head = AnswerHead { id: "chatcmpl-1".to_owned(), created: 1, model: "m".to_owned() };
    let mut stream = TranslatedStream::new(Format::Gemini(gemini::Host::AiStudio), &head, true);
    let mut out = BytesMut::new();
    let mut failure = None;
    for piece in pieces {
        let passed = stream.push(piece);
        out.extend_from_slice(&passed.bytes);
        failure = passed.failure;
        if failure.is_some() {
            break;
        }
    }
    if failure.is_none() {
        let passed = stream.finish();
        out.extend_from_slice(&passed.bytes);
        failure = passed.failure;
    }
    (String::from_utf8(out.to_vec()).unwrap(), failure)
}

fn whole(stream: &str) -> (String, Option<Failure>) {
    pass([Bytes::copy_from_slice(stream.as_bytes())])
}

/// What the client reads of a stream without a failure.
fn seen(stream: &str) -> String {
    let (seen, failure) = whole(stream);
    assert_eq!(failure, None);
    // What is the same in every chunk.
    seen.replace(r#""id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","#, "")
}

#[test]
fn streamed_text() {
    assert_snapshot!(seen(TEXT));
}

#[test]
fn streamed_thoughts() {
    assert_snapshot!(seen(THINKING));
}

#[test]
fn streamed_calls() {
    assert_snapshot!(seen(TOOLS));
}

#[test]
fn streamed_search() {
    assert_snapshot!(seen(SEARCH));
}

#[test]
fn a_streamed_image() {
    assert_snapshot!(seen(IMAGE));
}

#[test]
fn a_streamed_answer_that_is_filtered() {
    assert_snapshot!(seen(FILTERED));
}

#[test]
fn what_came_before_an_error_is_not_lost() {
    let (seen, failure) = whole(ERROR);
    assert!(seen.contains("Once") && !seen.contains("[DONE]"), "{seen}");
    let failure = failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Overloaded);
    assert_eq!(failure.message, "The model is overloaded. Please try again later.");
}

#[test]
fn a_stream_without_its_end_is_cut() {
    let kind = |stream: &str| whole(stream).1.map(|failure| failure.kind);
    let first = &TEXT[..TEXT.find("\r\n\r\n").unwrap() + 4];
    assert_eq!(kind(first), Some(FailureKind::CutAnswer));
    assert_eq!(kind(""), Some(FailureKind::EmptyAnswer));
    assert_eq!(kind("data: {\"usageMetadata\":{}}\n\n"), Some(FailureKind::EmptyAnswer));
    assert_eq!(kind("data: {\"candidates\": nonsense\n\n"), Some(FailureKind::UnreadableAnswer));
    assert_eq!(kind("data: <html>\n\n"), Some(FailureKind::UnreadableAnswer));
    let blocked = "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\n\n";
    assert_eq!(kind(blocked), Some(FailureKind::ContentFiltered));
}

#[test]
fn servers_that_end_like_openai_or_finish_every_event_are_understood() {
    let event = |text: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}},\"finishReason\":\"STOP\"}}]}}\n\n"
        )
    };
    let (seen, failure) = whole(&format!("{}{}data: [DONE]\n\n", event("a"), event("b")));
    assert_eq!(failure, None);
    assert_eq!(seen.matches(r#""finish_reason":"stop""#).count(), 1);
    assert_eq!(seen.matches("[DONE]").count(), 1);
    assert!(seen.contains(r#"{"content":"b"}"#));
}

#[test]
fn a_prompt_that_is_refused_in_the_middle_ends_a_filtered_answer() {
    let begun = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n\n";
    let (seen, failure) = whole(&format!("{begun}data: {{\"promptFeedback\":{{\"blockReason\":\"OTHER\"}}}}\n\n"));
    assert_eq!(failure, None);
    assert!(seen.contains(r#""finish_reason":"content_filter""#), "{seen}");
}

proptest! {
    #[test]
    fn any_cuts_give_the_client_the_same_bytes(
        stream in prop::sample::select(vec![TEXT, THINKING, TOOLS, SEARCH, IMAGE, FILTERED, ERROR]),
        cuts in prop::collection::vec(0usize..2000, 0..20),
    ) {
        let all = Bytes::from_static(stream.as_bytes());
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
        cuts.sort_unstable();
        cuts.push(all.len());
        let mut from = 0;
        let pieces: Vec<_> = cuts.into_iter().map(|cut| all.slice(std::mem::replace(&mut from, cut)..cut)).collect();
        prop_assert_eq!(pass(pieces), whole(stream));
    }

    #[test]
    fn damaged_bytes_never_break_the_stream(
        stream in prop::sample::select(vec![TEXT, TOOLS, SEARCH]),
        damage in prop::collection::vec((0usize..2000, any::<u8>()), 1..6),
    ) {
        let mut bytes = stream.as_bytes().to_vec();
        for (at, byte) in damage {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        let (seen, failure) = pass([Bytes::from(bytes)]);
        prop_assert_eq!(seen.contains("data: [DONE]"), failure.is_none());
    }
}
