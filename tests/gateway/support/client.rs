//! A client that can do what well-bred ones cannot: hang up anywhere, send garbage, read byte by byte.
//!
//! ```ignore
//! let client = Client::new(gateway.address());
//! let answer = client.post_json("/v1/chat/completions", "sk-client", &json!({"model": "gpt-4o"})).await;
//! assert_eq!(answer.status, 200);
//!
//! let mut stream = client.open_stream("/v1/chat/completions", "sk-client", &body).await;
//! while let Some(event) = stream.next_event().await { /* … */ }
//! assert!(stream.rest().await.complete);
//! ```
//!
//! [`Client`] opens a connection for each request. With a [`Connection`] of your own you can send several, or leave
//! before the answer. No wait is longer than [`PATIENCE`](super::PATIENCE).

use std::{net::SocketAddr, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    wire::{Framing, Headers, Inbox, Piece},
    within_patience,
};

/// A request to build.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Headers,
    body: Option<Bytes>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Headers::default(), body: None }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// `Authorization: Bearer`.
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    /// A JSON body with its content type.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// A body with its content type and length.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", content_type)
    }

    fn to_bytes(&self, host: SocketAddr) -> Vec<u8> {
        let Self { method, path, headers, body } = self;
        let length = body.as_ref().map(|body| format!("content-length: {}\r\n", body.len())).unwrap_or_default();
        let lines = headers.to_lines();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{lines}{length}\r\n");
        [head.as_bytes(), body.as_deref().unwrap_or_default()].concat()
    }
}

/// An answer, or what has arrived of it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Bytes,
    /// Whether the body ended as its framing demands. `false` when the connection was closed before.
    pub complete: bool,
    /// Whether the connection was reset (RST).
    pub reset: bool,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as text; fails the test if it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The body; fails the test if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// The server-sent events in the body, in the form of [`OpenStream::next_event`].
    pub fn events(&self) -> Vec<String> {
        let mut body = BytesMut::from(&self.body[..]);
        std::iter::from_fn(|| split_block(&mut body)).map(|block| event_of(&block)).collect()
    }
}

/// A client of one server, with a fresh connection for each request.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Posts a body with `Authorization: Bearer` and reads the whole answer.
    pub async fn post_json(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.request(Request::post(path).key(key).json(body)).await
    }

    /// Gets a page with `Authorization: Bearer`.
    pub async fn get(&self, path: &str, key: &str) -> Answer {
        self.request(Request::get(path).key(key)).await
    }

    /// Whether somebody listens.
    pub async fn is_listening(&self) -> bool {
        TcpStream::connect(self.address).await.is_ok()
    }

    /// Sends any request and reads the whole answer. Fails the test when there is none.
    pub async fn request(&self, request: Request) -> Answer {
        self.open(request).await.rest().await
    }

    /// Posts a body with `Authorization: Bearer` and reads the head of the answer.
    pub async fn open_stream(&self, path: &str, key: &str, body: &Value) -> OpenStream {
        self.open(Request::post(path).key(key).json(body)).await
    }

    /// Sends any request and reads the head of the answer. Fails the test when there is none.
    pub async fn open(&self, request: Request) -> OpenStream {
        let mut connection = self.connect().await;
        connection.send(&request).await;
        connection.into_stream().await.expect("an answer before the connection is closed")
    }

    /// Sends these bytes and reads the whole answer; `None` when the server closes without one.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Option<Answer> {
        let mut connection = self.connect().await;
        connection.send_raw(bytes).await;
        Some(connection.into_stream().await?.rest().await)
    }

    /// A connection for tests that need to know when what is sent.
    pub async fn connect(&self) -> Connection {
        let stream = within_patience("a connection", TcpStream::connect(self.address)).await.expect("a listener");
        stream.set_nodelay(true).expect("an open socket");
        Connection { address: self.address, inbox: Inbox::new(stream) }
    }
}

/// One connection. Dropping it hangs up.
pub struct Connection {
    address: SocketAddr,
    inbox: Inbox<TcpStream>,
}

impl Connection {
    /// Sends a request and returns at once.
    pub async fn send(&mut self, request: &Request) {
        self.send_raw(request.to_bytes(self.address)).await;
    }

