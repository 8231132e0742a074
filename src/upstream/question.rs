//! What an upstream is asked, in whichever version of HTTP.

use awc::http::header::{self, HeaderMap, HeaderValue};
use bytes::Bytes;
pub(super) use http::Method;

use super::client::USER_AGENT;
use super::target::Target;

/// The type of a body unless it says something else.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Nothing here unpacks an answer.
const AS_IT_IS: HeaderValue = HeaderValue::from_static("identity");

/// What a target is asked.
pub(super) struct Question<'a> {
    pub method: Method,
    /// In place of those of the target that have their names.
    pub headers: HeaderMap,
    /// One segment behind the other.
    pub body: &'a [Bytes],
}

impl Question<'_> {
    /// All headers that have nothing to do with the connection.
    pub fn headers_to(&self, target: &Target) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        if self.method == Method::POST {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT_ENCODING, AS_IT_IS);
        let of_target = target.headers.iter().map(|(name, value)| (name, value));
        for (name, value) in of_target.chain(&self.headers) {
            headers.insert(name.clone(), value.clone());
        }
        headers
    }

    /// The length of the body in bytes; `None` if there is none to be told.
    pub fn length(&self) -> Option<usize> {
        let length = self.body.iter().map(Bytes::len).sum();
        (length > 0 || self.method == Method::POST).then_some(length)
    }
}
