//! A stream of chat chunks on its way to a client of the same format.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::canon::{Failure, FailureKind, Usage};
use crate::dialect::answer_stream::Passed;
use crate::dialect::openai_chat::{needs_reading, read_chunk};
use crate::dialect::sse::{self, Splitter};

/// An answer stream on its way past: tells when it has begun in earnest, whether it is whole, and
/// what it used.
pub struct ChatStream {
    splitter: Splitter,
    /// The usage chunk is ours, not the client's.
    hide_usage: bool,
    choices: usize,
    finished: Vec<u32>,
    has_substance: bool,
    is_done: bool,
    usage: Option<Usage>,
}

impl ChatStream {
    /// The stream of an answer with this many choices. `hide_usage` keeps its usage chunk from the
    /// client.
    pub fn new(hide_usage: bool, choices: usize) -> Self {
        let splitter = Splitter::default();
        Self { splitter, hide_usage, choices, finished: Vec::new(), has_substance: false, is_done: false, usage: None }
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
        // An event without its blank line may have been cut. As far as it can be read it counts, such as a last
        // [DONE]; what cannot be read is dropped.
        let is_event = sse::events(&rest).any(|event| event.data.is_some_and(|data| !data.is_empty()));
        let Passed { bytes, failure } = self.read(if is_event { rest } else { Bytes::new() });
        if failure.as_ref().is_some_and(|failure| failure.kind != FailureKind::UnreadableAnswer) {
            return Passed { bytes, failure };
        }
        if !self.is_whole() {
            return Passed::not_whole(Bytes::new(), self.has_substance);
        }
        let mut last = sse::closed(&bytes);
        if !self.is_done {
            self.is_done = true;
            last.extend_from_slice(sse::DONE);
        }
        Passed { bytes: last.freeze(), failure: None }
    }

    /// Whether something of the answer has come, not only the announcement of a role.
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

    fn is_whole(&self) -> bool {
        self.is_done || (!self.finished.is_empty() && self.finished.len() >= self.choices)
    }

    fn read(&mut self, block: Bytes) -> Passed {
        // Bytes of `block` that are not forwarded; nearly always none.
        let mut hidden: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        let mut failure = None;
        for event in sse::events(&block) {
            let here = at..at + event.raw.len();
            at = here.end;
            if self.is_done {
                hidden.push(here);
                continue;
            }
            match self.read_event(event.data.as_deref().map(<[u8]>::trim_ascii)) {
                Ok(Fate::Shown) => {}
                Ok(Fate::Hidden) => hidden.push(here),
                Err(why) => {
                    hidden.push(here.start..block.len());
                    failure = Some(why);
                    break;
                }
            }
        }
        Passed { bytes: without(block, &hidden), failure }
    }

    fn read_event(&mut self, data: Option<&[u8]>) -> Result<Fate, Failure> {
        let data = match data {
            None | Some(b"") => return Ok(Fate::Shown),
            Some(b"[DONE]") if self.has_substance => {
                self.is_done = true;
                return Ok(Fate::Shown);
            }
            Some(b"[DONE]") => {
                return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent a stream without an answer"));
            }
            Some(data) => data,
        };
        if self.has_substance && !needs_reading(data) {
            return Ok(Fate::Shown);
        }
        let facts = read_chunk(data)?;
        self.has_substance |= facts.has_substance;
        for choice in facts.finished {
            if !self.finished.contains(&choice) && self.finished.len() < self.choices {
                self.finished.push(choice);
            }
        }
        self.usage = facts.usage.or(self.usage);
        let is_usage_chunk = facts.usage.is_some() && facts.has_no_choices;
        Ok(if is_usage_chunk && self.hide_usage { Fate::Hidden } else { Fate::Shown })
    }
}

/// Whether an event is forwarded.
enum Fate {
    Shown,
    Hidden,
}

fn unreadable(message: &str) -> Failure {
    Failure::new(FailureKind::UnreadableAnswer, message)
}

