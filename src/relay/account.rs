//! What is noted of a request on its way, and reported once when it is over.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::actors::{Lease, StatsQueue};
use crate::canon::{Failure, FailureKind, Usage};
use crate::config::{ClientKey, Secret};
use crate::stats::{AttemptRow, RequestRow};

/// The outcome of an attempt that was answered.
const ANSWERED: &str = "ok";
/// The outcome of an attempt whose client left.
const CANCELLED: &str = "cancelled";

/// A header with more attempts than fit here, in bytes, leaves some out: a proxy in front answers with
/// an error of its own when the headers of an answer are larger than what it set aside (nginx: 4 KiB).
const MAX_TRAIL_BYTES: usize = 2000;

/// The account of one request. Whatever becomes of the request, dropping the account reports it:
/// an answer, a refusal, a client that went away. Each attempt is a line of the log, too.
pub struct Account {
    stats: StatsQueue,
    request_id: Arc<str>,
    started: Instant,
    row: Option<RequestRow>,
    /// Whether keys go into rows as they are. Never into the log.
    keeps_whole_keys: bool,
    attempts: Vec<Trial>,
}

/// One attempt.
struct Trial {
    row: AttemptRow,
    /// Its key as it may be shown.
    key: Option<Arc<str>>,
    started: Instant,
    /// The status of a failure.
    status: Option<u16>,
}

impl Account {
    /// Opens the account of a request that has just come in.
    pub fn open(stats: StatsQueue, request_id: Arc<str>, endpoint: &'static str, client_ip: Option<IpAddr>) -> Self {
        let settings = stats.settings();
        let row = settings.map(|_| RequestRow {
            request_id: Arc::clone(&request_id),
            endpoint,
            client_ip: client_ip.map(|ip| ip.to_string().into()),
            process_time: Default::default(),
            first_response_time: None,
            provider: None,
            model: None,
            api_key: None,
            success: None,
            status: None,
            is_streamed: false,
            is_flagged: false,
            text: None,
            usage: None,
            timestamp: SystemTime::now(),
            attempts: Vec::new(),
        });
        let keeps_whole_keys = settings.is_some_and(|settings| settings.keeps_whole_keys);
        Self { row, stats, request_id, started: Instant::now(), keeps_whole_keys, attempts: Vec::new() }
    }

    /// The `x-request-id` of the answer.
    pub fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// The client is known.
    pub fn client(&mut self, client: &ClientKey) {
        if let Some(row) = &mut self.row {
            let is_whole = self.keeps_whole_keys;
            row.api_key = Some(if is_whole { client.secret.exposed() } else { Arc::clone(&client.label) });
        }
    }

    /// What the client asks for is known.
    pub fn asks(&mut self, model: &Arc<str>, is_streamed: bool, text: Option<String>) {
        if let Some(row) = &mut self.row {
            row.model = Some(Arc::clone(model));
            row.is_streamed = is_streamed;
            row.text = text.map(Arc::from);
        }
    }

    /// The client gets no answer, but is told why.
    pub fn refused(&mut self, failure: &Failure) {
        if let Some(row) = &mut self.row {
            (row.success, row.status) = (Some(false), Some(failure.status()));
            row.is_flagged = failure.kind == FailureKind::Flagged;
        }
    }

    /// An attempt at a model begins. Neither succeeded nor failed, it ends undecided: the client left.
    pub fn attempt(&mut self, lease: &Lease, model: &Arc<str>) {
        let key = lease.key_label().cloned();
        let whole_key = || lease.channel().keys.get(lease.key()).map(Secret::exposed);
        self.attempts.push(Trial {
            row: AttemptRow {
                provider: Arc::clone(&lease.channel().name),
                provider_api_key: key
                    .clone()
                    .and_then(|label| if self.keeps_whole_keys { whole_key() } else { Some(label) }),
                region: lease.region().cloned(),
                model: Arc::clone(model),
                success: None,
                outcome: CANCELLED,
                duration: Duration::ZERO,
            },
            key,
            started: Instant::now(),
            status: None,
        });
    }

    /// The attempt's first event is here, and with it the answer.
    pub fn first_event(&mut self) {
        let elapsed = self.started.elapsed();
        if let Some(row) = &mut self.row {
            row.first_response_time = Some(elapsed);
            row.status = Some(200);
            row.provider = self.attempts.last().map(|attempt| Arc::clone(&attempt.row.provider));
        }
    }

    /// Token counts are known.
    pub fn used(&mut self, usage: Option<Usage>) {
        if let Some(row) = &mut self.row {
            row.usage = usage.or(row.usage);
        }
    }

    /// The gateway itself has answered.
    pub fn answered(&mut self) {
        if let Some(row) = &mut self.row {
            (row.success, row.status) = (Some(true), Some(200));
        }
    }

