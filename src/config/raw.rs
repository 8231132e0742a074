//! What the user typed, key by key. Nothing in here has been checked beyond its type.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::by_model::ByModel;
use super::rate::RateLimit;
use super::seconds::{PositiveSeconds, Seconds};
use super::stats::{RetentionDays, TextChars};
use super::typed::{ByteSize, Flag, FlagOrCount, Pairs, PositiveCount, Text, Texts, Typed};

/// Keys that are not fields of their structure: unknown ones, and those that have no effect yet.
pub type Others = BTreeMap<String, Value>;

/// What is behind a key; `Some(null)` where the key is there with nothing behind it, which is another
/// thing than no key.
pub type Written = Option<Value>;

fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Written, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RawConfig {
    /// Where requests can go.
    pub providers: Value,
    /// Who may use the gateway.
    pub api_keys: Value,
    /// Settings of the gateway as a whole.
    pub preferences: Value,
    /// Everything else.
    #[serde(flatten)]
    pub others: Others,
}

/// `preferences` at the top.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RawPreferences {
    /// Larger request bodies are refused: a number of bytes, `20MB` or `20MiB`.
    pub max_request_body_bytes: Typed<ByteSize>,
    /// The same for forms, which carry files.
    pub max_upload_bytes: Typed<ByteSize>,
    /// Which addresses of images and documents are fetched: `deny`, `public` or `any`.
    pub media_fetch: Typed<Text>,
    /// How often all clients together may ask.
    pub rate_limit: Typed<ByModel<RateLimit>>,
    /// How long a request may wait for the beginning of its answer, all attempts taken together.
    pub deadline: Typed<PositiveSeconds>,
    /// What becomes of prompts that cannot be moderated: `refuse` or `allow`.
    pub moderation_on_error: Typed<Text>,
    /// Addresses and networks of proxies that say where a request comes from.
    pub trusted_proxies: Typed<Texts>,
    /// `TIMEOUT` of some models.
    pub model_timeout: Typed<ByModel<PositiveSeconds>>,
    /// A stream that says nothing for so long, in seconds, gets a comment; one value, or by model.
    pub keepalive_interval: Typed<ByModel<PositiveSeconds>>,
    /// How long a channel rests for a model that failed.
    pub cooldown_period: Typed<Seconds>,
    /// `on`, `off`, or a mapping: see [`RawBreaker`].
    pub breaker: Value,
    /// Who may read the metrics: `admin` or `public`.
    pub metrics: Typed<Text>,
    /// A mapping: see [`RawStats`].
    pub stats: Value,
    /// A mapping of limits for the connections of clients.
    pub connections: Value,
    /// Through which proxy providers are asked.
    #[serde(deserialize_with = "written")]
    pub proxy: Written,
    /// A file with certificates of authorities that are trusted beside the public ones.
    #[serde(deserialize_with = "written")]
    pub ca_file: Written,
    /// Headers of every request to a provider, `name: value`.
    pub headers: Value,
    /// Everything else.
    #[serde(flatten)]
    pub others: Others,
}

/// `stats`: what the statistics keep, and for how long.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RawStats {
    /// How keys are stored: `masked` or `full`.
    pub store_api_keys: Typed<Text>,
    /// How much of the last user message is stored: `full`, `off`, or a number of characters.
    pub text: Typed<TextChars>,
    /// After how many days rows are deleted, or `off`.
    pub retention_days: Typed<RetentionDays>,
    /// Everything else.
    #[serde(flatten)]
    pub others: Others,
}

/// One entry of `providers`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RawProvider {
    /// Its name in rules and statistics.
    pub provider: Typed<Text>,
    /// The full address of the endpoint.
    pub base_url: Typed<Text>,
    /// One key or several; none at all for an upstream that wants none.
    pub api: Typed<Texts>,
    /// The models it offers, each `name` or `upstream: alias`.
    pub model: Typed<Pairs>,
    /// False: it cannot use tools.
    pub tools: Typed<Flag>,
    /// The wire format, when the address does not tell.
    pub engine: Typed<Text>,
    /// Vertex: the Google Cloud project.
    pub project_id: Typed<Text>,
    /// Vertex: the key of the service account.
    pub private_key: Typed<Text>,
    /// Vertex: the address of the service account.
    pub client_email: Typed<Text>,
    /// Vertex: where the service account gets its access tokens.
    pub token_uri: Typed<Text>,
    /// Vertex: one region or several.
    pub region: Typed<Texts>,
    /// Cloudflare Workers AI: the account.
    pub cf_account_id: Typed<Text>,
    /// Amazon Bedrock: the access key.
    pub aws_access_key: Typed<Value>,
    /// Amazon Bedrock: the secret key.
    pub aws_secret_key: Typed<Value>,
    /// Amazon Bedrock: the session token.
    pub aws_session_token: Typed<Value>,
    /// Anything worth remembering; ignored.
    pub notes: Typed<Value>,
    /// How it is used.
    pub preferences: Value,
    /// Everything else.
    #[serde(flatten)]
    pub others: Others,
}

