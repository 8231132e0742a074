//! A provider for demonstrations: speaks the OpenAI format, and answers with what it was asked.
//!
//! The same request always gets the same answer. A request with tools gets a call of the first one,
//! whose arguments echo the question; the tool's result then gets a text. A token is a word here.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::dialect::sse;

/// The one model that it has.
pub const MODEL: &str = "demo-model";
/// The id of the one tool call in an answer.
const CALL_ID: &str = "call_demo";
/// Request bodies may be this long, in bytes.
const MAX_BODY_BYTES: usize = 64 << 20;

/// The provider, while it serves.
pub struct DemoProvider {
    /// Where it listens: a free port of this machine that no other machine reaches.
    pub address: SocketAddr,
    server: ServerHandle,
}

/// Time between two pieces of a streamed answer.
#[derive(Clone, Copy)]
struct Pause(Duration);

impl DemoProvider {
    /// Starts it on the current actix system.
    ///
    /// # Errors
    ///
    /// It cannot listen.
    pub fn start(pause: Duration) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let server = HttpServer::new(move || App::new().configure(|app| configure(app, pause)))
            .workers(1)
            .tcp_nodelay(true)
            .h1_allow_half_closed(false)
            .disable_signals()
            .listen(listener)?
            .run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { address, server: handle })
    }

    /// Stops it at once.
    pub async fn stop(self) {
        self.server.stop(false).await;
    }
}

fn configure(app: &mut web::ServiceConfig, pause: Duration) {
    app.app_data(web::Data::new(Pause(pause)))
        .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
        .route("/v1/models", web::get().to(models))
        .route("/v1/chat/completions", web::post().to(chat));
}

async fn models() -> HttpResponse {
    HttpResponse::Ok()
        .json(json!({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "demo"}]}))
}

#[derive(Deserialize)]
struct Question {
    model: String,
    messages: Vec<Message>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    tools: Option<Vec<Tool>>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Tool {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    parameters: Value,
}

async fn chat(body: Bytes, pause: web::Data<Pause>) -> HttpResponse {
    let question: Question = match serde_json::from_slice(&body) {
        Ok(question) => question,
        Err(error) => {
            let error = json!({"message": error.to_string(), "type": "invalid_request_error"});
            return HttpResponse::BadRequest().json(json!({"error": error}));
        }
    };
    let answer = Answer::to(&question);
    if question.stream != Some(true) {
        return HttpResponse::Ok().json(answer.whole(&question));
    }
    let Pause(pause) = **pause;
    let events = stream::iter(answer.events(&question)).then(move |event| async move {
        actix_web::rt::time::sleep(pause).await;
        Ok::<_, std::convert::Infallible>(event)
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(events)
}

/// What it says to these words.
pub fn text(model: &str, words: &str) -> String {
    format!(
        "You asked {model}, and it is nothing but a few lines of code on this machine: \
         it can only say what it heard, one word at a time. It heard: {words}"
    )
}

enum Answer {
    Text(String),
    Call { tool: String, arguments: String },
}

impl Answer {
    fn to(question: &Question) -> Self {
        let last = question.messages.last();
        let words = last.map(|message| text_of(&message.content)).unwrap_or_default();
        let is_result = last.is_some_and(|message| message.role == "tool");
        match question.tools.iter().flatten().next() {
            Some(Tool { function }) if !is_result => {
                Self::Call { tool: function.name.clone(), arguments: echo(&function.parameters, &words).to_string() }
            }
            _ => Self::Text(text(&question.model, &words)),
        }
    }

    fn finish_reason(&self) -> &'static str {
        match self {
            Self::Text(_) => "stop",
            Self::Call { .. } => "tool_calls",
        }
    }

    fn usage(&self, question: &Question) -> Value {
        let prompt: usize = question.messages.iter().map(|message| words(&text_of(&message.content))).sum();
        let completion = match self {
            Self::Text(text) => words(text),
            Self::Call { arguments, .. } => words(arguments),
        };
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }

    fn whole(&self, question: &Question) -> Value {
        let message = match self {
            Self::Text(text) => json!({"role": "assistant", "content": text}),
            Self::Call { tool, arguments } => {
                let function = json!({"name": tool, "arguments": arguments});
                let call = json!({"id": CALL_ID, "type": "function", "function": function});
                json!({"role": "assistant", "content": null, "tool_calls": [call]})
            }
        };
        let choice = json!({"index": 0, "message": message, "finish_reason": self.finish_reason()});
        document("chat.completion", &question.model, json!([choice]), self.usage(question))
    }

    /// The same as a stream: who speaks, one word after the other, why it ends, the usage if it was
    /// asked for, and `[DONE]`.
    fn events(&self, question: &Question) -> Vec<Bytes> {
        let mut deltas = Vec::new();
        match self {
            Self::Text(text) => {
                deltas.push(json!({"role": "assistant", "content": ""}));
                deltas.extend(text.split_inclusive(' ').map(|word| json!({"content": word})));
            }
            Self::Call { tool, arguments } => {
                let function = json!({"name": tool, "arguments": ""});
                let call = json!({"index": 0, "id": CALL_ID, "type": "function", "function": function});
                deltas.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
                deltas.extend(
                    arguments
                        .split_inclusive(' ')
                        .map(|word| json!({"tool_calls": [{"index": 0, "function": {"arguments": word}}]})),
                );
            }
        }
        let event = |choices, usage| {
            sse::write(&document("chat.completion.chunk", &question.model, choices, usage).to_string())
        };
        let chunk = |delta, reason: Option<&str>| {
            event(json!([{"index": 0, "delta": delta, "finish_reason": reason}]), Value::Null)
        };
        let mut events: Vec<Bytes> = deltas.into_iter().map(|delta| chunk(delta, None)).collect();
        events.push(chunk(json!({}), Some(self.finish_reason())));
        if question.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true)) {
            events.push(event(json!([]), self.usage(question)));
        }
        events.push(Bytes::from_static(sse::DONE));
        events
    }
}

