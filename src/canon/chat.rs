//! A chat request, richer than any one wire format.
//!
//! Text is borrowed from the body it was read from wherever it stands there unescaped, so that a
//! long prompt or an image in base64 exists once.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Text of a request or an answer.
pub type Text<'a> = Cow<'a, str>;

/// A JSON value that is carried as it was written: schemas, fields of one provider only.
pub type Json<'a> = Cow<'a, RawValue>;

/// What a client asks of a model. The model's own name is not in here: each channel has another.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest<'a> {
    /// What the system and the developer say, in their order; text blocks only.
    pub system: Vec<Block<'a>>,
    /// The conversation in its order. Neighbours may have the same role.
    pub turns: Vec<Turn<'a>>,
    /// What the model may use.
    pub tools: Vec<Tool<'a>>,
    /// Whether it must.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// False: at most one call at a time.
    pub parallel_tool_calls: Option<bool>,
    /// How tokens are drawn, and how many.
    pub sampling: Sampling,
    /// Texts that end the answer.
    pub stop: Vec<Text<'a>>,
    /// The form of the answer's text.
    pub response_format: Option<ResponseFormat<'a>>,
    /// How much the model thinks first.
    pub reasoning: Option<Reasoning>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Who asks, as the client names its own users.
    pub user: Option<Text<'a>>,
    /// Fields that the hub has no name for, in their order; a dialect sends on the ones that its
    /// format knows.
    pub extra: Vec<(Text<'a>, Json<'a>)>,
}

impl<'a> ChatRequest<'a> {
    /// The field of this name among the ones that the hub has no name for.
    pub fn extra(&self, name: &str) -> Option<&Json<'a>> {
        self.extra.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Takes everything about tools out: what may be called, what was called, and what came of it.
    pub fn forget_tools(&mut self) {
        self.tools.clear();
        self.tool_choice = None;
        for turn in &mut self.turns {
            turn.blocks.retain(|block| !matches!(block.content, Content::ToolCall(_) | Content::ToolResult(_)));
        }
        self.turns.retain(|turn| !turn.blocks.is_empty());
    }

    /// Where the bytes of every image, sound and document are, results of tools included.
    pub fn sources_mut(&mut self) -> Vec<&mut Source<'a>> {
        fn collect<'s, 'a>(blocks: &'s mut [Block<'a>], sources: &mut Vec<&'s mut Source<'a>>) {
            for block in blocks {
                match &mut block.content {
                    Content::Image { source, .. } | Content::Audio { source } | Content::File { source, .. } => {
                        sources.push(source);
                    }
                    Content::ToolResult(result) => collect(&mut result.parts, sources),
                    _ => {}
                }
            }
        }
        let mut sources = Vec::new();
        for turn in &mut self.turns {
            collect(&mut turn.blocks, &mut sources);
        }
        sources
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The user, or a tool that answers in their place.
    User,
    /// The model.
    Assistant,
}

/// What one of them says at a time.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// Who.
    pub role: Role,
    /// What, in its order.
    pub blocks: Vec<Block<'a>>,
}

/// One piece of what is said.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    /// The piece.
    pub content: Content<'a>,
    /// The prompt up to here is worth caching.
    pub cache: Option<CacheHint<'a>>,
}

impl<'a> From<Content<'a>> for Block<'a> {
    fn from(content: Content<'a>) -> Self {
        Self { content, cache: None }
    }
}

impl<'a> Block<'a> {
    /// A piece of text.
    pub fn text(text: impl Into<Text<'a>>) -> Self {
        Content::Text(text.into()).into()
    }
}

