//! A stream of typed events on its way to a client of the same format: partial images, pieces of a
//! transcript, pieces of speech.
//!
//! Source: OpenAI's API reference, "Image Streaming", "Transcription stream events", "Create speech".

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::{Failure, FailureKind, Operation, Usage};
use crate::dialect::answer_stream::Passed;
use crate::dialect::json::{Str, unreadable};
use crate::dialect::refusal::error_in_answer;
use crate::dialect::sse::{self, Splitter};

use super::usage::read_usage;

/// Has the same doors as the stream of [`passthrough`](crate::dialect::passthrough).
pub struct TypedStream {
    splitter: Splitter,
    /// The types of events with which the stream may end.
    endings: &'static [&'static str],
    has_substance: bool,
    /// An event has come with which it may end; more of them may follow, one for each image.
    may_end: bool,
    is_done: bool,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

impl TypedStream {
    /// The stream of an answer to a request for this operation.
    pub fn new(operation: Operation) -> Self {
        Self {
            splitter: Splitter::default(),
            endings: operation.row().endings,
            has_substance: false,
            may_end: false,
            is_done: false,
            usage: None,
        }
    }

    /// Takes the next piece from the upstream.
    pub fn push(&mut self, piece: Bytes) -> Passed {
        match self.splitter.push(piece) {
            Ok(block) => self.read(block),
            Err(_) => Passed::failed(unreadable("the upstream sent an event without end")),
        }
    }

    /// Takes note that the upstream has ended its stream. An answer that was not whole is a failure.
    pub fn finish(&mut self) -> Passed {
        let rest = self.splitter.finish();
        // An event without its blank line may have been cut: it counts if it can be read.
        let Passed { bytes, failure } = self.read(rest);
        if failure.as_ref().is_some_and(|failure| failure.kind != FailureKind::UnreadableAnswer) {
            return Passed { bytes, failure };
        }
        if !(self.may_end || self.is_done) {
            return Passed::not_whole(Bytes::new(), self.has_substance);
        }
        Passed { bytes: sse::closed(&bytes).freeze(), failure: None }
    }

    /// Whether something of the answer has come.
    pub fn has_substance(&self) -> bool {
        self.has_substance
    }

    /// Whether the upstream has said that the stream is over.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The token counts, if the upstream gave them.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn read(&mut self, block: Bytes) -> Passed {
        let mut passed = 0;
        for event in sse::events(&block) {
            if self.is_done {
                break;
            }
            if let Err(failure) = self.read_event(event.data.as_deref().map(<[u8]>::trim_ascii)) {
                return Passed { bytes: block.slice(..passed), failure: Some(failure) };
            }
            passed += event.raw.len();
        }
        Passed { bytes: block.slice(..passed), failure: None }
    }

    fn read_event(&mut self, data: Option<&[u8]>) -> Result<(), Failure> {
        let data = match data {
            None | Some(b"") => return Ok(()),
            Some(b"[DONE]") if self.may_end || (self.endings.is_empty() && self.has_substance) => {
                self.is_done = true;
                return Ok(());
            }
            Some(b"[DONE]") => {
                return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent a stream without an answer"));
            }
            Some(data) => data,
        };
        let unread = |_| unreadable("the upstream sent an event that is not JSON");
        let event: Event<'_> = serde_json::from_slice(data).map_err(unread)?;
        let kind = event.kind.as_ref().map_or("", |Str(kind)| kind);
        match event.error.filter(|error| error.get() != "null") {
            Some(error) => return Err(error_in_answer(error)),
            None if kind == "error" => return Err(serde_json::from_slice(data).map_or_else(unread, error_in_answer)),
            None => {}
        }
        self.has_substance = true;
        self.may_end |= self.endings.contains(&kind);
        self.usage = read_usage(event.usage).or(self.usage);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    const PARTIAL: &str = "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"QUJD\",\"partial_image_index\":0}";
    const COMPLETED: &str = "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"REVG\",\"usage\":{\"input_tokens\":5,\"output_tokens\":7,\"total_tokens\":12}}";
    const ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"overloaded\"}}";
    const DONE: &str = "data: [DONE]";

    fn bytes(events: &[&str]) -> Bytes {
        Bytes::from(events.iter().map(|event| format!("{event}\n\n")).collect::<String>())
    }

    /// Everything that reaches the client, and how it ended.
    fn pass(stream: &mut TypedStream, pieces: impl IntoIterator<Item = Bytes>) -> (Bytes, Option<FailureKind>) {
        let mut out = BytesMut::new();
        for piece in pieces {
            let passed = stream.push(piece);
            out.extend_from_slice(&passed.bytes);
            if let Some(failure) = passed.failure {
                return (out.freeze(), Some(failure.kind));
            }
        }
        let passed = stream.finish();
        out.extend_from_slice(&passed.bytes);
        (out.freeze(), passed.failure.map(|failure| failure.kind))
    }

    fn images(events: &[&str]) -> (Bytes, Option<FailureKind>) {
        pass(&mut TypedStream::new(Operation::ImageGenerations), [bytes(events)])
    }

    #[test]
    fn a_whole_stream_passes_as_it_came() {
        for events in [&[PARTIAL, COMPLETED][..], &[": wait", COMPLETED, COMPLETED], &[COMPLETED, DONE]] {
            assert_eq!(images(events), (bytes(events), None));
        }
        let mut stream = TypedStream::new(Operation::ImageGenerations);
        pass(&mut stream, [bytes(&[PARTIAL, COMPLETED])]);
        assert_eq!(stream.usage().unwrap().total_tokens, Some(12));
    }

    #[test]
    fn a_stream_without_its_last_event_is_cut() {
        assert_eq!(images(&[PARTIAL]).1, Some(FailureKind::CutAnswer));
        assert_eq!(images(&[": wait"]).1, Some(FailureKind::EmptyAnswer));
        assert_eq!(images(&[DONE]).1, Some(FailureKind::EmptyAnswer));
    }

    #[test]
    fn what_came_before_an_error_is_not_lost() {
        assert_eq!(images(&[PARTIAL, ERROR, COMPLETED]), (bytes(&[PARTIAL]), Some(FailureKind::Overloaded)));
        assert_eq!(images(&[PARTIAL, "data: {\"typ"]), (bytes(&[PARTIAL]), Some(FailureKind::UnreadableAnswer)));
        let bare = "data: {\"type\":\"error\",\"message\":\"overloaded\"}";
        assert_eq!(images(&[bare]).1, Some(FailureKind::Overloaded));
    }

    #[test]
    fn nothing_follows_done() {
        assert_eq!(images(&[COMPLETED, DONE, PARTIAL]), (bytes(&[COMPLETED, DONE]), None));
    }

    #[test]
    fn a_last_event_without_its_blank_line_is_completed() {
        let seen = pass(&mut TypedStream::new(Operation::ImageGenerations), [Bytes::from(COMPLETED)]);
        assert_eq!(seen, (bytes(&[COMPLETED]), None));
    }

    proptest! {
        #[test]
        fn any_cuts_give_the_client_the_same_bytes(cuts in prop::collection::vec(0usize..400, 0..20)) {
            let all = bytes(&[": hi", PARTIAL, PARTIAL, COMPLETED]);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.sort_unstable();
            cuts.push(all.len());
            let mut from = 0;
            let pieces: Vec<_> = cuts.into_iter().map(|cut| all.slice(std::mem::replace(&mut from, cut)..cut)).collect();
            prop_assert_eq!(pass(&mut TypedStream::new(Operation::ImageGenerations), pieces), (all, None));
        }
    }
}
