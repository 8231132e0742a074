//! How upstreams that do not speak like OpenAI say an operation.

use crate::canon::{Embeddings, Failure, ImageRequest, Images, Operation, Usage};
use crate::dialect::gemini::{self, imagen, images};
use crate::dialect::json::invalid;
use crate::dialect::openai_images::{self, AnswerForm};
use crate::dialect::{cohere, jina, openai_embeddings, rerank};

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
    /// Images of a Gemini model.
    GeminiImages(gemini::Host),
    /// Images of Imagen.
    Imagen,
}

impl Translation {
    /// The method with which a model of Google's is asked for images, and how.
    pub fn google_images(model: &str, host: gemini::Host) -> (&'static str, Self) {
        match imagen::is_imagen(model) {
            true => ("predict", Self::Imagen),
            false => ("generateContent", Self::GeminiImages(host)),
        }
    }

    /// The method with which one is asked for embeddings, and how.
    pub fn google_embeddings(method: gemini::embeddings::Method) -> (&'static str, Self) {
        (method.verb(), Self::GoogleEmbeddings(method))
    }

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
            Self::GeminiImages(host) => images::write_request(image_request(call)?, model, host),
            Self::Imagen => imagen::write_request(&image_request(call)?, model),
        }
    }

    /// A whole answer for the client, and what it used. `created` is now, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// It is an error, or no answer to this request.
    pub fn read_answer(self, call: &Call, body: &[u8], created: u64) -> Result<(Vec<u8>, Option<Usage>), Failure> {
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
            Self::GeminiImages(_) => Ok(with_images(call, &images::read_answer(body)?, created)),
            Self::Imagen => Ok(with_images(call, &imagen::read_answer(body)?, created)),
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

fn image_request(call: &Call) -> Result<ImageRequest<'_>, Failure> {
    let request = match call.form() {
        Some(form) => openai_images::read_form(form)?,
        None => openai_images::read_request(call.body())?,
    };
    if call.operation == Operation::ImageEdits && request.images.is_empty() {
        return Err(invalid("the body has no images to edit; add \"images\"").at("images"));
    }
    Ok(request)
}

fn with_images(call: &Call, images: &Images<'_>, created: u64) -> (Vec<u8>, Option<Usage>) {
    let form = match call.operation.row().endings {
        [kind, ..] if call.stream => AnswerForm::Events(kind),
        _ if call.text("response_format").as_deref() == Some("url") => AnswerForm::Urls,
        _ => AnswerForm::Base64,
    };
    (openai_images::write_answer(form, images, created), images.usage.map(|counted| counted.usage))
}
