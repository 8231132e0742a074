//! An upstream that answers by lot, fast, and keeps nothing but counts.
//!
//! It has a thread of its own. What it did with a request last is remembered until [`Upstream::forget`].

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use crate::support::wire::{Framing, Inbox};

use super::lot::{Ending, Fault, Lot, MARK};
use super::wording;

/// Keys with this in them are refused.
pub const BAD: &str = "-bad-";
/// How long a slow head takes.
const SLOW: Duration = Duration::from_millis(300);
/// After the last words of a stream that is cut, so that they arrive.
const BEFORE_A_CUT: Duration = Duration::from_millis(100);
/// How many words a stream has that is cut.
const WORDS_BEFORE_A_CUT: usize = 2;

/// The upstream.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What became of the last attempt of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It never came here, or it failed.
    #[default]
    Failed,
    /// It is waiting for an answer that does not come.
    Held,
    /// It got some words and no end.
    Cut,
    /// It got everything.
    Whole,
}

/// What was done since the start.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Whole requests that came.
    pub received: usize,
    /// Those of them that the gateway sent again within the same attempt.
    pub resent: usize,
    /// Those with a key that is refused.
    pub refused_keys: usize,
    /// Those that are being answered.
    pub under_way: usize,
    /// Streams that are being answered and have had their first word.
    pub streaming: usize,
    pub faults: BTreeMap<Fault, usize>,
    pub endings: BTreeMap<Ending, usize>,
}

/// One request on its way through its lot.
#[derive(Default)]
struct Progress {
    /// How many of its faults it has met.
    faults: usize,
    /// It has met its ending, if that happens only once.
    is_over: bool,
    /// It came with this key when its connection was lost, and loses so many more.
    lost: Option<(String, usize)>,
    fate: Fate,
}

struct Shared {
    lot: Box<dyn Fn(u64) -> Lot + Send + Sync>,
    /// Streams go on after their first word when this is true.
    gate: watch::Receiver<bool>,
    progress: Mutex<HashMap<u64, Progress>>,
    counts: Mutex<Counts>,
}

/// What one request gets.
enum Act {
    RefuseKey,
    Fault(Fault),
    End(Ending),
}

/// What becomes of the connection.
#[derive(PartialEq)]
enum After {
    KeepAlive,
    Close,
    Reset,
}

impl Upstream {
    /// With these lots. Streams stand still after their first word until `gate` is true.
    pub fn start(lot: impl Fn(u64) -> Lot + Send + Sync + 'static, gate: watch::Receiver<bool>) -> Self {
        let shared =
            Arc::new(Shared { lot: Box::new(lot), gate, progress: Mutex::default(), counts: Mutex::default() });
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("an open socket");
        let address = listener.local_addr().expect("the address of a bound socket");
        let (stop, stopped) = oneshot::channel();
        let (serving, runtime) = (Arc::clone(&shared), tokio::runtime::Builder::new_current_thread());
        let thread = thread::spawn(move || {
            let runtime = { runtime }.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = listen(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }

    /// What became of the last attempt of a request so far.
    pub fn fate(&self, number: u64) -> Fate {
        self.shared.progress().get(&number).map(|progress| progress.fate).unwrap_or_default()
    }

    /// The same at the end of a request; nothing more is remembered of it.
    pub fn forget(&self, number: u64) -> Fate {
        self.shared.progress().remove(&number).map(|progress| progress.fate).unwrap_or_default()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || thread::panicking(), "the upstream has panicked, see above");
    }
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, HashMap<u64, Progress>> {
        self.progress.lock().expect("no panic under this lock")
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("no panic under this lock")
    }

    /// What a request gets that came with this key.
    fn act(&self, lot: &Lot, key: &str) -> Act {
        let mut all = self.progress();
        let progress = all.entry(lot.number).or_default();
        let mut counts = self.counts();
        counts.received += 1;
        let lost = progress.lost.take().filter(|(with, _)| with == key);
        counts.resent += usize::from(lost.is_some());
        progress.fate = Fate::Failed;
        if key.contains(BAD) {
            counts.refused_keys += 1;
            return Act::RefuseKey;
        }
        let fault = match lost {
            Some((_, left @ 1..)) => {
                progress.lost = Some((key.to_owned(), left - 1));
                lot.faults.get(progress.faults - 1).copied()
            }
            _ => {
                let fault = lot.faults.get(progress.faults).copied();
                progress.faults += 1;
                progress.lost = fault.and_then(Fault::losses).map(|losses| (key.to_owned(), losses - 1));
                fault
            }
        };
        if let Some(fault) = fault {
            *counts.faults.entry(fault).or_default() += 1;
            return Act::Fault(fault);
        }
        let ending = if progress.is_over { Ending::Whole } else { lot.ending };
        progress.fate = match ending {
            Ending::Whole | Ending::Slow | Ending::LeftMidway => Fate::Whole,
            Ending::Cut | Ending::Reset | Ending::Silence => Fate::Cut,
            Ending::LeftEarly => Fate::Held,
            Ending::Rejected | Ending::Doomed => Fate::Failed,
        };
        progress.is_over = ending != Ending::Doomed;
        *counts.endings.entry(ending).or_default() += 1;
        Act::End(ending)
    }
}

/// Counts an answer for as long as it is under way.
struct UnderWay<'a> {
    shared: &'a Shared,
    streams: bool,
}

impl<'a> UnderWay<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.counts().under_way += 1;
        Self { shared, streams: false }
    }

    fn has_first_word(&mut self) {
        self.streams = true;
        self.shared.counts().streaming += 1;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut counts = self.shared.counts();
        counts.under_way -= 1;
        counts.streaming -= usize::from(self.streams);
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                connections.spawn(serve(accepted.expect("a connection").0, Arc::clone(&shared)));
            }
            Some(served) = connections.join_next() => served.expect("a client that speaks HTTP"),
        }
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).expect("an open socket");
    let (reading, mut writing) = stream.split();
    let mut inbox = Inbox::new(reading);
    let after = loop {
        let Some((number, key)) = receive(&mut inbox).await else { break After::Close };
        let lot = (shared.lot)(number);
        let act = shared.act(&lot, &key);
        let mut under_way = UnderWay::begin(&shared);
        let played = tokio::select! {
            biased;
            played = play(act, &lot, &mut under_way, &mut writing) => played,
            () = inbox.closed() => break After::Close,
        };
        match played {
            Ok(After::KeepAlive) => {}
            Ok(after) => break after,
            // The client has gone.
            Err(_) => break After::Close,
        }
    };
    if after == After::Reset {
        stream.set_zero_linger().expect("an open socket");
    }
}

