//! One row per request, one per attempt.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::canon::{RequestId, Usage};

/// What is recorded of one request, whatever became of it.
#[derive(Clone, Debug)]
pub struct RequestRow {
    /// The `x-request-id` of the answer; joins the two tables.
    pub request_id: RequestId,
    /// Method and path.
    pub endpoint: &'static str,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// From the request to the end of the answer.
    pub process_time: Duration,
    /// From the request to the first event of the answer; `None` when there was none.
    pub first_response_time: Option<Duration>,
    /// The channel that answered; `None` when none did.
    pub provider: Option<Arc<str>>,
    /// The alias that the client asked for.
    pub model: Option<Arc<str>>,
    /// The client's key as it is to be stored.
    pub api_key: Option<Arc<str>>,
    /// Whether the client got a whole answer; `None` when it left before that was decided.
    pub success: Option<bool>,
    /// The HTTP status that the client got; `None` when it left before there was one.
    pub status: Option<u16>,
    /// Whether the answer was to be streamed.
    pub is_streamed: bool,
    /// The prompt did not pass moderation.
    pub is_flagged: bool,
    /// The text of the last user message, shortened.
    pub text: Option<Arc<str>>,
    /// What the answer used; `None` when the provider did not say.
    pub usage: Option<Usage>,
    /// When the request came in.
    pub timestamp: SystemTime,
    /// Its attempts.
    pub attempts: Vec<AttemptRow>,
}

/// What is recorded of one attempt, beside what its request says.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// The channel that was tried.
    pub provider: Arc<str>,
    /// The upstream's key as it is to be stored; `None` for a channel without keys.
    pub provider_api_key: Option<Arc<str>>,
    /// The region, for a channel that has regions.
    pub region: Option<Arc<str>>,
    /// The alias of the model that was asked.
    pub model: Arc<str>,
    /// Whether it ended with a whole answer; `None` when the client left before that was decided.
    pub success: Option<bool>,
    /// `ok`, `cancelled`, or the code of its failure.
    pub outcome: &'static str,
    /// From its beginning to its end.
    pub duration: Duration,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request that was answered at once.
    pub fn row() -> RequestRow {
        RequestRow {
            request_id: 1.into(),
            endpoint: "POST /v1/chat/completions",
            client_ip: Some(IpAddr::from([127, 0, 0, 1])),
            process_time: Duration::from_millis(1500),
            first_response_time: None,
            provider: Some("openai".into()),
            model: Some("gpt-4o".into()),
            api_key: Some("sk-ab…yz#00000000".into()),
            success: Some(true),
            status: Some(200),
            is_streamed: false,
            is_flagged: false,
            text: Some("hello".into()),
            usage: Some(Usage {
                prompt_tokens: Some(3),
                completion_tokens: Some(4),
                total_tokens: Some(7),
                cached_tokens: Some(2),
                cache_creation_tokens: Some(1),
                reasoning_tokens: Some(3),
            }),
            timestamp: SystemTime::UNIX_EPOCH + Duration::from_secs(86_400),
            attempts: vec![AttemptRow {
                provider: "openai".into(),
                provider_api_key: None,
                region: None,
                model: "gpt-4o".into(),
                success: Some(true),
                outcome: "ok",
                duration: Duration::from_millis(20),
            }],
        }
    }
}
