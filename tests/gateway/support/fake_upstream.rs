//! An upstream on a port of its own that answers what the test scripts.
//!
//! ```ignore
//! let upstream = FakeUpstream::in_turn([Reply::error(500, "oops"), Reply::chat("Hello")]).await;
//! // … configure a channel with upstream.base_url(), send a request …
//! assert_eq!(upstream.received().len(), 2);
//! assert_eq!(upstream.received()[0].json()["model"], "gpt-4o");
//! ```
//!
//! It stops when it is dropped, connections included. If the client under test has broken HTTP, or if the answering
//! closure has panicked, dropping it fails the test.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    reply::{After, Reply},
    wire::{Framing, Headers, Inbox},
    within_patience,
};

/// A request as the upstream got it.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// What follows the `?`, or nothing.
    pub query: String,
    pub headers: Headers,
    pub body: Bytes,
    /// Which connection it came over, counted from 0 in the order they were opened.
    pub connection: usize,
    /// When it was whole.
    pub at: Instant,
}

impl Received {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The key of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The body; fails the test if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    fn asks_for_models(&self) -> bool {
        self.method == "GET" && self.path.ends_with("/models")
    }
}

/// The scripted upstream.
pub struct FakeUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

impl FakeUpstream {
    /// Healthy: every request gets [`Reply::healthy`], and `GET …/models` the list of [`FakeUpstream::set_models`].
    pub async fn start() -> Self {
        Self::scripted(true, Reply::healthy).await
    }

    /// Every request gets what `answer` makes of it, `GET …/models` included.
    pub async fn answering(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::scripted(false, answer).await
    }

    /// One reply for each request in the order they arrive, the last one for all that follow. `GET …/models` takes no
    /// turn: it gets the list of [`FakeUpstream::set_models`].
    pub async fn in_turn(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Vec<Reply> = replies.into_iter().collect();
        assert!(!replies.is_empty(), "no reply in the script");
        let turn = AtomicUsize::new(0);
        let answer = move |_: &Received| {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            replies[turn.min(replies.len() - 1)].clone()
        };
        Self::scripted(true, answer).await
    }

    async fn scripted(lists_models: bool, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            lists_models,
            models: Mutex::new(vec!["gpt-4o".to_owned(), "gpt-4o-mini".to_owned()]),
            received: Mutex::default(),
            counts: watch::Sender::default(),
        });
        let listening = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Self { address, shared, listening }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        self.url("/v1")
    }

    /// The address of a path that starts with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The ids of the model list from now on.
    pub fn set_models<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        *lock(&self.shared.models) = ids.into_iter().map(str::to_owned).collect();
    }

    /// All requests so far, whole ones only.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// How many connections are open now, idle ones in the client's pool included.
    pub fn open_connections(&self) -> usize {
        self.shared.counts.borrow().open
    }

    /// How many connections have ever been opened.
    pub fn accepted_connections(&self) -> usize {
        self.shared.counts.borrow().accepted
    }

    /// How often a client has gone before its reply was finished.
    pub fn disconnects(&self) -> usize {
        self.shared.counts.borrow().disconnects
    }

    /// Waits until it has received `count` requests since the start.
    pub async fn wait_for_requests(&self, count: usize) {
        self.wait_until(&format!("{count} requests upstream"), |counts| counts.requests >= count).await;
    }

    /// Waits until a client has gone before its reply was finished. Closing only its sending side counts as going.
    pub async fn wait_for_disconnect(&self) {
        self.wait_for_disconnects(1).await;
    }

    /// Waits until that has happened `count` times since the start.
    pub async fn wait_for_disconnects(&self, count: usize) {
        self.wait_until(&format!("{count} disconnects upstream"), |counts| counts.disconnects >= count).await;
    }

    /// Waits until exactly `count` connections are open.
    pub async fn wait_for_open_connections(&self, count: usize) {
        self.wait_until(&format!("{count} open connections upstream"), |counts| counts.open == count).await;
    }

    async fn wait_until(&self, awaited: &str, reached: impl Fn(&Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        within_patience(awaited, counts.wait_for(reached)).await.expect("the sender lives in `self`");
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.listening.abort();
        let broken = self.shared.counts.borrow().broken;
        assert!(!broken || std::thread::panicking(), "a connection of the fake upstream has panicked, see above");
    }
}

/// An address where nobody listens: connecting to it is refused.
pub async fn refusing_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    listener.local_addr().expect("the address of a bound socket")
}

type Answer = Box<dyn Fn(&Received) -> Reply + Send + Sync>;

struct Shared {
    answer: Answer,
    lists_models: bool,
    models: Mutex<Vec<String>>,
    received: Mutex<Vec<Received>>,
    counts: watch::Sender<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: usize,
    accepted: usize,
    open: usize,
    disconnects: usize,
    broken: bool,
}

impl Shared {
    fn answer(&self, request: &Received) -> Reply {
        if self.lists_models && request.asks_for_models() {
            return Reply::models(lock(&self.models).iter());
        }
        (self.answer)(request)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic under this lock")
}

/// Counts a connection for as long as it lives.
struct Counted {
    shared: Arc<Shared>,
    client_left: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.counts.send_modify(|counts| {
            counts.open -= 1;
            counts.disconnects += usize::from(self.client_left);
            counts.broken |= std::thread::panicking();
        });
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let (stream, _) = listener.accept().await.expect("a connection");
        shared.counts.send_modify(|counts| {
            counts.accepted += 1;
            counts.open += 1;
        });
        let counted = Counted { shared: Arc::clone(&shared), client_left: false };
        connections.spawn(serve(stream, number, counted));
    }
}

async fn serve(stream: TcpStream, number: usize, mut counted: Counted) {
    // A local of its own, so that the socket is closed before `counted` tells that it is.
    let mut stream = stream;
    stream.set_nodelay(true).expect("an open socket");
    let shared = Arc::clone(&counted.shared);
    let (reading, mut writing) = stream.split();
    let mut inbox = Inbox::new(reading);
    let after = loop {
        let Some(request) = receive(&mut inbox, number).await else { break After::Close };
        lock(&shared.received).push(request.clone());
        shared.counts.send_modify(|counts| counts.requests += 1);
        let reply = shared.answer(&request);
        let played = tokio::select! {
            biased;
            played = reply.play(&request, &mut writing) => played.ok(),
            () = inbox.closed() => None,
        };
        match played {
            Some(After::KeepAlive) if !request.headers.say_close() => {}
            Some(after) => break after,
            None => {
                counted.client_left = true;
                break After::Close;
            }
        }
    };
    if after == After::Reset {
        stream.set_zero_linger().expect("an open socket");
    }
}

/// The next request of a connection, or `None` when the client closed before the end of one.
async fn receive<R: tokio::io::AsyncRead + Unpin>(inbox: &mut Inbox<R>, connection: usize) -> Option<Received> {
    let head = inbox.head().await?;
    let mut words = head.first_line.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        panic!("not a request line: {:?}", head.first_line);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut framing = head.framing(Framing::Length(0));
    let (body, true) = inbox.rest(&mut framing).await else { return None };
    Some(Received {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: head.headers,
        body,
        connection,
        at: Instant::now(),
    })
}
