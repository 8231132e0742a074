//! One attempt at one upstream, up to the head of its answer.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::body::{BodySize, MessageBody};
use actix_web::error::ParseError;
use awc::error::{ConnectError, FreezeRequestError, SendRequestError};
use awc::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use awc::{ClientResponse, FrozenClientRequest};
use bytes::Bytes;
use futures::FutureExt;
use rustls::CertificateError;

use crate::canon::{Failure, FailureKind};
use crate::config::{Outbound, TimeLimits};
use crate::dialect::call::Payload;
use crate::dialect::refusal::{Said, refusal};

use super::body::Body;
use super::client::{JSON, http2_host, noting_reuse, post_request, post_request_over_new_connection};
use super::http2;
use super::proxy::fault_of_proxy;
use super::response::Response;
use super::target::Target;

/// A pooled connection that the upstream has closed, or that something on the way has forgotten, fails
/// as soon as the first packet has come back: within this time, and with nothing of an answer. Then
/// nobody has seen the request, and it is sent again.
const STALE_CONNECTION: Duration = Duration::from_millis(500);
const ANTHROPIC_BETA: &str = "anthropic-beta";
/// As much of an error body is read, in bytes.
const MAX_ERROR_BODY_BYTES: usize = 256 * 1024;

/// The answer of an upstream that accepted the request.
pub struct Answer {
    /// Its body, yet to be read.
    pub body: Body,
    /// What it says that its body is.
    pub content_type: Option<HeaderValue>,
    /// How long it says that its body is, in bytes. Then one that comes to its end is whole.
    pub length: Option<u64>,
}

impl Answer {
    /// Whether it says that it is an event stream.
    pub fn is_event_stream(&self) -> bool {
        self.media_type().starts_with("text/event-stream")
    }

    /// The content type in lower case; nothing if it has none.
    pub fn media_type(&self) -> String {
        let text = self.content_type.as_ref().and_then(|value| value.to_str().ok());
        text.unwrap_or_default().to_ascii_lowercase()
    }
}

/// What is sent to a target.
pub struct Outgoing {
    /// The body, one segment behind the other.
    pub body: Vec<Bytes>,
    /// What the body is; JSON unless it says something else.
    pub content_type: Option<HeaderValue>,
    /// The features in beta that the client asks for, where the upstream knows the header.
    pub anthropic_beta: Option<HeaderValue>,
}

impl From<Bytes> for Outgoing {
    fn from(body: Bytes) -> Self {
        Self { body: vec![body], content_type: None, anthropic_beta: None }
    }
}

impl From<Payload> for Outgoing {
    fn from(Payload { segments, content_type }: Payload) -> Self {
        let content_type = content_type.and_then(|text| HeaderValue::try_from(text).ok());
        Self { body: segments, content_type, anthropic_beta: None }
    }
}

/// Sends a request and waits for the head of a successful answer.
///
/// # Errors
///
/// Any other answer, no answer, no connection. Apart from the connect limit nothing here limits
/// the time: the caller knows whether a head or an event is what it waits for.
pub async fn send(target: &Target, outgoing: Outgoing, limits: &TimeLimits) -> Result<Answer, Failure> {
    let over_http2 = match http2_host(target, limits.connect) {
        // In a box: most requests have no use for what is in there.
        Some(host) => post_over_http2(&host, target, &outgoing).boxed_local().await?,
        None => None,
    };
    let response = match over_http2 {
        Some(response) => response,
        None => post_over_living(target, &outgoing, limits).await?.into(),
    };
    if !response.status().is_success() {
        return Err(refused(response, limits, target.advice()).await);
    }
    if !response.has_readable_end() {
        let message =
            "the upstream's answer has neither a Content-Length nor chunks; its server has to send one of them";
        return Err(Failure::new(FailureKind::UnreadableAnswer, message));
    }
    let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
    let length = response.content_length();
    Ok(Answer { body: Body::new(response, limits.idle), content_type, length })
}

async fn post_over_http2(
    host: &Rc<http2::Host>,
    target: &Target,
    outgoing: &Outgoing,
) -> Result<Option<Response>, Failure> {
    let mut headers = headers_of_its_own(target, outgoing);
    if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    let question = http2::Question { method: http2::Method::POST, headers, body: &outgoing.body };
    http2::ask(host, target, &question).await
}

/// Posts, and once more over a connection that is opened for it when the one from the pool had ended.
async fn post_over_living(
    target: &Target,
    outgoing: &Outgoing,
    limits: &TimeLimits,
) -> Result<ClientResponse, Failure> {
    let started = Instant::now();
    let request = post_request(target, limits.connect).map_err(unaddressed)?;
    let (mut answer, was_reused) = noting_reuse(post(request, target, outgoing)).await;
    let had_ended = started.elapsed() < STALE_CONNECTION && answer.as_ref().is_err_and(is_without_a_word);
    if was_reused && had_ended {
        let request = post_request_over_new_connection(target, limits.connect).map_err(unaddressed)?;
        answer = post(request, target, outgoing).await;
    }
    answer.map_err(|error| not_answered(&error, &target.outbound))
}

fn unaddressed(_: FreezeRequestError) -> Failure {
    Failure::new(FailureKind::Connect, "the upstream's address cannot be requested")
}

