//! Requests over HTTP/1.1.
//!
//! awc speaks it, too, but starts a clock for every request, copies bodies before it sends them, does not listen while
//! it sends, so that a server which refuses a long body and hangs up is not heard, and takes a cut body for a whole
//! one. So here is the codec that awc builds on, and around it no more than a gateway needs: [`Host`] keeps
//! connections, [`exchange`] sends a request over one and reads the answer.
//!
//! Source: RFC 9112, "HTTP/1.1".

mod connection;
mod exchange;
mod head;
mod host;

use std::rc::Rc;
use std::time::{Duration, Instant};

use awc::http::StatusCode;
use bytes::Bytes;
use futures::FutureExt;

use crate::canon::{Failure, FailureKind};

use super::attempt::not_connected;
use super::question::Question;
use super::response::Response;
use super::target::Target;

use exchange::{Lost, exchange};

pub(super) use exchange::Incoming;
pub(super) use head::head;
pub(super) use host::Host;

/// A connection that the upstream has closed, or that something on the way has forgotten, fails as soon as the first
/// packet has come back: within this time, and with nothing of an answer. Then the request is sent again.
const STALE_CONNECTION: Duration = Duration::from_millis(500);

/// A request that is ready to be sent, but for its body and the length of that.
#[derive(Clone)]
pub(super) struct Ready {
    pub host: Rc<Host>,
    pub head: Bytes,
}

/// Asks a target at its host and waits for the head of the answer: over a connection that there is, and if that had
/// ended, or there is none, over a new one.
///
/// # Errors
///
/// There is no answer.
pub(super) async fn ask(
    Ready { host, head }: &Ready,
    target: &Target,
    question: &Question<'_>,
    connect_limit: Duration,
    now: Instant,
) -> Result<Response, Failure> {
    let is_early = || now.elapsed() < STALE_CONNECTION;
    if let Some(connection) = host.kept(now) {
        match exchange(connection, host, head, question.body, question.length()).await {
            // Some say so before they close a connection that nobody uses (RFC 9110, section 15.5.9).
            Ok(incoming) if incoming.head.status == StatusCode::REQUEST_TIMEOUT && is_early() => {}
            Ok(incoming) => return Ok(incoming.into()),
            Err(Lost::Closed | Lost::Reset) if is_early() => {}
            Err(lost) => return Err(not_answered(&lost)),
        }
    }
    let connecting = host.connect(&target.uri, connect_limit).boxed_local();
    let connection = connecting.await.map_err(|error| not_connected(&error, &target.outbound))?;
    match exchange(connection, host, head, question.body, question.length()).await {
        Ok(incoming) => Ok(incoming.into()),
        Err(lost) => Err(not_answered(&lost)),
    }
}

fn not_answered(lost: &Lost) -> Failure {
    let (kind, message) = match lost {
        Lost::Closed => (FailureKind::ConnectionLost, "the upstream closed the connection without an answer"),
        Lost::Reset => (FailureKind::ConnectionLost, "the upstream reset the connection without an answer"),
        Lost::Midway => {
            (FailureKind::ConnectionLost, "the upstream ended the connection when its answer had just begun")
        }
        Lost::NotHttp => (FailureKind::UnreadableAnswer, "the upstream's answer is not HTTP"),
    };
    Failure::new(kind, message)
}
