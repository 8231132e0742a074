//! What an exchange says, whatever its wire format. Two exchanges that say the same are equal.

use serde_json::{Map, Value, json};
use uni_api::canon::{
    Block, CacheHint, ChatRequest, Content, Effort, Issuer, ResponseFormat, Role, Signature, Source, Tool, ToolChoice,
};

/// One piece of what somebody says.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(String),
    /// An image, a sound or a document.
    Media(Media),
    Call(Call),
    Result {
        id: String,
        pieces: Vec<Piece>,
        is_error: bool,
    },
    Thought {
        text: String,
        proof: Option<Proof>,
    },
    /// A thought that only the provider can read.
    Redacted(Proof),
    /// What stands before this is worth caching, for this time.
    CacheHere(Option<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub kind: Kind,
    /// `data:` URI, address, or `id:` and a provider's id.
    pub place: String,
    /// Of documents only.
    pub name: Option<String>,
}

impl Media {
    pub fn new(kind: Kind, place: impl Into<String>) -> Self {
        Self { kind, place: place.into(), name: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Image,
    Audio,
    File,
}

impl Kind {
    pub fn of(media_type: &str) -> Self {
        match media_type.split('/').next() {
            Some("image") => Self::Image,
            Some("audio") => Self::Audio,
            _ => Self::File,
        }
    }
}

/// A signature, and the name of the format it is of: `anthropic-claude-v1`, `google-gemini-v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub format: String,
    pub value: String,
}

impl Proof {
    pub fn new(format: &str, value: &str) -> Self {
        Self { format: format.to_owned(), value: value.to_owned() }
    }
}

pub const ANTHROPIC: &str = "anthropic-claude-v1";
pub const GOOGLE: &str = "google-gemini-v1";

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub id: String,
    pub name: String,
    pub arguments: Value,
    pub proof: Option<Proof>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub role: Role,
    pub pieces: Vec<Piece>,
}

/// A request without its model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub system: Vec<Piece>,
    pub turns: Vec<Turn>,
    /// As OpenAI writes them; tools of one provider as that one writes them.
    pub tools: Vec<Value>,
    /// Everything else, in OpenAI's words.
    pub settings: Map<String, Value>,
}

impl Request {
    /// The same with neighbours of one role in one turn, results in the order of their calls and before what else a
    /// user says, and without turns that say nothing: that much every format leaves open.
    pub fn arranged(mut self) -> Self {
        let mut turns: Vec<Turn> = Vec::new();
        for turn in self.turns.drain(..).filter(|turn| !turn.pieces.is_empty()) {
            match turns.last_mut() {
                Some(last) if last.role == turn.role => last.pieces.extend(turn.pieces),
                _ => turns.push(turn),
            }
        }
        let mut calls: Vec<String> = Vec::new();
        for turn in &mut turns {
            let mut place = usize::MAX;
            let mut placed = Vec::new();
            for piece in turn.pieces.drain(..) {
                match &piece {
                    // A hint stays behind its piece.
                    Piece::CacheHere(_) => {}
                    Piece::Result { id, .. } => place = calls.iter().position(|call| call == id).unwrap(),
                    Piece::Call(call) => calls.push(call.id.clone()),
                    _ => place = usize::MAX,
                }
                placed.push((place, piece));
            }
            placed.sort_by_key(|(place, _)| *place);
            turn.pieces = placed.into_iter().map(|(_, piece)| piece).collect();
        }
        Self { turns, ..self }
    }

    /// Every piece, those inside results as well, that `keep` wants to keep.
    pub fn retain(&mut self, keep: impl Fn(&Piece) -> bool) {
        fn retain(pieces: &mut Vec<Piece>, keep: &dyn Fn(&Piece) -> bool) {
            pieces.retain(|piece| keep(piece));
            for piece in pieces {
                if let Piece::Result { pieces, .. } = piece {
                    retain(pieces, keep);
                }
            }
        }
        retain(&mut self.system, &keep);
        for turn in &mut self.turns {
            retain(&mut turn.pieces, &keep);
        }
    }

