//! OpenAI embeddings, the format of every client: reads what it asks for, writes what it gets.
//!
//! Source: OpenAI's API reference, "Create embeddings" and "The embedding object".

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::canon::{EmbeddingRequest, Embeddings, Encoding, Failure, FailureKind, Text};

use super::json::{Fields, Str, field, invalid, unreadable, untranslatable};

/// Reads a request body.
///
/// # Errors
///
/// `InvalidRequest` that names the field, for what OpenAI would refuse as well; `Untranslatable` for
/// what no other format has, such as tokens.
pub fn read_request(body: &str) -> Result<EmbeddingRequest<'_>, Failure> {
    let Fields(fields) = serde_json::from_str(body).map_err(|_| invalid("the body is no JSON object"))?;
    let mut request = EmbeddingRequest::default();
    for (name, value) in fields {
        if value.get() == "null" {
            continue;
        }
        match name.as_ref() {
            // No other format has a place for the client's own users here.
            "model" | "user" => {}
            "stream" if value.get() == "true" => {
                return Err(invalid("vectors are not streamed; leave \"stream\" out").at("stream"));
            }
            "input" => request.texts = read_input(value)?,
            "dimensions" => request.dimensions = Some(read_dimensions(value)?),
            "encoding_format" => request.encoding = read_encoding(value)?,
            _ => request.extra.push((name, Cow::Borrowed(value))),
        }
    }
    if request.texts.is_empty() {
        return Err(invalid("the body has no input; add \"input\": a text or a list of texts").at("input"));
    }
    Ok(request)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Token,
    Tokens,
    Object,
    Other,
}

fn kind(value: &RawValue) -> Kind {
    match value.get().bytes().next() {
        Some(b'"') => Kind::Text,
        Some(b'0'..=b'9') => Kind::Token,
        Some(b'[') => Kind::Tokens,
        Some(b'{') => Kind::Object,
        _ => Kind::Other,
    }
}

fn read_input(input: &RawValue) -> Result<Vec<Text<'_>>, Failure> {
    let items: Vec<&RawValue> = match kind(input) {
        Kind::Text => vec![input],
        Kind::Tokens => field(input, "input")?,
        _ => return Err(invalid("\"input\" must be a text or a list of texts").at("input")),
    };
    let Some(first) = items.first().map(|first| kind(first)) else {
        return Err(invalid("\"input\" is an empty list; put at least one text into it").at("input"));
    };
    if items.iter().any(|item| kind(item) != first) {
        return Err(invalid("\"input\" mixes different kinds of things; send texts only").at("input"));
    }
    match first {
        Kind::Text => {}
        Kind::Token | Kind::Tokens => {
            return Err(untranslatable("this channel takes texts, not tokens; send the texts themselves").at("input"));
        }
        Kind::Object => return Err(untranslatable("this channel takes texts only as \"input\"").at("input")),
        Kind::Other => return Err(invalid("\"input\" must be a text or a list of texts").at("input")),
    }
    let texts = items.into_iter().map(|item| field::<Str>(item, "input").map(|Str(text)| text));
    let texts: Vec<Text<'_>> = texts.collect::<Result<_, _>>()?;
    if texts.iter().any(|text| text.is_empty()) {
        return Err(invalid("\"input\" has an empty text; leave it out").at("input"));
    }
    Ok(texts)
}

fn read_dimensions(value: &RawValue) -> Result<u32, Failure> {
    let dimensions = field(value, "dimensions")?;
    if dimensions == 0 {
        return Err(invalid("\"dimensions\" must be at least 1").at("dimensions"));
    }
    Ok(dimensions)
}

fn read_encoding(value: &RawValue) -> Result<Encoding, Failure> {
    match field::<Str>(value, "encoding_format")?.0.as_ref() {
        "float" => Ok(Encoding::Float),
        "base64" => Ok(Encoding::Base64),
        // Some provider of this very format may know another word.
        _ => Err(untranslatable("this channel takes float or base64 as \"encoding_format\"").at("encoding_format")),
    }
}

