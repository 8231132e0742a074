//! How upstreams that do not speak like OpenAI say an operation.

use crate::canon::{Embeddings, Failure, Operation, Usage};
use crate::dialect::{cohere, gemini, jina, openai_embeddings, rerank};

use super::{Call, Told, read_answer};

/// One way to say one operation, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Embeddings of Google's models.
    GoogleEmbeddings(gemini::embeddings::Method),
    /// Embeddings of Cohere.
    CohereEmbeddings,
    /// Embeddings of Jina.
    JinaEmbeddings,
    /// Rankings of Cohere.
    CohereRerank,
}

impl Translation {
    /// The body of a request for this model.
    ///
    /// # Errors
    ///
    /// `Untranslatable` when the upstream cannot be told what the request asks for, `InvalidRequest`
    /// when nobody can.
    pub fn write_request(self, call: &Call, model: &str) -> Result<Vec<u8>, Failure> {
        let embeddings = || openai_embeddings::read_request(call.body());
        match self {
            Self::GoogleEmbeddings(method) => gemini::embeddings::write_request(&embeddings()?, model, method),
            Self::CohereEmbeddings => cohere::embed::write_request(&embeddings()?, model),
            Self::JinaEmbeddings => jina::write_request(call.body(), model),
            Self::CohereRerank => cohere::rerank::write_request(&rerank::read_request(call.body())?, model),
        }
    }

    /// A whole answer for the client, and what it used. `created` is now, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// It is an error, or no answer to this request.
    pub fn read_answer(self, call: &Call, body: &[u8], _created: u64) -> Result<(Vec<u8>, Option<Usage>), Failure> {
        match self {
            Self::GoogleEmbeddings(_) => embeddings(call, &gemini::embeddings::read_answer(body)?),
            Self::CohereEmbeddings => embeddings(call, &cohere::embed::read_answer(body)?),
            Self::JinaEmbeddings => match read_answer(Operation::Embeddings, body, "application/json")? {
                Told::Json(usage) => Ok((body.to_vec(), usage)),
                Told::Text => Ok((body.to_vec(), None)),
            },
            Self::CohereRerank => {
                let ranking = cohere::rerank::read_answer(body)?;
                let answer = rerank::write_answer(&rerank::read_request(call.body())?, &ranking, &call.model)?;
                Ok((answer, told(ranking.usage)))
            }
        }
    }
}

fn embeddings(call: &Call, embeddings: &Embeddings<'_>) -> Result<(Vec<u8>, Option<Usage>), Failure> {
    let request = openai_embeddings::read_request(call.body())?;
    let answer = openai_embeddings::write_answer(&request, embeddings, &call.model)?;
    Ok((answer, told(embeddings.usage)))
}

/// Usage that says something.
fn told(usage: Usage) -> Option<Usage> {
    usage.total_tokens.map(|_| usage)
}
