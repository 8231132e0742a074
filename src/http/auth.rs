//! Who is asking.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};

use crate::canon::{Failure, FailureKind};
use crate::config::{ClientKey, ClientKeys};

/// The client key of a request: `Authorization: Bearer`, as OpenAI's clients send it, or
/// `x-api-key`, as Anthropic's do.
///
/// # Errors
///
/// `Unauthorized`, with what to do about it.
pub fn client<'a>(keys: &'a ClientKeys, headers: &HeaderMap) -> Result<&'a Arc<ClientKey>, Failure> {
    let refuse = |message| Err(Failure::new(FailureKind::Unauthorized, message));
    let Some(credential) = credential(headers) else {
        return refuse("no API key; send it as \"Authorization: Bearer <key>\" or \"x-api-key: <key>\"");
    };
    match keys.find(credential) {
        Some(client) => Ok(client),
        None => refuse("this API key is not known here; the keys are listed under api_keys in api.yaml"),
    }
}

/// The client key of a request that only admins may make.
///
/// # Errors
///
/// As of [`client`], and `PermissionDenied`.
pub fn admin<'a>(keys: &'a ClientKeys, headers: &HeaderMap) -> Result<&'a Arc<ClientKey>, Failure> {
    let client = client(keys, headers)?;
    if client.is_admin {
        return Ok(client);
    }
    Err(Failure::new(FailureKind::PermissionDenied, "Permission denied; use a key with role: admin"))
}

fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
    });
    let present = |token: &&[u8]| !token.is_empty();
    bearer
        .filter(present)
        .or_else(|| headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii()).filter(present))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn found(pairs: &[(&'static str, &'static str)]) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        credential(&headers).map(<[u8]>::to_vec)
    }

    #[test]
    fn both_headers_are_understood() {
        assert_eq!(found(&[("authorization", "Bearer k")]).unwrap(), b"k");
        assert_eq!(found(&[("authorization", "bearer  k ")]).unwrap(), b"k");
        assert_eq!(found(&[("x-api-key", "k")]).unwrap(), b"k");
        assert_eq!(found(&[("authorization", "Bearer a"), ("x-api-key", "b")]).unwrap(), b"a");
    }

    #[test]
    fn what_is_no_bearer_token_is_no_credential() {
        for value in ["", "Bearer", "Bearer ", "Basic abc", "k"] {
            assert_eq!(found(&[("authorization", value)]), None, "{value:?}");
        }
        assert_eq!(found(&[("authorization", "Bearer "), ("x-api-key", "b")]).unwrap(), b"b");
    }
}