fn without(block: Bytes, hidden: &[Range<usize>]) -> Bytes {
    if hidden.is_empty() {
        return block;
    }
    let mut shown = BytesMut::with_capacity(block.len());
    let mut from = 0;
    for part in hidden {
        shown.extend_from_slice(block.get(from..part.start).unwrap_or_default());
        from = part.end;
    }
    shown.extend_from_slice(block.get(from..).unwrap_or_default());
    shown.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROLE: &str =
        r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    const TEXT: &str = r#"data: {"choices":[{"index":0,"delta":{"content":"hé"},"finish_reason":null}],"usage":null}"#;
    const FINISH: &str = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    const ERROR: &str = r#"data: {"error":{"message":"overloaded"}}"#;
    const DONE: &str = "data: [DONE]";

    fn bytes(events: &[&str]) -> Bytes {
        Bytes::from(events.iter().map(|event| format!("{event}\n\n")).collect::<String>())
    }

    /// Everything that reaches the client, and how it ended.
    fn pass(stream: &mut ChatStream, pieces: impl IntoIterator<Item = Bytes>) -> (Bytes, Option<FailureKind>) {
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

    #[test]
    fn a_whole_stream_passes_as_it_came() {
        let all = bytes(&[": hello", ROLE, TEXT, FINISH, USAGE, DONE]);
        let mut stream = ChatStream::new(false, 1);
        assert_eq!(pass(&mut stream, [all.clone()]), (all, None));
        assert_eq!(stream.usage().unwrap().total_tokens, Some(3));
    }

    #[test]
    fn a_usage_chunk_that_the_client_did_not_ask_for_is_kept_from_it() {
        let mut stream = ChatStream::new(true, 1);
        let seen = pass(&mut stream, [bytes(&[ROLE, TEXT, FINISH, USAGE, DONE])]);
        assert_eq!(seen, (bytes(&[ROLE, TEXT, FINISH, DONE]), None));
        assert_eq!(stream.usage().unwrap().completion_tokens, Some(2));
    }

    #[test]
    fn a_stream_without_its_end_is_cut() {
        let cut = |events: &[&str], choices| pass(&mut ChatStream::new(true, choices), [bytes(events)]).1;
        assert_eq!(cut(&[ROLE, TEXT], 1), Some(FailureKind::CutAnswer));
        assert_eq!(cut(&[ROLE, TEXT, FINISH], 2), Some(FailureKind::CutAnswer));
        assert_eq!(cut(&[ROLE], 1), Some(FailureKind::EmptyAnswer));
        assert_eq!(cut(&[], 1), Some(FailureKind::EmptyAnswer));
        assert_eq!(cut(&[ROLE, DONE], 1), Some(FailureKind::EmptyAnswer));
    }

    #[test]
    fn a_finish_reason_without_done_is_an_end_and_gets_its_done() {
        let seen = pass(&mut ChatStream::new(true, 1), [bytes(&[ROLE, TEXT, FINISH])]);
        assert_eq!(seen, (bytes(&[ROLE, TEXT, FINISH, DONE]), None));
    }

    #[test]
    fn done_without_its_blank_line_is_completed() {
        let mut stream = ChatStream::new(true, 1);
        let seen = pass(&mut stream, [bytes(&[TEXT]), Bytes::from_static(b"data: [DONE]")]);
        assert_eq!(seen, (bytes(&[TEXT, DONE]), None));
    }

    #[test]
    fn what_came_before_an_error_is_not_lost() {
        let seen = pass(&mut ChatStream::new(true, 1), [bytes(&[ROLE, TEXT, ERROR, TEXT, DONE])]);
        assert_eq!(seen, (bytes(&[ROLE, TEXT]), Some(FailureKind::Overloaded)));
    }

    #[test]
    fn a_malformed_chunk_is_a_failure() {
        let broken = r#"data: {"choices":[{"delta":{"content":"a"#;
        let seen = pass(&mut ChatStream::new(true, 1), [bytes(&[TEXT, broken, TEXT])]);
        assert_eq!(seen, (bytes(&[TEXT]), Some(FailureKind::UnreadableAnswer)));
    }

    #[test]
    fn nothing_follows_done() {
        let seen = pass(&mut ChatStream::new(true, 1), [bytes(&[TEXT, DONE, TEXT]), bytes(&[DONE])]);
        assert_eq!(seen, (bytes(&[TEXT, DONE]), None));
    }

    #[test]
    fn a_role_is_not_yet_an_answer() {
        let mut stream = ChatStream::new(true, 1);
        stream.push(bytes(&[": wait", ROLE]));
        assert!(!stream.has_substance());
        stream.push(bytes(&[TEXT]));
        assert!(stream.has_substance());
    }

    proptest! {
        #[test]
        fn any_cuts_give_the_client_the_same_bytes(cuts in prop::collection::vec(0usize..600, 0..20), crlf in any::<bool>()) {
            let text = String::from_utf8(bytes(&[": hi", ROLE, TEXT, TEXT, FINISH, USAGE, DONE]).to_vec()).unwrap();
            let all = Bytes::from(if crlf { text.replace('\n', "\r\n") } else { text });
            let expected = pass(&mut ChatStream::new(true, 1), [all.clone()]);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.sort_unstable();
            cuts.push(all.len());
            let mut from = 0;
            let pieces: Vec<_> = cuts.into_iter().map(|cut| all.slice(std::mem::replace(&mut from, cut)..cut)).collect();
            let mut stream = ChatStream::new(true, 1);
            prop_assert_eq!(pass(&mut stream, pieces), expected);
            prop_assert_eq!(stream.usage().unwrap().total_tokens, Some(3));
        }
    }
}
