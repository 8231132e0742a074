//! Writes an answer, whole and streamed.

use serde::Serialize;

use crate::canon::{Image, ImageUsage, Images};

/// The answer to a request that is not streamed.
#[derive(Serialize)]
struct Answer<'a> {
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<&'a str>,
    data: Vec<Datum<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageObject>,
}

#[derive(Serialize)]
struct Datum<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revised_prompt: Option<&'a str>,
}

impl<'a> Datum<'a> {
    fn of(image: &'a Image<'_>, as_url: bool) -> Self {
        let Image { media_type, data, revised_prompt } = image;
        Self {
            b64_json: (!as_url).then_some(data),
            url: as_url.then(|| format!("data:{media_type};base64,{data}")),
            revised_prompt: revised_prompt.as_deref(),
        }
    }
}

/// The event with an image. What was not chosen by the client here was chosen by the model.
#[derive(Serialize)]
struct Completed<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    b64_json: &'a str,
    created_at: u64,
    size: &'static str,
    quality: &'static str,
    background: &'static str,
    output_format: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageObject>,
}

#[derive(Clone, Copy, Serialize)]
struct UsageObject {
    input_tokens: i64,
    input_tokens_details: Details,
    output_tokens: i64,
    output_tokens_details: Details,
    total_tokens: i64,
}

#[derive(Clone, Copy, Serialize)]
struct Details {
    image_tokens: i64,
    text_tokens: i64,
}

impl Details {
    fn of(all: i64, image: Option<i64>) -> Self {
        let image_tokens = image.unwrap_or(0).clamp(0, all.max(0));
        Self { image_tokens, text_tokens: all.saturating_sub(image_tokens) }
    }
}

impl From<&ImageUsage> for UsageObject {
    fn from(counted: &ImageUsage) -> Self {
        let input_tokens = counted.usage.prompt_tokens.unwrap_or(0);
        let output_tokens = counted.usage.completion_tokens.unwrap_or(0);
        Self {
            input_tokens,
            input_tokens_details: Details::of(input_tokens, counted.prompt_image_tokens),
            output_tokens,
            output_tokens_details: Details::of(output_tokens, counted.completion_image_tokens),
            total_tokens: counted.usage.total_tokens.unwrap_or(0),
        }
    }
}

/// How a client wants its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// All of them in base64.
    Base64,
    /// All of them at addresses.
    Urls,
    /// Each in an event of this type.
    Events(&'static str),
}

/// The body of an answer. `created` is in Unix seconds.
pub fn write_answer(form: AnswerForm, images: &Images<'_>, created: u64) -> Vec<u8> {
    match form {
        AnswerForm::Base64 => whole(false, images, created),
        AnswerForm::Urls => whole(true, images, created),
        AnswerForm::Events(kind) => events(kind, images, created),
    }
}

fn whole(as_url: bool, images: &Images<'_>, created: u64) -> Vec<u8> {
    let answer = Answer {
        created,
        output_format: images.images.first().map(output_format),
        data: images.images.iter().map(|image| Datum::of(image, as_url)).collect(),
        usage: images.usage.as_ref().map(UsageObject::from),
    };
    json(&answer)
}

/// One event for each image; the last one has the token counts of all.
fn events(kind: &'static str, images: &Images<'_>, created: u64) -> Vec<u8> {
    let mut stream = Vec::new();
    for (number, image) in images.images.iter().enumerate() {
        let is_last = number + 1 == images.images.len();
        let event = Completed {
            kind,
            b64_json: &image.data,
            created_at: created,
            size: "auto",
            quality: "auto",
            background: "auto",
            output_format: output_format(image),
            usage: images.usage.as_ref().filter(|_| is_last).map(UsageObject::from),
        };
        stream.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
        stream.extend_from_slice(&json(&event));
        stream.extend_from_slice(b"\n\n");
    }
    stream
}

/// OpenAI's word for the type of an image.
fn output_format<'a>(image: &'a Image<'_>) -> &'a str {
    image.media_type.strip_prefix("image/").unwrap_or(&image.media_type)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are no strings is refused.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::canon::Usage;

    use super::*;

    const USAGE: ImageUsage = ImageUsage {
        usage: Usage {
            prompt_tokens: Some(12),
            completion_tokens: Some(1300),
            total_tokens: Some(1312),
            cached_tokens: None,
            cache_creation_tokens: None,
            reasoning_tokens: None,
        },
        prompt_image_tokens: None,
        completion_image_tokens: Some(1290),
    };

    fn image(media_type: &'static str, data: &'static str) -> Image<'static> {
        Image { media_type: media_type.into(), data: data.into(), revised_prompt: None }
    }

    fn written(form: AnswerForm, images: &Images<'_>) -> String {
        String::from_utf8(write_answer(form, images, 1_700_000_000)).unwrap()
    }

    fn parsed(form: AnswerForm, images: &Images<'_>) -> Value {
        serde_json::from_str(&written(form, images)).unwrap()
    }

    #[test]
    fn an_answer_has_every_image_in_base64() {
        let second = Image { revised_prompt: Some("two cats".into()), ..image("image/png", "BBBB") };
        let images = Images { images: vec![image("image/png", "AAAA"), second], usage: Some(USAGE) };
        assert_eq!(
            parsed(AnswerForm::Base64, &images),
            json!({
                "created": 1_700_000_000,
                "output_format": "png",
                "data": [{"b64_json": "AAAA"}, {"b64_json": "BBBB", "revised_prompt": "two cats"}],
                "usage": {
                    "input_tokens": 12,
                    "input_tokens_details": {"image_tokens": 0, "text_tokens": 12},
                    "output_tokens": 1300,
                    "output_tokens_details": {"image_tokens": 1290, "text_tokens": 10},
                    "total_tokens": 1312,
                },
            })
        );
    }

    #[test]
    fn an_address_is_a_data_uri() {
        let images = Images { images: vec![image("image/jpeg", "/9j/")], usage: None };
        assert_eq!(
            parsed(AnswerForm::Urls, &images),
            json!({
                "created": 1_700_000_000,
                "output_format": "jpeg",
                "data": [{"url": "data:image/jpeg;base64,/9j/"}],
            })
        );
    }

    #[test]
    fn a_stream_is_one_event_for_each_image_and_counts_tokens_once() {
        let images =
            Images { images: vec![image("image/png", "AAAA"), image("image/png", "BBBB")], usage: Some(USAGE) };
        let stream = written(AnswerForm::Events("image_generation.completed"), &images);
        let events: Vec<Value> = stream
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("event: image_generation.completed\ndata: ").unwrap())
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let [first, last] = events.as_slice() else { panic!("{stream}") };
        assert_eq!(
            *first,
            json!({
                "type": "image_generation.completed", "b64_json": "AAAA", "created_at": 1_700_000_000,
                "size": "auto", "quality": "auto", "background": "auto", "output_format": "png",
            })
        );
        assert_eq!((&last["b64_json"], &last["usage"]["total_tokens"]), (&json!("BBBB"), &json!(1312)));
    }
}
