//! An upstream endpoint with the headers of one key.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use awc::http::Uri;
use awc::http::header::HeaderValue;
use thiserror::Error;
use url::Url;

use crate::canon::Failure;
use crate::config::{Channel, Dialect, Secret};

use super::url::{Endpoint, endpoint_url};

/// Where a request goes and what it says of itself there. Prepared once per key and endpoint, so
/// that an attempt builds no header.
pub struct Target {
    /// Tells targets apart; never used twice in a process.
    pub(super) id: u64,
    pub(super) uri: Uri,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) extra_headers: &'static [(&'static str, &'static str)],
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
}

/// OpenRouter's attribution headers. Source: OpenRouter's API reference, "Headers".
const OPENROUTER_HEADERS: &[(&str, &str)] =
    &[("http-referer", "https://github.com/yym68686/uni-api"), ("x-title", "uni-api")];

impl Target {
    /// The endpoint of a channel, asked with one of its keys or none.
    ///
    /// # Errors
    ///
    /// The URL or the key cannot be put on the wire.
    pub fn new(channel: &Channel, endpoint: Endpoint, key: Option<&Secret>) -> Result<Self, InvalidTarget> {
        let mut target = Self::at(endpoint_url(&channel.base_url, endpoint), key)?;
        if channel.dialect == Dialect::OpenRouter {
            target.extra_headers = OPENROUTER_HEADERS;
        }
        Ok(target)
    }

    /// An address that belongs to no channel, asked with a key or none.
    ///
    /// # Errors
    ///
    /// The URL or the key cannot be put on the wire.
    pub fn at(mut url: Url, key: Option<&Secret>) -> Result<Self, InvalidTarget> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        // awc would not send them, and an address without them can go into a log.
        let _ = (url.set_username(""), url.set_password(None));
        let uri: Uri = url.as_str().parse().map_err(|_| InvalidTarget::Url)?;
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            uri,
            authorization: key.map(bearer).transpose()?,
            extra_headers: &[],
            secret: key.cloned(),
        })
    }
}

fn bearer(key: &Secret) -> Result<HeaderValue, InvalidTarget> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(|_| InvalidTarget::Key)?;
    value.set_sensitive(true);
    Ok(value)
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