    /// The same, read from the hub.
    pub fn of(canon: &ChatRequest<'_>) -> Self {
        let turn = |turn: &uni_api::canon::Turn<'_>| Turn { role: turn.role, pieces: pieces(&turn.blocks) };
        Self {
            system: pieces(&canon.system),
            turns: canon.turns.iter().map(turn).collect(),
            tools: canon.tools.iter().map(tool).collect(),
            settings: settings(canon),
        }
    }
}

fn pieces(blocks: &[Block<'_>]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for block in blocks {
        pieces.push(piece(&block.content));
        pieces.extend(block.cache.as_ref().map(|hint| Piece::CacheHere(ttl(hint))));
    }
    pieces
}

fn ttl(hint: &CacheHint<'_>) -> Option<String> {
    hint.ttl.as_ref().map(|ttl| ttl.to_string())
}

fn piece(content: &Content<'_>) -> Piece {
    match content {
        Content::Text(text) => Piece::Text(text.to_string()),
        Content::Image { source, .. } => Piece::Media(Media::new(Kind::Image, place(source))),
        Content::Audio { source } => Piece::Media(Media::new(Kind::Audio, place(source))),
        Content::File { source, name } => {
            let name = name.as_ref().map(|name| name.to_string());
            Piece::Media(Media { name, ..Media::new(Kind::File, place(source)) })
        }
        Content::ToolCall(call) => Piece::Call(Call {
            id: call.id.to_string(),
            name: call.name.to_string(),
            arguments: arguments(&call.arguments),
            proof: call.signature.as_ref().map(proof),
        }),
        Content::ToolResult(result) => {
            let (id, is_error) = (result.call_id.to_string(), result.is_error);
            Piece::Result { id, pieces: pieces(&result.parts), is_error }
        }
        Content::Thinking { text, signature } => {
            Piece::Thought { text: text.to_string(), proof: signature.as_ref().map(proof) }
        }
        Content::RedactedThinking(signature) => Piece::Redacted(proof(signature)),
    }
}

pub fn place(source: &Source<'_>) -> String {
    match source {
        Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
        Source::Url(url) => url.to_string(),
        Source::FileId(id) => format!("id:{id}"),
    }
}

pub fn proof(signature: &Signature<'_>) -> Proof {
    let format = match signature.issuer {
        Issuer::Anthropic => ANTHROPIC,
        Issuer::Google => GOOGLE,
        Issuer::Other => "unknown",
    };
    Proof::new(format, &signature.value)
}

/// Arguments as a JSON value; no text means no arguments.
pub fn arguments(text: &str) -> Value {
    match text.trim() {
        "" => json!({}),
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    }
}

fn tool(tool: &Tool<'_>) -> Value {
    match tool {
        Tool::Native(tool) => serde_json::from_str(tool.get()).unwrap(),
        Tool::Function(function) => {
            let parameters =
                function.parameters.as_ref().map(|schema| serde_json::from_str::<Value>(schema.get()).unwrap());
            let description = function.description.as_deref();
            let mut tool = json!({ "type": "function", "function": { "name": function.name } });
            put(&mut tool["function"], "description", description);
            put(&mut tool["function"], "parameters", parameters);
            put(&mut tool["function"], "strict", function.strict);
            put(&mut tool, "cache_control", function.cache.as_ref().map(|hint| cache_control(ttl(hint).as_deref())));
            tool
        }
    }
}

/// Sets a field, if there is a value for it.
pub fn put(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object[name] = value.into();
    }
}

pub fn cache_control(ttl: Option<&str>) -> Value {
    let mut control = json!({ "type": "ephemeral" });
    put(&mut control, "ttl", ttl);
    control
}

