//! Reading a request body of bounded size.

use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::rt::time::timeout;
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::canon::{Failure, FailureKind};
use crate::dialect::form::{Form, Scanner, boundary_of};

/// A client may pause this long in the middle of its body.
const PATIENCE: Duration = Duration::from_secs(60);
/// As much memory is set aside at once on a client's word that a body will be that long, in bytes.
const MAX_TRUSTED_LENGTH: usize = 1024 * 1024;

/// The whole body.
///
/// # Errors
///
/// `BodyTooLarge` as soon as that is known: from the announced length, before anything is read, or
/// when that much has come in.
pub async fn read(mut payload: Payload, headers: &HeaderMap, max_bytes: usize) -> Result<Bytes, Failure> {
    let too_large = || too_large(max_bytes, "max_request_body_bytes");
    let announced = announced_length(headers);
    if announced.is_some_and(|length| length > max_bytes) {
        return Err(too_large());
    }
    let Some(first) = next(&mut payload).await? else { return Ok(Bytes::new()) };
    if first.len() > max_bytes {
        return Err(too_large());
    }
    if announced == Some(first.len()) {
        return Ok(first);
    }
    let mut whole =
        BytesMut::with_capacity(announced.unwrap_or(0).clamp(first.len(), MAX_TRUSTED_LENGTH.max(first.len())));
    whole.extend_from_slice(&first);
    while let Some(piece) = next(&mut payload).await? {
        if whole.len() + piece.len() > max_bytes {
            return Err(too_large());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The whole form, read as it comes in.
///
/// # Errors
///
/// As of [`read`], and `InvalidRequest` as soon as it is known not to be a form.
pub async fn read_form(mut payload: Payload, headers: &HeaderMap, max_bytes: usize) -> Result<Form, Failure> {
    let too_large = || too_large(max_bytes, "max_upload_bytes");
    if announced_length(headers).is_some_and(|length| length > max_bytes) {
        return Err(too_large());
    }
    let mut scanner = Scanner::new(boundary_of(content_type(headers))?);
    let mut length = 0;
    while let Some(piece) = next(&mut payload).await? {
        length += piece.len();
        if length > max_bytes {
            return Err(too_large());
        }
        scanner.push(&piece)?;
    }
    scanner.finish()
}

/// Whether the body says that it is a form of any kind.
pub fn is_form(headers: &HeaderMap) -> bool {
    content_type(headers).trim_start().to_ascii_lowercase().starts_with("multipart/")
}

/// What the body says that it is; nothing, if it says so in two ways.
fn content_type(headers: &HeaderMap) -> &str {
    let mut values = headers.get_all(header::CONTENT_TYPE);
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        _ => "",
    }
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn next(payload: &mut Payload) -> Result<Option<Bytes>, Failure> {
    match timeout(PATIENCE, payload.next()).await {
        Ok(piece) => piece.transpose().map_err(|_| broken()),
        Err(_) => Err(Failure::new(FailureKind::RequestTimeout, "the body did not arrive in time; send it again")),
    }
}

/// What `preference` limits is longer than that.
fn too_large(max_bytes: usize, preference: &str) -> Failure {
    let message =
        format!("the body is larger than {max_bytes} bytes; shorten it, or raise preferences.{preference} in api.yaml");
    Failure::new(FailureKind::BodyTooLarge, message)
}

fn broken() -> Failure {
    Failure::new(FailureKind::InvalidRequest, "the body broke off before it was whole; send it again")
}
