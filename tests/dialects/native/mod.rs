//! The providers' side: reads requests and writes answers in each provider's own format, as the provider does.

pub mod anthropic;
pub mod cohere;
pub mod gemini;

use serde_json::Value;
use uni_api::dialect::Format;

use crate::exchange::{Answer, Request};

/// A provider's format, seen from the provider.
#[derive(Clone, Copy)]
pub struct Native {
    pub name: &'static str,
    pub format: Format,
    /// A model there.
    pub model: &'static str,
    /// What a request says, or the thing in it that OpenAI's format has no word for.
    pub read_request: fn(&Value) -> Result<Request, String>,
    /// The JSON of a request without what the format leaves open.
    pub normalised: fn(&Value) -> Value,
    /// What is left of a request that goes to this model: all that the format can say. Nothing, where it cannot say
    /// what must not be left out.
    pub carried: fn(Request) -> Option<Request>,
    /// What is left of an answer that this model gives: all that the format can say.
    pub given: fn(Answer) -> Answer,
    /// What a whole answer says.
    pub read_answer: fn(&Value) -> Answer,
    /// What a streamed answer says.
    pub read_stream: fn(&str) -> Answer,
    /// A whole answer that says this.
    pub write_answer: fn(&Answer) -> Value,
    /// A streamed answer that says this.
    pub write_stream: fn(&Answer) -> String,
}

/// Every format that is not the client's own.
pub fn all() -> Vec<Native> {
    vec![
        anthropic::PLAIN,
        anthropic::THINKING,
        anthropic::VERTEX,
        gemini::SECOND,
        gemini::THIRD,
        gemini::VERTEX_SECOND,
        gemini::VERTEX_THIRD,
        gemini::FIRST_API,
        cohere::V2,
        cohere::V2_THINKING,
        cohere::V1,
    ]
}

/// The JSON of each event of a stream.
pub fn events(stream: &str) -> impl Iterator<Item = Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap())
}

/// Text in pieces of three characters, as a model speaks.
pub fn morsels(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(3).map(|piece| piece.iter().collect()).collect()
}
