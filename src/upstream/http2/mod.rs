//! Requests over HTTP/2, to providers for which it is wished.
//!
//! awc speaks it, too, but ends all the answers on a connection when that grows old or when the server
//! announces that it will close it, opens fifty connections for fifty requests that come at once, lets
//! requests wait when a server takes no more of them on one, and closes connections with a request of
//! its own. So here is the crate that awc builds on, in a version of today, and one connection for many
//! requests: [`Host`] finds each a place, and nothing that becomes of one touches the others.
//!
//! Source: RFC 9113, "HTTP/2".

mod connection;
mod exchange;
mod heads;
mod host;

use std::rc::Rc;

use h2::Reason;

use crate::canon::{Failure, FailureKind};

use super::attempt::not_connected;
use super::question::Question;
use super::response::Response;
use super::target::Target;

pub(super) use connection::ALPN;
pub(super) use exchange::Incoming;
pub(super) use host::Host;

/// A request is sent so often at most to a server that does not look at it; the last time over a connection
/// on which it is the first one.
const MAX_TRIES: usize = 3;

/// Asks a target at its host and waits for the head of the answer; `None` if the host speaks HTTP/1.1 only.
///
/// # Errors
///
/// There is no answer.
pub(super) async fn ask(
    host: &Rc<Host>,
    target: &Target,
    question: &Question<'_>,
) -> Result<Option<Response>, Failure> {
    let headers = question.headers_to(target);
    let head = heads::request(&question.method, &target.uri, headers.iter(), question.length().unwrap_or_default());
    let head = head.map_err(|_| Failure::new(FailureKind::Connect, "the upstream's address cannot be requested"))?;
    let mut tries = 0;
    loop {
        tries += 1;
        let place = match tries {
            MAX_TRIES => host.first_place(&target.uri).await,
            _ => host.place(&target.uri).await,
        };
        let Some(place) = place.map_err(|error| not_connected(&error, &target.outbound))? else { return Ok(None) };
        let connection = place.connection.clone();
        let error = match exchange::exchange(place, head.clone(), question.body.to_vec()).await {
            Ok(incoming) => return Ok(Some(Response::Http2(Box::new(incoming)))),
            Err(error) => error,
        };
        if error.reason() == Some(Reason::HTTP_1_1_REQUIRED) {
            host.speaks_http1_only();
            return Ok(None);
        }
        if tries == MAX_TRIES || !is_unseen(&error) {
            return Err(not_answered(&error));
        }
        connection.refused();
    }
}

/// Whether the server says that it has not looked at the request (section 8.7).
fn is_unseen(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

fn not_answered(error: &h2::Error) -> Failure {
    let (kind, message) = match error.reason() {
        None => (FailureKind::ConnectionLost, "the upstream closed the connection without an answer".to_owned()),
        Some(reason) if error.is_remote() => {
            (FailureKind::ConnectionLost, format!("the upstream gave the request up: {}", reason.description()))
        }
        Some(_) => (FailureKind::UnreadableAnswer, "the upstream's answer is not HTTP/2".to_owned()),
    };
    Failure::new(kind, message)
}