/// `preferences` of a provider.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RawProviderPreferences {
    /// False: streams are not asked for usage unless the client asks.
    pub stream_usage: Typed<Flag>,
    /// How often each of its keys may be used, for each model.
    pub api_key_rate_limit: Typed<ByModel<RateLimit>>,
    /// Which key is next: `round_robin`, `random` or `fixed_priority`.
    pub api_key_schedule_algorithm: Typed<Text>,
    /// How long a key rests that failed.
    pub api_key_cooldown_period: Typed<Seconds>,
    /// How long a key rests whose rate is limited.
    pub api_key_rate_limit_cooldown_period: Typed<Seconds>,
    /// How long a key rests whose quota is spent.
    pub api_key_quota_cooldown_period: Typed<Seconds>,
    /// `TIMEOUT` of some models here.
    pub model_timeout: Typed<ByModel<PositiveSeconds>>,
    /// A stream that says nothing for so long, in seconds, gets a comment; one value, or by model.
    pub keepalive_interval: Typed<ByModel<PositiveSeconds>>,
    /// How long it rests for a model that failed.
    pub cooldown_period: Typed<Seconds>,
    /// `on`, `off`, or a mapping: see [`RawBreaker`].
    pub breaker: Value,
    /// Through which proxy it is asked, instead of the one at the top.
    #[serde(deserialize_with = "written")]
    pub proxy: Written,
    /// A file with certificates, instead of the one at the top.
    #[serde(deserialize_with = "written")]
    pub ca_file: Written,
    /// Headers of every request to it, beside those at the top.
    pub headers: Value,
    /// Fields of request bodies, `name: value`, and `__remove__`.
    pub post_body_parameter_overrides: Value,
    /// True: HTTP/2 is wanted.
    pub http2: Typed<Flag>,
    /// Everything else.
    #[serde(flatten)]
    pub others: Others,
}

/// `breaker`: when a model of a provider is left alone because it keeps failing.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RawBreaker {
    /// It opens after this many failures in a row.
    pub failures: Typed<PositiveCount>,
    /// It lets one request try again after this time.
    pub open: Typed<PositiveSeconds>,
    /// Everything else.
    #[serde(flatten)]
    pub others: Others,
}

/// One entry of `api_keys`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RawApiKey {
    /// What the client sends.
    pub api: Typed<Texts>,
    /// What it may use, each `rule` or `rule: weight`; everything when left out.
    pub model: Typed<Pairs>,
    /// `admin`, or a name for people.
    pub role: Typed<Text>,
    /// How its requests are spread and limited.
    pub preferences: Value,
    /// Everything else.
    #[serde(flatten)]
    pub others: Others,
}

/// `preferences` of a client key.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RawApiKeyPreferences {
    /// In which order matching channels are tried.
    #[serde(rename = "SCHEDULING_ALGORITHM")]
    pub schedule: Typed<Text>,
    /// Whether, or how often, a failed request is tried elsewhere.
    #[serde(rename = "AUTO_RETRY")]
    pub retries: Typed<FlagOrCount>,
    /// How often it may ask, such as `60/min`.
    #[serde(rename = "RATE_LIMIT")]
    pub rate_limit_in_capitals: Typed<ByModel<RateLimit>>,
    /// The same under its newer name.
    pub rate_limit: Typed<ByModel<RateLimit>>,
    /// True: prompts are moderated before they are sent on.
    #[serde(rename = "ENABLE_MODERATION")]
    pub moderation: Typed<Flag>,
    /// Everything else.
    #[serde(flatten)]
    pub others: Others,
}

/// Which keys a mapping may have.
pub struct Vocabulary {
    /// Fields of the structure.
    pub used: &'static [&'static str],
    /// Known from elsewhere, without an effect here so far.
    pub without_effect: &'static [&'static str],
    /// What people write instead, and what they mean.
    pub synonyms: &'static [(&'static str, &'static str)],
}

