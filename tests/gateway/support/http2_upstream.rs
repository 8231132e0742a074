//! An upstream that speaks HTTP/2, played by the test itself.
//!
//! ```ignore
//! let mut upstream = Http2Upstream::start().await;
//! // … configure a channel with upstream.channel("up"), send a request …
//! upstream.asked().await.answer(Reply::…);
//! ```
//!
//! Unlike the other one it builds on the crate that the gateway uses as well: what is tested is how the gateway uses it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Response, Uri, Version};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::gateway::{channel_at, with};
use super::{Authority, within_patience};

/// The upstream, on a port of its own. It stops when it is dropped, connections included.
pub struct Http2Upstream {
    address: SocketAddr,
    authority: NamedTempFile,
    asked: UnboundedReceiver<Exchange>,
    connected: UnboundedReceiver<UnboundedSender<Goodbye>>,
    connections: Vec<UnboundedSender<Goodbye>>,
    listening: JoinHandle<()>,
}

/// How a connection is to end.
enum Goodbye {
    /// It is announced; what was asked before is still answered.
    Announced,
    /// At once, but with the word which requests have been looked at: all.
    Hasty,
    /// At once.
    Sudden,
}

/// What it can do beside HTTP/2.
#[derive(Clone, Copy, Default)]
pub struct Abilities {
    /// So many requests on a connection at a time.
    pub places: Option<u32>,
    /// That is, and all else about its connections, it says late.
    pub is_late: bool,
    /// Who answers those that come over HTTP/1.1; without one, it does not speak it.
    pub http1: Option<SocketAddr>,
}

impl Http2Upstream {
    pub async fn start() -> Self {
        Self::with(Abilities::default()).await
    }

    pub async fn with(abilities: Abilities) -> Self {
        let authority = Authority::new("ours");
        let protocols: &[&str] = if abilities.http1.is_some() { &["h2", "http/1.1"] } else { &["h2"] };
        let acceptor = authority.acceptor("localhost", protocols);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let (asking, asked) = unbounded_channel();
        let (connecting, connected) = unbounded_channel();
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (client, _) = listener.accept().await.expect("a connection");
                let (goodbyes, goodbye) = unbounded_channel();
                let served = serve((client, number), acceptor.clone(), abilities, asking.clone(), goodbye);
                connections.spawn(served);
                let _ = connecting.send(goodbyes);
            }
        });
        Self { address, authority: authority.file_with([]), asked, connected, connections: Vec::new(), listening }
    }

    /// A channel that asks it, and in HTTP/2.
    pub fn channel(&self, name: &str) -> Value {
        self.channel_with(name, json!({"http2": true}))
    }

    /// A channel that asks it, and trusts it.
    pub fn channel_with(&self, name: &str, preferences: Value) -> Value {
        let preferences = with(preferences, json!({"ca_file": self.authority.path()}));
        let base_url = format!("https://localhost:{}/v1", self.address.port());
        with(channel_at(name, &base_url), json!({"preferences": preferences}))
    }

    /// The next request, as soon as its head is there.
    pub async fn asked(&mut self) -> Exchange {
        within_patience("a request over HTTP/2", self.asked.recv()).await.expect("the sender listens")
    }

    /// Whether there is another request already.
    pub fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// How many connections have ever been opened.
    pub fn accepted_connections(&mut self) -> usize {
        while let Ok(connection) = self.connected.try_recv() {
            self.connections.push(connection);
        }
        self.connections.len()
    }

    /// Announces that this connection, counted from 0, will be closed.
    pub fn announce_end(&mut self, connection: usize) {
        self.end(connection, Goodbye::Announced);
    }

    /// Closes this connection, counted from 0, at once, and waits until it is.
    pub async fn cut(&mut self, connection: usize) {
        self.end(connection, Goodbye::Sudden);
        self.closed(connection).await;
    }

    /// The same, but says before that it has looked at all requests.
    pub async fn end_with_a_word(&mut self, connection: usize) {
        self.end(connection, Goodbye::Hasty);
        self.closed(connection).await;
    }

    fn end(&mut self, connection: usize, goodbye: Goodbye) {
        self.accepted_connections();
        self.connections[connection].send(goodbye).expect("an open connection");
    }

    /// Waits until this connection is closed.
    pub async fn closed(&mut self, connection: usize) {
        self.accepted_connections();
        within_patience("the end of a connection", self.connections[connection].closed()).await;
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(
    (client, number): (TcpStream, usize),
    acceptor: TlsAcceptor,
    abilities: Abilities,
    asking: UnboundedSender<Exchange>,
    mut goodbye: UnboundedReceiver<Goodbye>,
) {
    client.set_nodelay(true).expect("an open socket");
    let Ok(mut client) = acceptor.accept(client).await else { return };
    if client.get_ref().1.alpn_protocol() != Some(b"h2") {
        let mut server = TcpStream::connect(abilities.http1.expect("a server")).await.expect("a server");
        let _ = copy_bidirectional(&mut client, &mut server).await;
        return;
    }
    if abilities.is_late {
        // Long enough for what a client sends without waiting.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut builder = server::Builder::new();
    if let Some(places) = abilities.places {
        builder.max_concurrent_streams(places);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(client).await else { return };
    loop {
        tokio::select! {
            asked = connection.accept() => {
                let Some(Ok((request, response))) = asked else { return };
                let (head, body) = request.into_parts();
                let (method, uri, version, headers) = (head.method, head.uri, head.version, head.headers);
                let _ = asking.send(Exchange { method, uri, version, headers, body, response, connection: number });
            }
            Some(goodbye) = goodbye.recv() => match goodbye {
                Goodbye::Announced => connection.graceful_shutdown(),
                Goodbye::Hasty => connection.abrupt_shutdown(Reason::NO_ERROR),
                Goodbye::Sudden => return,
            }
        }
    }
}

/// A request that is to be answered.
pub struct Exchange {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    /// Which connection it came over, counted from 0 in the order they were opened.
    pub connection: usize,
    body: RecvStream,
    response: SendResponse<Bytes>,
}

impl Exchange {
    /// The header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads the body to its end.
    pub async fn body(&mut self) -> Bytes {
        read(&mut self.body).await
    }

    /// Begins an answer.
    pub fn begin(mut self, status: u16, headers: &[(&str, &str)]) -> Answering {
        let mut head = Response::builder().status(status);
        for (name, value) in headers {
            head = head.header(*name, *value);
        }
        let stream = self.response.send_response(head.body(()).expect("a head"), false).expect("an open stream");
        Answering { stream, request: self.body }
    }

    /// Begins an answer that is an event stream.
    pub fn begin_stream(self) -> Answering {
        self.begin(200, &[("content-type", "text/event-stream")])
    }

    /// Answers with a document.
    pub async fn answer(self, status: u16, document: &Value) {
        let text = document.to_string();
        let length = text.len().to_string();
        let headers = [("content-type", "application/json"), ("content-length", length.as_str())];
        self.begin(status, &headers).finish(text).await;
    }

    /// Answers a chat.
    pub async fn answer_chat(self, text: &str) {
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
        let answer =
            json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]});
        self.answer(200, &answer).await;
    }

    /// Gives the request up without an answer.
    pub fn reset(mut self, reason: Reason) {
        self.response.send_reset(reason);
    }
}

