//! Recorded requests survive the hub: those of providers come out as they were, written from what an OpenAI client would
//! have said; those of OpenAI's format say the same in every other one.

use serde_json::Value;
use uni_api::canon::Role;

use crate::client;
use crate::exchange::{Kind, Piece, Request};
use crate::native::{self, Native};
use crate::pipe::sent;

use super::native::native;
use super::{Matter, Recording, Tally, all};

/// The thing in a request that OpenAI's format has no word for.
fn unspeakable(request: &Request) -> Option<&'static str> {
    let rank = |piece: &Piece| match piece {
        Piece::Thought { .. } | Piece::Redacted(_) => 0,
        Piece::Call(_) => 2,
        _ => 1,
    };
    let is_image_by_id = |piece: &Piece| matches!(piece, Piece::Media(media) if media.kind == Kind::Image && media.place.starts_with("id:"));
    for turn in &request.turns {
        if turn.role == Role::Assistant && !turn.pieces.is_sorted_by_key(rank) {
            return Some("thoughts, text and calls in another order");
        }
        let in_results = turn.pieces.iter().flat_map(|piece| match piece {
            Piece::Result { pieces, .. } => &pieces[..],
            _ => &[],
        });
        if turn.pieces.iter().chain(in_results).any(is_image_by_id) {
            return Some("an image by its id at the provider");
        }
    }
    None
}

/// What the product leaves out or moves on purpose, where that is not nothing.
fn left_out(body: &Value) -> &'static str {
    let messages = body["messages"].as_array().into_iter().flatten().skip(1);
    if messages.into_iter().any(|message| message["role"] == "system") {
        return " but for the place of system text";
    }
    let mut parts =
        body["contents"].as_array().into_iter().flatten().flat_map(|content| content["parts"].as_array().unwrap());
    if parts.any(|part| part["thought"] == true && part.get("thoughtSignature").is_none()) {
        return " but for unsigned thoughts";
    }
    ""
}

fn outcome(recording: &Recording, native: &Native) -> String {
    let request = match (native.read_request)(&recording.request) {
        Ok(request) => request,
        Err(reason) => return format!("skipped for {reason}"),
    };
    if let Some(reason) = unspeakable(&request) {
        return format!("skipped for {reason}");
    }
    let body = client::body(&request, "alias");
    let model = recording.model();
    let written = sent(&body, native.format, model).unwrap_or_else(|failure| panic!("{}: {failure:?}", recording.name));
    if written == recording.request {
        return "exact".to_owned();
    }
    let (got, expected) = ((native.normalised)(&written), (native.normalised)(&recording.request));
    assert_eq!(got, expected, "{}", recording.name);
    format!("equal{}", left_out(&recording.request))
}

#[test]
fn native_requests_come_out_as_an_openai_client_would_have_said_them() {
    let mut tally = Tally::default();
    for recording in all().iter().filter(|recording| recording.matter() == Matter::Native) {
        if let Some(native) = native(recording) {
            tally.add(&recording.provider, outcome(recording, &native));
        }
    }
    tally.check(
        "native requests that an OpenAI client could have made",
        &[
            "anthropic: 5 equal, 1 equal but for the place of system text, 17 exact, \
           6 skipped for a block of type container_upload, 1 skipped for a block of type mcp_tool_use, \
           3 skipped for a block of type server_tool_use, 1 skipped for a block of type tool_reference, \
           1 skipped for an image by its id at the provider",
            "cohere: 3 exact",
            "gemini: 27 equal, 1 equal but for unsigned thoughts, 3 skipped for function calling in mode VALIDATED, \
             1 skipped for includeServerSideToolInvocations",
            "vertex: 18 equal",
        ],
    );
}

#[test]
fn openai_requests_say_the_same_in_every_other_format() {
    let mut tally = Tally::default();
    for recording in all().iter().filter(|recording| recording.matter() == Matter::OpenAi) {
        let said = client::read(&recording.request);
        for native in native::all() {
            let name = format!("{} to {}", recording.name, native.name);
            let written = match sent(&recording.request, native.format, native.model) {
                Ok(written) => written,
                Err(failure) => {
                    let is_foreign = said.tools.iter().any(|tool| tool.get("function").is_none());
                    assert!(is_foreign || (native.carried)(said.clone()).is_none(), "{name}: {failure:?}");
                    tally.add(native.name, format!("refused: {}", failure.message));
                    continue;
                }
            };
            let mut got = (native.read_request)(&written).unwrap().arranged();
            let mut expected =
                (native.carried)(said.clone()).unwrap_or_else(|| panic!("{name} can be said")).arranged();
            // How much a model thinks depends on the model.
            got.settings.retain(|name, _| !name.starts_with("reasoning"));
            expected.settings.retain(|name, _| !name.starts_with("reasoning"));
            assert_eq!(got, expected, "{name}");
            tally.add(native.name, "equal");
        }
    }
    tally.check(
        "requests in OpenAI's format that say the same in another",
        &[
            "anthropic: 75 equal, 2 refused: this channel has functions and Anthropic's own tools only",
            "anthropic on vertex: 75 equal, 2 refused: this channel has functions and Anthropic's own tools only",
            "anthropic, older model: 75 equal, 2 refused: this channel has functions and Anthropic's own tools only",
            "cohere: 72 equal, 2 refused: this channel has functions only, 3 refused: this channel takes no files; \
             send their text",
            "cohere, thinking model: 72 equal, 2 refused: this channel has functions only, 3 refused: this channel \
             takes no files; send their text",
            "cohere, version 1: 63 equal, 7 refused: this channel cannot make the model call a function; leave \
             \"tool_choice\" out, 2 refused: this channel has functions only, 5 refused: this channel takes text only",
            "gemini on vertex, second generation: 75 equal, 2 refused: this channel has functions and Google's own \
             tools only",
            "gemini on vertex, third generation: 75 equal, 2 refused: this channel has functions and Google's own \
             tools only",
            "gemini, first version of the API: 50 equal, 27 refused: this channel has no tools; ask another model, or \
             its API version v1beta",
            "gemini, second generation: 75 equal, 2 refused: this channel has functions and Google's own tools only",
            "gemini, third generation: 75 equal, 2 refused: this channel has functions and Google's own tools only",
        ],
    );
}
