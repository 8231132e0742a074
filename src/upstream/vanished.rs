//! Notices that the other side of a connection is gone without a word: its machine lost power, the
//! network between broke, something in between forgot the connection. No packet tells of it.
//!
//! Whoever waits for such a peer would wait for as long as their patience lasts, and who only
//! keeps the connection would keep it for good. So the system asks the other side now and then
//! whether it is there, which it answers without its program, and gives up what goes unanswered.
//!
//! Source: Linux's tcp(7), SO_KEEPALIVE and TCP_USER_TIMEOUT, and RFC 5482. Systems other than Linux
//! ask likewise, but what was sent into a dead connection they give up only in their own time.

use std::io;
use std::time::Duration;

use actix_rt::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

/// When a peer counts as vanished.
#[derive(Clone, Copy, Debug)]
struct Vigilance {
    /// It is asked after so long a silence, …
    asks_after: Duration,
    /// … and again in such intervals.
    asks_every: Duration,
    /// Whoever answers nothing for so long, or takes nothing of what is sent, is gone.
    gives_up_after: Duration,
}

/// Over upstreams: another one may answer in the place of one that is gone. One that is busy and lets
/// a long request wait is none of them; see [`Unanswered`].
const OVER_UPSTREAMS: Vigilance = Vigilance {
    asks_after: Duration::from_secs(10),
    asks_every: Duration::from_secs(5),
    gives_up_after: Duration::from_secs(20),
};

/// What Linux takes for TCP_KEEPCNT at most.
const MAX_QUESTIONS: u32 = 127;
/// A client that has so little of its answer before it is sent more, in bytes. Otherwise the system takes
/// in megabytes for it, and a client that reads slowly looks like one that does not read at all.
#[cfg(target_os = "linux")]
const AHEAD_OF_CLIENT: u32 = 128 * 1024;
/// Clients are asked after so long a silence: until one counts as gone, its upstream goes on and bills.
const ASKS_CLIENTS_AFTER: Duration = Duration::from_secs(30);

/// Watches over the upstream at the other side of this connection.
///
/// # Errors
///
/// The connection is closed already.
pub(super) fn watch_over_upstream(connection: &TcpStream) -> io::Result<()> {
    OVER_UPSTREAMS.watch(connection)
}

/// Watches over the client at the other side. It is gone when it answers nothing, or takes nothing of
/// what is sent, for `gives_up_after`.
pub fn watch_over_client(connection: &TcpStream, gives_up_after: Duration) {
    let asks_after = ASKS_CLIENTS_AFTER.min(gives_up_after / 2).max(Duration::from_secs(1));
    let vigilance = Vigilance { asks_after, asks_every: Duration::from_secs(10), gives_up_after };
    // Whoever reads from one that is closed already learns it soon enough.
    let _ = vigilance.watch(connection);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(connection).set_tcp_notsent_lowat(AHEAD_OF_CLIENT);
}

impl Vigilance {
    fn watch(self, connection: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(connection);
        let questions =
            self.gives_up_after.saturating_sub(self.asks_after).as_secs() / self.asks_every.as_secs().max(1);
        let questions = u32::try_from(questions).unwrap_or(u32::MAX).clamp(1, MAX_QUESTIONS);
        let asking = TcpKeepalive::new().with_time(self.asks_after).with_interval(self.asks_every);
        socket.set_tcp_keepalive(&asking.with_retries(questions))?;
        give_up_after(Some(self.gives_up_after), connection)
    }
}

#[cfg(target_os = "linux")]
fn give_up_after(time: Option<Duration>, connection: &TcpStream) -> io::Result<()> {
    SockRef::from(connection).set_tcp_user_timeout(time)
}

#[cfg(not(target_os = "linux"))]
fn give_up_after(_: Option<Duration>, _: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// What an upstream was sent since it last said something.
///
/// Systems take in this much for a program that is busy and does not read yet. Of more, they take
/// nothing until it does, though the machine is well. So while more is on its way, how long it takes is
/// a matter for the time limits of the attempt.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    bytes: usize,
}

/// Half of what Linux offers on a new connection.
const TAKEN_IN_BYTES: usize = 32 * 1024;

impl Unanswered {
    /// This much was sent.
    pub fn sent(&mut self, bytes: usize, connection: &TcpStream) {
        let before = self.bytes;
        self.bytes = before.saturating_add(bytes);
        if before <= TAKEN_IN_BYTES && self.bytes > TAKEN_IN_BYTES {
            // Without it a busy upstream fails, which the attempt survives.
            let _ = give_up_after(None, connection);
        }
    }

    /// It has said something.
    pub fn answered(&mut self, connection: &TcpStream) {
        if std::mem::take(&mut self.bytes) > TAKEN_IN_BYTES {
            let _ = give_up_after(Some(OVER_UPSTREAMS.gives_up_after), connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (here, there) = tokio::join!(connecting, listener.accept());
        (here.unwrap(), there.unwrap().0)
    }

    #[tokio::test]
    async fn a_silent_peer_is_asked_whether_it_is_there() {
        let (here, _there) = pair().await;
        OVER_UPSTREAMS.watch(&here).unwrap();
        let socket = SockRef::from(&here);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 2);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_upstream_that_is_busy_may_let_a_long_request_wait() {
        let (here, _there) = pair().await;
        let limit = || SockRef::from(&here).tcp_user_timeout().unwrap();
        watch_over_upstream(&here).unwrap();
        let mut unanswered = Unanswered::default();
        for _ in 0..2 {
            unanswered.sent(TAKEN_IN_BYTES, &here);
            assert_eq!(limit(), Some(OVER_UPSTREAMS.gives_up_after));
            unanswered.sent(1, &here);
            unanswered.sent(1, &here);
            assert_eq!(limit(), None);
            unanswered.answered(&here);
            assert_eq!(limit(), Some(OVER_UPSTREAMS.gives_up_after));
        }
    }

    /// What it takes is what it tells that there is room for, whether its program reads or not.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_peer_that_takes_nothing_any_more_is_given_up() {
        let (mut here, _there) = pair().await;
        let second = Duration::from_secs(1);
        Vigilance { asks_after: second, asks_every: second, gives_up_after: second }.watch(&here).unwrap();
        let sending = async { while here.write_all(&[0; 64 * 1024]).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(30), sending).await.expect("an end");
    }
}
