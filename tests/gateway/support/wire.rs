//! HTTP/1.1 read by hand, for the fake upstream and the test client alike.
//!
//! Nothing here is lenient: a peer that breaks the protocol panics with what it sent. A peer that closes early is not
//! a breach; it is reported as [`Piece::Cut`].

use std::io::ErrorKind;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Room for one read, in bytes.
const READ_BYTES: usize = 4096;

/// Header lines in the order they came; names are compared without case.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every value of this name, to show that a header is not sent twice.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// Adds one line.
    pub fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Whether `Connection: close` is among them.
    pub fn say_close(&self) -> bool {
        self.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The lines as they go over the wire, without the empty one at the end.
    pub fn to_lines(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    }
}

/// Request or status line, and the headers under it.
pub struct Head {
    pub first_line: String,
    pub headers: Headers,
}

impl Head {
    /// How the body under this head ends; `without_length` is for a head that does not say.
    pub fn framing(&self, without_length: Framing) -> Framing {
        if self.headers.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked(Chunk::Due);
        }
        match self.headers.get("content-length") {
            Some(length) => Framing::Length(length.parse().expect("a number as Content-Length")),
            None => without_length,
        }
    }
}

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// So many bytes.
    Length(usize),
    /// Chunks up to the empty one.
    Chunked(Chunk),
    /// Everything until the peer closes.
    UntilClose,
}

/// Where in a chunk the reader stands.
#[derive(Clone, Copy, Debug)]
pub enum Chunk {
    /// Before its size line.
    Due,
    /// So many bytes of data left.
    Left(usize),
    /// Before the line end after its data.
    Over,
}

/// One step through a body.
#[derive(Debug)]
pub enum Piece {
    /// Data, as much as has arrived of the current chunk.
    Data(Bytes),
    /// The body is complete.
    End,
    /// The peer closed before the body was complete.
    Cut,
}

/// The reading side of a connection and what has been read from it ahead of use.
pub struct Inbox<R> {
    pub source: R,
    buffer: BytesMut,
    reset: bool,
}

impl<R: AsyncRead + Unpin> Inbox<R> {
    pub fn new(source: R) -> Self {
        Self { source, buffer: BytesMut::new(), reset: false }
    }

    /// Whether the peer ended the connection with a reset (RST) and not with a close (FIN).
    pub fn was_reset(&self) -> bool {
        self.reset
    }

    /// Waits until the peer is gone. Whatever else it sends is kept.
    pub async fn closed(&mut self) {
        while self.fill().await {}
    }

    /// The next head, or `None` if the peer closed before the end of it.
    pub async fn head(&mut self) -> Option<Head> {
        let first_line = self.line().await?;
        let mut headers = Headers::default();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(Head { first_line, headers });
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header line: {line:?}"));
            headers.push(name, value.trim());
        }
    }

    /// The next piece of the body that `framing` describes; `framing` moves along.
    pub async fn piece(&mut self, framing: &mut Framing) -> Piece {
        loop {
            match framing {
                Framing::Length(0) => return Piece::End,
                Framing::Length(left) => return self.take(left).await.map_or(Piece::Cut, Piece::Data),
                Framing::UntilClose => {
                    return match self.take(&mut usize::MAX.clone()).await {
                        Some(data) => Piece::Data(data),
                        None if self.reset => Piece::Cut,
                        None => Piece::End,
                    };
                }
                Framing::Chunked(Chunk::Due) => {
                    let Some(line) = self.line().await else { return Piece::Cut };
                    let size =
                        usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("not a chunk size: {line:?}"));
                    if size > 0 {
                        *framing = Framing::Chunked(Chunk::Left(size));
                        continue;
                    }
                    let Some(line) = self.line().await else { return Piece::Cut };
                    assert_eq!(line, "", "trailers are not expected");
                    *framing = Framing::Length(0);
                }
                Framing::Chunked(Chunk::Left(left)) => {
                    let Some(data) = self.take(left).await else { return Piece::Cut };
                    if *left == 0 {
                        *framing = Framing::Chunked(Chunk::Over);
                    }
                    return Piece::Data(data);
                }
                Framing::Chunked(Chunk::Over) => {
                    let Some(line) = self.line().await else { return Piece::Cut };
                    assert_eq!(line, "", "a chunk is longer than its size line says");
                    *framing = Framing::Chunked(Chunk::Due);
                }
            }
        }
    }

    /// All that is left of a body, and whether it was complete.
    pub async fn rest(&mut self, framing: &mut Framing) -> (Bytes, bool) {
        let mut body = BytesMut::new();
        loop {
            match self.piece(framing).await {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End => return (body.freeze(), true),
                Piece::Cut => return (body.freeze(), false),
            }
        }
    }

    /// At least one and at most `left` bytes, which are taken off `left`; `None` when the peer closed.
    pub async fn take(&mut self, left: &mut usize) -> Option<Bytes> {
        if self.buffer.is_empty() && !self.fill().await {
            return None;
        }
        let size = self.buffer.len().min(*left);
        *left -= size;
        Some(self.buffer.split_to(size).freeze())
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let line = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("a bare line feed after {line:?}"));
                return Some(String::from_utf8(line.to_vec()).expect("UTF-8 outside the body"));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        self.buffer.reserve(READ_BYTES);
        match self.source.read_buf(&mut self.buffer).await {
            Ok(size) => size > 0,
            Err(error) => {
                self.reset = error.kind() == ErrorKind::ConnectionReset;
                false
            }
        }
    }
}
