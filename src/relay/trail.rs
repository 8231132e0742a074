//! The attempts of a request, and how they are told to those who run the gateway.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actors::Lease;
use crate::canon::RequestId;
use crate::metrics::{Ending, Series};

/// A header with more attempts than fit here, in bytes, leaves some out: a proxy in front answers with
/// an error of its own when the headers of an answer are larger than what it set aside (nginx: 4 KiB).
const MAX_TRAIL_BYTES: usize = 2000;

/// What most attempts take of it.
const USUAL_TRAIL_BYTES: usize = 96;

/// One attempt.
pub(super) struct Trial {
    /// The channel that is tried.
    pub provider: Arc<str>,
    /// The alias of the model.
    pub model: Arc<str>,
    /// Its key as it may be shown.
    pub key: Option<Arc<str>>,
    /// Its key as the statistics keep it, if that is not how it is shown.
    pub whole_key: Option<Arc<str>>,
    pub region: Option<Arc<str>>,
    /// What counts for it.
    pub series: Arc<Series>,
    started: Instant,
    over: Option<End>,
}

/// How an attempt ended.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub ending: Ending,
    /// The status of a failure.
    pub status: Option<u16>,
    pub duration: Duration,
}

impl Trial {
    /// An attempt that begins now.
    pub fn begin(lease: &Lease, model: &Arc<str>, whole_key: Option<Arc<str>>, now: Instant) -> Self {
        Self {
            provider: Arc::clone(&lease.channel().name),
            model: Arc::clone(model),
            key: lease.key_label().cloned(),
            whole_key,
            region: lease.region().cloned(),
            series: Arc::clone(lease.series(model)),
            started: now,
            over: None,
        }
    }

    /// How it ended, if it is over.
    pub fn over(&self) -> Option<End> {
        self.over
    }

    /// It ends. A failed one is a warning in the log, as attempt `number` of the request.
    pub fn end(&mut self, ending: Ending, status: Option<u16>, request_id: RequestId, number: usize) {
        let duration = self.started.elapsed();
        self.over = Some(End { ending, status, duration });
        self.series.attempt(ending);
        let level = if matches!(ending, Ending::Failed(_)) { log::Level::Warn } else { log::Level::Debug };
        if log::log_enabled!(level) {
            let Self { provider, model, key, region, .. } = self;
            let key = key.iter().map(|key| format!(" key {key}"));
            let place: String = key.chain(region.iter().map(|region| format!(" region {region}"))).collect();
            let status = status.map(|status| format!(" (status {status})")).unwrap_or_default();
            let (outcome, ms) = (ending.code(), duration.as_millis());
            log::log!(
                level,
                "request {request_id} attempt {number}: {provider}{place} {model:?}: {outcome}{status}, {ms} ms"
            );
        }
    }

    /// Puts it into the header with the attempts.
    fn push(&self, header: &mut String) {
        push_token(header, &self.provider);
        for (name, value) in [("key", &self.key), ("region", &self.region)] {
            if let Some(value) = value {
                header.push(';');
                header.push_str(name);
                header.push('=');
                push_token(header, value);
            }
        }
        // One that is under way has begun to answer.
        let under_way = || End { ending: Ending::Answered, status: None, duration: self.started.elapsed() };
        let End { ending, status, duration } = self.over.unwrap_or_else(under_way);
        let status = status.map(|status| format!(";status={status}")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(header, ";outcome={}{status};ms={}", ending.code(), milliseconds(duration));
    }
}

/// A time in whole milliseconds, in a type that is soon written.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Attempts as a list: `openai;key=sk-ab..yz;outcome=rate_limit_exceeded;status=429;ms=12,
/// backup;outcome=ok;ms=340`. Of very many, the first ones and the last one, which says how many it
/// comes after.
pub(super) fn trail(attempts: &[Trial]) -> String {
    let Some((last, others)) = attempts.split_last() else { return String::new() };
    let mut trail = String::with_capacity(USUAL_TRAIL_BYTES.saturating_mul(attempts.len()).min(MAX_TRAIL_BYTES));
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

/// Puts a text into a header: what is not visible ASCII, or has a meaning there, as `%XX`.
fn push_token(header: &mut String, text: &str) {
    // Nearly every name is plain.
    if text.bytes().all(is_plain) {
        return header.push_str(text);
    }
    for part in text.split_inclusive('…') {
        let (plain, dots) = part.strip_suffix('…').map_or((part, ""), |plain| (plain, ".."));
        for byte in plain.bytes() {
            if is_plain(byte) {
                header.push(char::from(byte));
            } else {
                let _ = write!(header, "%{byte:02X}");
            }
        }
        header.push_str(dots);
    }
}

/// Whether it is visible ASCII that has no meaning in the header.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"%,;=\"".contains(&byte)
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
