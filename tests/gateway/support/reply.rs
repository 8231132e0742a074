//! What the fake upstream answers, and how it goes wrong while doing so.
//!
//! ```ignore
//! Reply::chat("Hello")                              // a whole completion, usage 7 + 5 = 12
//! Reply::stream(["Hel", "lo"]).cut_after(2)         // role and "Hel", then the connection is closed
//! Reply::error(429, "slow down").header("retry-after", "2")
//! Reply::stream(["Hel", "lo"]).gate(gate.clone())   // each event waits for `gate.add_permits(1)`
//! ```
//!
//! Events are counted as written: `Reply::stream(["Hel", "lo"])` has the role, two of text, the finish reason, the
//! usage if the request asks for it, and `[DONE]`. A whole body is one event.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
};

use super::{fake_upstream::Received, wire::Headers};

const DONE: &str = "data: [DONE]\n\n";

/// One scripted answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    content_type: String,
    headers: Headers,
    content: Content,
    framing: ReplyFraming,
    fault: Option<(Place, After)>,
    split: Option<usize>,
    done: bool,
    head_gate: Option<Arc<Semaphore>>,
    head_delay: Duration,
    gate: Option<Arc<Semaphore>>,
}

#[derive(Clone, Debug)]
enum Content {
    /// No answer at all.
    Nothing,
    Fixed(Vec<Bytes>),
    /// Depends on the request: its `model` and `stream_options` are answered.
    Chat(String),
    ChatStream(Vec<String>),
}

#[derive(Clone, Copy, Debug)]
enum ReplyFraming {
    Length {
        claimed: Option<usize>,
    },
    Chunked,
    UntilClose,
    /// The content is all there is, head included.
    Raw,
}

/// Where in the body a fault strikes.
#[derive(Clone, Copy, Debug)]
enum Place {
    AfterEvents(usize),
    AtByte(usize),
}

/// What becomes of the connection after the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    KeepAlive,
    /// FIN.
    Close,
    /// RST.
    Reset,
    /// Open and silent until the client goes.
    Stall,
}

impl Reply {
    fn new(content: Content, content_type: &str, framing: ReplyFraming) -> Self {
        Self {
            status: 200,
            content_type: content_type.to_owned(),
            headers: Headers::default(),
            content,
            framing,
            fault: None,
            split: None,
            done: true,
            head_gate: None,
            head_delay: Duration::ZERO,
            gate: None,
        }
    }

    /// What a healthy OpenAI upstream answers: a stream if the request asks for one, a whole completion otherwise; the
    /// text is "Hello".
    pub fn healthy(request: &Received) -> Self {
        let streams = serde_json::from_slice(&request.body).is_ok_and(|body: Value| body["stream"] == true);
        if streams { Self::stream(["Hel", "lo"]) } else { Self::chat("Hello") }
    }

    /// A whole OpenAI chat completion: 7 prompt tokens, 5 completion tokens, the model the request asked for.
    pub fn chat(text: &str) -> Self {
        Self::new(Content::Chat(text.to_owned()), "application/json", ReplyFraming::Length { claimed: None })
    }