/// Whether the connection was lost before anything of an answer came. That of a head that breaks off is
/// lost, too, but whoever has begun an answer has seen the request.
fn is_without_a_word(error: &SendRequestError) -> bool {
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) | SendRequestError::Send(_) => true,
        SendRequestError::Response(ParseError::Io(error)) => error.kind() != io::ErrorKind::Other,
        _ => false,
    }
}

async fn post(
    request: FrozenClientRequest,
    target: &Target,
    outgoing: &Outgoing,
) -> Result<ClientResponse, SendRequestError> {
    let body = InSlices { segment: Bytes::new(), later: outgoing.body.clone().into_iter() };
    let headers = headers_of_its_own(target, outgoing);
    match headers.is_empty() {
        true => request.send_body(body).await,
        false => request.extra_headers(headers).send_body(body).await,
    }
}

/// What this request has beside, or in place of, the headers of its target.
fn headers_of_its_own(target: &Target, outgoing: &Outgoing) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(features) = outgoing.anthropic_beta.as_ref().filter(|_| !target.has_header(ANTHROPIC_BETA)) {
        headers.insert(HeaderName::from_static(ANTHROPIC_BETA), features.clone());
    }
    if let Some(content_type) = &outgoing.content_type {
        headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    headers
}

/// A request body that is handed over in slices. awc copies what it sends into a buffer first; so
/// the buffer, which lives until the answer ends, stays small however long the body is.
struct InSlices {
    /// What is left of the current segment.
    segment: Bytes,
    later: std::vec::IntoIter<Bytes>,
}

const SLICE_BYTES: usize = 64 * 1024;

impl MessageBody for InSlices {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        let length = self.segment.len() + self.later.as_slice().iter().map(Bytes::len).sum::<usize>();
        BodySize::Sized(u64::try_from(length).unwrap_or(u64::MAX))
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        while self.segment.is_empty() {
            let Some(segment) = self.later.next() else { return Poll::Ready(None) };
            self.segment = segment;
        }
        let length = self.segment.len().min(SLICE_BYTES);
        Poll::Ready(Some(Ok(self.segment.split_to(length))))
    }
}

/// What an error of the client library means for a request over connections that are opened like this.
pub(super) fn not_answered(error: &SendRequestError, outbound: &Outbound) -> Failure {
    let (kind, message) = match error {
        SendRequestError::Connect(error) => return not_connected(error, outbound),
        SendRequestError::Send(_) => {
            (FailureKind::ConnectionLost, "the upstream closed the connection without an answer")
        }
        SendRequestError::Response(ParseError::Io(_)) => {
            (FailureKind::ConnectionLost, "the upstream reset the connection without an answer")
        }
        SendRequestError::Response(_) => (FailureKind::UnreadableAnswer, "the upstream's answer is not HTTP"),
        _ => (FailureKind::Connect, "no connection to the upstream"),
    };
    Failure::new(kind, message)
}

/// Why there is no connection of those that are opened like this.
pub(super) fn not_connected(error: &ConnectError, outbound: &Outbound) -> Failure {
    if let Some(proxy) = &outbound.proxy
        && let Some(fault) = fault_of_proxy(error)
    {
        return Failure::new(FailureKind::Connect, format!("the {} proxy {proxy} {fault}", proxy.protocol.name()));
    }
    let (kind, message) = match error {
        ConnectError::Disconnected => {
            (FailureKind::ConnectionLost, "the upstream closed the connection without an answer".to_owned())
        }
        ConnectError::Timeout => (
            FailureKind::Connect,
            "no connection to the upstream came about in time; its host name or its network may be to blame".to_owned(),
        ),
        ConnectError::Resolver(_) | ConnectError::NoRecords => {
            (FailureKind::Connect, "the upstream's host name has no address; check base_url".to_owned())
        }
        ConnectError::Io(error) => {
            let tls = error.get_ref().and_then(|error| error.downcast_ref()).map(without_tls);
            (FailureKind::Connect, tls.unwrap_or_else(|| format!("no connection to the upstream: {}", error.kind())))
        }
        _ => (FailureKind::Connect, "no connection to the upstream".to_owned()),
    };
    Failure::new(kind, message)
}

/// Why there is no TLS. Whoever runs an authority of their own is told where to name it.
fn without_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "nobody trusted has signed the upstream's certificate; if its authority is one of yours, name it in \
             preferences.ca_file"
                .to_owned()
        }
        error => format!("no TLS connection to the upstream: {error}"),
    }
}

/// What an answer that is no success means for the request. `advice` is for a refused key.
async fn refused(response: Response, limits: &TimeLimits, advice: &str) -> Failure {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let (retry_after, retry_after_ms) = (header("retry-after"), header("retry-after-ms"));
    // Moments that the upstream names are moments of its own clock; the one here may be wrong.
    let said_at = header("date").and_then(|date| httpdate::parse_http_date(&date).ok());
    let body = Body::new(response, limits.idle).collect(MAX_ERROR_BODY_BYTES).await.unwrap_or_default();
    refusal(&Said {
        status,
        retry_after: retry_after.as_deref(),
        retry_after_ms: retry_after_ms.as_deref(),
        body: &body,
        advice,
        now_unix_s: unix_s(said_at.unwrap_or_else(SystemTime::now)),
    })
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
