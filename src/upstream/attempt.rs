//! One attempt at one upstream, up to the head of its answer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_http::error::ParseError;
use awc::error::{ConnectError, SendRequestError};
use awc::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use futures::FutureExt;
use rustls::CertificateError;

use crate::canon::{Failure, FailureKind};
use crate::config::{Outbound, TimeLimits};
use crate::dialect::call::Payload;
use crate::dialect::refusal::{Said, refusal};

use super::body::Body;
use super::client::{http2_host, post, request};
use super::proxy::fault_of_proxy;
use super::question::{Method, Question};
use super::response::Response;
use super::target::Target;
use super::{http1, http2};

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
    let question =
        Question { method: Method::POST, headers: headers_of_its_own(target, &outgoing), body: &outgoing.body };
    let response = ask(target, &question, limits.connect).await?;
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

/// Asks a target and waits for the head of the answer, whatever it says.
///
/// # Errors
///
/// There is no answer.
pub(super) async fn ask(
    target: &Target,
    question: &Question<'_>,
    connect_limit: Duration,
) -> Result<Response, Failure> {
    if let Some(host) = http2_host(target, connect_limit) {
        // In a box: most requests have no use for what is in there.
        if let Some(response) = http2::ask(&host, target, question).boxed_local().await? {
            return Ok(response);
        }
    }
    let is_plain = question.method == Method::POST && question.headers.is_empty();
    let now = Instant::now();
    let ready = if is_plain { post(target, now) } else { request(target, question, now) };
    http1::ask(&ready, target, question, connect_limit, now).await
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
