//! Gemini's `generateContent`.

mod answers;
mod requests;

use serde_json::{Value, json};
use uni_api::canon::Role;
use uni_api::dialect::Format;
use uni_api::dialect::gemini::Host;

use crate::exchange::{Call, GOOGLE, Kind, Piece, Proof, Request};

use super::Native;

/// A model of the second generation: calls have ids in requests, not in answers.
pub const SECOND: Native = Native {
    name: "gemini, second generation",
    format: Format::Gemini(Host::AiStudio),
    model: "gemini-2.5-flash",
    read_request: requests::read,
    normalised: requests::normalised,
    carried: |request| carried(request, Able::default()),
    given: |answer| answers::given(answer, false),
    read_answer: answers::read,
    read_stream: answers::read_stream,
    write_answer: answers::write,
    write_stream: answers::write_stream,
};

/// A model of the third generation: results hold documents, and calls are signed.
pub const THIRD: Native = Native {
    name: "gemini, third generation",
    model: "gemini-3-flash-preview",
    carried: |request| carried(request, THIRD_ABLE),
    given: |answer| answers::given(answer, true),
    ..SECOND
};

pub const VERTEX_SECOND: Native = Native {
    name: "gemini on vertex, second generation",
    format: Format::Gemini(Host::Vertex),
    carried: |request| carried(request, Able { ids: false, ..Able::default() }),
    ..SECOND
};

pub const VERTEX_THIRD: Native =
    Native { name: "gemini on vertex, third generation", format: Format::Gemini(Host::Vertex), ..THIRD };

/// The first version of the API knows no system, no tools and no schemas.
pub const FIRST_API: Native = Native {
    name: "gemini, first version of the API",
    format: Format::Gemini(Host::AiStudioV1),
    carried: |request| carried(request, Able { plain: true, ids: false, ..Able::default() }),
    ..SECOND
};

/// What a model can do.
#[derive(Clone, Copy)]
struct Able {
    plain: bool,
    ids: bool,
    media_in_results: bool,
}

impl Default for Able {
    fn default() -> Self {
        Self { plain: false, ids: true, media_in_results: false }
    }
}

const THIRD_ABLE: Able = Able { plain: false, ids: true, media_in_results: true };

/// What a result may hold.
const RESULT_TYPES: [&str; 5] = ["image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"];

/// What stands for ids where there are none: the place among all calls.
fn place(number: usize) -> String {
    format!("call {number}")
}

fn carried(mut request: Request, able: Able) -> Option<Request> {
    let is_call = |piece: &Piece| matches!(piece, Piece::Call(_) | Piece::Result { .. });
    if able.plain && (!request.tools.is_empty() || request.turns.iter().any(|turn| turn.pieces.iter().any(is_call))) {
        return None;
    }
    request.retain(|piece| !matches!(piece, Piece::CacheHere(_)) && *piece != Piece::Text(String::new()));
    let mut ids: Vec<String> = Vec::new();
    for turn in &mut request.turns {
        let pieces = std::mem::take(&mut turn.pieces);
        turn.pieces = if turn.role == Role::Assistant { signed(pieces) } else { pieces };
        let mut kept = Vec::new();
        for piece in turn.pieces.drain(..) {
            match piece {
                Piece::Call(call) => {
                    ids.push(call.id.clone());
                    let id = if able.ids { call.id } else { place(ids.len()) };
                    let proof = call.proof.filter(|proof| proof.format == GOOGLE);
                    kept.push(Piece::Call(Call { id, proof, ..call }));
                }
                Piece::Result { id, pieces, is_error } => {
                    let number = 1 + ids.iter().position(|own| *own == id).unwrap();
                    let id = if able.ids { id } else { place(number) };
                    kept.extend(result(id, pieces, is_error, able));
                }
                piece => kept.push(piece),
            }
        }
        turn.pieces = kept;
    }
    carried_settings(&mut request);
    if able.plain && !request.system.is_empty() {
        let system = std::mem::take(&mut request.system);
        request.turns[0].pieces.splice(0..0, system);
    }
    Some(nameless(request))
}

