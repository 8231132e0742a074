//! Images and documents that a client names by their address, for upstreams that take bytes only.
//!
//! The address is a stranger's, so it must not lead into the network of the gateway. Under
//! [`MediaFetch::Public`] every address that a name resolves to is checked between the look-up and
//! the connection, for each redirect anew; nothing looks the name up a second time. Each fetch has
//! a client of its own: nobody would come back to close idle connections to hosts that strangers
//! name. No fetch goes through a proxy, which would look the name up again, in a network of its own.

use std::io::Write;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError as TcpError, ConnectInfo, Connection, Resolver, ResolverService};
use awc::error::{ConnectError, SendRequestError};
use awc::http::header::{self, HeaderValue};
use awc::http::{StatusCode, Uri};
use awc::{Client, ClientResponse};
use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderStringWriter;
use bytes::BytesMut;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use thiserror::Error;
use tokio::time::timeout;
use url::Url;

use crate::canon::{Failure, FailureKind};
use crate::config::{Authorities, MediaFetch};

use super::address::is_public;
use super::body::Body;
use super::client::{HTTP1, KEEP_ALIVE, USER_AGENT, build, tls_config};
use super::dial::dial;
use super::names::Names;
use super::response::Response;

/// What a fetch may cost.
struct Limits {
    /// From the first look-up to the last byte.
    time: Duration,
    bytes: usize,
    redirects: usize,
}

const LIMITS: Limits = Limits { time: Duration::from_secs(10), bytes: 20 * 1024 * 1024, redirects: 3 };

/// An image or a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// What its first bytes say it is, such as `image/png`.
    pub media_type: &'static str,
    /// Its bytes in standard base64.
    pub base64: String,
}

/// Fetches the image (PNG, JPEG, GIF, WebP) or PDF at an http or https address: at most 20 MiB,
/// within 10 seconds, over at most 3 redirects.
///
/// # Errors
///
/// `MediaUnavailable`, with the reason. Its message names the host only: the rest of the address may
/// hold secrets.
pub async fn fetch_media(address: &str, policy: MediaFetch) -> Result<Media, Failure> {
    let admits = match policy {
        MediaFetch::Deny => return Err(unavailable(None, &Refusal::Denied)),
        MediaFetch::Public => is_public,
        MediaFetch::Any => |_| true,
    };
    fetch(address, Guard { resolver: Resolver::custom(Names::of_strangers()).service(), admits }, &LIMITS).await
}

async fn fetch(address: &str, guard: Guard, limits: &Limits) -> Result<Media, Failure> {
    let client = build(guard, tls_config(&Authorities::new(), HTTP1), limits.time, KEEP_ALIVE);
    let mut url = Url::parse(address).map_err(|_| unavailable(None, &Refusal::NoAddress))?;
    let fetched = timeout(limits.time, follow(&client, &mut url, limits)).await;
    fetched.unwrap_or(Err(Refusal::Slow(limits.time))).map_err(|refusal| unavailable(url.host_str(), &refusal))
}

/// Why nothing was fetched.
#[derive(Debug, Error, PartialEq, Eq)]
enum Refusal {
    #[error("this gateway fetches nothing, see preferences.media_fetch in its api.yaml")]
    Denied,
    #[error("its address is not a valid URL")]
    NoAddress,
    #[error("only http and https addresses are fetched")]
    Scheme,
    #[error("its address contains a user name or a password")]
    Credentials,
    #[error("its host is not on the public internet")]
    NotPublic,
    #[error("its host name has no address")]
    UnknownHost,
    #[error("its server did not answer")]
    NoAnswer,
    #[error("its server answered with status {0}")]
    Status(u16),
    #[error("it was redirected more than {0} times")]
    Redirects(usize),
    #[error("it was redirected to nowhere")]
    RedirectTarget,
    #[error("it was redirected from https to http")]
    Downgrade,
    #[error("its server sent neither a Content-Length nor chunks")]
    Unreadable,
    #[error("it is larger than {0} bytes")]
    Large(usize),
    #[error("it did not come within {0:?}")]
    Slow(Duration),
    #[error("it ended before it was whole")]
    Cut,
    #[error("it is neither a PNG, JPEG, GIF or WebP image nor a PDF")]
    MediaType,
}

fn unavailable(host: Option<&str>, refusal: &Refusal) -> Failure {
    let at = host.map(|host| format!(" at {host}")).unwrap_or_default();
    let message = format!("the image or document{at} was not fetched: {refusal}; send it as a data: URI instead");
    Failure::new(FailureKind::MediaUnavailable, message)
}

