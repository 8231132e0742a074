//! An upstream endpoint with the headers of one key.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use awc::http::Uri;
use awc::http::header::{self, HeaderName, HeaderValue};
use thiserror::Error;
use url::Url;

use crate::canon::Failure;
use crate::config::{Channel, Secret};
use crate::dialect::Wire;

use super::route::{Auth, Endpoint, Route, route};

/// Where a request goes and what it says of itself there. Prepared once per key and endpoint, so
/// that an attempt builds no header.
pub struct Target {
    /// Tells targets apart; never used twice in a process.
    pub(super) id: u64,
    pub(super) uri: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    wire: Wire,
    auth: Auth,
    /// The key, to be erased from whatever the upstream says.
    secret: Option<Secret>,
}

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
        Self::on(route(channel, endpoint)?, key)
    }

    /// An address that belongs to no channel and speaks like OpenAI, asked with a key or none.
    ///
    /// # Errors
    ///
    /// The URL or the key cannot be put on the wire.
    pub fn at(url: Url, key: Option<&Secret>) -> Result<Self, InvalidTarget> {
        Self::on(Route { url, wire: Wire::Same, auth: Auth::Bearer, headers: &[] }, key)
    }

    pub(super) fn on(route: Route, key: Option<&Secret>) -> Result<Self, InvalidTarget> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let Route { mut url, wire, auth, headers } = route;
        // awc would not send them, and an address without them can go into a log.
        let _ = (url.set_username(""), url.set_password(None));
        let uri: Uri = url.as_str().parse().map_err(|_| InvalidTarget::Url)?;
        let fixed =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers: Vec<_> = fixed.collect();
        if let Some(key) = key {
            headers.push(shown(key, auth)?);
        }
        Ok(Self { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), uri, headers, wire, auth, secret: key.cloned() })
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

/// The failure without the key of this target, should the upstream have repeated it in what it said.
pub fn without_key(target: &Target, failure: Failure) -> Failure {
    let Some(key) = &target.secret else { return failure };
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
