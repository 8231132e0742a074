//! Imagen, which answers `:predict` with images.
//!
//! Source: Google's "Imagen API" reference of Vertex AI (`VisionGenerativeModelParams`), and the guide
//! "Generate images using Imagen" of the Gemini API, which takes fewer parameters. Google retired its
//! Imagen models in 2026; servers that speak like it still have them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canon::{Failure, FailureKind, Image, ImageRequest, Images, Json};
use crate::dialect::json::{Str, unreadable, untranslatable};
use crate::dialect::refusal::error_in_answer;

use super::image_size::{IMAGEN, nearest, resolution};
use super::images::output_type;

/// So many images come of a request.
const MAX_COUNT: u64 = 4;

#[derive(Serialize)]
struct Wire<'r> {
    instances: [Instance<'r>; 1],
    parameters: Parameters<'r>,
}

#[derive(Serialize)]
struct Instance<'r> {
    prompt: &'r str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters<'r> {
    sample_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aspect_ratio: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_image_size: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_options: Option<OutputOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    person_generation: Option<&'r Json<'r>>,
    /// Without it, an image that was filtered is only missing.
    include_rai_reason: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutputOptions {
    mime_type: &'static str,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    predictions: Option<Vec<Prediction<'a>>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prediction<'a> {
    #[serde(borrow)]
    bytes_base64_encoded: Option<Str<'a>>,
    #[serde(borrow)]
    mime_type: Option<Str<'a>>,
    #[serde(borrow)]
    prompt: Option<Str<'a>>,
    #[serde(borrow)]
    rai_filtered_reason: Option<Str<'a>>,
}

/// Whether this is a model of Imagen, by its name.
pub fn is_imagen(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or_default();
    // The first ones are `imagegeneration@006` and the like.
    name.starts_with("imagen") || name.starts_with("imagegeneration")
}

/// The body of a request for this model.
///
/// # Errors
///
/// `Untranslatable` for too many images, for images to work from, and for what Imagen cannot draw.
pub fn write_request(request: &ImageRequest<'_>, model: &str) -> Result<Vec<u8>, Failure> {
    if request.count > MAX_COUNT {
        let message = format!("this channel makes at most {MAX_COUNT} images at a time; ask for fewer in \"n\"");
        return Err(untranslatable(message).at("n"));
    }
    if !request.images.is_empty() {
        return Err(untranslatable("this channel edits no images; ask a Gemini model, or one of OpenAI's"));
    }
    let output_type = output_type(request)?;
    // Only these know the field; they have no 4K.
    let is_sized = model.contains("imagen-4") && !model.contains("fast");
    let wire = Wire {
        instances: [Instance { prompt: &request.prompt }],
        parameters: Parameters {
            sample_count: request.count,
            aspect_ratio: request.size.and_then(|size| nearest(size, IMAGEN)),
            sample_image_size: request.size.and_then(resolution).filter(|_| is_sized).map(|_| "2K"),
            output_options: output_type.map(|mime_type| OutputOptions { mime_type }),
            person_generation: request.extra("person_generation").or_else(|| request.extra("personGeneration")),
            include_rai_reason: true,
        },
    };
    serde_json::to_vec(&wire).map_err(|_| untranslatable("the request cannot be written as JSON"))
}

/// The images of an answer, without those that were filtered.
///
/// # Errors
///
/// The answer is an error, or every image was filtered.
pub fn read_answer(body: &[u8]) -> Result<Images<'_>, Failure> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|_| unreadable("the upstream's answer is not one of Imagen's; check base_url and engine"))?;
    if let Some(error) = answer.error {
        return Err(error_in_answer(error));
    }
    let (mut images, mut reason) = (Vec::new(), None);
    for prediction in answer.predictions.unwrap_or_default() {
        if let Some(Str(data)) = prediction.bytes_base64_encoded {
            let media_type = prediction.mime_type.map_or("image/png".into(), |Str(media_type)| media_type);
            let revised_prompt = prediction.prompt.map(|Str(prompt)| prompt);
            images.push(Image { media_type, data, revised_prompt });
        }
        reason = reason.or(prediction.rai_filtered_reason);
    }
    match reason {
        _ if !images.is_empty() => Ok(Images { images, usage: None }),
        Some(Str(reason)) => {
            let message = format!("the provider filtered every image: {reason}");
            Err(Failure::new(FailureKind::ContentFiltered, message))
        }
        None => Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent an answer without images")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::dialect::openai_images;

    use super::*;

    fn try_write(body: &str, model: &str) -> Result<Value, Failure> {
        let written = write_request(&openai_images::read_request(body).unwrap(), model)?;
        Ok(serde_json::from_slice(&written).unwrap())
    }

    #[test]
    fn the_name_tells_the_family() {
        for model in ["imagen-4.0-generate-001", "models/imagen-3.0-generate-002", "imagegeneration@006"] {
            assert!(is_imagen(model), "{model}");
        }
        for model in ["gemini-2.5-flash-image", "gemini-nano-banana-2.1", "imagine", "my-imagen"] {
            assert!(!is_imagen(model), "{model}");
        }
    }

    #[test]
    fn a_request_is_an_instance_with_parameters() {
        let body = r#"{"model":"m","prompt":"a cat","n":4,"size":"2048x1152","output_format":"jpeg",
            "person_generation":"allow_all","quality":"hd","user":"u"}"#;
        let parameters = json!({
            "sampleCount": 4,
            "aspectRatio": "16:9",
            "sampleImageSize": "2K",
            "outputOptions": {"mimeType": "image/jpeg"},
            "personGeneration": "allow_all",
            "includeRaiReason": true,
        });
        let expected = json!({"instances": [{"prompt": "a cat"}], "parameters": parameters});
        assert_eq!(try_write(body, "imagen-4.0-generate-001").unwrap(), expected);
    }

    #[test]
    fn what_is_not_asked_for_is_left_to_the_model() {
        let parameters = json!({"sampleCount": 1, "includeRaiReason": true});
        assert_eq!(try_write(r#"{"prompt":"a"}"#, "imagen-4.0-generate-001").unwrap()["parameters"], parameters);
        let parameters = json!({"sampleCount": 1, "aspectRatio": "1:1", "includeRaiReason": true});
        let large = r#"{"prompt":"a","size":"2048x2048"}"#;
        assert_eq!(try_write(large, "imagen-4.0-fast-generate-001").unwrap()["parameters"], parameters);
    }

    #[test]
    fn what_imagen_cannot_do_is_left_to_the_next_channel() {
        for fields in [
            r#""n":5"#,
            r#""background":"transparent""#,
            r#""images":[{"image_url":"data:image/png;base64,iVBORw0KGgo="}]"#,
        ] {
            let failure = try_write(&format!(r#"{{"prompt":"a",{fields}}}"#), "imagen-4.0-generate-001").unwrap_err();
            assert_eq!(failure.kind, FailureKind::Untranslatable, "{fields}");
        }
    }

    #[test]
    fn images_are_read_without_those_that_were_filtered() {
        let body = r#"{"predictions":[{"raiFilteredReason":"filtered"},
            {"mimeType":"image/png","bytesBase64Encoded":"AAAA","prompt":"a small cat"},
            {"bytesBase64Encoded":"BBBB"}]}"#;
        let image = |data: &'static str, prompt: Option<&'static str>| Image {
            media_type: "image/png".into(),
            data: data.into(),
            revised_prompt: prompt.map(Into::into),
        };
        let expected = Images { images: vec![image("AAAA", Some("a small cat")), image("BBBB", None)], usage: None };
        assert_eq!(read_answer(body.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn an_answer_without_images_is_a_failure() {
        for (body, kind) in [
            (r#"{"predictions":[{"raiFilteredReason":"58061214"}]}"#, FailureKind::ContentFiltered),
            (r#"{"predictions":[]}"#, FailureKind::EmptyAnswer),
            ("{}", FailureKind::EmptyAnswer),
            (r#"{"error":{"code":500,"message":"internal","status":"INTERNAL"}}"#, FailureKind::ErrorInAnswer),
            ("<html>", FailureKind::UnreadableAnswer),
        ] {
            let failure = read_answer(body.as_bytes()).unwrap_err();
            assert_eq!(failure.kind, kind, "{body}");
            assert!(kind != FailureKind::ContentFiltered || failure.message.contains("58061214"));
        }
    }
}
