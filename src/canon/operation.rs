//! What a client may ask of a model: the table of operations.
//!
//! Every operation takes the same way through the gateway; what differs is its [`Row`].
//!
//! Source: OpenAI's API reference (paths, fields, event types); Cohere's and Jina's for "Rerank".

/// One way to use a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A chat completion.
    Chat,
    /// A completion of a text, as it was before there were chats.
    Completions,
    /// Vectors of texts.
    Embeddings,
    /// Documents in the order in which they fit a query.
    Rerank,
    /// Whether contents are harmful.
    Moderations,
    /// Images of a description.
    ImageGenerations,
    /// Images of other images and a description.
    ImageEdits,
    /// Images like another one.
    ImageVariations,
    /// What is said in a recording.
    Transcriptions,
    /// The same in English.
    Translations,
    /// A text, spoken.
    Speech,
}

/// How a request body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// JSON.
    Json,
    /// `multipart/form-data`.
    Form,
    /// Either of them.
    JsonOrForm,
}

/// What an answer is, unless it is streamed as events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// A JSON object. It has one of these lists, with something in it, if any are named.
    Json(&'static [&'static str]),
    /// JSON, or a text in another form that the client has asked for.
    JsonOrText,
    /// Bytes that are worth something as soon as they come.
    Bytes,
}

/// What is particular about an operation.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How it is called in messages; goes with "no".
    pub name: &'static str,
    /// The path behind the version, here and at upstreams that speak like OpenAI.
    pub path: &'static str,
    /// How it appears in the statistics.
    pub endpoint: &'static str,
    /// How its requests are written.
    pub body: BodyKind,
    /// The fields that a request must have; `image` stands for `image[]` as well.
    pub required: &'static [&'static str],
    /// Those of the required fields that are files, where the request is a form.
    pub files: &'static [&'static str],
    /// The model of a request that names none.
    pub default_model: Option<&'static str>,
    /// The field with the user's words, which may have to pass moderation.
    pub words: Option<&'static str>,
    /// The fields whose length counts for limits of tokens.
    pub measured: &'static [&'static str],
    /// What its answers are.
    pub answer: AnswerKind,
    /// Types of the event with which a stream may end. Without any, `[DONE]` ends it.
    pub endings: &'static [&'static str],
}

const IMAGES: Row = Row {
    name: "image generation",
    path: "images/generations",
    endpoint: "POST /v1/images/generations",
    body: BodyKind::Json,
    required: &["prompt"],
    files: &[],
    // What requests without a model have always got here.
    default_model: Some("dall-e-3"),
    words: Some("prompt"),
    measured: &["prompt"],
    answer: AnswerKind::Json(&["data"]),
    endings: &["image_generation.completed"],
};

const TRANSCRIPTIONS: Row = Row {
    name: "transcription",
    path: "audio/transcriptions",
    endpoint: "POST /v1/audio/transcriptions",
    body: BodyKind::Form,
    required: &["file"],
    files: &["file"],
    default_model: None,
    words: None,
    measured: &["prompt"],
    answer: AnswerKind::JsonOrText,
    endings: &["transcript.text.done"],
};

const EMBEDDINGS: Row = Row {
    name: "embeddings",
    path: "embeddings",
    endpoint: "POST /v1/embeddings",
    body: BodyKind::Json,
    required: &["input"],
    files: &[],
    default_model: None,
    words: None,
    measured: &["input"],
    answer: AnswerKind::Json(&["data"]),
    endings: &[],
};

impl Operation {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 11] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::Rerank,
        Self::Moderations,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::ImageVariations,
        Self::Transcriptions,
        Self::Translations,
        Self::Speech,
    ];

    /// What is particular about it.
    pub const fn row(self) -> Row {
        match self {
            Self::Chat => Row {
                name: "chat",
                path: "chat/completions",
                endpoint: "POST /v1/chat/completions",
                required: &["messages"],
                measured: &["messages"],
                answer: AnswerKind::Json(&["choices"]),
                ..EMBEDDINGS
            },
            Self::Completions => Row {
                name: "completions of texts",
                path: "completions",
                endpoint: "POST /v1/completions",
                required: &["prompt"],
                words: Some("prompt"),
                measured: &["prompt"],
                answer: AnswerKind::Json(&["choices"]),
                ..EMBEDDINGS
            },
            Self::Embeddings => EMBEDDINGS,
            Self::Rerank => Row {
                name: "rerank",
                path: "rerank",
                endpoint: "POST /v1/rerank",
                required: &["query", "documents"],
                measured: &["query", "documents"],
                // Voyage's name for it is "data".
                answer: AnswerKind::Json(&["results", "data"]),
                ..EMBEDDINGS
            },
            Self::Moderations => Row {
                name: "moderation",
                path: "moderations",
                endpoint: "POST /v1/moderations",
                default_model: Some("omni-moderation-latest"),
                answer: AnswerKind::Json(&["results"]),
                ..EMBEDDINGS
            },
            Self::ImageGenerations => IMAGES,
            Self::ImageEdits => Row {
                name: "image edits",
                path: "images/edits",
                endpoint: "POST /v1/images/edits",
                body: BodyKind::JsonOrForm,
                files: &["image"],
                default_model: None,
                endings: &["image_edit.completed"],
                ..IMAGES
            },
            Self::ImageVariations => Row {
                name: "image variations",
                path: "images/variations",
                endpoint: "POST /v1/images/variations",
                body: BodyKind::Form,
                required: &["image"],
                files: &["image"],
                // The only one that has them.
                default_model: Some("dall-e-2"),
                words: None,
                measured: &[],
                endings: &[],
                ..IMAGES
            },
            Self::Transcriptions => TRANSCRIPTIONS,
            Self::Translations => Row {
                name: "translation of recordings",
                path: "audio/translations",
                endpoint: "POST /v1/audio/translations",
                ..TRANSCRIPTIONS
            },
            Self::Speech => Row {
                name: "speech",
                path: "audio/speech",
                endpoint: "POST /v1/audio/speech",
                words: Some("input"),
                answer: AnswerKind::Bytes,
                endings: &["speech.audio.done"],
                ..EMBEDDINGS
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_listed_once_under_its_own_path() {
        let paths = Operation::ALL.map(|operation| operation.row().path);
        let mut unique = paths.to_vec();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), Operation::ALL.len());
        for operation in Operation::ALL {
            let row = operation.row();
            assert_eq!(row.endpoint, format!("POST /v1/{}", row.path), "{operation:?}");
            assert!(!row.required.is_empty(), "{operation:?}");
        }
    }
}