    /// The last attempt ended with a whole answer to the client's request.
    pub fn succeeded(&mut self) {
        if let Some(row) = &mut self.row {
            row.success = Some(true);
        }
        self.judged();
    }

    /// The last attempt ended with a whole answer, which is not the client's.
    pub fn judged(&mut self) {
        self.end_attempt(Some(true), ANSWERED, None);
    }

    /// The answer broke off after it had begun.
    pub fn broke(&mut self, failure: &Failure) {
        if let Some(row) = &mut self.row {
            row.success = Some(false);
        }
        self.failed(failure);
    }

    /// The answer had begun and ends before it is whole, for which the last attempt is not to blame.
    pub fn cut_short(&mut self) {
        if let Some(row) = &mut self.row {
            row.success = Some(false);
        }
    }

    /// The last attempt failed. One that had nothing to send was none.
    pub fn failed(&mut self, failure: &Failure) {
        if failure.kind.is_unsent() {
            self.attempts.pop();
        } else {
            self.end_attempt(Some(false), failure.kind.public().code, failure.upstream_status);
        }
    }

    /// The attempts so far, as a list for those who run the gateway:
    /// `openai;key=sk-ab..yz;outcome=rate_limit_exceeded;status=429;ms=12, backup;outcome=ok;ms=340`.
    /// Of very many, the first ones and the last one, which says how many it comes after.
    pub fn trail(&self) -> String {
        let Some((last, others)) = self.attempts.split_last() else { return String::new() };
        let mut trail = String::new();
        let mut told = 0;
        for attempt in others {
            if trail.len() > MAX_TRAIL_BYTES {
                break;
            }
            attempt.push(&mut trail);
            trail.push_str(", ");
            told += 1;
        }
        last.push(&mut trail);
        if told < others.len() {
            let _ = write!(trail, ";after={}", others.len());
        }
        trail
    }

    fn end_attempt(&mut self, success: Option<bool>, outcome: &'static str, status: Option<u16>) {
        let number = self.attempts.len();
        let Some(Trial { row, key, started, status: noted }) = self.attempts.last_mut() else { return };
        (row.success, row.outcome, row.duration, *noted) = (success, outcome, started.elapsed(), status);
        let level = if success == Some(false) { log::Level::Warn } else { log::Level::Info };
        if log::log_enabled!(level) {
            let key = key.iter().map(|key| format!(" key {key}"));
            let place: String = key.chain(row.region.iter().map(|region| format!(" region {region}"))).collect();
            let status = status.map(|status| format!(" (status {status})")).unwrap_or_default();
            let (id, channel, model, ms) = (&self.request_id, &row.provider, &row.model, row.duration.as_millis());
            log::log!(level, "request {id} attempt {number}: {channel}{place} {model:?}: {outcome}{status}, {ms} ms");
        }
    }
}

impl Trial {
    /// Puts it into the header with the attempts.
    fn push(&self, header: &mut String) {
        let Self { row, key, started, status } = self;
        push_token(header, &row.provider);
        for (name, value) in [("key", key), ("region", &row.region)] {
            if let Some(value) = value {
                header.push(';');
                header.push_str(name);
                header.push('=');
                push_token(header, value);
            }
        }
        let is_under_way = row.success.is_none();
        let outcome = if is_under_way { ANSWERED } else { row.outcome };
        let duration = if is_under_way { started.elapsed() } else { row.duration };
        let status = status.map(|status| format!(";status={status}")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(header, ";outcome={outcome}{status};ms={}", duration.as_millis());
    }
}

/// Puts a text into a header: what is not visible ASCII, or has a meaning there, as `%XX`.
fn push_token(header: &mut String, text: &str) {
    for part in text.split_inclusive('…') {
        let (plain, dots) = part.strip_suffix('…').map_or((part, ""), |plain| (plain, ".."));
        for byte in plain.bytes() {
            match byte {
                b'%' | b',' | b';' | b'=' | b'"' => {}
                b'!'..=b'~' => {
                    header.push(char::from(byte));
                    continue;
                }
                _ => {}
            }
            let _ = write!(header, "%{byte:02X}");
        }
        header.push_str(dots);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.attempts.last().is_some_and(|attempt| attempt.row.success.is_none()) {
            self.end_attempt(None, CANCELLED, None);
        }
        if let Some(mut row) = self.row.take() {
            row.process_time = self.started.elapsed();
            row.attempts = self.attempts.drain(..).map(|attempt| attempt.row).collect();
            self.stats.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::push_token;

    #[test]
    fn any_name_can_stand_in_the_trail() {
        let token = |text| {
            let mut header = String::new();
            push_token(&mut header, text);
            header
        };
        assert_eq!(token("sk-ab…yz#0011aaff"), "sk-ab..yz#0011aaff");
        assert_eq!(token("我的; a,b=c"), "%E6%88%91%E7%9A%84%3B%20a%2Cb%3Dc");
    }
}
