//! The body of an answer, handed to the server no faster than its client takes it.
//!
//! The server asks for more as long as less than 32 KiB wait to be sent. What is long at once is
//! handed over in pieces, so that no answer is in memory twice; and each time that the server has
//! something to send and does not come back for more, the connection notes that it waits for its
//! client.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use super::connections::Asking;

/// A piece is no longer than that, in bytes.
const PIECE: usize = 32 * 1024;

/// A body that reports how it gets on.
pub struct Paced {
    body: BoxBody,
    /// What is left of a piece that was too long.
    rest: Bytes,
    asking: Option<Asking>,
}

impl Paced {
    /// Reports for this request, if its connection is watched at all.
    pub fn new(body: BoxBody, asking: Option<Asking>) -> Self {
        Self { body, rest: Bytes::new(), asking }
    }

    /// Whether a body is too short to be worth it: what is sent at once needs no pace.
    pub fn is_short(body: &impl MessageBody) -> bool {
        match body.size() {
            BodySize::None => true,
            BodySize::Sized(length) => usize::try_from(length).is_ok_and(|length| length <= PIECE),
            BodySize::Stream => false,
        }
    }
}

impl MessageBody for Paced {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            let next = Pin::new(&mut self.body).poll_next(context);
            let Poll::Ready(Some(Ok(piece))) = next else {
                if let Some(asking) = &self.asking {
                    asking.waiting();
                }
                return next;
            };
            self.rest = piece;
        }
        if let Some(asking) = &self.asking {
            asking.sending();
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_long_body_comes_in_pieces() {
        let long = Bytes::from(vec![7; 2 * PIECE + 1]);
        let mut body = Paced::new(BoxBody::new(long.clone()), None);
        assert_eq!(body.size(), BodySize::Sized(65_537));
        let mut context = Context::from_waker(Waker::noop());
        let mut lengths = Vec::new();
        while let Poll::Ready(Some(piece)) = Pin::new(&mut body).poll_next(&mut context) {
            lengths.push(piece.unwrap().len());
        }
        assert_eq!(lengths, [PIECE, PIECE, 1]);
        assert!(Paced::is_short(&Bytes::from_static(b"x")) && !Paced::is_short(&long));
    }
}