/// The answer to a request for this alias, as its client expects it.
///
/// # Errors
///
/// There are not as many vectors as texts, or one of them is not a list of numbers.
pub fn write_answer(
    request: &EmbeddingRequest<'_>,
    embeddings: &Embeddings<'_>,
    model: &str,
) -> Result<Vec<u8>, Failure> {
    let (texts, vectors) = (request.texts.len(), embeddings.vectors.len());
    if vectors == 0 {
        return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream's answer has no vectors"));
    }
    if vectors != texts {
        return Err(unreadable(format!("the upstream's answer has {vectors} vectors for {texts} texts")));
    }
    let bytes: usize = embeddings.vectors.iter().map(|vector| vector.get().len() + 64).sum();
    let mut out = Vec::with_capacity(bytes + model.len() + 128);
    out.extend_from_slice(br#"{"object":"list","data":["#);
    for (index, vector) in embeddings.vectors.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        out.extend_from_slice(format!(r#"{comma}{{"object":"embedding","index":{index},"embedding":"#).as_bytes());
        let written = match request.encoding {
            Encoding::Float => write_numbers(vector, &mut out),
            Encoding::Base64 => write_base64(vector, &mut out),
        };
        written.ok_or_else(|| unreadable("the upstream's answer has a vector that is not a list of numbers"))?;
        out.push(b'}');
    }
    let usage = json!({
        "prompt_tokens": embeddings.usage.prompt_tokens.unwrap_or(0),
        "total_tokens": embeddings.usage.total_tokens.unwrap_or(0),
    });
    out.extend_from_slice(format!(r#"],"model":{},"usage":{usage}}}"#, Value::from(model)).as_bytes());
    Ok(out)
}

/// What stands between the brackets of a list.
fn listed(vector: &RawValue) -> Option<&str> {
    vector.get().strip_prefix('[')?.strip_suffix(']')
}

/// The numbers as they were written, without white space between them.
fn write_numbers(vector: &RawValue, out: &mut Vec<u8>) -> Option<()> {
    // It is known to be JSON; only numbers are written with nothing but these characters.
    let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E' | b',');
    out.push(b'[');
    let start = out.len();
    out.extend(listed(vector)?.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let written = out.get(start..)?;
    let is_vector = !written.is_empty() && written.iter().all(is_number);
    out.push(b']');
    is_vector.then_some(())
}

fn write_base64(vector: &RawValue, out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Vec::with_capacity(vector.get().len() / 2);
    for number in listed(vector)?.split(',') {
        let number: f32 = number.trim().parse().ok()?;
        bytes.extend_from_slice(&number.is_finite().then_some(number)?.to_le_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::Usage;

    fn refusal(body: &str) -> (FailureKind, Option<String>, String) {
        let failure = read_request(body).unwrap_err();
        (failure.kind, failure.param.map(String::from), failure.message)
    }

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn answer(body: &str, vectors: &[&str]) -> Result<String, Failure> {
        let usage = Usage::of(Some(7), None);
        let embeddings = Embeddings { vectors: vectors.iter().map(|vector| raw(vector)).collect(), usage };
        write_answer(&read_request(body)?, &embeddings, "alias \"x\"").map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn one_text_or_several_are_read() {
        assert_eq!(read_request(r#"{"model":"m","input":"a\nb"}"#).unwrap().texts, ["a\nb"]);
        let body = r#"{"input":["a","b"],"model":"m","dimensions":256,"encoding_format":"base64","user":"u",
                       "input_type":"search_query","title":null}"#;
        let request = read_request(body).unwrap();
        assert_eq!(request.texts, ["a", "b"]);
        assert_eq!((request.dimensions, request.encoding), (Some(256), Encoding::Base64));
        assert_eq!(request.extra(&["inputType", "input_type"]).unwrap().get(), r#""search_query""#);
        assert_eq!(request.extra.len(), 1);
    }

    #[test]
    fn what_is_no_input_is_refused_with_its_name() {
        let missing = "the body has no input; add \"input\": a text or a list of texts";
        let wrong = "\"input\" must be a text or a list of texts";
        let empty = "\"input\" has an empty text; leave it out";
        let mixed = "\"input\" mixes different kinds of things; send texts only";
        for (input, told) in [
            ("{}", missing),
            (r#"{"input":null}"#, missing),
            (r#"{"input":7}"#, wrong),
            (r#"{"input":{}}"#, wrong),
            (r#"{"input":true}"#, wrong),
            (r#"{"input":[null]}"#, wrong),
            (r#"{"input":[-1]}"#, wrong),
            (r#"{"input":[]}"#, "\"input\" is an empty list; put at least one text into it"),
            (r#"{"input":""}"#, empty),
            (r#"{"input":["a",""]}"#, empty),
            (r#"{"input":["a",1]}"#, mixed),
            (r#"{"input":[[1],"a"]}"#, mixed),
            (r#"{"input":["a",{"text":"a"}]}"#, mixed),
        ] {
            let expected = (FailureKind::InvalidRequest, Some("input".to_owned()), told.to_owned());
            assert_eq!(refusal(input), expected, "{input}");
        }
        assert_eq!(refusal("[]").2, "the body is no JSON object");
    }

    #[test]
    fn what_only_openai_takes_cannot_be_translated() {
        for input in ["[1,2]", "[[1],[2,3]]", r#"[{"image":"https://h/a.png"}]"#] {
            let (kind, param, _) = refusal(&format!(r#"{{"input":{input}}}"#));
            assert_eq!((kind, param.as_deref()), (FailureKind::Untranslatable, Some("input")), "{input}");
        }
        let (kind, param, _) = refusal(r#"{"input":"a","encoding_format":"int8"}"#);
        assert_eq!((kind, param.as_deref()), (FailureKind::Untranslatable, Some("encoding_format")));
    }

    #[test]
    fn vectors_are_not_streamed() {
        let (kind, param, _) = refusal(r#"{"input":"a","stream":true}"#);
        assert_eq!((kind, param.as_deref()), (FailureKind::InvalidRequest, Some("stream")));
        assert!(read_request(r#"{"input":"a","stream":false}"#).is_ok());
    }

    #[test]
    fn dimensions_are_a_number_above_zero() {
        for dimensions in ["0", "-1", "1.5", "\"256\"", "[]", "4294967296"] {
            let (kind, param, told) = refusal(&format!(r#"{{"input":"a","dimensions":{dimensions}}}"#));
            assert_eq!((kind, param.as_deref()), (FailureKind::InvalidRequest, Some("dimensions")), "{told}");
        }
    }

    #[test]
    fn numbers_are_passed_on_as_they_were_written() {
        let written = answer(r#"{"input":["a","b"]}"#, &["[ -0.039718185,\n 1E-5 ]", "[0,1.50]"]).unwrap();
        assert_eq!(
            written,
            concat!(
                r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[-0.039718185,1E-5]},"#,
                r#"{"object":"embedding","index":1,"embedding":[0,1.50]}],"model":"alias \"x\"","#,
                r#""usage":{"prompt_tokens":7,"total_tokens":7}}"#
            )
        );
    }

    #[test]
    fn base64_is_of_four_bytes_for_each_number_the_lowest_first() {
        let written = answer(r#"{"input":"a","encoding_format":"base64"}"#, &["[1, -0.5,\n1e-2]"]).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        let bytes = STANDARD.decode(written["data"][0]["embedding"].as_str().unwrap()).unwrap();
        assert_eq!(bytes, [1.0f32.to_le_bytes(), (-0.5f32).to_le_bytes(), 0.01f32.to_le_bytes()].concat());
    }

    #[test]
    fn what_is_no_vector_is_a_failure_in_either_encoding() {
        for vector in ["[]", "[ ]", "[null]", "[[1]]", "[\"NaN\"]", "{}", "\"AAAA\"", "7", "[1,{}]", "null"] {
            for encoding in ["float", "base64"] {
                let body = format!(r#"{{"input":"a","encoding_format":"{encoding}"}}"#);
                let failure = answer(&body, &[vector]).unwrap_err();
                assert_eq!(failure.kind, FailureKind::UnreadableAnswer, "{vector} {encoding}");
            }
        }
        let failure = answer(r#"{"input":"a","encoding_format":"base64"}"#, &["[1e99]"]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnreadableAnswer);
    }

    #[test]
    fn another_number_of_vectors_than_of_texts_is_a_failure() {
        let failure = |vectors| answer(r#"{"input":["a","b"]}"#, vectors).unwrap_err();
        assert_eq!(failure(&[]).kind, FailureKind::EmptyAnswer);
        assert_eq!(failure(&["[1]", "[1]", "[1]"]).kind, FailureKind::UnreadableAnswer);
        assert_eq!(failure(&["[1]"]).message, "the upstream's answer has 1 vectors for 2 texts");
    }
}