    /// A streamed OpenAI chat completion, each event in a chunk and a socket write of its own.
    pub fn stream<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let texts = texts.into_iter().map(str::to_owned).collect();
        Self::new(Content::ChatStream(texts), "text/event-stream", ReplyFraming::Chunked)
    }

    /// A JSON body with its length.
    pub fn json(status: u16, body: Value) -> Self {
        Self::body("application/json", body.to_string()).status(status)
    }

    /// Any body with its length.
    pub fn body(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new(Content::Fixed(vec![body.into()]), content_type, ReplyFraming::Length { claimed: None })
    }

    /// An error in OpenAI's form.
    pub fn error(status: u16, message: &str) -> Self {
        let kind = match status {
            401 | 403 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        Self::json(status, json!({"error": {"message": message, "type": kind, "param": null, "code": null}}))
    }

    /// The model list of `GET /v1/models`.
    pub fn models<Id: AsRef<str>>(ids: impl IntoIterator<Item = Id>) -> Self {
        let entry =
            |id: Id| json!({"id": id.as_ref(), "object": "model", "created": 1_700_000_000, "owned_by": "fake"});
        Self::json(200, json!({"object": "list", "data": ids.into_iter().map(entry).collect::<Vec<_>>()}))
    }

    /// Server-sent events, chunked and verbatim: the blank line after each event is yours to write, or to forget.
    pub fn sse<Event: Into<String>>(events: impl IntoIterator<Item = Event>) -> Self {
        let events = events.into_iter().map(|event| Bytes::from(event.into())).collect();
        Self::new(Content::Fixed(events), "text/event-stream", ReplyFraming::Chunked)
    }

    /// A whole recorded stream, cut into events after each blank line.
    pub fn sse_text(text: &str) -> Self {
        Self::sse(text.split_inclusive("\n\n"))
    }

    /// These bytes in place of an HTTP answer, then close.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::new(Content::Fixed(vec![bytes.into()]), "", ReplyFraming::Raw)
    }

    /// Takes the request, then closes (FIN).
    pub fn close_without_answer() -> Self {
        Self::nothing(After::Close)
    }

    /// Takes the request, then resets (RST).
    pub fn reset_without_answer() -> Self {
        Self::nothing(After::Reset)
    }

    /// Takes the request and stays silent until the client goes.
    pub fn never_answer() -> Self {
        Self::nothing(After::Stall)
    }

    fn nothing(after: After) -> Self {
        Self::new(Content::Nothing, "", ReplyFraming::Raw).fault(Place::AtByte(0), after)
    }

    /// Another status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// One more header line. `connection: close` is obeyed.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Another content type.
    pub fn content_type(mut self, content_type: &str) -> Self {
        content_type.clone_into(&mut self.content_type);
        self
    }

    /// Sends nothing for so long. The one place where time passes: prefer [`Reply::gate_head`].
    pub fn delay_head(mut self, delay: Duration) -> Self {
        self.head_delay = delay;
        self
    }

    /// Sends nothing before a permit of `gate` has been taken. A closed semaphore lets everything pass.
    pub fn gate_head(mut self, gate: Arc<Semaphore>) -> Self {
        self.head_gate = Some(gate);
        self
    }

    /// Sends the head at once, and then takes a permit of `gate` before each event (each piece, with
    /// [`Reply::split_every`]). A closed semaphore lets everything pass.
    pub fn gate(mut self, gate: Arc<Semaphore>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// After so many events the connection stays open and silent until the client goes.
    pub fn stall_after(self, events: usize) -> Self {
        self.fault(Place::AfterEvents(events), After::Stall)
    }

    /// After so many events the connection is closed (FIN), between two chunks.
    pub fn cut_after(self, events: usize) -> Self {
        self.fault(Place::AfterEvents(events), After::Close)
    }

    /// After so many events the connection is reset (RST).
    pub fn reset_after(self, events: usize) -> Self {
        self.fault(Place::AfterEvents(events), After::Reset)
    }

    /// After so many bytes of the body the connection is closed (FIN), in the midst of a chunk if that is where it is.
    pub fn cut_at_byte(self, bytes: usize) -> Self {
        self.fault(Place::AtByte(bytes), After::Close)
    }

    fn fault(mut self, place: Place, after: After) -> Self {
        self.fault = Some((place, after));
        self
    }

    /// Cuts the body anew, into pieces of so many bytes: each is flushed on its own, and a chunk of its own where the
    /// body is chunked.
    pub fn split_every(mut self, bytes: usize) -> Self {
        self.split = Some(bytes);
        self
    }

    /// Ends a stream properly but for the `[DONE]`.
    pub fn without_done(mut self) -> Self {
        self.done = false;
        self
    }

    /// Claims so many bytes as Content-Length, sends the fewer there are, and closes.
    pub fn content_length_lie(mut self, claimed: usize) -> Self {
        self.framing = ReplyFraming::Length { claimed: Some(claimed) };
        self
    }

    /// Neither length nor chunks: the body ends where the connection does.
    pub fn until_close(mut self) -> Self {
        self.framing = ReplyFraming::UntilClose;
        self
    }

    /// Plays the script to a client that has sent `request`, and tells what is to become of the connection.
    pub async fn play(&self, request: &Received, client: &mut (impl AsyncWrite + Unpin)) -> io::Result<After> {
        let script = self.script(request);
        pass(self.head_gate.as_deref()).await;
        if !self.head_delay.is_zero() {
            tokio::time::sleep(self.head_delay).await;
        }
        client.write_all(script.head.as_bytes()).await?;
        for (nth, write) in script.writes.iter().enumerate() {
            if nth > 0 {
                // Gives the reader its turn, so that two writes are seldom one read.
                tokio::task::yield_now().await;
            }
            pass(self.gate.as_deref()).await;
            client.write_all(write).await?;
        }
        if script.after == After::Stall {
            std::future::pending::<()>().await;
        }
        Ok(script.after)
    }

    fn script(&self, request: &Received) -> Script {
        let events = self.events(request);
        let total: usize = events.iter().map(Bytes::len).sum();
        let stop = self.fault.map(|(place, _)| match place {
            Place::AtByte(byte) => byte,
            Place::AfterEvents(count) => {
                assert!(count <= events.len(), "a fault after {count} events in a reply of {}", events.len());
                events.iter().take(count).map(Bytes::len).sum()
            }
        });
        let stop_at = stop.unwrap_or(total);
        assert!(stop_at <= total, "a fault at byte {stop_at} of a body of {total}");

        let pieces = match self.split {
            None => events,
            Some(size) => events.concat().chunks(size).map(Bytes::copy_from_slice).collect(),
        };
        let chunked = matches!(self.framing, ReplyFraming::Chunked);
        let mut writes = Vec::new();
        let mut sent = 0;
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            if sent == stop_at {
                break;
            }
            let kept = piece.len().min(stop_at - sent);
            sent += kept;
            let data = &piece[..kept];
            writes.push(match (chunked, kept == piece.len()) {
                (false, _) => data.to_vec(),
                (true, true) => [format!("{:x}\r\n", piece.len()).as_bytes(), data, b"\r\n"].concat(),
                (true, false) => [format!("{:x}\r\n", piece.len()).as_bytes(), data].concat(),
            });
        }
        if chunked && stop.is_none() {
            // Together with the last event: a client that leaves upon `[DONE]` leaves a finished reply.
            match writes.last_mut() {
                Some(last) => last.extend_from_slice(b"0\r\n\r\n"),
                None => writes.push(b"0\r\n\r\n".to_vec()),
            }
        }
        Script { head: self.head(total), writes, after: self.after() }
    }

    fn after(&self) -> After {
        match (self.fault, self.framing) {
            (Some((_, after)), _) => after,
            (None, ReplyFraming::Length { claimed: None } | ReplyFraming::Chunked) if !self.headers.say_close() => {
                After::KeepAlive
            }
            _ => After::Close,
        }
    }

    fn head(&self, length: usize) -> String {
        let framing = match self.framing {
            ReplyFraming::Raw => return String::new(),
            ReplyFraming::Length { claimed } => format!("content-length: {}\r\n", claimed.unwrap_or(length)),
            ReplyFraming::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
            ReplyFraming::UntilClose => "connection: close\r\n".to_owned(),
        };
        let Self { status, content_type, headers, .. } = self;
        let headers = headers.to_lines();
        format!("HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type}\r\n{framing}{headers}\r\n")
    }

    fn events(&self, request: &Received) -> Vec<Bytes> {
        let events = match &self.content {
            Content::Nothing => Vec::new(),
            Content::Fixed(events) => events.clone(),
            Content::Chat(text) => vec![completion(text, request).to_string().into()],
            Content::ChatStream(texts) => completion_events(texts, request),
        };
        events.into_iter().filter(|event| self.done || event != DONE).collect()
    }
}

