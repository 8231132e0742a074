//! One request in the words of one upstream, and its answer in the words of the client.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::actors::Lease;
use crate::canon::{ChatEvent, Failure, FailureKind, Usage};
use crate::dialect::openai_chat::{self, AnswerHead, read_request};
use crate::dialect::passthrough::{ChatRequest, Demands};
use crate::dialect::translated::TranslatedStream;
use crate::dialect::{AnswerStream, Format, Framing};

/// What goes to the upstream of a lease, and how to read what comes back.
pub(super) struct Exchange<'r> {
    request: &'r ChatRequest,
    demands: Demands<'r>,
    format: Format,
    request_id: &'r str,
}

impl<'r> Exchange<'r> {
    /// The exchange of a request over a lease.
    pub fn new(request: &'r ChatRequest, lease: &'r Lease, request_id: &'r str) -> Self {
        let channel = lease.channel();
        let demands =
            Demands { model: lease.upstream_model(), tools: channel.tools, stream_usage: channel.stream_usage };
        Self { request, demands, format: lease.target().format(), request_id }
    }

    /// The body for the upstream.
    ///
    /// # Errors
    ///
    /// The request is wrong, or asks for what the upstream's format cannot say.
    pub fn body(&self) -> Result<Bytes, Failure> {
        if self.format == Format::OpenAiChat {
            return Ok(self.request.for_upstream(self.demands));
        }
        let mut request = read_request(self.request.body())?;
        if !self.demands.tools {
            request.tools.clear();
            request.tool_choice = None;
        }
        self.format.write_request(&request, self.demands.model).map(Bytes::from)
    }

    /// A whole answer for the client, and what it used. `is_complete` says that as many bytes came as
    /// were announced.
    ///
    /// # Errors
    ///
    /// It is an error, or no answer.
    pub fn read_answer(&self, body: Bytes, is_complete: bool) -> Result<(Bytes, Option<Usage>), Failure> {
        if self.format == Format::OpenAiChat {
            let usage = openai_chat::read_answer(&body, is_complete)?;
            return Ok((body, usage));
        }
        if body.trim_ascii().is_empty() {
            return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent an empty answer"));
        }
        let events = self.format.read_answer(&body)?;
        let usage = events.iter().rev().find_map(|event| match event {
            ChatEvent::Usage(usage) => Some(*usage),
            _ => None,
        });
        Ok((openai_chat::write_answer(&self.head(), &events), usage))
    }

    /// The reader of a streamed answer.
    pub fn stream(&self) -> AnswerStream {
        match self.format {
            Format::OpenAiChat => AnswerStream::Passed(self.request.answer_stream(self.demands)),
            format => AnswerStream::Translated(TranslatedStream::new(format, &self.head(), self.request.wants_usage)),
        }
    }

    /// Whether a stream of this format is one of JSON values and not of server-sent events.
    pub fn streams_lines(&self) -> bool {
        self.format != Format::OpenAiChat && self.format.stream_reader().framing() == Framing::Lines
    }

    fn head(&self) -> AnswerHead {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        AnswerHead {
            id: format!("chatcmpl-{}", self.request_id),
            created: since_1970.as_secs(),
            model: self.request.model.as_ref().to_owned(),
        }
    }
}
