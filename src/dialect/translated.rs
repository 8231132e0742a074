//! A stream of another format on its way to a client of OpenAI's.

use bytes::{Bytes, BytesMut};

use crate::canon::{ChatEvent, Failure, FailureKind, Usage};

use super::answer_stream::Passed;
use super::openai_chat::{AnswerHead, ChunkWriter};
use super::sse::{self, MAX_EVENT_BYTES, Splitter};
use super::{Format, Framing, Progress, StreamReader, json};

/// Reads the upstream's events and writes the client's chunks. Has the same doors as the stream of
/// [`passthrough`](super::passthrough).
pub struct TranslatedStream {
    cutter: Cutter,
    reader: Box<dyn StreamReader>,
    writer: ChunkWriter,
    has_substance: bool,
    is_done: bool,
}

enum Cutter {
    Events(Splitter),
    Lines(BytesMut),
}

impl TranslatedStream {
    /// A stream of an answer in this format, for a client that may want token counts.
    pub fn new(format: Format, head: &AnswerHead, include_usage: bool) -> Self {
        let reader = format.stream_reader();
        let cutter = match reader.framing() {
            Framing::ServerSentEvents => Cutter::Events(Splitter::default()),
            Framing::Lines => Cutter::Lines(BytesMut::new()),
        };
        let writer = ChunkWriter::new(head, include_usage);
        Self { cutter, reader, writer, has_substance: false, is_done: false }
    }

    /// How the upstream cuts its stream into events.
    pub fn framing(&self) -> Framing {
        self.reader.framing()
    }

    /// Takes the next piece from the upstream.
    pub fn push(&mut self, piece: Bytes) -> Passed {
        let block = match &mut self.cutter {
            Cutter::Events(splitter) => splitter.push(piece).ok(),
            Cutter::Lines(carry) => whole_lines(carry, &piece),
        };
        match block {
            Some(block) => self.read(&block),
            None => Passed::failed(json::unreadable("the upstream sent an event without end")),
        }
    }

    /// Takes note that the upstream has ended its stream. An answer that was not whole is a failure.
    pub fn finish(&mut self) -> Passed {
        let rest = match &mut self.cutter {
            Cutter::Events(splitter) => splitter.finish(),
            Cutter::Lines(carry) => carry.split().freeze(),
        };
        // An event without its end may have been cut: it counts as far as it can be read.
        let Passed { bytes, failure } = self.read(&rest);
        if failure.as_ref().is_some_and(|failure| failure.kind != FailureKind::UnreadableAnswer) {
            return Passed { bytes, failure };
        }
        if self.is_done {
            return Passed { bytes, failure: None };
        }
        if self.reader.progress() == Progress::Open {
            return Passed::not_whole(bytes, self.has_substance);
        }
        self.end();
        let mut last = BytesMut::from(&*bytes);
        last.extend_from_slice(&self.writer.take());
        Passed { bytes: last.freeze(), failure: None }
    }

    /// Whether something of the answer has come, not only its announcement.
    pub fn has_substance(&self) -> bool {
        self.has_substance
    }

    /// Whether the upstream has said that the stream is over.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The token counts, if the upstream gave them.
    pub fn usage(&self) -> Option<Usage> {
        self.writer.usage()
    }

    fn end(&mut self) {
        self.is_done = true;
        self.writer.end();
    }

    fn read(&mut self, block: &[u8]) -> Passed {
        let mut failure = None;
        let mut read_one = |stream: &mut Self, data: &[u8]| match stream.read_event(data) {
            Ok(()) => !stream.is_done,
            Err(why) => {
                failure = Some(why);
                false
            }
        };
        match self.cutter {
            Cutter::Events(_) => {
                for data in sse::events(block).filter_map(|event| event.data) {
                    if !read_one(self, &data) {
                        break;
                    }
                }
            }
            Cutter::Lines(_) => {
                for line in block.split(|byte| *byte == b'\n') {
                    if !read_one(self, line) {
                        break;
                    }
                }
            }
        }
        Passed { bytes: self.writer.take(), failure }
    }

    fn read_event(&mut self, data: &[u8]) -> Result<(), Failure> {
        let data = data.trim_ascii();
        if data.is_empty() || self.is_done {
            return Ok(());
        }
        let mut events = Vec::new();
        let read = self.reader.read(data, &mut events);
        for event in &events {
            self.has_substance |= !matches!(event, ChatEvent::Usage(_));
            self.writer.write(event);
        }
        read?;
        if self.reader.progress() == Progress::Over {
            self.end();
        }
        Ok(())
    }
}

/// All whole lines that are there now; `None` when one grows without end.
fn whole_lines(carry: &mut BytesMut, piece: &[u8]) -> Option<Bytes> {
    let newline = memchr::memrchr(b'\n', piece).map(|at| carry.len() + at + 1);
    carry.extend_from_slice(piece);
    let whole = carry.split_to(newline.unwrap_or(0)).freeze();
    (carry.len() <= MAX_EVENT_BYTES).then_some(whole)
}
