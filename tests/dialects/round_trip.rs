//! Whatever is said comes out at the other end, as far as the format there can say it.

use proptest::prelude::*;
use serde_json::Value;
use uni_api::canon::{Block, ChatEvent, ChatRequest, Content, FailureKind, FinishReason, Role};
use uni_api::dialect::openai_chat::{self, ChunkWriter};

use crate::arbitrary;
use crate::client::{self, Details, completion};
use crate::exchange::{Answer, Call, Counts, GOOGLE, Piece, Proof, Request, arguments, place, proof};
use crate::native;
use crate::pipe::{answered, cut, head, streamed};

/// What of a request can be said in OpenAI's format, in its order: thoughts, texts, calls.
fn speakable(mut request: Request) -> Request {
    request.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    for turn in request.turns.iter_mut().filter(|turn| turn.role == Role::Assistant) {
        let is_signed = |piece: &Piece| matches!(piece, Piece::Thought { proof: Some(_), .. } | Piece::Redacted(_));
        let any_signed = turn.pieces.iter().any(is_signed);
        let mut plain = 0;
        turn.pieces.retain(|piece| match piece {
            Piece::Thought { text, proof: None } => {
                plain += 1;
                !any_signed && plain == 1 && !text.is_empty()
            }
            _ => true,
        });
        turn.pieces.sort_by_key(|piece| match piece {
            Piece::Thought { .. } | Piece::Redacted(_) => 0,
            Piece::Call(_) => 2,
            _ => 1,
        });
    }
    request
}

/// The same without images and documents, which not every provider takes.
fn text_alone(mut request: ChatRequest<'_>) -> ChatRequest<'_> {
    fn is_text(block: &Block<'_>) -> bool {
        !matches!(block.content, Content::Image { .. } | Content::Audio { .. } | Content::File { .. })
    }
    for turn in &mut request.turns {
        turn.blocks.retain(is_text);
        for block in &mut turn.blocks {
            if let Content::ToolResult(result) = &mut block.content {
                result.parts.retain(is_text);
            }
        }
    }
    request
}

/// What events say, one after the other.
fn told(events: &[ChatEvent<'_>]) -> Answer {
    let mut answer = Answer::default();
    let mut calls: Vec<String> = Vec::new();
    let mut thinks = false;
    for event in events {
        let thought_before = thinks;
        thinks &= matches!(event, ChatEvent::Usage(_) | ChatEvent::Finish(_));
        match event {
            ChatEvent::Text(text) => answer.text += text,
            ChatEvent::Image(source) => answer.text += &format!("![image]({})", place(source)),
            ChatEvent::Refusal(text) => answer.refusal += text,
            ChatEvent::Thinking { text, issuer } => {
                answer.thinking += text;
                if issuer.is_some() {
                    thinks = true;
                    match answer.proofs.last_mut() {
                        Some(Piece::Thought { text: so_far, .. }) if thought_before => *so_far += text,
                        _ => answer.proofs.push(Piece::Thought { text: text.to_string(), proof: None }),
                    }
                }
            }
            ChatEvent::Signature(signature) => match answer.proofs.last_mut() {
                Some(Piece::Thought { proof: open, .. }) if thought_before => *open = Some(proof(signature)),
                _ => {
                    answer.proofs.push(Piece::Thought { text: String::new(), proof: Some(proof(signature)) });
                }
            },
            ChatEvent::RedactedThinking(signature) => answer.proofs.push(Piece::Redacted(proof(signature))),
            ChatEvent::ToolCall { id, name, signature } => {
                let proof = signature.as_ref().map(|signature| Proof::new(GOOGLE, &signature.value));
                let (id, name) = (id.to_string(), name.to_string());
                answer.calls.push(Call { id, name, arguments: Value::Null, proof });
                calls.push(String::new());
            }
            ChatEvent::ToolArguments(piece) => calls.last_mut().unwrap().push_str(piece),
            ChatEvent::Citation { url, title } => {
                answer.citations.push((url.to_string(), title.as_ref().map(|title| title.to_string())));
            }
            ChatEvent::Usage(usage) => {
                answer.usage = Some(Counts {
                    prompt: usage.prompt_tokens.unwrap(),
                    completion: usage.completion_tokens.unwrap(),
                    total: usage.total_tokens.unwrap(),
                    cached: usage.cached_tokens,
                    cache_written: usage.cache_creation_tokens,
                    reasoning: usage.reasoning_tokens,
                });
            }
            ChatEvent::Finish(reason) => {
                let word = match reason {
                    FinishReason::Stop => "stop",
                    FinishReason::Length => "length",
                    FinishReason::ToolCalls => "tool_calls",
                    FinishReason::ContentFilter => "content_filter",
                };
                answer.finish = word.to_owned();
            }
        }
    }
    for (call, text) in answer.calls.iter_mut().zip(calls) {
        call.arguments = arguments(&text);
    }
    answer
}

proptest! {
    #[test]
    fn what_the_hub_holds_reaches_every_provider(request in arbitrary::request()) {
        for request in [&request, &text_alone(request.clone())] {
            for native in native::all() {
                let expected = (native.carried)(Request::of(request)).map(Request::arranged);
                let written = native.format.write_request(request, native.model);
                match (&written, expected) {
                    (Ok(written), Some(expected)) => {
                        let written: Value = serde_json::from_slice(written).unwrap();
                        let got = (native.read_request)(&written).unwrap().arranged();
                        prop_assert_eq!(got, expected, "{}: {}", native.name, written);
                    }
                    (Err(failure), None) => prop_assert_eq!(failure.kind, FailureKind::Untranslatable),
                    (written, expected) => prop_assert!(false, "{}: {written:?} for {expected:?}", native.name),
                }
            }
        }
    }

    #[test]
    fn what_a_client_says_reaches_the_hub(request in arbitrary::request()) {
        let said = speakable(Request::of(&request));
        let body = client::body(&said, "alias").to_string();
        let got = Request::of(&openai_chat::read_request(&body).unwrap());
        prop_assert_eq!(got.arranged(), said.arranged(), "{}", body);
    }

    #[test]
    fn what_a_provider_answers_reaches_the_client(answer in arbitrary::answer(), cuts in prop::collection::vec(0..9999usize, 0..20)) {
        for native in native::all() {
            let expected = (native.given)(answer.clone());
            let whole = (native.write_answer)(&expected).to_string();
            let got = client::answer(&answered(&whole, native.format).unwrap());
            prop_assert_eq!(&got.with_ids_of(&expected), &expected, "{}: {}", native.name, whole);
            let stream = (native.write_stream)(&expected);
            let places = cuts.iter().map(|cut| cut % stream.len());
            let (bytes, failure) = streamed(cut(&stream, places), native.format);
            prop_assert_eq!(failure, None);
            let got = client::answer(&completion(&bytes, Details::Joined));
            prop_assert_eq!(got.with_ids_of(&expected), expected, "{}: {}", native.name, stream);
        }
    }

    #[test]
    fn any_events_say_the_same_whole_and_streamed(events in arbitrary::events()) {
        let expected = told(&events);
        let whole = openai_chat::write_answer(&head(), &events);
        prop_assert_eq!(&client::answer(&serde_json::from_slice(&whole).unwrap()), &expected);
        let mut writer = ChunkWriter::new(&head(), true);
        events.iter().for_each(|event| writer.write(event));
        writer.end();
        let got = client::answer(&completion(&writer.take(), Details::Joined));
        prop_assert_eq!(got, expected);
    }
}
