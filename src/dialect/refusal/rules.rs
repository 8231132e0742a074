//! What providers say when: the table of their words.

use crate::canon::FailureKind;

use super::body::ErrorBody;

/// If a status is one of these, and the error has one of these marks or phrases, it is of this kind.
struct Rule {
    kind: FailureKind,
    statuses: &'static [u16],
    /// Whole words for programs, in lower case.
    marks: &'static [&'static str],
    /// Parts of a message, in lower case; a star stands for anything between.
    phrases: &'static [&'static str],
    /// Whether it also counts for an error without a status.
    in_answers: bool,
}

/// Statuses that providers use for whatever is wrong with a key, …
const KEY_STATUSES: &[u16] = &[400, 401, 402, 403];
/// … with the balance behind it, …
const BALANCE_STATUSES: &[u16] = &[400, 401, 402, 403, 429];
/// … or with a request.
const REQUEST_STATUSES: &[u16] = &[400, 403, 413, 422];

/// The first that fits counts.
const RULES: [Rule; 8] = [
    // Neither key nor request is to blame; another provider may serve this country.
    Rule {
        kind: FailureKind::UpstreamStatus,
        statuses: &[400, 403, 451],
        marks: &["unsupported_country_region_territory"],
        phrases: &[
            "location is not supported",
            "region, or territory",
            "unsupported countries",
            "not available in your country",
            "not available in your region",
        ],
        in_answers: false,
    },
    Rule {
        kind: FailureKind::KeyRefused,
        statuses: KEY_STATUSES,
        marks: &["invalid_api_key", "api_key_invalid"],
        phrases: &[
            "api key not valid",
            "invalid api key",
            "incorrect api key",
            "api key expired",
            "api_key_invalid",
            "organization has been disabled",
        ],
        in_answers: false,
    },
    Rule {
        kind: FailureKind::QuotaSpent,
        statuses: BALANCE_STATUSES,
        marks: &[
            "insufficient_quota",
            "insufficient_user_quota",
            "insufficient_balance",
            "credit_balance_too_low",
            "enforced_spend_limit_reached",
            "billing_error",
            "billing_disabled",
            "billing_not_active",
            "billing_hard_limit_reached",
            // Cloudflare: the day's free neurons are used up.
            "3036",
        ],
        phrases: &[
            "exceeded your current quota",
            "credit balance",
            "insufficient balance",
            "insufficient credit",
            "insufficient quota",
            "available credits",
            "more credits",
            "out of credit",
            "spending limit",
            "spend limit",
            "billing hard limit",
            "billing to be enabled",
            "api usage limits",
            "daily free allocation",
            "api calls / month",
            "balance is insufficient",
            "余额不足",
            "额度不足",
        ],
        in_answers: false,
    },
    Rule {
        kind: FailureKind::ContextTooLong,
        statuses: REQUEST_STATUSES,
        marks: &["context_length_exceeded", "context_window_exceeded", "model_max_prompt_tokens_exceeded"],
        phrases: &[
            "prompt is too long",
            "prompt too long",
            "input is too long",
            "maximum context length",
            "maximum prompt length",
            "context length exceeded",
            "exceeds the context",
            "exceed context limit",
            "exceeds the model's context",
            "exceeds the available context",
            "input token count*exceeds",
            "input tokens exceed the",
            // Not Cohere's "too many tokens: max tokens must be …", which is about the answer.
            "too many tokens: total",
            "too many tokens: the total",
            "too many tokens: size",
            "reduce the length of the messages",
        ],
        in_answers: true,
    },
    Rule {
        kind: FailureKind::ContentFiltered,
        statuses: &[400, 403, 422, 451],
        marks: &[
            "content_filter",
            "content_policy_violation",
            "responsibleaipolicyviolation",
            "invalid_prompt",
            "moderation_blocked",
            "data_inspection_failed",
            "datainspectionfailed",
            "flagged_input",
        ],
        phrases: &[
            "content management policy",
            "content filtering policy",
            "content policy",
            "safety system",
            "flagged as potentially",
            "input was flagged",
            "content exists risk",
        ],
        in_answers: true,
    },
    Rule {
        kind: FailureKind::UpstreamNotFound,
        statuses: &[400, 403, 422],
        marks: &[
            "model_not_found",
            "invalid_model",
            // Cloudflare.
            "5007",
        ],
        phrases: &[
            "model*does not exist",
            "model not exist",
            "model not found",
            "no such model",
            "unknown model",
            "invalid model:",
            "not a valid model",
            "not have access to model",
        ],
        in_answers: false,
    },
    Rule {
        kind: FailureKind::Overloaded,
        // Groq has 498 for it.
        statuses: &[429, 498, 500, 502, 503, 529],
        marks: &[
            "overloaded_error",
            "engine_overloaded",
            // Cloudflare: no data centre left.
            "3040",
        ],
        phrases: &[
            "overloaded",
            "capacity exceeded",
            "at capacity",
            "out of capacity",
            "no more data centers",
            "high demand",
            "model is busy",
            "server is busy",
        ],
        in_answers: true,
    },
    Rule {
        kind: FailureKind::RateLimited,
        // Groq answers 413 to a prompt that is longer than what a key may send in a minute.
        statuses: &[403, 413, 429],
        marks: &["rate_limit_exceeded", "rate_limit_error", "rate_limited", "ratelimitexceeded"],
        phrases: &["rate limit", "rate-limited", "too many requests", "tokens per min", "requests per min"],
        in_answers: true,
    },
];

