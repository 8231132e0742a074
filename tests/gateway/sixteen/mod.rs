//! The sixteen scenarios of FailoverBench, times scaled down: what a client gets, and what the upstreams see of it.

mod accounting;
mod broken_streams;
mod flapping;
mod no_answer;
mod refusals;

use serde_json::{Value, json};

use crate::support::{Answer, FakeUpstream, Reply, Setup, channel, hello, hello_streamed};

/// The same request, whole and streamed.
fn whole_and_streamed() -> [Value; 2] {
    [hello(), hello_streamed()]
}

/// What a healthy upstream answers to this request.
fn well(request: &Value) -> Reply {
    if request["stream"] == true { Reply::stream(["Hel", "lo"]) } else { Reply::chat("Hello") }
}

/// The primary, with nothing behind it.
fn alone(primary: &FakeUpstream) -> Setup {
    Setup::new([channel("primary", primary)])
}

/// The primary, which every request starts at, and a fallback.
fn backed(primary: &FakeUpstream, fallback: &FakeUpstream) -> Setup {
    Setup::new([channel("primary", primary), channel("fallback", fallback)]).fixed_priority()
}

/// The text of a whole answer, streamed or not; fails the test if it is not whole.
fn text_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.complete, "{}", answer.text());
    if answer.header("content-type") == Some("application/json") {
        return answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    }
    let mut events = answer.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{}", answer.text());
    let chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert!(chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "stop"), "{}", answer.text());
    texts(&chunks)
}

/// The text of a stream that broke and its error; fails the test if the stream looks whole or the error is not last.
fn text_and_error_of(answer: &Answer) -> (String, Value) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.complete, "the chunked body ends as it should");
    assert!(!answer.text().contains("[DONE]"), "{}", answer.text());
    let chunks: Vec<Value> = answer.events().iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let (error, chunks) = chunks.split_last().unwrap();
    assert!(error["error"]["message"].is_string(), "{error}");
    assert!(chunks.iter().all(|chunk| chunk["choices"][0]["finish_reason"] == json!(null)), "{}", answer.text());
    (texts(chunks), error["error"].clone())
}

fn texts(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default()).collect()
}