/// What a piece may be.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// Text.
    Text(Text<'a>),
    /// A picture.
    Image {
        /// Its bytes, or where they are.
        source: Source<'a>,
        /// How closely to look: OpenAI's `detail`.
        detail: Option<Text<'a>>,
    },
    /// Sound.
    Audio {
        /// Its bytes, or where they are.
        source: Source<'a>,
    },
    /// A document, most often a PDF.
    File {
        /// Its bytes, or where they are.
        source: Source<'a>,
        /// Its name.
        name: Option<Text<'a>>,
    },
    /// The model calls a tool.
    ToolCall(ToolCall<'a>),
    /// A tool's answer.
    ToolResult(ToolResult<'a>),
    /// What the model thought aloud.
    Thinking {
        /// The thought; may be empty where only its signature is known.
        text: Text<'a>,
        /// Proof that it is the model's own.
        signature: Option<Signature<'a>>,
    },
    /// A thought that only the provider can read.
    RedactedThinking(Signature<'a>),
}

/// Where the bytes of an image, a sound or a document are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// Here.
    Base64 {
        /// Such as `image/png`.
        media_type: Text<'a>,
        /// The bytes in standard base64.
        data: Text<'a>,
    },
    /// At an address.
    Url(Text<'a>),
    /// At the provider, under an id that it gave out.
    FileId(Text<'a>),
}

/// A call that the model makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall<'a> {
    /// Ties the result to the call.
    pub id: Text<'a>,
    /// The function.
    pub name: Text<'a>,
    /// Its arguments, the text of a JSON object; empty means none.
    pub arguments: Text<'a>,
    /// What the provider wants to see again with the call.
    pub signature: Option<Signature<'a>>,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct ToolResult<'a> {
    /// The call.
    pub call_id: Text<'a>,
    /// The function, where the client named it.
    pub name: Option<Text<'a>>,
    /// Text, images, documents.
    pub parts: Vec<Block<'a>>,
    /// The tool failed.
    pub is_error: bool,
}

/// An opaque proof that only the provider that issued it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Who issued it.
    pub issuer: Issuer,
    /// Byte for byte what it issued.
    pub value: Text<'a>,
}

impl<'a> Signature<'a> {
    /// The signature, if this provider issued it. Others refuse it.
    pub fn by(&self, issuer: Issuer) -> Option<&Text<'a>> {
        (self.issuer == issuer).then_some(&self.value)
    }
}

/// Who issued a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// A Claude model.
    Anthropic,
    /// A Gemini model.
    Google,
    /// Somebody else, or nobody knows.
    Other,
}

/// How long a cached prompt is worth keeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheHint<'a> {
    /// Such as `5m` or `1h`; the provider's default when absent.
    pub ttl: Option<Text<'a>>,
}

/// Something that the model may use.
#[derive(Clone, Debug)]
pub enum Tool<'a> {
    /// A function of the client.
    Function(Function<'a>),
    /// A tool that runs at one provider, in that provider's own words.
    Native(Json<'a>),
}

/// A function that the model may call.
#[derive(Clone, Debug)]
pub struct Function<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// What it is for.
    pub description: Option<Text<'a>>,
    /// JSON Schema of its arguments; `None` takes none.
    pub parameters: Option<Json<'a>>,
    /// The arguments must obey the schema.
    pub strict: Option<bool>,
    /// The prompt up to here is worth caching.
    pub cache: Option<CacheHint<'a>>,
}

/// Whether the model must call a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// It may.
    Auto,
    /// It must not.
    None,
    /// It must call one.
    Required,
    /// It must call this one.
    Function(Text<'a>),
    /// It may (or must, if `required`) call one of these.
    Allowed {
        /// Whether it must.
        required: bool,
        /// Which.
        names: Vec<Text<'a>>,
    },
}

/// How tokens are drawn, and how many. OpenAI's ranges: temperature up to 2, penalties from -2 to 2.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each has the name and the meaning of its field in OpenAI's API")]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u64>,
    /// In tokens; `max_tokens` or `max_completion_tokens`.
    pub max_tokens: Option<u64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub seed: Option<i64>,
    /// `n`.
    pub choices: Option<u64>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<u64>,
}

/// The form of the answer's text.
#[derive(Clone, Debug)]
pub enum ResponseFormat<'a> {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that obeys a schema.
    JsonSchema {
        /// The schema's name.
        name: Text<'a>,
        /// What it is for.
        description: Option<Text<'a>>,
        /// The schema.
        schema: Option<Json<'a>>,
        /// Whether it has to be obeyed to the letter.
        strict: Option<bool>,
    },
}

/// How much the model thinks before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// As a word.
    pub effort: Option<Effort>,
    /// As a number of tokens; wins over the word.
    pub budget_tokens: Option<u64>,
    /// False: thoughts are not shown.
    pub shown: Option<bool>,
}

/// `reasoning_effort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words of the APIs")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    /// Every effort with its name on the wire.
    pub const ALL: [(Effort, &'static str); 7] = [
        (Effort::None, "none"),
        (Effort::Minimal, "minimal"),
        (Effort::Low, "low"),
        (Effort::Medium, "medium"),
        (Effort::High, "high"),
        (Effort::XHigh, "xhigh"),
        (Effort::Max, "max"),
    ];
}