/// What kind of failure a status with this error is.
pub(super) fn kind_of_refusal(status: u16, error: &ErrorBody) -> FailureKind {
    if error.is_page && matches!(status, 400 | 403 | 422) {
        // A proxy on the way, not the provider.
        return FailureKind::UpstreamStatus;
    }
    // Google speaks of plan and billing whenever the quota of a minute is used up.
    let has = |mark| error.marks.iter().any(|said| said == mark);
    if status == 429 && has("resource_exhausted") && (error.delay.is_some() || has("per_minute")) {
        return FailureKind::RateLimited;
    }
    if let Some(rule) = error.first_of(|rule| rule.statuses.contains(&status)) {
        return rule.kind;
    }
    match status {
        400 | 422 if error.is_too_long() => FailureKind::ContextTooLong,
        400 | 413 | 422 => FailureKind::Rejected,
        401 | 403 => FailureKind::KeyRefused,
        402 => FailureKind::QuotaSpent,
        404 | 410 => FailureKind::UpstreamNotFound,
        429 => FailureKind::RateLimited,
        503 | 529 => FailureKind::Overloaded,
        _ => FailureKind::UpstreamStatus,
    }
}

/// What kind of failure an error in an answer of status 200 is.
pub(super) fn kind_of_error(error: &ErrorBody) -> FailureKind {
    if let Some(rule) = error.first_of(|rule| rule.in_answers) {
        return rule.kind;
    }
    match error.status {
        Some(429) => FailureKind::RateLimited,
        Some(503 | 529) => FailureKind::Overloaded,
        _ => FailureKind::ErrorInAnswer,
    }
}

impl ErrorBody {
    fn first_of(&self, applies: impl Fn(&Rule) -> bool) -> Option<&'static Rule> {
        let message = self.message.as_deref().unwrap_or_default().to_lowercase();
        RULES.iter().filter(|rule| applies(rule)).find(|rule| {
            rule.marks.iter().any(|mark| self.marks.iter().any(|said| said == mark))
                || rule.phrases.iter().any(|phrase| contains(&message, phrase))
        })
    }

    /// OpenAI calls a text too long that would fit no context; but also a name or an id.
    fn is_too_long(&self) -> bool {
        let is_text = |param: &str| param.contains("content") || matches!(param, "messages" | "input" | "prompt");
        self.marks.iter().any(|mark| mark == "string_above_max_length") && self.param.as_deref().is_some_and(is_text)
    }
}

/// Whether the parts of a phrase follow each other in a text.
fn contains(text: &str, phrase: &str) -> bool {
    phrase.split('*').try_fold(text, |rest, part| rest.split_once(part).map(|(_, behind)| behind)).is_some()
}