/// An answer that has begun.
pub struct Answering {
    stream: SendStream<Bytes>,
    request: RecvStream,
}

async fn read(body: &mut RecvStream) -> Bytes {
    let mut whole = Vec::new();
    while let Some(piece) = within_patience("the rest of a request", body.data()).await {
        let piece = piece.expect("a whole request");
        body.flow_control().release_capacity(piece.len()).expect("an open stream");
        whole.extend_from_slice(&piece);
    }
    whole.into()
}

impl Answering {
    /// Sends this much of the body, as soon as the client takes it.
    pub async fn send(&mut self, text: impl Into<Bytes>) {
        self.put(text.into(), false).await;
    }

    /// Sends an event with a piece of a chat.
    pub async fn send_chunk(&mut self, text: &str) {
        self.send(chunk_event(text)).await;
    }

    /// Ends a stream as it should be.
    pub async fn done(self) {
        let last = event(&json!({"index": 0, "delta": {}, "finish_reason": "stop"}));
        self.finish(format!("{last}data: [DONE]\n\n")).await;
    }

    /// Sends the last of the body.
    pub async fn finish(mut self, text: impl Into<Bytes>) {
        self.put(text.into(), true).await;
    }

    async fn put(&mut self, mut bytes: Bytes, is_last: bool) {
        while !bytes.is_empty() {
            let room = within_patience("a client that reads", self.room_for(bytes.len())).await;
            let piece = bytes.split_to(room);
            self.stream.send_data(piece, is_last && bytes.is_empty()).expect("an open stream");
        }
    }

    /// So many of these bytes the client takes, and at least one.
    async fn room_for(&mut self, bytes: usize) -> usize {
        self.stream.reserve_capacity(bytes);
        while self.stream.capacity() == 0 {
            let more = poll_fn(|context| self.stream.poll_capacity(context)).await;
            more.expect("an open stream").expect("a client that is there");
        }
        self.stream.capacity().min(bytes)
    }

    /// Sends pieces of a chat until the client takes no more for a while.
    pub async fn flood(&mut self) {
        let event = Bytes::from(chunk_event(&"x".repeat(16 * 1024)));
        let mut left = event.clone();
        while let Ok(room) = timeout(Duration::from_millis(300), self.room_for(left.len())).await {
            self.stream.send_data(left.split_to(room), false).expect("an open stream");
            if left.is_empty() {
                left = event.clone();
            }
        }
    }

    /// Reads the body of the request to its end.
    pub async fn rest_of_request(&mut self) -> Bytes {
        read(&mut self.request).await
    }

    /// Sends a piece in which there is nothing.
    pub fn send_nothing(&mut self) {
        self.stream.send_data(Bytes::new(), false).expect("an open stream");
    }

    /// Breaks off.
    pub fn reset(mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Waits until the client has given it up, and says how.
    pub async fn given_up(mut self) -> Reason {
        let reset = poll_fn(|context| self.stream.poll_reset(context));
        within_patience("a client that leaves", reset).await.expect("an open connection")
    }
}

fn chunk_event(text: &str) -> String {
    event(&json!({"index": 0, "delta": {"content": text}, "finish_reason": null}))
}

fn event(choice: &Value) -> String {
    let chunk =
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": [choice]});
    format!("data: {chunk}\n\n")
}
