//! An upstream endpoint with the headers of one key.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use awc::http::Uri;
use awc::http::header::{self, HeaderName, HeaderValue};
use thiserror::Error;
use url::Url;

use crate::canon::Failure;
use crate::config::{Channel, Outbound, Secret};
use crate::dialect::Wire;

use super::route::{Auth, Endpoint, Route, route};

/// Where a request goes and what it says of itself there. Prepared once per key and endpoint, so
/// that an attempt builds no header.
pub struct Target {
    pub(super) id: Id,
    pub(super) uri: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    wire: Wire,
    auth: Auth,
    /// How connections are opened to there.
    pub(super) outbound: Arc<Outbound>,
    /// What is to be erased from whatever the upstream says: the key, and what stands in headers.
    secrets: Vec<Secret>,
}

/// Tells targets apart, and whether one is still there.
pub(super) type Id = Arc<u64>;

/// Words of this length in a configured header may be a key, in bytes.
const MIN_SECRET_WORD: usize = 8;
/// The beginning of a key counts as a part of it from this length on, in bytes.
const MIN_BEGUN_KEY: usize = 6;

/// Why there can be no target.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidTarget {
    /// The URL cannot be requested.
    #[error("the URL made of base_url cannot be requested; check base_url")]
    Url,
    /// The key has characters that no header may carry.
    #[error("the key has characters that no HTTP header may carry; check it for line breaks")]
    Key,
    /// A configured header cannot be sent.
    #[error("a header cannot be sent; check this channel's preferences.headers")]
    Header,
    /// Channels of that kind cannot be asked for this.
    #[error("this channel's format has no {0}")]
    Unsupported(&'static str),
}

impl Target {
    /// An endpoint of a channel, asked with one of its keys or none.
    ///
    /// # Errors
    ///
    /// The URL or the key cannot be put on the wire, or the channel has no such endpoint.
    pub fn new(channel: &Channel, endpoint: Endpoint<'_>, key: Option<&Secret>) -> Result<Self, InvalidTarget> {
        Self::on(route(channel, endpoint)?, key, channel)
    }

    /// An address that belongs to no channel and speaks like OpenAI, asked with a key or none.
    ///
    /// # Errors
    ///
    /// The URL or the key cannot be put on the wire.
    pub fn at(url: Url, key: Option<&Secret>) -> Result<Self, InvalidTarget> {
        Self::prepared(Route { url, wire: Wire::Same, auth: Auth::Bearer, headers: &[] }, key)
    }

    /// A route of a channel, with all that its configuration says of its requests.
    pub(super) fn on(route: Route, key: Option<&Secret>, channel: &Channel) -> Result<Self, InvalidTarget> {
        let mut target = Self { outbound: Arc::clone(&channel.outbound), ..Self::prepared(route, key)? };
        for (name, value) in &channel.headers {
            target.set_header(name, value)?;
        }
        Ok(target)
    }

    fn prepared(route: Route, key: Option<&Secret>) -> Result<Self, InvalidTarget> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let Route { mut url, wire, auth, headers } = route;
        // Nobody would send them, and an address without them can go into a log.
        let _ = (url.set_username(""), url.set_password(None));
        let uri: Uri = url.as_str().parse().map_err(|_| InvalidTarget::Url)?;
        let fixed =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers: Vec<_> = fixed.collect();
        if let Some(key) = key {
            headers.push(shown(key, auth)?);
        }
        let (outbound, secrets) = (Arc::default(), Vec::from_iter(key.cloned()));
        Ok(Self { id: Arc::new(NEXT_ID.fetch_add(1, Ordering::Relaxed)), uri, headers, wire, auth, outbound, secrets })
    }

    /// Adds a header, in place of the one of this name.
    fn set_header(&mut self, name: &str, value: &Secret) -> Result<(), InvalidTarget> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidTarget::Header)?;
        let mut header = HeaderValue::from_str(value.expose()).map_err(|_| InvalidTarget::Header)?;
        header.set_sensitive(true);
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, header));
        let words = value.expose().split_whitespace().filter(|word| word.len() >= MIN_SECRET_WORD);
        self.secrets.extend(words.map(Secret::new));
        Ok(())
    }

    /// Whether every request there has a header of this name.
    pub(super) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other == name)
    }

    /// What to check when the key is refused there.
    pub(super) fn advice(&self) -> &'static str {
        match self.auth {
            Auth::AccessToken => {
                "check that the service account has the role Vertex AI User, and that its project may use the model"
            }
            _ => "check this channel's api",
        }
    }

    /// What is spoken there.
    pub fn wire(&self) -> Wire {
        self.wire
    }
}

fn shown(key: &Secret, auth: Auth) -> Result<(HeaderName, HeaderValue), InvalidTarget> {
    let (name, value) = match auth {
        Auth::Bearer | Auth::AccessToken => {
            (header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", key.expose())))
        }
        Auth::Header(name) => (HeaderName::from_static(name), HeaderValue::from_str(key.expose())),
    };
    let mut value = value.map_err(|_| InvalidTarget::Key)?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// The failure without the secrets of this target, should the upstream have repeated one in what it
/// said.
pub fn without_secrets(target: &Target, failure: Failure) -> Failure {
    target.secrets.iter().fold(failure, without_key)
}

fn without_key(failure: Failure, key: &Secret) -> Failure {
    let erase = |text: String| without_begun_key(text.replace(key.expose(), &key.masked()), key.expose());
    Failure {
        message: erase(failure.message),
        upstream_code: failure.upstream_code.map(erase),
        upstream_type: failure.upstream_type.map(erase),
        param: failure.param.map(|param| Cow::Owned(erase(param.into_owned()))),
        ..failure
    }
}

/// A long message is cut, maybe in the middle of the key. Its first characters are no secret.
fn without_begun_key(text: String, key: &str) -> String {
    let begun = (MIN_BEGUN_KEY..key.len()).rev().filter_map(|length| key.get(..length));
    match begun.filter_map(|begun| text.strip_suffix(begun)).next() {
        Some(rest) => format!("{rest}…"),
        None => text,
    }
}
