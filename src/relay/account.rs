//! What is noted of a request on its way, and reported once when it is over.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::actors::{Lease, Place};
use crate::canon::{Failure, FailureKind, RequestId, Usage};
use crate::config::{ClientKey, Secret, shown};
use crate::metrics::{Ending, Metrics};
use crate::stats::{AttemptRow, RequestRow};

use super::answer::Relay;
use super::trail::{self, Trial, milliseconds};

/// What the log has of a request whose client left before it got an answer, as nginx has it.
const CLIENT_LEFT: u16 = 499;

/// The account of one request. Whatever becomes of the request, dropping the account reports it to
/// the log, the metrics and the statistics: an answer, a refusal, a client that went away.
pub struct Account {
    stats: Place,
    metrics: Arc<Metrics>,
    request_id: RequestId,
    endpoint: &'static str,
    started: Instant,
    /// The client's key as it may be shown.
    key: Option<Arc<str>>,
    model: Option<Arc<str>>,
    /// What the client got, as far as it got anything.
    status: Option<u16>,
    /// `None`: nothing is decided yet.
    ending: Option<Ending>,
    begun: Option<Begun>,
    usage: Option<Usage>,
    attempts: Vec<Trial>,
    /// What statistics alone want.
    kept: Option<Kept>,
}

/// The beginning of an answer.
struct Begun {
    after: Duration,
    in_pieces: bool,
}

struct Kept {
    /// Whether keys go into rows as they are. Never into the log.
    whole_keys: bool,
    client_ip: Option<IpAddr>,
    whole_key: Option<Arc<str>>,
    is_streamed: bool,
    text: Option<Arc<str>>,
    timestamp: SystemTime,
}

impl Account {
    /// Opens the account of a request that has just come in.
    pub fn open(relay: &Relay, request_id: RequestId, endpoint: &'static str, client_ip: Option<IpAddr>) -> Self {
        let stats = relay.stats.place();
        let kept = stats.settings().map(|settings| Kept {
            whole_keys: settings.keeps_whole_keys,
            client_ip,
            whole_key: None,
            is_streamed: false,
            text: None,
            timestamp: SystemTime::now(),
        });
        let metrics = Arc::clone(relay.control.metrics());
        metrics.endpoint(endpoint).begin();
        Self {
            stats,
            metrics,
            request_id,
            endpoint,
            started: Instant::now(),
            key: None,
            model: None,
            status: None,
            ending: None,
            begun: None,
            usage: None,
            attempts: Vec::new(),
            kept,
        }
    }

