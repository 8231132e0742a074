//! Wire formats. Pure: no clock, no network, no actors.
//!
//! Every format has a folder of its own that reads like the others:
//!
//! - `request.rs` turns a [`ChatRequest`] into the format (or back),
//! - `answer.rs` turns its answers into [`ChatEvent`]s (or back), whole and streamed,
//! - `mod.rs` names the provider's document that both follow.
//!
//! [`Format`] is the table of them. A client speaks `openai_chat`; where its upstream does too,
//! [`passthrough`] sends the bytes on as they are, otherwise [`translated`] goes through the hub.
//! [`AnswerStream`] is either. What is not chat is in [`call`]. What providers say of errors is read
//! in one place for all formats: [`refusal`].

use crate::canon::{ChatEvent, ChatRequest, Failure};

pub use answer_stream::{AnswerStream, Passed};
pub use call::Translation;

pub mod answer_stream;
pub mod anthropic;
pub mod call;
pub mod cohere;
pub mod data_uri;
pub mod form;
pub mod gemini;
pub mod jina;
pub mod json;
pub mod model_list;
pub mod moderation;
pub mod openai_chat;
pub mod openai_embeddings;
pub mod openai_images;
pub mod passthrough;
pub mod patch;
pub mod refusal;
pub mod rerank;
pub mod sse;
pub mod translated;

/// What an upstream speaks where it is asked for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// The same as the client.
    Same,
    /// Another format of chat.
    Chat(Format),
    /// Another format of another operation.
    Call(Translation),
}

/// A wire format of upstreams that do not speak like the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Anthropic messages, as Anthropic or Vertex AI hosts them.
    Anthropic(anthropic::Host),
    /// Cohere chat, version 2.
    CohereV2,
    /// Cohere chat, version 1.
    CohereV1,
    /// Gemini's `generateContent`, as the Gemini API or Vertex AI hosts it.
    Gemini(gemini::Host),
}

impl Format {
    /// The body of a request for this model.
    ///
    /// # Errors
    ///
    /// `Untranslatable` when the format cannot say what the request asks for.
    pub fn write_request(self, request: &ChatRequest<'_>, model: &str) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Anthropic(host) => anthropic::write_request(request, model, host),
            Self::CohereV2 => cohere::write_v2_request(request, model),
            Self::CohereV1 => cohere::write_v1_request(request, model),
            Self::Gemini(host) => gemini::write_request(request, model, host),
        }
    }

    /// The events of a whole answer.
    ///
    /// # Errors
    ///
    /// The answer is an error, or not an answer at all.
    pub fn read_answer(self, body: &[u8]) -> Result<Vec<ChatEvent<'_>>, Failure> {
        match self {
            Self::Anthropic(_) => anthropic::read_answer(body),
            Self::CohereV2 => cohere::read_v2_answer(body),
            Self::CohereV1 => cohere::read_v1_answer(body),
            Self::Gemini(_) => gemini::read_answer(body),
        }
    }

    /// A reader of a streamed answer.
    pub fn stream_reader(self) -> Box<dyn StreamReader> {
        match self {
            Self::Anthropic(_) => Box::new(anthropic::AnswerReader::default()),
            Self::Gemini(_) => Box::new(gemini::AnswerReader::default()),
            Self::CohereV2 => Box::new(cohere::V2AnswerReader::default()),
            Self::CohereV1 => Box::new(cohere::V1AnswerReader::default()),
        }
    }

    /// Whether the upstream takes this address of an image, a sound or a document as it is. Otherwise
    /// the bytes behind it have to be sent.
    pub fn takes_url(self, url: &str) -> bool {
        match self {
            Self::Anthropic(host) => anthropic::takes_url(url, host),
            Self::Gemini(_) => gemini::takes_url(url),
            Self::CohereV2 | Self::CohereV1 => true,
        }
    }
}

/// Reads a streamed answer, one event after the other.
pub trait StreamReader: Send {
    /// Takes the text of the next event and adds what it says to `events`. What was added counts
    /// also when there is an error behind it.
    ///
    /// # Errors
    ///
    /// The upstream reports an error, or sent what the format does not have.
    fn read<'a>(&mut self, data: &'a [u8], events: &mut Vec<ChatEvent<'a>>) -> Result<(), Failure>;

    /// How far the answer has come.
    fn progress(&self) -> Progress;

    /// How the upstream cuts its stream into events.
    fn framing(&self) -> Framing {
        Framing::ServerSentEvents
    }
}

/// How far a streamed answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More must come; a stream that ends here was cut.
    Open,
    /// It may end here, but token counts may still come.
    Finished,
    /// It is over; what comes now does not count.
    Over,
}

/// How a stream is cut into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    ServerSentEvents,
    /// One JSON value on each line.
    Lines,
}
