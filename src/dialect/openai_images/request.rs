//! Reads the request of a client.

use std::borrow::Cow;
use std::io::Write;

use base64::prelude::BASE64_STANDARD as STANDARD;
use base64::write::EncoderStringWriter;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::{Dimensions, Failure, ImageRequest, Source, Text};
use crate::dialect::data_uri::{sniffed, source};
use crate::dialect::form::Form;
use crate::dialect::json::{Fields, Str, invalid, untranslatable};

/// No image is wider or higher, in pixels.
const MAX_PIXELS: u32 = 65_535;

const TRANSPARENT: &str = "transparent";
const PNG: &str = "image/png";

/// An image to work from.
#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow)]
    image_url: Option<Str<'a>>,
    #[serde(borrow)]
    file_id: Option<Str<'a>>,
}

/// Reads a request body.
///
/// # Errors
///
/// `InvalidRequest` that names the field, for what OpenAI would refuse as well; `Untranslatable` for
/// what no other format has.
pub fn read_request(body: &str) -> Result<ImageRequest<'_>, Failure> {
    let Fields(fields) = serde_json::from_str(body).map_err(|_| invalid("the body is no JSON object"))?;
    let mut request = ImageRequest::of(Text::default());
    for (name, value) in fields {
        if value.get() == "null" {
            continue;
        }
        match name.as_ref() {
            "model" | "stream" => {}
            "prompt" => request.prompt = text(value, "prompt")?,
            "n" => request.count = count(value.get())?,
            "size" => request.size = size(&text(value, "size")?)?,
            "output_format" => request.output_format = Some(text(value, "output_format")?),
            "background" => request.transparent = text(value, "background")? == TRANSPARENT,
            "images" => request.images = references(value)?,
            "mask" | "markup" => request.has_mask = true,
            "response_format" => check_response_format(&text(value, "response_format")?)?,
            _ => request.extra.push((name, Cow::Borrowed(value))),
        }
    }
    with_prompt(request)
}

/// Reads a form.
///
/// # Errors
///
/// As for a body in JSON.
pub fn read_form(form: &Form) -> Result<ImageRequest<'_>, Failure> {
    let mut request = ImageRequest::of(form.text("prompt").unwrap_or_default());
    request.images = form.files("image").map(bytes).collect();
    request.has_mask = form.has_file("mask") || form.has_file("markup");
    request.output_format = form.text("output_format");
    request.transparent = form.text("background").is_some_and(|text| text == TRANSPARENT);
    if let Some(text) = form.text("n") {
        request.count = count(&text)?;
    }
    if let Some(text) = form.text("size") {
        request.size = size(&text)?;
    }
    form.text("response_format").map_or(Ok(()), |text| check_response_format(&text))?;
    with_prompt(request)
}

fn with_prompt(request: ImageRequest<'_>) -> Result<ImageRequest<'_>, Failure> {
    if request.prompt.trim().is_empty() {
        return Err(invalid("the body has no prompt; say in \"prompt\" what the image is to show").at("prompt"));
    }
    Ok(request)
}

/// A file, whose bytes tell their type.
fn bytes(content: &[Bytes]) -> Source<'static> {
    let mut encoder = EncoderStringWriter::new(&STANDARD);
    for piece in content {
        // It writes into memory, where there is room or none for anything.
        let _ = encoder.write_all(piece);
    }
    let data = encoder.into_inner();
    Source::Base64 { media_type: sniffed(&data).unwrap_or(PNG).into(), data: data.into() }
}

fn text<'a>(value: &'a RawValue, name: &'static str) -> Result<Text<'a>, Failure> {
    let text: Result<Str<'a>, _> = serde_json::from_str(value.get());
    text.map(|Str(text)| text).map_err(|_| invalid(format!("\"{name}\" must be a string")).at(name))
}

fn count(text: &str) -> Result<u64, Failure> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| invalid("\"n\" must be a whole number above zero").at("n"))
}

/// `1024x1024`, or a ratio such as `16:9`, which clients of Google's models are used to; `auto` says
/// nothing.
fn size(text: &str) -> Result<Option<Dimensions>, Failure> {
    if text == "auto" {
        return Ok(None);
    }
    let side = |text: &str| text.trim().parse().ok().filter(|side| (1..=MAX_PIXELS).contains(side));
    let sides = text.split_once(['x', 'X', ':']).and_then(|(width, height)| Some((side(width)?, side(height)?)));
    match sides {
        Some((width, height)) => Ok(Some(Dimensions { width, height })),
        // Some provider of this very format may know another word.
        None => Err(untranslatable("this channel takes a \"size\" like \"1024x1024\", or \"auto\"").at("size")),
    }
}

fn check_response_format(word: &str) -> Result<(), Failure> {
    match word {
        "b64_json" | "url" => Ok(()),
        _ => {
            let message = "this channel takes \"b64_json\" or \"url\" as \"response_format\"";
            Err(untranslatable(message).at("response_format"))
        }
    }
}