/// A reply to one request: what is written, and what comes after.
struct Script {
    head: String,
    writes: Vec<Vec<u8>>,
    after: After,
}

async fn pass(gate: Option<&Semaphore>) {
    if let Some(gate) = gate
        && let Ok(permit) = gate.acquire().await
    {
        permit.forget();
    }
}

fn usage() -> Value {
    json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12})
}

fn model_of(request: &Value) -> &str {
    request["model"].as_str().unwrap_or("fake-model")
}

fn completion(text: &str, request: &Received) -> Value {
    let request = serde_json::from_slice(&request.body).unwrap_or_default();
    json!({
        "id": "chatcmpl-fake", "object": "chat.completion", "created": 1_700_000_000, "model": model_of(&request),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": usage(),
    })
}

fn completion_events(texts: &[String], request: &Received) -> Vec<Bytes> {
    let request: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let includes_usage = request["stream_options"]["include_usage"] == true;
    let event = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": model_of(&request), "choices": choices,
        });
        if includes_usage {
            chunk["usage"] = usage;
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);

    let mut events = vec![event(choice(json!({"role": "assistant", "content": ""}), Value::Null), Value::Null)];
    events.extend(texts.iter().map(|text| event(choice(json!({"content": text}), Value::Null), Value::Null)));
    events.push(event(choice(json!({}), json!("stop")), Value::Null));
    if includes_usage {
        events.push(event(json!([]), usage()));
    }
    events.push(Bytes::from_static(DONE.as_bytes()));
    events
}