/// Fetches what is at the end of the redirects; `url` is where it has got to.
async fn follow(client: &Client, url: &mut Url, limits: &Limits) -> Result<Media, Refusal> {
    for _ in 0..=limits.redirects {
        let response = ask(client, url).await?;
        let status = response.status();
        if is_redirect(status) {
            *url = next_hop(url, response.headers().get(header::LOCATION))?;
        } else if status == StatusCode::OK {
            return read(response, limits).await;
        } else {
            return Err(Refusal::Status(status.as_u16()));
        }
    }
    Err(Refusal::Redirects(limits.redirects))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

fn next_hop(url: &Url, location: Option<&HeaderValue>) -> Result<Url, Refusal> {
    let location = location.and_then(|location| std::str::from_utf8(location.as_bytes()).ok());
    let next = location.and_then(|location| url.join(location).ok()).ok_or(Refusal::RedirectTarget)?;
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(Refusal::Downgrade);
    }
    Ok(next)
}

async fn ask(client: &Client, url: &Url) -> Result<ClientResponse, Refusal> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refusal::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::Credentials);
    }
    let uri: Uri = url.as_str().parse().map_err(|_| Refusal::NoAddress)?;
    client
        .get(uri)
        .insert_header((header::ACCEPT, "image/*, application/pdf"))
        .insert_header((header::USER_AGENT, USER_AGENT))
        .send()
        .await
        .map_err(|error| not_answered(&error))
}

fn not_answered(error: &SendRequestError) -> Refusal {
    match error {
        SendRequestError::Connect(ConnectError::Resolver(error)) if error.is::<NotAdmitted>() => Refusal::NotPublic,
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords) => Refusal::UnknownHost,
        _ => Refusal::NoAnswer,
    }
}

/// Reads a body, and encodes each piece as it comes: the whole is in memory once.
async fn read(response: ClientResponse, limits: &Limits) -> Result<Media, Refusal> {
    let response = Response::from(response);
    let announced = response.content_length();
    let fits = |length| usize::try_from(length).is_ok_and(|length| length <= limits.bytes);
    if !announced.is_none_or(fits) {
        return Err(Refusal::Large(limits.bytes));
    }
    if !response.has_readable_end() {
        return Err(Refusal::Unreadable);
    }
    // The limit of the whole fetch is the limit of every pause.
    let mut body = Body::new(response, Duration::MAX);
    let mut piece = BytesMut::new();
    while piece.len() < MAGIC_BYTES
        && let Some(more) = body.next().await
    {
        piece.extend_from_slice(&more.map_err(|_| Refusal::Cut)?);
    }
    let media_type = media_type(&piece).ok_or(Refusal::MediaType)?;
    let mut base64 = EncoderStringWriter::new(&STANDARD);
    let mut room = limits.bytes;
    let mut piece = Some(piece.freeze());
    while let Some(bytes) = piece {
        room = room.checked_sub(bytes.len()).ok_or(Refusal::Large(limits.bytes))?;
        base64.write_all(&bytes).map_err(|_| Refusal::Cut)?;
        piece = body.next().await.transpose().map_err(|_| Refusal::Cut)?;
    }
    Ok(Media { media_type, base64: base64.into_inner() })
}

/// As many bytes tell the type.
const MAGIC_BYTES: usize = 12;

fn media_type(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'%', b'P', b'D', b'F', b'-', ..] => "application/pdf",
        _ => return None,
    })
}

/// Opens connections to admitted addresses only. A name of which one address is not admitted is
/// refused altogether.
#[derive(Clone)]
struct Guard {
    resolver: ResolverService,
    admits: fn(IpAddr) -> bool,
}

/// An address is not admitted.
#[derive(Debug, Error)]
#[error("the address is not admitted")]
struct NotAdmitted;

impl Service<ConnectInfo<Uri>> for Guard {
    type Response = Connection<Uri, TcpStream>;
    type Error = TcpError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<ConnectInfo<Uri>>::poll_ready(&self.resolver, context)
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        // An address in place of a name is "resolved" as well, whatever its spelling.
        let resolving = self.resolver.call(info);
        let admits = self.admits;
        async move {
            let info = resolving.await?;
            if !info.addrs().all(|address| admits(address.ip())) {
                return Err(TcpError::Resolver(Box::new(NotAdmitted)));
            }
            dial(info).await
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests;