/// Thoughts of Google's only. A signature without a thought is that of the last text, and one alone is.
fn signed(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut of_text: Option<Proof> = None;
    let mut kept = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Thought { text, proof: Some(proof) } if proof.format == GOOGLE => match text.is_empty() {
                true => of_text = Some(proof),
                false => kept.push(Piece::Thought { text, proof: Some(proof) }),
            },
            Piece::Redacted(proof) if proof.format == GOOGLE => of_text = Some(proof),
            Piece::Thought { .. } | Piece::Redacted(_) => {}
            piece => kept.push(piece),
        }
    }
    let last = kept.iter().rposition(|piece| matches!(piece, Piece::Text(_)));
    if let (Some(last), Some(proof)) = (last, of_text) {
        kept.insert(last, Piece::Thought { text: String::new(), proof: Some(proof) });
    }
    kept
}

/// A result is an object; text that is none is inside one. What cannot stand in it stands behind it.
fn result(id: String, pieces: Vec<Piece>, is_error: bool, able: Able) -> Vec<Piece> {
    let (mut texts, mut inside, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(text) => texts.push(text),
            Piece::Media(media) => {
                let fits = RESULT_TYPES.iter().any(|kind| media.place.starts_with(&format!("data:{kind};")));
                if able.media_in_results && fits { &mut inside } else { &mut behind }.push(Piece::Media(media));
            }
            other => panic!("{other:?} in a result"),
        }
    }
    let is_object = |text: &String| serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
    let said = match &texts[..] {
        [text] if !is_error && is_object(text) => serde_json::from_str::<Value>(text).unwrap().to_string(),
        texts => texts.join("\n"),
    };
    let text = (!said.is_empty()).then_some(Piece::Text(said));
    let result = Piece::Result { id, pieces: text.into_iter().chain(inside).collect(), is_error };
    [result].into_iter().chain(behind).collect()
}

fn carried_settings(request: &mut Request) {
    if let Some(choice) = request.settings.get_mut("tool_choice")
        && let Some(allowed) = choice.get("allowed_tools").cloned()
    {
        let names = allowed["tools"].as_array().unwrap();
        match (allowed["mode"].as_str(), &names[..]) {
            (Some("required"), [one]) => *choice = one.clone(),
            (Some("required"), _) => {}
            _ => {
                *choice = "auto".into();
                let is_allowed =
                    |tool: &Value| names.iter().any(|own| own["function"]["name"] == tool["function"]["name"]);
                request.tools.retain(|tool| tool.get("function").is_none() || is_allowed(tool));
            }
        }
    }
    let has_functions = request.tools.iter().any(|tool| tool.get("function").is_some());
    let wants_logprobs = request.settings.get("logprobs").is_some_and(|wanted| wanted == true);
    request.settings.retain(|name, value| match name.as_str() {
        "temperature" | "top_p" | "top_k" | "max_tokens" | "seed" => true,
        "logprobs" | "top_logprobs" => wants_logprobs,
        "presence_penalty" | "frequency_penalty" => {
            if value.as_f64() > Some(1.99) {
                *value = 1.99.into();
            }
            true
        }
        "stop" => {
            value.as_array_mut().unwrap().retain(|stop| stop != "");
            value != &json!([])
        }
        "tool_choice" => has_functions,
        "response_format" if value["type"] == "json_schema" => {
            let schema = requests::shape(&value["json_schema"]["schema"]);
            *value = json!({ "type": "json_schema", "json_schema": { "schema": schema } });
            true
        }
        "response_format" => value["type"] != "text",
        _ => false,
    });
    for tool in request.tools.iter_mut().filter(|tool| tool.get("function").is_some()) {
        let function = &tool["function"];
        let description = function["description"].as_str().unwrap_or_default();
        *tool = requests::function(&function["name"], description, function["parameters"].clone());
    }
    // Functions stand behind Google's own tools.
    request.tools.sort_by_key(|tool| tool.get("function").is_some());
}

/// Names of documents are not told, and of what kind that is which an address leads to only sometimes.
fn nameless(mut request: Request) -> Request {
    fn forget(pieces: &mut [Piece]) {
        for piece in pieces {
            match piece {
                Piece::Media(media) => {
                    media.name = None;
                    if !media.place.starts_with("data:") {
                        media.kind = Kind::File;
                    }
                }
                Piece::Result { pieces, .. } => forget(pieces),
                _ => {}
            }
        }
    }
    request.turns.iter_mut().for_each(|turn| forget(&mut turn.pieces));
    request
}