    /// The `x-request-id` of the answer.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The client is known.
    pub fn client(&mut self, client: &ClientKey) {
        self.key = Some(Arc::clone(&client.label));
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.whole_keys) {
            kept.whole_key = Some(client.secret.exposed());
        }
    }

    /// What the client asks for is known.
    pub fn asks(&mut self, model: &Arc<str>, is_streamed: bool, text: Option<String>) {
        self.model = Some(Arc::clone(model));
        if let Some(kept) = &mut self.kept {
            kept.is_streamed = is_streamed;
            kept.text = text.map(Arc::from);
        }
    }

    /// The client gets no answer, but is told why.
    pub fn refused(&mut self, failure: &Failure) {
        (self.status, self.ending) = (Some(failure.status()), Some(Ending::Failed(failure.kind)));
    }

    /// An attempt at a model begins now. Neither succeeded nor failed, it ends undecided: the client left.
    pub fn attempt(&mut self, lease: &Lease, model: &Arc<str>, now: Instant) {
        let keeps_whole_keys = self.kept.as_ref().is_some_and(|kept| kept.whole_keys);
        let whole_key = || lease.key_label().and_then(|_| lease.channel().keys.get(lease.key()).map(Secret::exposed));
        let whole_key = if keeps_whole_keys { whole_key() } else { None };
        self.attempts.push(Trial::begin(lease, model, whole_key, now));
    }

    /// The attempt's first event is here, and with it the answer: the first of its pieces, or all of it.
    pub fn first_event(&mut self, in_pieces: bool) {
        self.begun = Some(Begun { after: self.started.elapsed(), in_pieces });
        self.status = Some(200);
    }

    /// Token counts are known.
    pub fn used(&mut self, usage: Option<Usage>) {
        self.usage = usage.or(self.usage);
    }

    /// The gateway itself has answered.
    pub fn answered(&mut self) {
        (self.status, self.ending) = (Some(200), Some(Ending::Answered));
    }

    /// The last attempt ended with a whole answer to the client's request.
    pub fn succeeded(&mut self) {
        self.ending = Some(Ending::Answered);
        self.judged();
    }

    /// The last attempt ended with a whole answer, which is not the client's.
    pub fn judged(&mut self) {
        self.end_attempt(Ending::Answered, None);
    }

    /// The answer broke off after it had begun.
    pub fn broke(&mut self, failure: &Failure) {
        self.ending = Some(Ending::Failed(failure.kind));
        self.failed(failure);
    }

    /// The answer had begun and ends before it is whole, for which the last attempt is not to blame.
    pub fn cut_short(&mut self, failure: &Failure) {
        self.ending = Some(Ending::Failed(failure.kind));
    }

    /// The last attempt failed. One that had nothing to send was none.
    pub fn failed(&mut self, failure: &Failure) {
        if failure.kind.is_unsent() {
            self.attempts.pop();
        } else {
            self.end_attempt(Ending::Failed(failure.kind), failure.upstream_status);
        }
    }

    /// The attempts so far, as a list for those who run the gateway.
    pub fn trail(&self) -> String {
        trail::trail(&self.attempts)
    }

    fn end_attempt(&mut self, ending: Ending, status: Option<u16>) {
        let number = self.attempts.len();
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.end(ending, status, self.request_id, number);
        }
    }

    /// The channel whose answer the client got, or the beginning of it.
    fn provider(&self) -> Option<&Arc<str>> {
        self.begun.as_ref().and_then(|_| self.attempts.last()).map(|attempt| &attempt.provider)
    }

    /// One line, whatever became of the request.
    fn log(&self, ending: Ending, time: Duration) {
        if !log::log_enabled!(target: "uni_api::request", log::Level::Info) {
            return;
        }
        // Where nothing was tried, the model may be anything that a client has sent.
        let model = self.model.as_deref().map(|model| match self.attempts.is_empty() {
            true => Cow::Owned(shown(model)),
            false => Cow::Borrowed(model),
        });
        let usage = self.usage.unwrap_or_default();
        log::info!(
            target: "uni_api::request",
            id = self.request_id.as_str(),
            endpoint = self.endpoint,
            key = self.key.as_deref(),
            model = model.as_deref(),
            channel = self.provider().map(|provider| &**provider),
            attempts = self.attempts.len(),
            status = self.status.unwrap_or(CLIENT_LEFT),
            outcome = ending.code(),
            ttft_ms = self.begun.as_ref().map(|begun| milliseconds(begun.after)),
            total_ms = milliseconds(time),
            prompt_tokens = usage.prompt_tokens,
            completion_tokens = usage.completion_tokens;
            "request"
        );
    }

    fn count(&self, ending: Ending, time: Duration) {
        self.metrics.endpoint(self.endpoint).end(self.status, ending, time);
        if let (Some(begun), Some(attempt)) = (&self.begun, self.attempts.last()) {
            attempt.series.answer(self.usage, begun.in_pieces.then_some(begun.after), time);
        }
    }

    fn row(&mut self, kept: Kept, time: Duration) -> RequestRow {
        RequestRow {
            request_id: self.request_id,
            endpoint: self.endpoint,
            client_ip: kept.client_ip,
            process_time: time,
            first_response_time: self.begun.as_ref().map(|begun| begun.after),
            provider: self.provider().cloned(),
            model: self.model.take(),
            api_key: kept.whole_key.or(self.key.take()),
            success: self.ending.and_then(success),
            status: self.status,
            is_streamed: kept.is_streamed,
            is_flagged: self.ending == Some(Ending::Failed(FailureKind::Flagged)),
            text: kept.text,
            usage: self.usage,
            timestamp: kept.timestamp,
            attempts: self.attempts.drain(..).filter_map(attempt_row).collect(),
        }
    }
}

fn attempt_row(attempt: Trial) -> Option<AttemptRow> {
    let over = attempt.over()?;
    Some(AttemptRow {
        provider: attempt.provider,
        provider_api_key: attempt.whole_key.or(attempt.key),
        region: attempt.region,
        model: attempt.model,
        success: success(over.ending),
        outcome: over.ending.code(),
        duration: over.duration,
    })
}

/// Whether there was a whole answer; `None` when the client left before that was decided.
fn success(ending: Ending) -> Option<bool> {
    match ending {
        Ending::Answered => Some(true),
        Ending::Failed(_) => Some(false),
        Ending::Cancelled => None,
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.attempts.last().is_some_and(|attempt| attempt.over().is_none()) {
            self.end_attempt(Ending::Cancelled, None);
        }
        if self.ending.is_none() && std::thread::panicking() {
            let kind = FailureKind::Internal;
            self.status.get_or_insert(kind.public().status);
            self.ending = Some(Ending::Failed(kind));
        }
        let time = self.started.elapsed();
        let ending = self.ending.unwrap_or(Ending::Cancelled);
        self.count(ending, time);
        self.log(ending, time);
        if let Some(kept) = self.kept.take() {
            let row = self.row(kept, time);
            self.stats.push(row);
        }
    }
}