/// Keys at the top.
pub const TOP: Vocabulary = Vocabulary {
    used: &["providers", "api_keys", "preferences"],
    without_effect: &["video_providers", "ENABLE_MODERATION"],
    synonyms: &[
        ("channels", "providers"),
        ("upstreams", "providers"),
        ("keys", "api_keys"),
        ("apis", "api_keys"),
        ("tokens", "api_keys"),
        ("settings", "preferences"),
        ("config", "preferences"),
    ],
};

/// Keys of `preferences` at the top.
pub const PREFERENCES: Vocabulary = Vocabulary {
    used: &[
        "max_request_body_bytes",
        "max_upload_bytes",
        "media_fetch",
        "rate_limit",
        "deadline",
        "moderation_on_error",
        "trusted_proxies",
        "model_timeout",
        "keepalive_interval",
        "cooldown_period",
        "breaker",
        "metrics",
        "stats",
        "connections",
        "proxy",
        "ca_file",
        "headers",
    ],
    without_effect: &["timeout_policy", "error_triggers", "model_price"],
    synonyms: &[
        ("max_body_size", "max_request_body_bytes"),
        ("max_file_size", "max_upload_bytes"),
        ("image_fetch", "media_fetch"),
        ("limit", "rate_limit"),
        ("request_timeout", "deadline"),
        ("total_timeout", "deadline"),
        ("moderation", "moderation_on_error"),
        ("moderation_fail_open", "moderation_on_error"),
        ("timeout", "model_timeout"),
        ("cooldown", "cooldown_period"),
        ("circuit_breaker", "breaker"),
        ("prometheus", "metrics"),
        ("statistics", "stats"),
        ("database", "stats"),
        ("max_connections", "connections"),
        ("http_proxy", "proxy"),
        ("ca", "ca_file"),
        ("ca_cert", "ca_file"),
        ("header", "headers"),
    ],
};

/// Keys of `stats`.
pub const STATS: Vocabulary = Vocabulary {
    used: &["store_api_keys", "text", "retention_days"],
    without_effect: &[],
    synonyms: &[
        ("keys", "store_api_keys"),
        ("api_keys", "store_api_keys"),
        ("store_keys", "store_api_keys"),
        ("store_text", "text"),
        ("prompt", "text"),
        ("prompts", "text"),
        ("retention", "retention_days"),
        ("days", "retention_days"),
        ("keep_days", "retention_days"),
    ],
};

/// Keys of one entry of `providers`.
pub const PROVIDER: Vocabulary = Vocabulary {
    used: &[
        "provider",
        "base_url",
        "api",
        "model",
        "tools",
        "engine",
        "project_id",
        "private_key",
        "client_email",
        "token_uri",
        "region",
        "cf_account_id",
        "aws_access_key",
        "aws_secret_key",
        "aws_session_token",
        "notes",
        "preferences",
    ],
    without_effect: &[
        "image",
        "exclude_endpoints",
        "only_request_types",
        "exclude_request_types",
        "exclude_request_rules",
        "max_request_body_bytes",
    ],
    synonyms: &[
        ("key", "api"),
        ("keys", "api"),
        ("api_key", "api"),
        ("api_keys", "api"),
        ("apikey", "api"),
        ("token", "api"),
        ("name", "provider"),
        ("id", "provider"),
        ("url", "base_url"),
        ("baseurl", "base_url"),
        ("base-url", "base_url"),
        ("api_base", "base_url"),
        ("endpoint", "base_url"),
        ("host", "base_url"),
        ("models", "model"),
        ("type", "engine"),
        ("format", "engine"),
        ("tool", "tools"),
        ("note", "notes"),
        ("email", "client_email"),
        ("project", "project_id"),
        ("regions", "region"),
        ("location", "region"),
        ("account_id", "cf_account_id"),
    ],
};

