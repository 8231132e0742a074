//! One request in the words of one upstream, and its answer in the words of the client.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::HeaderValue;
use bytes::Bytes;

use crate::actors::Lease;
use crate::canon::{AnswerKind, ChatEvent, Failure, FailureKind, Operation, RequestId, Usage};
use crate::config::{Channel, MediaFetch};
use crate::dialect::call::Call;
use crate::dialect::openai_chat::{self, AnswerHead, read_request};
use crate::dialect::passthrough::{ChatRequest, Demands};
use crate::dialect::translated::TranslatedStream;
use crate::dialect::{AnswerStream, Format, Wire};
use crate::upstream::Outgoing;

use super::kept_alive::Interval;
use super::media::{Fetched, bring_in};
use super::overrides::overridden;

/// A client's request, as it came.
pub enum Request {
    /// For a chat.
    Chat(Box<ChatRequest>),
    /// For anything else.
    Call(Box<Call>),
}

impl Request {
    /// What the model is to do.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Chat(_) => Operation::Chat,
            Self::Call(call) => call.operation,
        }
    }

    /// The alias of the model.
    pub fn model(&self) -> &Arc<str> {
        match self {
            Self::Chat(chat) => &chat.model,
            Self::Call(call) => &call.model,
        }
    }

    /// Whether the answer is to be streamed as events.
    pub fn stream(&self) -> bool {
        match self {
            Self::Chat(chat) => chat.stream,
            Self::Call(call) => call.stream,
        }
    }

    /// Whether what the client waits for is a stream of events.
    pub fn has_events(&self) -> bool {
        let (operation, row) = (self.operation(), self.operation().row());
        let has_chunks = matches!(operation, Operation::Chat | Operation::Completions);
        self.stream() && (has_chunks || !row.endings.is_empty()) && row.answer != AnswerKind::Bytes
    }

    /// The text to be moderated, if there is any.
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Chat(chat) => chat.last_text(),
            Self::Call(call) => call.words(),
        }
    }

    /// The field that cannot be moderated, as something else than text is in it.
    pub fn wordless(&self) -> Option<&'static str> {
        match self {
            Self::Chat(_) => None,
            Self::Call(call) => call.wordless(),
        }
    }

    /// How many characters count for limits of tokens.
    pub fn chars(&self) -> usize {
        match self {
            Self::Chat(chat) => chat.prompt_chars(),
            Self::Call(call) => call.chars(),
        }
    }
}

/// What a client asks for.
pub struct Asked {
    /// The request.
    pub request: Request,
    /// Its `anthropic-beta` headers, in one.
    pub anthropic_beta: Option<HeaderValue>,
    /// The tokens of the prompt, as estimated, where a limit depends on it.
    pub prompt_tokens: Option<u64>,
    /// The `x-request-id` of the answer.
    pub request_id: RequestId,
    /// How long the client may be told nothing, as far as that is known.
    pub keepalive: Interval,
    /// Which addresses of images and documents may be fetched.
    pub media_fetch: MediaFetch,
    /// What was fetched from them.
    pub fetched: Fetched,
}

/// What goes to the upstream of a lease for a chat, and how to read what comes back.
pub(super) struct Exchange<'r> {
    asked: &'r Asked,
    chat: &'r ChatRequest,
    channel: &'r Channel,
    demands: Demands<'r>,
    /// What the upstream speaks, if that is not what the client speaks.
    format: Option<Format>,
}

impl<'r> Exchange<'r> {
    /// The exchange of a request over a lease.
    pub fn new(asked: &'r Asked, chat: &'r ChatRequest, lease: &'r Lease) -> Self {
        let channel = lease.channel();
        let demands =
            Demands { model: lease.upstream_model(), tools: channel.tools, stream_usage: channel.stream_usage };
        let format = match lease.target().wire() {
            Wire::Chat(format) => Some(format),
            Wire::Same | Wire::Call(_) => None,
        };
        Self { asked, chat, channel, demands, format }
    }

    /// What goes to the upstream.
    ///
    /// # Errors
    ///
    /// The request is wrong, or asks for what the upstream's format cannot say.
    pub async fn outgoing(&self) -> Result<Outgoing, Failure> {
        let body = match self.format {
            None => self.chat.for_upstream(self.demands),
            Some(format) => self.translated(format).await?,
        };
        let knows_betas = matches!(self.format, Some(Format::Anthropic(_)));
        let anthropic_beta = self.asked.anthropic_beta.as_ref().filter(|_| knows_betas).cloned();
        let body = overridden(body, self.channel, &self.chat.model);
        Ok(Outgoing { anthropic_beta, ..body.into() })
    }

    async fn translated(&self, format: Format) -> Result<Bytes, Failure> {
        let mut request = read_request(self.chat.body())?;
        if !self.demands.tools {
            request.forget_tools();
        }
        self.asked.fetched.fetch_for(&mut request, format, self.asked.media_fetch).await?;
        let fetched = self.asked.fetched.media();
        bring_in(&mut request, format, &fetched);
        format.write_request(&request, self.demands.model).map(Bytes::from)
    }

    /// A whole answer for the client, and what it used. `is_complete` says that as many bytes came as
    /// were announced.
    ///
    /// # Errors
    ///
    /// It is an error, or no answer.
    pub fn read_answer(&self, body: Bytes, is_complete: bool) -> Result<(Bytes, Option<Usage>), Failure> {
        let Some(format) = self.format else {
            let usage = openai_chat::read_answer(&body, is_complete)?;
            return Ok((body, usage));
        };
        if body.trim_ascii().is_empty() {
            return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent an empty answer"));
        }
        let events = format.read_answer(&body)?;
        let usage = events.iter().rev().find_map(|event| match event {
            ChatEvent::Usage(usage) => Some(*usage),
            _ => None,
        });
        Ok((openai_chat::write_answer(&self.head(), &events), usage))
    }

    /// The reader of a streamed answer.
    pub fn stream(&self) -> AnswerStream {
        match self.format {
            None => AnswerStream::Passed(self.chat.answer_stream(self.demands)),
            Some(format) => {
                AnswerStream::Translated(TranslatedStream::new(format, &self.head(), self.chat.wants_usage))
            }
        }
    }

    fn head(&self) -> AnswerHead {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        AnswerHead {
            id: format!("chatcmpl-{}", self.asked.request_id),
            created: since_1970.as_secs(),
            model: self.chat.model.as_ref().to_owned(),
        }
    }
}
