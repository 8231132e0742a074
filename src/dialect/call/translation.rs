//! How upstreams that do not speak like OpenAI say an operation.

use crate::canon::{Failure, ImageRequest, Images, Operation, Usage};
use crate::dialect::gemini::{self, imagen, images};
use crate::dialect::json::invalid;
use crate::dialect::openai_images::{self, AnswerForm};

use super::Call;

/// One way to say one operation, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Images of a Gemini model.
    GeminiImages(gemini::Host),
    /// Images of Imagen.
    Imagen,
}

impl Translation {
    /// How a model of Google's is asked for images.
    pub fn google_images(model: &str, host: gemini::Host) -> Self {
        if imagen::is_imagen(model) { Self::Imagen } else { Self::GeminiImages(host) }
    }

    /// The method that Google has it under.
    pub fn google_method(self) -> &'static str {
        match self {
            Self::GeminiImages(_) => "generateContent",
            Self::Imagen => "predict",
        }
    }

    /// The body of a request for this model.
    ///
    /// # Errors
    ///
    /// `Untranslatable` when the upstream cannot be told what the request asks for, `InvalidRequest`
    /// when nobody can.
    pub fn write_request(self, call: &Call, model: &str) -> Result<Vec<u8>, Failure> {
        match self {
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
            Self::GeminiImages(_) => Ok(with_images(call, &images::read_answer(body)?, created)),
            Self::Imagen => Ok(with_images(call, &imagen::read_answer(body)?, created)),
        }
    }
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