/// The number of the next request, and the key it comes with; `None` when the client has gone.
async fn receive<R: AsyncRead + Unpin>(inbox: &mut Inbox<R>) -> Option<(u64, String)> {
    let head = inbox.head().await?;
    let key = head.headers.get("authorization").or(head.headers.get("x-api-key")).expect("a key");
    let key = key.trim_start_matches("Bearer ").to_owned();
    let (body, true) = inbox.rest(&mut head.framing(Framing::Length(0))).await else { return None };
    let at = memchr::memmem::find(&body, MARK.as_bytes()).expect("the mark in the prompt") + MARK.len();
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some((digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')), key))
}

async fn play(
    act: Act,
    lot: &Lot,
    under_way: &mut UnderWay<'_>,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<After> {
    match act {
        Act::RefuseKey => refuse(401, "", "invalid key", to).await,
        Act::Fault(fault) => play_fault(fault, lot, to).await,
        Act::End(Ending::Rejected) => refuse(400, "", "a field is wrong", to).await,
        Act::End(Ending::Doomed) => refuse(500, "", "doomed", to).await,
        Act::End(Ending::LeftEarly) => std::future::pending().await,
        Act::End(ending) => {
            if ending == Ending::Slow {
                tokio::time::sleep(SLOW).await;
            }
            if lot.kind.streams() { stream(ending, lot, under_way, to).await } else { document(lot, to).await }
        }
    }
}

async fn play_fault(fault: Fault, lot: &Lot, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<After> {
    match fault {
        Fault::Broken => return refuse(500, "", "broken", to).await,
        Fault::Limited => return refuse(429, "retry-after: 1\r\n", "slow down", to).await,
        Fault::ResetOnce | Fault::Reset => return Ok(After::Reset),
        Fault::Closed => {}
        Fault::HalfHead => to.write_all(b"HTTP/1.1 200 OK\r\ncontent-ty").await?,
        Fault::Truncated if lot.kind.streams() => {
            to.write_all(STREAM_HEAD.as_bytes()).await?;
            send_chunk(&wording::opening(lot), to).await?;
        }
        Fault::Truncated => {
            let answer = with_length(200, "", "application/json", &wording::whole(lot));
            to.write_all(&answer.as_bytes()[..answer.len() - 5]).await?;
        }
        Fault::Silence => return std::future::pending().await,
        Fault::Page => {
            to.write_all(with_length(200, "", "text/html", "<!doctype html><h1>Welcome</h1>").as_bytes()).await?;
            return Ok(After::KeepAlive);
        }
        Fault::Noise => to.write_all(b"\x16\x03\x01 220 mail.example ESMTP\r\n\r\n").await?,
    }
    Ok(After::Close)
}

async fn refuse(status: u16, headers: &str, message: &str, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<After> {
    let body = format!(r#"{{"type":"error","error":{{"message":"{message}","type":"fault","code":null}}}}"#);
    to.write_all(with_length(status, headers, "application/json", &body).as_bytes()).await?;
    Ok(After::KeepAlive)
}

async fn document(lot: &Lot, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<After> {
    to.write_all(with_length(200, "", "application/json", &wording::whole(lot)).as_bytes()).await?;
    Ok(After::KeepAlive)
}

async fn stream(
    ending: Ending,
    lot: &Lot,
    under_way: &mut UnderWay<'_>,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<After> {
    to.write_all(STREAM_HEAD.as_bytes()).await?;
    send_chunk(&wording::opening(lot), to).await?;
    let breaks = matches!(ending, Ending::Cut | Ending::Reset | Ending::Silence);
    let words = if breaks { WORDS_BEFORE_A_CUT } else { lot.words };
    for word in 0..words {
        send_chunk(&wording::word(lot, word), to).await?;
        if word == 0 {
            under_way.has_first_word();
            let mut gate = under_way.shared.gate.clone();
            gate.wait_for(|open| *open).await.expect("a gate");
        }
        tokio::time::sleep(lot.pause).await;
    }
    if breaks {
        tokio::time::sleep(BEFORE_A_CUT).await;
    }
    match ending {
        Ending::Cut => return Ok(After::Close),
        Ending::Reset => return Ok(After::Reset),
        Ending::Silence => return std::future::pending().await,
        _ => {}
    }
    let closing = wording::closing(lot);
    // With the end of the body, so that nobody leaves in between.
    to.write_all(format!("{:x}\r\n{closing}\r\n0\r\n\r\n", closing.len()).as_bytes()).await?;
    Ok(After::KeepAlive)
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

async fn send_chunk(text: &str, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
}

fn with_length(status: u16, headers: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Numbered\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}