    /// Sends any bytes. That the server has hung up meanwhile shows in the answer only.
    pub async fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        let _hung_up = within_patience("room to send", self.inbox.source.write_all(bytes.as_ref())).await;
    }

    /// Reads the next whole answer; `None` when the server closes without one. The connection can be used again.
    pub async fn answer(&mut self) -> Option<Answer> {
        let (status, headers, mut framing) = self.head().await?;
        let (body, complete) = within_patience("the body", self.inbox.rest(&mut framing)).await;
        Some(Answer { status, headers, body, complete, reset: self.inbox.was_reset() })
    }

    /// Reads the head of the next answer; `None` when the server closes without one.
    pub async fn into_stream(mut self) -> Option<OpenStream> {
        let (status, headers, framing) = self.head().await?;
        Some(OpenStream { status, headers, connection: self, framing, body: BytesMut::new(), ending: None })
    }

    /// Reads at most `most` bytes as they come over the wire, head and chunk sizes included; `None` at the end.
    pub async fn read_raw(&mut self, most: usize) -> Option<Bytes> {
        within_patience("bytes", self.inbox.take(&mut { most })).await
    }

    /// Whether an answer begins, or the server closes, in that time. Nothing is taken from it.
    pub async fn has_more_within(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.inbox.source.peek(&mut [0])).await.is_ok()
    }

    /// Whether the server takes these bytes, or the buffers before it do, in that time.
    pub async fn has_room_within(&mut self, time: Duration, bytes: &[u8]) -> bool {
        tokio::time::timeout(time, self.inbox.source.write_all(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Waits until the server closes.
    pub async fn closed(mut self) {
        within_patience("the server to close", self.inbox.closed()).await;
    }

    /// Leaves in good order (FIN), as dropping does.
    pub fn hang_up(self) {}

    /// Leaves with a reset (RST).
    pub fn reset(self) {
        self.inbox.source.set_zero_linger().expect("an open socket");
    }

    async fn head(&mut self) -> Option<(u16, Headers, Framing)> {
        let head = within_patience("the head of an answer", self.inbox.head()).await?;
        let status = head.first_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {:?}", head.first_line));
        let framing = match status {
            100..200 | 204 | 304 => Framing::Length(0),
            _ => head.framing(Framing::UntilClose),
        };
        Some((status, head.headers, framing))
    }
}

/// An answer under way. Dropping it hangs up.
pub struct OpenStream {
    pub status: u16,
    pub headers: Headers,
    connection: Connection,
    framing: Framing,
    body: BytesMut,
    ending: Option<Piece>,
}

impl OpenStream {
    /// The data of the next server-sent event, lines joined; the text of a comment with its colon. `None` when the
    /// body is over: whether it ended properly tells [`OpenStream::rest`].
    pub async fn next_event(&mut self) -> Option<String> {
        self.next_block().await.map(|block| event_of(&block))
    }

    /// The next event verbatim, `event:` line included, without the blank line.
    pub async fn next_block(&mut self) -> Option<String> {
        loop {
            if let Some(block) = split_block(&mut self.body) {
                return Some(block);
            }
            if !self.read_on().await {
                return None;
            }
        }
    }

    /// Reads on until so much of the body is there, of which no event has been taken.
    pub async fn read_at_least(&mut self, bytes: usize) {
        while self.body.len() < bytes {
            assert!(self.read_on().await, "the body is over");
        }
    }

    /// The rest of the body: what no event has been taken from yet.
    pub async fn rest(mut self) -> Answer {
        while self.read_on().await {}
        Answer {
            status: self.status,
            headers: self.headers,
            body: self.body.freeze(),
            complete: matches!(self.ending, Some(Piece::End)),
            reset: self.connection.inbox.was_reset(),
        }
    }

    /// Leaves in good order (FIN), as dropping does.
    pub fn hang_up(self) {}

    /// Leaves with a reset (RST).
    pub fn reset(self) {
        self.connection.reset();
    }

    async fn read_on(&mut self) -> bool {
        if self.ending.is_some() {
            return false;
        }
        match within_patience("more of the body", self.connection.inbox.piece(&mut self.framing)).await {
            Piece::Data(data) => self.body.extend_from_slice(&data),
            ending => self.ending = Some(ending),
        }
        self.ending.is_none()
    }
}

/// Takes one event with its blank line off the front, whichever line ends it uses.
fn split_block(body: &mut BytesMut) -> Option<String> {
    let ends = [b"\n\n".as_slice(), b"\n\r\n"];
    let (at, end) = ends.iter().filter_map(|end| Some((find(body, end)?, end.len()))).min()?;
    let block = body.split_to(at);
    body.advance(end);
    Some(String::from_utf8(block.to_vec()).expect("UTF-8 in an event").replace('\r', ""))
}

fn find(body: &[u8], wanted: &[u8]) -> Option<usize> {
    body.windows(wanted.len()).position(|window| window == wanted)
}

fn event_of(block: &str) -> String {
    let data: Vec<&str> = block
        .lines()
        .filter_map(|line| if line.starts_with(':') { Some(line) } else { line.strip_prefix("data:") })
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    data.join("\n")
}
