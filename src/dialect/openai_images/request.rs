//! Reads the request of a client.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::{Dimensions, Failure, ImageRequest, Source, Text};
use crate::dialect::data_uri::source;
use crate::dialect::json::{Fields, Str, invalid, untranslatable};

/// No image is wider or higher, in pixels.
const MAX_PIXELS: u32 = 65_535;

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
    let mut request = ImageRequest {
        prompt: Text::default(),
        count: 1,
        size: None,
        output_format: None,
        transparent: false,
        images: Vec::new(),
        has_mask: false,
        as_url: false,
        stream: false,
        extra: Vec::new(),
    };
    for (name, value) in fields {
        if value.get() == "null" {
            continue;
        }
        match name.as_ref() {
            "prompt" => request.prompt = text(value, "prompt")?,
            "n" => request.count = count(value)?,
            "size" => request.size = size(&text(value, "size")?)?,
            "output_format" => request.output_format = Some(text(value, "output_format")?),
            "background" => request.transparent = text(value, "background")? == "transparent",
            "images" => request.images = references(value)?,
            "mask" | "markup" => request.has_mask = true,
            "response_format" => request.as_url = is_url(&text(value, "response_format")?)?,
            "stream" => request.stream = value.get() == "true",
            _ => request.extra.push((name, Cow::Borrowed(value))),
        }
    }
    if request.prompt.trim().is_empty() {
        return Err(invalid("the body has no prompt; say in \"prompt\" what the image is to show").at("prompt"));
    }
    Ok(request)
}

fn text<'a>(value: &'a RawValue, name: &'static str) -> Result<Text<'a>, Failure> {
    let text: Result<Str<'a>, _> = serde_json::from_str(value.get());
    text.map(|Str(text)| text).map_err(|_| invalid(format!("\"{name}\" must be a string")).at(name))
}

fn count(value: &RawValue) -> Result<u64, Failure> {
    let count = serde_json::from_str(value.get()).ok().filter(|count| *count > 0);
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

fn is_url(word: &str) -> Result<bool, Failure> {
    match word {
        "b64_json" => Ok(false),
        "url" => Ok(true),
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
            (Some(Str(url)), _) => Ok(source(url, "image/png")),
            (None, Some(Str(id))) => Ok(Source::FileId(id)),
            (None, None) => Err(wrong()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::canon::FailureKind;

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
        assert!(request.transparent && request.as_url && request.stream && !request.has_mask);
        assert_eq!(request.extra("seed").map(|seed| seed.get()), Some("7"));
        assert!(request.extra("user").is_none());
    }

    #[test]
    fn a_prompt_is_all_that_a_request_needs() {
        let request = read_request(r#"{"prompt":"a cat","size":"auto","background":"auto","n":null}"#).unwrap();
        assert!(matches!(request.prompt, Cow::Borrowed("a cat")));
        assert_eq!((request.count, request.size), (1, None));
        assert!(!request.transparent && !request.as_url && !request.stream);
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