fn references(value: &RawValue) -> Result<Vec<Source<'_>>, Failure> {
    let wrong = || invalid("\"images\" must be a list of objects with \"image_url\" or \"file_id\"").at("images");
    let references: Vec<Reference<'_>> = serde_json::from_str(value.get()).map_err(|_| wrong())?;
    references
        .into_iter()
        .map(|reference| match (reference.image_url, reference.file_id) {
            (Some(Str(url)), _) => Ok(source(url, PNG)),
            (None, Some(Str(id))) => Ok(Source::FileId(id)),
            (None, None) => Err(wrong()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use crate::canon::FailureKind;
    use crate::dialect::form::form_of;

    use super::*;

    fn refusal(body: &str) -> (FailureKind, String) {
        let failure = read_request(body).unwrap_err();
        assert!(!failure.message.contains("secret"), "{}", failure.message);
        (failure.kind, failure.param.unwrap_or_default().into_owned())
    }

    #[test]
    fn a_request_is_read_with_its_unknown_fields() {
        let body = r#"{"model":"m","prompt":"a \"cat\"","n":2,"size":"1536x1024","quality":"high",
            "output_format":"jpeg","background":"transparent","response_format":"url","stream":true,
            "user":null,"seed":7}"#;
        let request = read_request(body).unwrap();
        assert_eq!((request.prompt.as_ref(), request.count), ("a \"cat\"", 2));
        assert_eq!(request.size, Some(Dimensions { width: 1536, height: 1024 }));
        assert_eq!(request.output_format.as_deref(), Some("jpeg"));
        assert!(request.transparent && !request.has_mask);
        assert_eq!(request.extra("seed").map(|seed| seed.get()), Some("7"));
        assert_eq!(request.extra.len(), 2, "quality and seed");
    }

    #[test]
    fn a_prompt_is_all_that_a_request_needs() {
        let request = read_request(r#"{"prompt":"a cat","size":"auto","background":"auto","n":null}"#).unwrap();
        assert!(matches!(request.prompt, Cow::Borrowed("a cat")));
        assert_eq!((request.count, request.size), (1, None));
        assert!(!request.transparent);
    }

    #[test]
    fn a_size_may_be_a_ratio() {
        let ratio = read_request(r#"{"prompt":"a","size":"16:9"}"#).unwrap().size;
        assert_eq!(ratio, Some(Dimensions { width: 16, height: 9 }));
    }

    #[test]
    fn images_to_work_from_are_read() {
        let body = r#"{"prompt":"a","images":[{"image_url":"data:image/png;base64,iVBORw0KGgo="},
            {"image_url":"https://h/cat.png"},{"file_id":"file-1"}],"mask":{"file_id":"file-2"}}"#;
        let request = read_request(body).unwrap();
        let png = Source::Base64 { media_type: "image/png".into(), data: "iVBORw0KGgo=".into() };
        let expected = vec![png, Source::Url("https://h/cat.png".into()), Source::FileId("file-1".into())];
        assert_eq!(request.images, expected);
        assert!(request.has_mask);
    }

    #[test]
    fn a_form_is_read_with_its_files() {
        let long = format!("GIF89a{}", "x".repeat(1_000_000));
        let form = form_of(&[
            ("image[]!", &long),
            ("prompt", "a hat"),
            ("image[]!", "no image"),
            ("mask!", "m"),
            ("n", "2"),
            ("size", "1024x1536"),
            ("background", "transparent"),
            ("output_format", "jpeg"),
        ]);
        let request = read_form(&form).unwrap();
        let file = |media_type: &'static str, text: &str| Source::Base64 {
            media_type: media_type.into(),
            data: STANDARD.encode(text).into(),
        };
        assert!(request.images == [file("image/gif", &long), file("image/png", "no image")]);
        assert_eq!((request.prompt.as_ref(), request.count), ("a hat", 2));
        assert_eq!(request.size, Some(Dimensions { width: 1024, height: 1536 }));
        assert_eq!(request.output_format.as_deref(), Some("jpeg"));
        assert!(request.transparent && request.has_mask);
    }

    #[test]
    fn a_form_is_checked_like_a_body() {
        for (field, param, kind) in [
            (("n", "0"), "n", FailureKind::InvalidRequest),
            (("prompt", " "), "prompt", FailureKind::InvalidRequest),
            (("size", "huge"), "size", FailureKind::Untranslatable),
            (("response_format", "gif"), "response_format", FailureKind::Untranslatable),
        ] {
            let mut fields = vec![("image!", "x"), field];
            if field.0 != "prompt" {
                fields.push(("prompt", "a hat"));
            }
            let failure = read_form(&form_of(&fields)).unwrap_err();
            assert_eq!((failure.kind, failure.param.as_deref()), (kind, Some(param)));
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_repeating_it() {
        for (body, param) in [
            ("[1]", ""),
            ("{}", "prompt"),
            (r#"{"prompt":"  "}"#, "prompt"),
            (r#"{"prompt":["secret"]}"#, "prompt"),
            (r#"{"prompt":"a","n":0}"#, "n"),
            (r#"{"prompt":"a","n":"secret"}"#, "n"),
            (r#"{"prompt":"a","size":1024}"#, "size"),
            (r#"{"prompt":"a","images":"secret"}"#, "images"),
            (r#"{"prompt":"a","images":[{"b64_json":"secret"}]}"#, "images"),
        ] {
            assert_eq!(refusal(body), (FailureKind::InvalidRequest, param.to_owned()), "{body}");
        }
    }

    #[test]
    fn words_that_only_another_provider_may_know_are_left_to_it() {
        for (body, param) in [
            (r#"{"prompt":"a","size":"secret"}"#, "size"),
            (r#"{"prompt":"a","size":"1024x0"}"#, "size"),
            (r#"{"prompt":"a","size":"99999x1"}"#, "size"),
            (r#"{"prompt":"a","response_format":"secret"}"#, "response_format"),
        ] {
            assert_eq!(refusal(body), (FailureKind::Untranslatable, param.to_owned()), "{body}");
        }
    }
}
