//! The connections of clients: how many there are, and how long each may keep the gateway waiting.
//!
//! The server itself has a time limit for the first head on a connection and one for connections on
//! which nothing comes. Neither holds for a client that begins a second request and does not go on,
//! nor for one that does not read its answer. So those are switched off, every connection notes here
//! what it waits for, and [`Connections::sweep`] closes those that have waited too long. Notes cost a
//! store each; times are exact to one interval of the sweep.
//!
//! When there are too many connections, a new one takes the place of the one that has waited longest
//! for a request. If all have one under way, what the new one asks is refused.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::rt::net::TcpStream;
use socket2::{SockRef, Socket};
use tokio::sync::watch;

use crate::canon::{Failure, FailureKind};
use crate::config::ConnectionLimits;
use crate::dialect::openai_chat::write_error;

/// So long one that is too many may take to ask for what it will be refused.
const SURPLUS_PATIENCE: Duration = Duration::from_secs(1);

/// All connections. Clones share them.
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

struct Shared {
    links: Mutex<HashMap<u64, Arc<Link>>>,
    open: watch::Sender<usize>,
    next: AtomicU64,
    max: AtomicUsize,
    /// No more than that, whatever the configuration says.
    most: usize,
    started: Instant,
    /// The time of the last sweep, in milliseconds since the start.
    now_ms: AtomicU64,
    /// How many clients could not be served since that was last logged.
    refused: AtomicUsize,
}

impl Connections {
    /// At most `most` of them, and fewer if `limits` say so.
    pub fn new(limits: ConnectionLimits, most: usize) -> Self {
        Self(Arc::new(Shared {
            links: Mutex::default(),
            open: watch::Sender::default(),
            next: AtomicU64::default(),
            max: AtomicUsize::new(limits.max.min(most)),
            most,
            started: Instant::now(),
            now_ms: AtomicU64::default(),
            refused: AtomicUsize::default(),
        }))
    }

    /// One more, until what this gives is dropped. `None`, and it is closed, if the system has no
    /// means left to watch over it.
    pub fn opened(&self, stream: &TcpStream) -> Option<Connection> {
        let socket = SockRef::from(stream);
        let Ok(socket) = socket.try_clone() else {
            let _ = socket.shutdown(Shutdown::Both);
            return None;
        };
        let mut links = self.0.links();
        let is_over = links.len() >= self.0.max.load(Ordering::Relaxed) && !make_room(&links);
        let link = Arc::new(Link {
            socket,
            state: AtomicU64::new(State::Unheard { since_ms: self.0.elapsed_ms() }.packed()),
            is_over,
        });
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        links.insert(id, Arc::clone(&link));
        self.0.open.send_replace(links.len());
        Some(Connection { id, link, shared: Arc::clone(&self.0) })
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        *self.0.open.borrow()
    }

