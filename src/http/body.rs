//! Reading a request body of bounded size.

use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::rt::time::timeout;
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::canon::{Failure, FailureKind};

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
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        return Err(too_large(max_bytes));
    }
    let Some(first) = next(&mut payload).await? else { return Ok(Bytes::new()) };
    if first.len() > max_bytes {
        return Err(too_large(max_bytes));
    }
    if announced == Some(first.len()) {
        return Ok(first);
    }
    let mut whole =
        BytesMut::with_capacity(announced.unwrap_or(0).clamp(first.len(), MAX_TRUSTED_LENGTH.max(first.len())));
    whole.extend_from_slice(&first);
    while let Some(piece) = next(&mut payload).await? {
        if whole.len() + piece.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

async fn next(payload: &mut Payload) -> Result<Option<Bytes>, Failure> {
    match timeout(PATIENCE, payload.next()).await {
        Ok(piece) => piece.transpose().map_err(|_| broken()),
        Err(_) => Err(Failure::new(FailureKind::RequestTimeout, "the body did not arrive in time; send it again")),
    }
}

fn too_large(max_bytes: usize) -> Failure {
    let message = format!(
        "the body is larger than {max_bytes} bytes; shorten it, or raise preferences.max_request_body_bytes in api.yaml"
    );
    Failure::new(FailureKind::BodyTooLarge, message)
}

fn broken() -> Failure {
    Failure::new(FailureKind::InvalidRequest, "the body broke off before it was whole; send it again")
}
