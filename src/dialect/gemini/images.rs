//! Images of Gemini's image models: a chat of one turn that is answered with an image.
//!
//! Source: Google's guides "Image generation" of the Gemini API and of Vertex AI, the references of
//! `ImageConfig` and `FinishReason`. An answer has one image: these models refuse `candidateCount`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, json};

use crate::canon::{
    Block, ChatRequest, Content, Failure, FailureKind, Image, ImageRequest, ImageUsage, Images, Role, Source, Turn,
};
use crate::dialect::json::{Str, raw, untranslatable};
use crate::dialect::refusal::error_in_answer;

use super::Host;
use super::answer::{Blob, Candidate, PromptFeedback, UsageMetadata, WITHHELD, not_an_answer, prompt_refused};
use super::image_size::{GEMINI, nearest, resolution};
use super::media::takes_url;
use super::models::abilities;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, alias = "prompt_feedback")]
    prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(borrow, alias = "usage_metadata")]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// What the counts of tokens are made of.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details<'a> {
    #[serde(borrow, alias = "prompt_tokens_details")]
    prompt_tokens_details: Vec<ModalityCount<'a>>,
    #[serde(borrow, alias = "candidates_tokens_details")]
    candidates_tokens_details: Vec<ModalityCount<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModalityCount<'a> {
    #[serde(borrow)]
    modality: Option<Str<'a>>,
    #[serde(alias = "token_count")]
    token_count: Option<i64>,
}

/// The body of a request for this model.
///
/// # Errors
///
/// `Untranslatable` for several images, for masks, for what these models cannot draw, and for images
/// that would have to be fetched.
pub fn write_request(request: ImageRequest<'_>, model: &str, host: Host) -> Result<Vec<u8>, Failure> {
    if host == Host::AiStudioV1 {
        let message = "version v1 of this channel's API makes no images; have its base_url end with /v1beta";
        return Err(untranslatable(message));
    }
    if request.count > 1 {
        let message = "this channel makes one image at a time; leave \"n\" out, and ask once for each image";
        return Err(untranslatable(message).at("n"));
    }
    if request.has_mask {
        let message = "this channel takes no mask; say in \"prompt\" what is to change, and leave \"mask\" out";
        return Err(untranslatable(message).at("mask"));
    }
    if request.images.iter().any(|source| matches!(source, Source::Url(url) if !takes_url(url))) {
        let message = "this channel fetches no images; send their bytes as data: URIs in \"image_url\"";
        return Err(untranslatable(message).at("images"));
    }
    let output_type = output_type(&request)?;
    let mut config = Map::new();
    if let Some(size) = request.size {
        config.extend(nearest(size, GEMINI).map(|ratio| ("aspectRatio".to_owned(), ratio.into())));
        let resolution = resolution(size).filter(|_| abilities(model, host).image_size);
        config.extend(resolution.map(|resolution| ("imageSize".to_owned(), resolution.into())));
    }
    // The Gemini API has no such choice; the answer says which type it is.
    if let Some(output_type) = output_type.filter(|_| host == Host::Vertex) {
        config.insert("imageOutputOptions".to_owned(), json!({ "mimeType": output_type }));
    }
    let mut extra = vec![(Cow::Borrowed("modalities"), raw(&["image"]))];
    extra.extend((!config.is_empty()).then(|| (Cow::Borrowed("image_config"), raw(&config))));
    extra.extend(request.extra);
    let images = request.images.into_iter().map(|source| Content::Image { source, detail: None }.into());
    let blocks = std::iter::once(Block::text(request.prompt)).chain(images).collect();
    let chat = ChatRequest { turns: vec![Turn { role: Role::User, blocks }], extra, ..ChatRequest::default() };
    super::write_request(&chat, model, host)
}

/// The media type that is wanted, where Google has it; the other common ones are as good as any.
///
/// # Errors
///
/// `Untranslatable` for what is another kind of image.
pub(super) fn output_type(request: &ImageRequest<'_>) -> Result<Option<&'static str>, Failure> {
    if request.transparent {
        let message = "this channel's images have no transparent background; leave \"background\" out";
        return Err(untranslatable(message).at("background"));
    }
    match request.output_format.as_deref() {
        Some("png") => Ok(Some("image/png")),
        Some("jpeg") => Ok(Some("image/jpeg")),
        None | Some("webp") => Ok(None),
        Some(_) => {
            let message = "this channel makes images in \"png\" or \"jpeg\"; leave \"output_format\" out";
            Err(untranslatable(message).at("output_format"))
        }
    }
}

/// The images of an answer, without those that the model made while it was thinking.
///
/// # Errors
///
/// The answer is an error, a refusal, or has no image.
pub fn read_answer(body: &[u8]) -> Result<Images<'_>, Failure> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(not_an_answer)?;
    if let Some(error) = answer.error {
        return Err(error_in_answer(error));
    }
    let candidates = answer.candidates.unwrap_or_default();
    if candidates.is_empty() {
        return Err(match answer.prompt_feedback.and_then(|feedback| feedback.block_reason) {
            Some(Str(reason)) => prompt_refused(&reason),
            None => Failure::new(FailureKind::EmptyAnswer, "the upstream sent an answer without candidates"),
        });
    }
    let (mut images, mut finish_reason) = (Vec::new(), None);
    for candidate in candidates {
        let parts = candidate.content.and_then(|content| content.parts).unwrap_or_default();
        let shown = parts.into_iter().filter(|part| part.thought != Some(true)).filter_map(|part| part.inline_data);
        images.extend(shown.filter_map(image));
        finish_reason = finish_reason.or(candidate.finish_reason);
    }
    if images.is_empty() {
        let reason = finish_reason.map(|Str(reason)| reason);
        return Err(no_image(reason.as_deref().unwrap_or("STOP")));
    }
    Ok(Images { images, usage: answer.usage_metadata.and_then(usage) })
}