    /// Waits until there is none.
    pub async fn closed(&self) {
        // Its sender lives as long as `self`.
        let _ = self.0.open.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Closes those that have waited too long. To be called again after the time it gives.
    pub fn sweep(&self, limits: ConnectionLimits) -> Duration {
        let now_ms = self.0.elapsed_ms();
        self.0.now_ms.store(now_ms, Ordering::Relaxed);
        self.0.max.store(limits.max.min(self.0.most), Ordering::Relaxed);
        let refused = self.0.refused.swap(0, Ordering::Relaxed);
        if refused > 0 {
            log::warn!("{refused} requests were refused: {} connections are open", self.count());
        }
        let pause = pause(limits);
        for link in self.0.links().values() {
            link.close_if_overdue(now_ms, pause, limits);
        }
        pause
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Sweeps as often as the shortest limit needs, and once a second if that is enough.
fn pause(limits: ConnectionLimits) -> Duration {
    (limits.header.min(limits.idle).min(limits.send) / 8).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

/// Closes the connection that has waited longest for a request, one that never had any before others, and of two that
/// came in the same millisecond the first. False if none does. One that is too many itself is no room for another.
fn make_room(links: &HashMap<u64, Arc<Link>>) -> bool {
    let waiting = links.iter().filter(|(_, link)| !link.is_over).filter_map(|(id, link)| {
        let state = link.state();
        Some((link, state, (state.waits_for_request()?, *id)))
    });
    let longest = waiting.min_by_key(|(_, _, order)| *order);
    longest.is_some_and(|(link, state, _)| link.close_as(state))
}

/// What a connection waits for, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its first request.
    Unheard { since_ms: u64 },
    /// Another request.
    Idle { since_ms: u64 },
    /// The client, to take what there is of its answer.
    Sending { since_ms: u64 },
    /// Nothing that has a limit here: a request is under way, or the connection is being closed.
    Busy,
}

impl State {
    fn packed(self) -> u64 {
        match self {
            Self::Busy => 0,
            Self::Unheard { since_ms } => since_ms << 2 | 1,
            Self::Idle { since_ms } => since_ms << 2 | 2,
            Self::Sending { since_ms } => since_ms << 2 | 3,
        }
    }

    fn unpacked(packed: u64) -> Self {
        let since_ms = packed >> 2;
        match packed & 3 {
            0 => Self::Busy,
            1 => Self::Unheard { since_ms },
            2 => Self::Idle { since_ms },
            _ => Self::Sending { since_ms },
        }
    }

    /// If it waits for a request: less for one that may rather be given up.
    fn waits_for_request(self) -> Option<(bool, u64)> {
        match self {
            Self::Unheard { since_ms } => Some((false, since_ms)),
            Self::Idle { since_ms } => Some((true, since_ms)),
            Self::Sending { .. } | Self::Busy => None,
        }
    }

    fn is_overdue(self, now_ms: u64, tolerance: Duration, limits: ConnectionLimits) -> bool {
        let (since_ms, limit) = match self {
            Self::Unheard { since_ms } => (since_ms, limits.header),
            Self::Idle { since_ms } => (since_ms, limits.idle),
            Self::Sending { since_ms } => (since_ms, limits.send),
            Self::Busy => return false,
        };
        Duration::from_millis(now_ms.saturating_sub(since_ms)) > limit + tolerance
    }
}

/// A handle on the socket of a connection, which the server owns.
struct Link {
    socket: Socket,
    /// A [`State`].
    state: AtomicU64,
    /// There were too many when it was opened.
    is_over: bool,
}

impl Link {
    fn state(&self) -> State {
        State::unpacked(self.state.load(Ordering::Relaxed))
    }

    fn note(&self, state: State) {
        self.state.store(state.packed(), Ordering::Relaxed);
    }

    fn close_if_overdue(&self, now_ms: u64, tolerance: Duration, limits: ConnectionLimits) {
        let state = self.state();
        let header = if self.is_over { limits.header.min(SURPLUS_PATIENCE) } else { limits.header };
        let limits = ConnectionLimits { header, ..limits };
        if !state.is_overdue(now_ms, tolerance, limits) {
            return;
        }
        if !self.take(state) {
            return;
        }
        log::debug!("a connection is closed: {state:?} at {now_ms}");
        match state {
            // What there is to say fits into the buffer of a socket on which nothing was said.
            State::Unheard { .. } => {
                let _ = self.socket.send(&too_slow());
            }
            // The system would go on waiting for the client to take what it did not take so far.
            State::Sending { .. } => {
                let _ = self.socket.set_linger(Some(Duration::ZERO));
            }
            State::Idle { .. } | State::Busy => {}
        }
        self.shut();
    }

    /// Closes it unless it is in another state by now; whether it did.
    fn close_as(&self, state: State) -> bool {
        let is_taken = self.take(state);
        if is_taken {
            self.shut();
        }
        is_taken
    }

    /// Sees to it that it is closed once only, and not with a request that has just come.
    fn take(&self, state: State) -> bool {
        let (judged, taken) = (state.packed(), State::Busy.packed());
        self.state.compare_exchange(judged, taken, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The server notices, and drops the connection.
    fn shut(&self) {
        match self.socket.shutdown(Shutdown::Both) {
            Ok(()) => {}
            // The client was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => log::debug!("a connection could not be closed: {error}"),
        }
    }
}

/// The answer to a head that did not come.
fn too_slow() -> Vec<u8> {
    let message = "the head of the request did not arrive in time; send it again";
    let body = write_error(&Failure::new(FailureKind::RequestTimeout, message));
    let head = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         access-control-allow-origin: *\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head, body].concat().into_bytes()
}

/// A connection, for as long as the server has it.
pub struct Connection {
    id: u64,
    link: Arc<Link>,
    shared: Arc<Shared>,
}

impl Connection {
    /// A request has come, and is under way until what this gives is dropped.
    ///
    /// # Errors
    ///
    /// `TooManyConnections`, if there were too many when this one was opened.
    pub fn asked(&self) -> Result<Asking, Failure> {
        if self.link.is_over {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            let message = "the gateway has as many connections as it may have; try again in a moment";
            return Err(Failure::new(FailureKind::TooManyConnections, message));
        }
        self.link.note(State::Busy);
        Ok(Asking { link: Arc::clone(&self.link), shared: Arc::clone(&self.shared) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut links = self.shared.links();
        links.remove(&self.id);
        self.shared.open.send_replace(links.len());
    }
}

/// A request that is under way, to the end of its answer.
pub struct Asking {
    link: Arc<Link>,
    shared: Arc<Shared>,
}

impl Asking {
    /// There is something to send; until the next note, it is the client that is waited for.
    pub fn sending(&self) {
        self.link.note(State::Sending { since_ms: self.now_ms() });
    }

    /// What there was to send is sent, and more is to come.
    pub fn waiting(&self) {
        self.link.note(State::Busy);
    }

    fn now_ms(&self) -> u64 {
        self.shared.now_ms.load(Ordering::Relaxed)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.link.note(State::Idle { since_ms: self.now_ms() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ConnectionLimits {
        let [header, idle, send] = [5, 80, 30].map(Duration::from_secs);
        ConnectionLimits { header, idle, send, ..ConnectionLimits::default() }
    }

    fn is_overdue(state: State, seconds: u64) -> bool {
        state.is_overdue(1_000 * seconds, Duration::from_secs(1), limits())
    }

    #[test]
    fn states_are_kept_in_one_number() {
        let since_ms = 86_400_000 * 365;
        for state in
            [State::Busy, State::Unheard { since_ms }, State::Idle { since_ms }, State::Sending { since_ms: 0 }]
        {
            assert_eq!(State::unpacked(state.packed()), state);
        }
    }

    #[test]
    fn each_state_has_its_limit() {
        let since_ms = 100_000;
        for (state, seconds) in
            [(State::Unheard { since_ms }, 5), (State::Idle { since_ms }, 80), (State::Sending { since_ms }, 30)]
        {
            assert!(!is_overdue(state, 0) && !is_overdue(state, 100 + seconds), "{state:?}");
            assert!(is_overdue(state, 100 + seconds + 2), "{state:?}");
        }
        assert!(!is_overdue(State::Busy, 1_000_000));
    }

    #[test]
    fn who_never_asked_gives_way_before_who_is_idle() {
        let order = |state: State| state.waits_for_request();
        assert!(order(State::Unheard { since_ms: 9 }) < order(State::Idle { since_ms: 1 }));
        assert!(order(State::Unheard { since_ms: 1 }) < order(State::Unheard { since_ms: 2 }));
        assert_eq!((order(State::Busy), order(State::Sending { since_ms: 1 })), (None, None));
    }

    #[test]
    fn short_limits_are_looked_after_more_often() {
        assert_eq!(pause(limits()), Duration::from_millis(625));
        assert_eq!(pause(ConnectionLimits::default()), Duration::from_secs(1));
        assert_eq!(pause(ConnectionLimits { send: Duration::from_millis(1), ..limits() }), Duration::from_millis(20));
    }
}
