//! A client that keeps its connections, asks by lot, and trusts no answer.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::KEY;
use crate::support::wire::{Framing, Inbox, Piece};

use super::lot::{Ending, Kind, Lot};
use super::upstream::{Fate, Upstream};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// A connection that was idle for so long is not used again: the gateway may be about to close it.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// Between two looks whether a request has arrived upstream.
const LOOK: Duration = Duration::from_millis(5);

/// A client with a pool of connections.
pub struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<(Inbox<TcpStream>, Instant)>>,
}

/// How a request has ended, if that is honest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Got {
    /// The answer to this very request, with everything that belongs to it.
    Whole,
    /// The first words of it, and an error with this code in place of an end.
    ToldInBand(String),
    /// An error with this status and code.
    Refused(u16, String),
    /// The client left.
    Left,
}

/// What is dishonest about an answer.
pub type Wrong = String;

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// Makes the request of a lot.
    ///
    /// # Errors
    ///
    /// The answer is not honest: it is another one's, has gaps, or ends without a word about what is missing.
    pub async fn ask(&self, lot: &Lot, upstream: &Upstream) -> Result<Got, Wrong> {
        let asked = tokio::time::timeout(PATIENCE, self.ask_and_wait(lot, upstream)).await;
        asked.unwrap_or_else(|_| Err(format!("no end within {} s", PATIENCE.as_secs())))
    }

    async fn ask_and_wait(&self, lot: &Lot, upstream: &Upstream) -> Result<Got, Wrong> {
        let mut inbox = self.connection().await;
        let sent = inbox.source.write_all(request(lot, self.address).as_bytes()).await;
        sent.map_err(|error| format!("the gateway takes no request: {error}"))?;
        if lot.ending == Ending::LeftEarly {
            tokio::select! {
                () = is_held(lot, upstream) => return Ok(Got::Left),
                head = inbox.head() => drop(head.ok_or("the connection was closed without an answer")?),
            }
            return Err("answered although the upstream is silent".to_owned());
        }
        let head = inbox.head().await.ok_or("the connection was closed without an answer")?;
        let status: u16 = head.first_line.get(9..12).and_then(|status| status.parse().ok()).ok_or("no status")?;
        let mut framing = head.framing(Framing::UntilClose);
        let got = if status == 200 && lot.kind.streams() {
            if !head.headers.get("content-type").is_some_and(|value| value.starts_with("text/event-stream")) {
                return Err("a stream that does not say that it is one".to_owned());
            }
            read_stream(lot, &mut inbox, &mut framing).await?
        } else {
            let (body, true) = inbox.rest(&mut framing).await else {
                return Err(format!("a body with status {status} that was cut"));
            };
            read_document(lot, status, &body)?
        };
        if got != Got::Left && !head.headers.say_close() {
            self.idle.lock().expect("no panic under this lock").push((inbox, Instant::now()));
        }
        Ok(got)
    }

    async fn connection(&self) -> Inbox<TcpStream> {
        let kept = self.idle.lock().expect("no panic under this lock").pop();
        if let Some((inbox, since)) = kept
            && since.elapsed() < MAX_IDLE
        {
            return inbox;
        }
        let stream = TcpStream::connect(self.address).await.expect("a gateway that accepts connections");
        stream.set_nodelay(true).expect("an open socket");
        Inbox::new(stream)
    }
}

fn request(lot: &Lot, host: SocketAddr) -> String {
    let (path, body) = (lot.kind.path(), lot.body());
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

async fn is_held(lot: &Lot, upstream: &Upstream) {
    while upstream.fate(lot.number) != Fate::Held {
        tokio::time::sleep(LOOK).await;
    }
}

fn read_document(lot: &Lot, status: u16, body: &[u8]) -> Result<Got, Wrong> {
    let document: Value = serde_json::from_slice(body).map_err(|error| format!("status {status}, {error}"))?;
    if status != 200 {
        let code = document["error"]["code"].as_str().ok_or_else(|| format!("status {status} without a code"))?;
        return Ok(Got::Refused(status, code.to_owned()));
    }
    let is_its_own = match lot.kind {
        Kind::Embedding => document["data"][0]["embedding"][0] == lot.number,
        _ => document["choices"][0]["message"]["content"] == lot.text(),
    };
    if is_its_own { Ok(Got::Whole) } else { Err(format!("the answer of another request: {document}")) }
}

/// What has come of a stream.
struct Heard<'a> {
    lot: &'a Lot,
    text: String,
    words: usize,
    finished: bool,
    ending: Option<Got>,
}

async fn read_stream(lot: &Lot, inbox: &mut Inbox<TcpStream>, framing: &mut Framing) -> Result<Got, Wrong> {
    let mut heard = Heard { lot, text: String::new(), words: 0, finished: false, ending: None };
    let mut buffer = BytesMut::new();
    loop {
        match inbox.piece(framing).await {
            Piece::Data(data) => buffer.extend_from_slice(&data),
            Piece::Cut => return Err(format!("a stream that was cut without a word, after {} words", heard.words)),
            Piece::End if !buffer.is_empty() => return Err(format!("half an event: {buffer:?}")),
            Piece::End => return heard.ending.ok_or_else(|| "a stream without an end".to_owned()),
        }
        while let Some(end) = memchr::memmem::find(&buffer, b"\n\n") {
            let event = buffer.split_to(end).freeze();
            buffer.advance(2);
            heard.take(&event)?;
        }
        if lot.ending == Ending::LeftMidway && heard.words > 0 {
            return Ok(Got::Left);
        }
    }
}

impl Heard<'_> {
    fn take(&mut self, event: &Bytes) -> Result<(), Wrong> {
        let data = event.strip_prefix(b"data: ").ok_or_else(|| format!("not an event of data: {event:?}"))?;
        if self.ending.is_some() {
            return Err(format!("more behind the end: {event:?}"));
        }
        if data == b"[DONE]" {
            if !self.finished || self.text != self.lot.text() || self.words != self.lot.words {
                return Err(format!("an end after {} of {} words: {:?}", self.words, self.lot.words, self.text));
            }
            self.ending = Some(Got::Whole);
            return Ok(());
        }
        let chunk: Value = serde_json::from_slice(data).map_err(|error| format!("{error}: {event:?}"))?;
        if let Some(error) = chunk.get("error") {
            let code = error["code"].as_str().ok_or_else(|| format!("an error without a code: {event:?}"))?;
            self.ending = Some(Got::ToldInBand(code.to_owned()));
            return Ok(());
        }
        let choice = &chunk["choices"][0];
        if let Some(text) = choice["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
            if text != self.lot.word(self.words) {
                return Err(format!("{text:?} in place of word {} of request {}", self.words, self.lot.number));
            }
            self.text.push_str(text);
            self.words += 1;
        }
        self.finished |= !choice["finish_reason"].is_null();
        Ok(())
    }
}