fn image(blob: Blob<'_>) -> Option<Image<'_>> {
    let (Str(media_type), Str(data)) = (blob.mime_type?, blob.data?);
    media_type.starts_with("image/").then_some(Image { media_type, data, revised_prompt: None })
}

/// The model has finished for this reason, without an image.
fn no_image(reason: &str) -> Failure {
    if WITHHELD.contains(&reason) {
        let message = format!("the provider withheld the image ({reason}); change what the prompt asks for");
        return Failure::new(FailureKind::ContentFiltered, message);
    }
    match reason {
        // It has declined, or had nothing to draw, and has most often said so in words.
        "STOP" | "NO_IMAGE" => {
            let message = format!("the model made no image of the prompt ({reason}); describe what it is to draw");
            Failure::new(FailureKind::ContentFiltered, message)
        }
        _ => {
            let message = format!("the model broke off its image ({reason}); try again");
            Failure::new(FailureKind::ErrorInAnswer, message)
        }
    }
}

fn usage(metadata: &RawValue) -> Option<ImageUsage> {
    let counts: UsageMetadata = serde_json::from_str(metadata.get()).ok()?;
    let details: Details<'_> = serde_json::from_str(metadata.get()).unwrap_or_default();
    Some(ImageUsage {
        usage: counts.usage(),
        prompt_image_tokens: image_tokens(&details.prompt_tokens_details),
        completion_image_tokens: image_tokens(&details.candidates_tokens_details),
    })
}

fn image_tokens(counts: &[ModalityCount<'_>]) -> Option<i64> {
    let of_images = |count: &&ModalityCount<'_>| count.modality.as_ref().is_some_and(|Str(name)| name == "IMAGE");
    counts.iter().find(of_images)?.token_count
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::canon::Usage;
    use crate::dialect::openai_images::read_request;

    use super::*;

    fn try_write(body: &str, model: &str, host: Host) -> Result<Value, Failure> {
        let written = write_request(read_request(body).unwrap(), model, host)?;
        Ok(serde_json::from_slice(&written).unwrap())
    }

    fn config(body: &str, model: &str, host: Host) -> Value {
        try_write(body, model, host).unwrap()["generationConfig"].take()
    }

    #[test]
    fn a_prompt_is_a_turn_that_is_answered_with_an_image() {
        let written = try_write(r#"{"model":"m","prompt":"a cat"}"#, "gemini-2.5-flash-image", Host::AiStudio).unwrap();
        assert_eq!(written["contents"], json!([{"role": "user", "parts": [{"text": "a cat"}]}]));
        assert_eq!(written["generationConfig"], json!({"responseModalities": ["IMAGE"]}));
        assert_eq!(written["safetySettings"][0]["threshold"], "OFF");
        assert_eq!(written.as_object().unwrap().len(), 3);
    }

    #[test]
    fn a_size_is_a_ratio_and_where_the_model_has_them_a_resolution() {
        let body = r#"{"prompt":"a cat","size":"3840x2160"}"#;
        let of = |model, host| config(body, model, host)["imageConfig"].take();
        let pro = json!({"aspectRatio": "16:9", "imageSize": "4K"});
        assert_eq!(of("gemini-3-pro-image", Host::AiStudio), pro);
        assert_eq!(of("gemini-nano-banana-2.1", Host::Vertex), pro);
        assert_eq!(of("gemini-2.5-flash-image", Host::Vertex), json!({"aspectRatio": "16:9"}));
    }

    #[test]
    fn the_type_of_the_image_is_a_choice_on_vertex_only() {
        let body = r#"{"prompt":"a cat","output_format":"jpeg"}"#;
        let jpeg = json!({"imageOutputOptions": {"mimeType": "image/jpeg"}});
        assert_eq!(config(body, "gemini-3-pro-image", Host::Vertex)["imageConfig"], jpeg);
        assert_eq!(config(body, "gemini-3-pro-image", Host::AiStudio)["imageConfig"], Value::Null);
    }

    #[test]
    fn images_to_work_from_follow_the_prompt() {
        let body = r#"{"prompt":"a hat on it","images":[{"image_url":"data:image/png;base64,iVBORw0KGgo="},
            {"image_url":"gs://bucket/cat.png"}]}"#;
        let written = try_write(body, "gemini-3-pro-image", Host::Vertex).unwrap();
        assert_eq!(
            written["contents"][0]["parts"],
            json!([
                {"text": "a hat on it"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                {"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/cat.png"}},
            ])
        );
    }

    #[test]
    fn googles_own_fields_pass() {
        let body = r#"{"prompt":"a","safety_settings":[],"image_config":{"aspect_ratio":"8:1"}}"#;
        let written = try_write(body, "gemini-3.1-flash-image", Host::AiStudio).unwrap();
        assert_eq!(written["safetySettings"], json!([]));
        assert_eq!(written["generationConfig"]["imageConfig"], json!({"aspect_ratio": "8:1"}));
    }

    #[test]
    fn what_these_models_cannot_do_is_left_to_the_next_channel() {
        for (fields, param) in [
            (r#""n":2"#, Some("n")),
            (r#""background":"transparent""#, Some("background")),
            (r#""output_format":"svg""#, Some("output_format")),
            (r#""mask":{"file_id":"f"}"#, Some("mask")),
            (r#""images":[{"image_url":"https://example.com/cat.png"}]"#, Some("images")),
            (r#""images":[{"file_id":"file-1"}]"#, None),
        ] {
            let body = format!(r#"{{"prompt":"a cat",{fields}}}"#);
            let failure = try_write(&body, "gemini-3-pro-image", Host::AiStudio).unwrap_err();
            assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::Untranslatable, param), "{fields}");
        }
        let failure = try_write(r#"{"prompt":"a"}"#, "gemini-3-pro-image", Host::AiStudioV1).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Untranslatable);
    }

    #[test]
    fn images_are_read_with_what_they_cost() {
        let body = r#"{"candidates":[{"content":{"role":"model","parts":[
                {"text":"Here it is: "},
                {"inlineData":{"mimeType":"image/png","data":"THOUGHT"},"thought":true},
                {"inlineData":{"mimeType":"image/png","data":"AAAA"},"thoughtSignature":"c2ln"},
                {"inlineData":{"mimeType":"audio/wav","data":"WAVE"}}]},
            "finishReason":"STOP","index":0}],
            "usageMetadata":{"promptTokenCount":267,"candidatesTokenCount":1306,"totalTokenCount":1573,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":9},{"modality":"IMAGE","tokenCount":258}],
                "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]}}"#;
        let Images { images, usage } = read_answer(body.as_bytes()).unwrap();
        let expected = Image { media_type: "image/png".into(), data: "AAAA".into(), revised_prompt: None };
        assert_eq!(images, [expected]);
        assert!(matches!(images[0].data, Cow::Borrowed(_)));
        assert_eq!(
            usage,
            Some(ImageUsage {
                usage: Usage::of(Some(267), Some(1306)),
                prompt_image_tokens: Some(258),
                completion_image_tokens: Some(1290),
            })
        );
    }

    fn failure(body: &str) -> (FailureKind, String) {
        let failure = read_answer(body.as_bytes()).unwrap_err();
        (failure.kind, failure.message)
    }

    #[test]
    fn a_withheld_image_is_a_refusal_with_its_reason() {
        for reason in ["IMAGE_SAFETY", "PROHIBITED_CONTENT", "SAFETY", "NO_IMAGE"] {
            let body = format!(r#"{{"candidates":[{{"content":{{}},"finishReason":"{reason}","index":0}}]}}"#);
            let (kind, message) = failure(&body);
            assert_eq!(kind, FailureKind::ContentFiltered);
            assert!(message.contains(reason), "{message}");
        }
        let blocked = r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},
            "usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#;
        let (kind, message) = failure(blocked);
        assert_eq!(kind, FailureKind::ContentFiltered);
        assert!(message.contains("PROHIBITED_CONTENT"), "{message}");
    }

    #[test]
    fn words_instead_of_an_image_are_a_refusal_that_does_not_repeat_them() {
        let body = r#"{"candidates":[{"content":{"parts":[{"text":"my secret"}]},"finishReason":"STOP"}]}"#;
        let (kind, message) = failure(body);
        assert_eq!(kind, FailureKind::ContentFiltered);
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn what_may_go_better_elsewhere_is_no_refusal() {
        for (body, kind) in [
            (r#"{"candidates":[{"finishReason":"IMAGE_OTHER"}]}"#, FailureKind::ErrorInAnswer),
            (r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#, FailureKind::ErrorInAnswer),
            (r#"{"error":{"code":500,"message":"internal","status":"INTERNAL"}}"#, FailureKind::ErrorInAnswer),
            (r#"{"candidates":[]}"#, FailureKind::EmptyAnswer),
            ("{}", FailureKind::EmptyAnswer),
            ("<html>", FailureKind::UnreadableAnswer),
        ] {
            assert_eq!(failure(body).0, kind, "{body}");
        }
    }
}
