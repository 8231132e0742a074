//! A streamed answer on its way to the client, whatever its upstream speaks.

use bytes::Bytes;

use crate::canon::{Failure, FailureKind, Usage};

use super::Framing;
use super::call::TypedStream;
use super::passthrough::ChatStream;
use super::translated::TranslatedStream;

/// Takes pieces from the upstream and gives bytes for the client; tells when the answer has begun
/// in earnest, whether it is whole, and what it used.
pub enum AnswerStream {
    /// The upstream speaks like the client.
    Passed(ChatStream),
    /// It does, and not of a chat.
    Typed(TypedStream),
    /// It does not.
    Translated(TranslatedStream),
}

/// What came of one piece.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// What goes to the client now, maybe nothing. Also when there is a failure: what came before
    /// it is not lost.
    pub bytes: Bytes,
    /// The upstream reported an error, or sent what is no answer. Nothing that it sends after that
    /// counts.
    pub failure: Option<Failure>,
}

impl Passed {
    pub(super) fn failed(failure: Failure) -> Self {
        Self { bytes: Bytes::new(), failure: Some(failure) }
    }

    /// The upstream has ended a stream that was not whole.
    pub(super) fn not_whole(bytes: Bytes, has_substance: bool) -> Self {
        let failure = match has_substance {
            true => Failure::new(FailureKind::CutAnswer, "the upstream ended the stream before the answer was whole"),
            false => Failure::new(FailureKind::EmptyAnswer, "the upstream ended the stream without an answer"),
        };
        Self { bytes, failure: Some(failure) }
    }
}

impl AnswerStream {
    /// How the upstream cuts its stream into events.
    pub fn framing(&self) -> Framing {
        match self {
            Self::Passed(_) | Self::Typed(_) => Framing::ServerSentEvents,
            Self::Translated(stream) => stream.framing(),
        }
    }

    /// Takes the next piece from the upstream.
    pub fn push(&mut self, piece: Bytes) -> Passed {
        match self {
            Self::Passed(stream) => stream.push(piece),
            Self::Typed(stream) => stream.push(piece),
            Self::Translated(stream) => stream.push(piece),
        }
    }

    /// Takes note that the upstream has ended its stream. An answer that was not whole is a failure.
    pub fn finish(&mut self) -> Passed {
        match self {
            Self::Passed(stream) => stream.finish(),
            Self::Typed(stream) => stream.finish(),
            Self::Translated(stream) => stream.finish(),
        }
    }

    /// Whether something of the answer has come, not only its announcement.
    pub fn has_substance(&self) -> bool {
        match self {
            Self::Passed(stream) => stream.has_substance(),
            Self::Typed(stream) => stream.has_substance(),
            Self::Translated(stream) => stream.has_substance(),
        }
    }

    /// Whether the upstream has said that the stream is over.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Passed(stream) => stream.is_done(),
            Self::Typed(stream) => stream.is_done(),
            Self::Translated(stream) => stream.is_done(),
        }
    }

    /// The token counts, if the upstream gave them.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Passed(stream) => stream.usage(),
            Self::Typed(stream) => stream.usage(),
            Self::Translated(stream) => stream.usage(),
        }
    }
}
