//! Requests of version 2.

use serde_json::{Value, json};
use uni_api::canon::Role;
use uni_api::dialect::Format;

use crate::client::{self, text};
use crate::exchange::{Kind, Media, Piece, Request, Turn};
use crate::native::Native;

use super::{settings, v2_answers, wanted};

pub const V2: Native = Native {
    name: "cohere",
    format: Format::CohereV2,
    model: "command-a-03-2025",
    read_request,
    normalised,
    carried: |request| carried(request, false),
    given: v2_answers::given,
    read_answer: v2_answers::read,
    read_stream: v2_answers::read_stream,
    write_answer: v2_answers::write,
    write_stream: v2_answers::write_stream,
};

/// A model that is shown its thoughts of earlier turns.
pub const V2_THINKING: Native = Native {
    name: "cohere, thinking model",
    model: "command-a-reasoning-08-2025",
    carried: |request| carried(request, true),
    ..V2
};

fn carried(mut request: Request, thinks: bool) -> Option<Request> {
    super::carried(&mut request);
    for turn in &mut request.turns {
        let is_calling = turn.pieces.iter().any(|piece| matches!(piece, Piece::Call(_)));
        let mut plan = Vec::new();
        let mut kept = Vec::new();
        for piece in turn.pieces.drain(..) {
            match piece {
                Piece::Text(text) if text.trim().is_empty() => {}
                Piece::Text(text) if is_calling => plan.push(text),
                Piece::Thought { text, .. } if is_calling && !text.is_empty() => plan.push(text),
                Piece::Thought { text, .. } if thinks && !text.is_empty() => {
                    kept.push(Piece::Thought { text, proof: None })
                }
                Piece::Thought { .. } => {}
                Piece::Media(media) if media.kind != Kind::Image => return None,
                Piece::Result { id, pieces, .. } => {
                    if pieces.iter().any(|piece| matches!(piece, Piece::Media(_))) {
                        return None;
                    }
                    let pieces = pieces.into_iter().filter(|piece| *piece != Piece::Text(String::new())).collect();
                    kept.push(Piece::Result { id, pieces, is_error: false });
                }
                piece => kept.push(piece),
            }
        }
        turn.pieces = kept;
        if !plan.is_empty() {
            turn.pieces.insert(0, Piece::Text(plan.join("\n")));
        }
    }
    for tool in request.tools.iter_mut() {
        tool.as_object_mut().unwrap().remove("cache_control");
        let function = tool["function"].as_object_mut().unwrap();
        function.remove("strict");
        function.entry("parameters").or_insert(json!({ "type": "object", "properties": {} }));
    }
    Some(request)
}

fn read_request(body: &Value) -> Result<Request, String> {
    let mut request = Request { tools: body["tools"].as_array().cloned().unwrap_or_default(), ..Request::default() };
    let mut settings = settings(body, "json_schema");
    for message in body["messages"].as_array().unwrap() {
        let mut pieces = pieces(&message["content"]);
        let role = match message["role"].as_str().unwrap() {
            "system" => {
                request.system = pieces;
                continue;
            }
            "user" => Role::User,
            "tool" => {
                pieces.retain(|piece| *piece != Piece::Text(String::new()));
                let id = text(&message["tool_call_id"]).unwrap();
                pieces = vec![Piece::Result { id, pieces, is_error: false }];
                Role::User
            }
            "assistant" => {
                pieces.splice(0..0, text(&message["tool_plan"]).map(Piece::Text));
                pieces
                    .extend(message["tool_calls"].as_array().into_iter().flatten().map(client::call).map(Piece::Call));
                Role::Assistant
            }
            role => panic!("a message of role {role}"),
        };
        request.turns.push(Turn { role, pieces });
    }
    if let Some(Piece::Text(said)) = request.system.last().cloned()
        && let Some(("", format)) = wanted(&said)
    {
        request.system.pop();
        settings["response_format"] = format;
    }
    if let Some(choice) = body["tool_choice"].as_str() {
        settings["tool_choice"] = choice.to_lowercase().into();
    }
    request.settings = settings.as_object().unwrap().clone();
    Ok(request)
}

fn pieces(content: &Value) -> Vec<Piece> {
    if let Some(text) = text(content) {
        return vec![Piece::Text(text)];
    }
    let part = |part: &Value| match part["type"].as_str().unwrap() {
        "text" => Piece::Text(text(&part["text"]).unwrap()),
        "thinking" => Piece::Thought { text: text(&part["thinking"]).unwrap(), proof: None },
        "image_url" => Piece::Media(Media::new(Kind::Image, part["image_url"]["url"].as_str().unwrap())),
        kind => panic!("a part of type {kind}"),
    };
    content.as_array().into_iter().flatten().map(part).collect()
}

/// False is what is not said.
fn normalised(body: &Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().retain(|name, value| name != "stream" || value == true);
    body
}
