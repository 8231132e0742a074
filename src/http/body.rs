//! Reading a request body of bounded size.

use std::future::poll_fn;
use std::task::{Context, Waker};
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::canon::{Failure, FailureKind};
use crate::dialect::form::{Form, Scanner, boundary_of};

/// Behind its first pause, a body has to come at this rate on average, in bytes per second. The
/// slowest lines are several times as fast.
const MIN_RATE: u32 = 1024;
/// As much memory is set aside at once on a client's word that a body will be that long, in bytes.
const MAX_TRUSTED_LENGTH: usize = 1024 * 1024;

/// The whole body. A client may pause for as long as `patience`.
///
/// # Errors
///
/// `RequestTimeout`, and `BodyTooLarge` as soon as that is known: from the announced length, before anything is read, or
/// when that much has come in.
pub async fn read(
    payload: Payload,
    headers: &HeaderMap,
    max_bytes: usize,
    patience: Duration,
) -> Result<Bytes, Failure> {
    let mut pieces = Pieces::of(payload, patience);
    let too_large = || too_large(max_bytes, "max_request_body_bytes");
    let announced = announced_length(headers);
    if announced.is_some_and(|length| length > max_bytes) {
        return Err(too_large());
    }
    let Some(first) = pieces.next().await? else { return Ok(Bytes::new()) };
    if first.len() > max_bytes {
        return Err(too_large());
    }
    if announced == Some(first.len()) {
        return Ok(first);
    }
    let mut whole =
        BytesMut::with_capacity(announced.unwrap_or(0).clamp(first.len(), MAX_TRUSTED_LENGTH.max(first.len())));
    whole.extend_from_slice(&first);
    while let Some(piece) = pieces.next().await? {
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
pub async fn read_form(
    payload: Payload,
    headers: &HeaderMap,
    max_bytes: usize,
    patience: Duration,
) -> Result<Form, Failure> {
    let mut pieces = Pieces::of(payload, patience);
    let too_large = || too_large(max_bytes, "max_upload_bytes");
    if announced_length(headers).is_some_and(|length| length > max_bytes) {
        return Err(too_large());
    }
    let mut scanner = Scanner::new(boundary_of(content_type(headers))?);
    let mut length = 0;
    while let Some(piece) = pieces.next().await? {
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

/// A body, piece by piece.
struct Pieces {
    payload: Payload,
    patience: Duration,
    /// Since when it is waited for, once it is.
    began: Option<Instant>,
    received: usize,
}

impl Pieces {
    fn of(payload: Payload, patience: Duration) -> Self {
        Self { payload, patience, began: None, received: 0 }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        let left = time_left(self.patience, self.received, now.duration_since(began));
        match timeout_at(now + left, piece(&mut self.payload)).await {
            Ok(Some(Ok(piece))) => {
                self.received += piece.len();
                Ok(Some(piece))
            }
            Ok(None) => Ok(None),
            Ok(Some(Err(_))) => Err(broken()),
            Err(_) => Err(Failure::new(FailureKind::RequestTimeout, "the body did not arrive in time; send it again")),
        }
    }
}

/// The next piece of the body. It wakes nobody: only the connection that polls this handler brings pieces, and it polls it
/// behind each one that it brings. To be woken as well would be one more round of the connection for every request.
async fn piece(payload: &mut Payload) -> Option<Result<Bytes, PayloadError>> {
    poll_fn(|_| payload.poll_next_unpin(&mut Context::from_waker(Waker::noop()))).await
}

/// How long the next piece of a body may take of which so many bytes have come in that time.
fn time_left(patience: Duration, received: usize, elapsed: Duration) -> Duration {
    let earned = Duration::from_secs(1).saturating_mul(u32::try_from(received).unwrap_or(u32::MAX)) / MIN_RATE;
    (patience + earned).saturating_sub(elapsed).min(patience)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_comes_too_slowly_runs_out_of_time() {
        let left = |received, elapsed| time_left(Duration::from_secs(60), received, Duration::from_secs(elapsed));
        assert_eq!(left(0, 0), Duration::from_secs(60));
        assert_eq!(left(50, 50), Duration::from_secs_f64(10.0 + 50.0 / 1024.0));
        assert_eq!(left(60, 61), Duration::ZERO);
        // A hundred megabytes over a slow line, after an hour.
        assert_eq!(left(50_000_000, 3600), Duration::from_secs(60));
    }
}