/// Keys of `preferences` of a provider.
pub const PROVIDER_PREFERENCES: Vocabulary = Vocabulary {
    used: &[
        "stream_usage",
        "api_key_rate_limit",
        "api_key_schedule_algorithm",
        "api_key_cooldown_period",
        "api_key_rate_limit_cooldown_period",
        "api_key_quota_cooldown_period",
        "model_timeout",
        "keepalive_interval",
        "cooldown_period",
        "breaker",
        "proxy",
        "ca_file",
        "headers",
        "post_body_parameter_overrides",
        "http2",
    ],
    without_effect: &[
        "timeout_policy",
        "passthrough_request_headers",
        "exclude_endpoints",
        "max_request_body_bytes",
        "search_defaults",
        "responses_stream_commit_policy",
        "access_key",
        "secret_key",
    ],
    synonyms: &[
        ("rate_limit", "api_key_rate_limit"),
        ("key_rate_limit", "api_key_rate_limit"),
        ("scheduling_algorithm", "api_key_schedule_algorithm"),
        ("api_key_scheduling_algorithm", "api_key_schedule_algorithm"),
        ("api_key_schedule", "api_key_schedule_algorithm"),
        ("api_key_cooldown", "api_key_cooldown_period"),
        ("cooldown", "cooldown_period"),
        ("circuit_breaker", "breaker"),
        ("timeout", "model_timeout"),
        ("header", "headers"),
        ("http_proxy", "proxy"),
        ("ca", "ca_file"),
        ("ca_cert", "ca_file"),
        ("overrides", "post_body_parameter_overrides"),
        ("body_overrides", "post_body_parameter_overrides"),
        ("h2", "http2"),
    ],
};

/// Keys of `breaker`.
pub const BREAKER: Vocabulary = Vocabulary {
    used: &["failures", "open"],
    without_effect: &[],
    synonyms: &[
        ("threshold", "failures"),
        ("failure_threshold", "failures"),
        ("open_seconds", "open"),
        ("seconds", "open"),
        ("timeout", "open"),
        ("period", "open"),
    ],
};

/// Keys of one entry of `api_keys`.
pub const API_KEY: Vocabulary = Vocabulary {
    used: &["api", "model", "role", "preferences"],
    without_effect: &["weights"],
    synonyms: &[
        ("key", "api"),
        ("keys", "api"),
        ("api_key", "api"),
        ("apikey", "api"),
        ("token", "api"),
        ("models", "model"),
        ("rules", "model"),
        ("roles", "role"),
    ],
};

/// Keys of `preferences` of a client key.
pub const API_KEY_PREFERENCES: Vocabulary = Vocabulary {
    used: &["SCHEDULING_ALGORITHM", "AUTO_RETRY", "RATE_LIMIT", "rate_limit", "ENABLE_MODERATION"],
    without_effect: &["credits", "created_at"],
    synonyms: &[
        ("SCHEDULE", "SCHEDULING_ALGORITHM"),
        ("SCHEDULING", "SCHEDULING_ALGORITHM"),
        ("algorithm", "SCHEDULING_ALGORITHM"),
        ("RETRY", "AUTO_RETRY"),
        ("RETRIES", "AUTO_RETRY"),
        ("LIMIT", "RATE_LIMIT"),
        ("moderation", "ENABLE_MODERATION"),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Every key of the vocabulary that is a field must not end up among the others.
    fn others<T: serde::de::DeserializeOwned>(words: &Vocabulary, others: fn(T) -> Others) -> Vec<String> {
        let all: Others = words.used.iter().map(|key| ((*key).to_owned(), json!(null))).collect();
        others(serde_json::from_value(json!(all)).unwrap()).into_keys().collect()
    }

    #[test]
    fn vocabularies_and_structures_agree() {
        assert_eq!(others(&TOP, |raw: RawConfig| raw.others), [""; 0]);
        assert_eq!(others(&PREFERENCES, |raw: RawPreferences| raw.others), [""; 0]);
        assert_eq!(others(&PROVIDER, |raw: RawProvider| raw.others), [""; 0]);
        assert_eq!(others(&PROVIDER_PREFERENCES, |raw: RawProviderPreferences| raw.others), [""; 0]);
        assert_eq!(others(&BREAKER, |raw: RawBreaker| raw.others), [""; 0]);
        assert_eq!(others(&STATS, |raw: RawStats| raw.others), [""; 0]);
        assert_eq!(others(&API_KEY, |raw: RawApiKey| raw.others), [""; 0]);
        assert_eq!(others(&API_KEY_PREFERENCES, |raw: RawApiKeyPreferences| raw.others), [""; 0]);
    }

    #[test]
    fn synonyms_mean_known_keys() {
        let all =
            [&TOP, &PREFERENCES, &PROVIDER, &PROVIDER_PREFERENCES, &BREAKER, &STATS, &API_KEY, &API_KEY_PREFERENCES];
        for words in all {
            for (synonym, meant) in words.synonyms {
                assert!(words.used.contains(meant) || words.without_effect.contains(meant), "{synonym}");
            }
        }
    }
}