fn settings(canon: &ChatRequest<'_>) -> Map<String, Value> {
    let mut settings = json!({});
    let sampling = &canon.sampling;
    put(&mut settings, "temperature", sampling.temperature);
    put(&mut settings, "top_p", sampling.top_p);
    put(&mut settings, "top_k", sampling.top_k);
    put(&mut settings, "max_tokens", sampling.max_tokens);
    put(&mut settings, "presence_penalty", sampling.presence_penalty);
    put(&mut settings, "frequency_penalty", sampling.frequency_penalty);
    put(&mut settings, "seed", sampling.seed);
    put(&mut settings, "n", sampling.choices);
    put(&mut settings, "logprobs", sampling.logprobs);
    put(&mut settings, "top_logprobs", sampling.top_logprobs);
    put(&mut settings, "parallel_tool_calls", canon.parallel_tool_calls);
    put(&mut settings, "user", canon.user.as_deref());
    put(&mut settings, "stream", canon.stream.then_some(true));
    let stop: Vec<&str> = canon.stop.iter().map(|stop| stop.as_ref()).collect();
    put(&mut settings, "stop", (!stop.is_empty()).then_some(stop));
    put(&mut settings, "tool_choice", canon.tool_choice.as_ref().map(tool_choice));
    put(&mut settings, "response_format", canon.response_format.as_ref().map(response_format));
    let reasoning = canon.reasoning.unwrap_or_default();
    put(&mut settings, "reasoning_effort", reasoning.effort.map(effort));
    put(&mut settings, "reasoning_budget", reasoning.budget_tokens);
    put(&mut settings, "reasoning_shown", reasoning.shown);
    for (name, value) in &canon.extra {
        settings[name.as_ref()] = serde_json::from_str(value.get()).unwrap();
    }
    settings.as_object().unwrap().clone()
}

fn effort(effort: Effort) -> &'static str {
    Effort::ALL.iter().find(|(known, _)| *known == effort).unwrap().1
}

fn tool_choice(choice: &ToolChoice<'_>) -> Value {
    let function = |name: &str| json!({ "type": "function", "function": { "name": name } });
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Function(name) => function(name),
        ToolChoice::Allowed { required, names } => json!({
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": if *required { "required" } else { "auto" },
                "tools": names.iter().map(|name| function(name)).collect::<Vec<_>>(),
            },
        }),
    }
}

fn response_format(format: &ResponseFormat<'_>) -> Value {
    match format {
        ResponseFormat::Text => json!({ "type": "text" }),
        ResponseFormat::JsonObject => json!({ "type": "json_object" }),
        ResponseFormat::JsonSchema { name, description, schema, strict } => {
            let mut format = json!({ "type": "json_schema", "json_schema": { "name": name } });
            let schema = schema.as_ref().map(|schema| serde_json::from_str::<Value>(schema.get()).unwrap());
            put(&mut format["json_schema"], "description", description.as_deref());
            put(&mut format["json_schema"], "schema", schema);
            put(&mut format["json_schema"], "strict", *strict);
            format
        }
    }
}

/// What a model answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub text: String,
    pub refusal: String,
    /// What it thought, as far as a client is shown.
    pub thinking: String,
    /// Thoughts that are worth sending back: pieces [`Piece::Thought`] and [`Piece::Redacted`].
    pub proofs: Vec<Piece>,
    pub calls: Vec<Call>,
    /// Address and title.
    pub citations: Vec<(String, Option<String>)>,
    /// In OpenAI's words.
    pub finish: String,
    pub usage: Option<Counts>,
}

impl Answer {
    /// The same without the ids of calls that the provider gave none; those have to be there all the same.
    pub fn with_ids_of(mut self, given: &Self) -> Self {
        for (call, given) in self.calls.iter_mut().zip(&given.calls) {
            assert!(!call.id.is_empty());
            if given.id.is_empty() {
                call.id.clear();
            }
        }
        self
    }
}

/// Token counts, in OpenAI's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub prompt: i64,
    pub completion: i64,
    pub total: i64,
    pub cached: Option<i64>,
    pub cache_written: Option<i64>,
    pub reasoning: Option<i64>,
}