fn document(object: &str, model: &str, choices: Value, usage: Value) -> Value {
    json!({
        "id": "chatcmpl-demo",
        "object": object,
        "created": 0,
        "model": model,
        "choices": choices,
        "usage": usage,
    })
}

/// The text of a message, whose content is a string or a list of parts.
fn text_of(content: &Value) -> String {
    let part = |part: &Value| part.get("text").and_then(Value::as_str).map(str::to_owned);
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(part).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

/// Arguments in the form that a tool wants, made of the words of the question.
fn echo(parameters: &Value, words: &str) -> Value {
    let properties = parameters.get("properties").and_then(Value::as_object);
    let value = |schema: &Value| match schema.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => json!(self::words(words)),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!(words),
    };
    let arguments = properties.into_iter().flatten().map(|(name, schema)| (name.clone(), value(schema)));
    Value::Object(arguments.collect::<Map<_, _>>())
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_and_read_body, init_service};

    use super::*;

    async fn answer(question: Value) -> String {
        let app = init_service(App::new().configure(|app| configure(app, Duration::ZERO))).await;
        let request = TestRequest::post().uri("/v1/chat/completions").set_json(question).to_request();
        String::from_utf8(call_and_read_body(&app, request).await.to_vec()).unwrap()
    }

    fn question(more: Value) -> Value {
        let mut question = json!({"model": "m", "messages": [{"role": "user", "content": "two words"}]});
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        question
    }

    fn chunks(stream: &str) -> Vec<Value> {
        let datas = stream.strip_suffix("data: [DONE]\n\n").unwrap().split("\n\n").filter(|event| !event.is_empty());
        datas.map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
    }

    #[actix_web::test]
    async fn a_question_is_answered_with_what_it_said() {
        let answer: Value = serde_json::from_str(&answer(question(json!({}))).await).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], text("m", "two words"));
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(answer["usage"]["prompt_tokens"], 2);
    }

    #[actix_web::test]
    async fn a_stream_says_the_same_word_by_word() {
        let chunks = chunks(&answer(question(json!({"stream": true}))).await);
        let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(said, text("m", "two words"));
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
        assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()));
    }

    #[actix_web::test]
    async fn usage_comes_last_in_a_stream_that_asks_for_it() {
        let asked = question(json!({"stream": true, "stream_options": {"include_usage": true}}));
        let chunks = chunks(&answer(asked).await);
        let last = chunks.last().unwrap();
        assert_eq!((&last["choices"], &last["usage"]["prompt_tokens"]), (&json!([]), &json!(2)));
    }

    #[actix_web::test]
    async fn the_first_tool_is_called_with_an_echo() {
        let properties = json!({"city": {"type": "string"}, "days": {"type": "integer"}});
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"properties": properties}}});
        let expected = json!({"city": "two words", "days": 2});

        let whole: Value = serde_json::from_str(&answer(question(json!({"tools": [tool]}))).await).unwrap();
        let call = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!(call["name"], "f");
        assert_eq!(serde_json::from_str::<Value>(call["arguments"].as_str().unwrap()).unwrap(), expected);

        let chunks = chunks(&answer(question(json!({"tools": [tool], "stream": true}))).await);
        let arguments = |chunk: &Value| {
            chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
        };
        let arguments: String = chunks.iter().filter_map(arguments).collect();
        assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), expected);
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    }

    #[actix_web::test]
    async fn the_result_of_a_tool_is_answered_in_words() {
        let messages = json!([{"role": "user", "content": "q"}, {"role": "tool", "content": "42"}]);
        let asked = question(json!({"messages": messages, "tools": [{"function": {"name": "f"}}]}));
        let answer: Value = serde_json::from_str(&answer(asked).await).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], text("m", "42"));
    }

    #[actix_web::test]
    async fn what_is_no_question_is_refused_with_the_reason() {
        let answer: Value = serde_json::from_str(&answer(json!({"model": "m"})).await).unwrap();
        assert!(answer["error"]["message"].as_str().unwrap().contains("messages"));
    }
}
