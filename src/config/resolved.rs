//! What the program uses: validated, immutable, shared by reference.
//!
//! Nothing in here can be half right. A provider with a mistake is not in [`Config::channels`] at
//! all; its diagnostic says why. Only [`crate::config::load`] builds these values.

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use url::Url;

use super::by_model::ByModel;
use super::connections::ConnectionLimits;
use super::outbound::Outbound;
use super::overrides::Overrides;
use super::proxies::TrustedProxies;
use super::rate::RateLimit;
use super::secret::{Fingerprint, Secret};
use super::service_account::ServiceAccount;
use super::stats::StatsSettings;

/// The models that judge prompts, in the order in which they are asked.
pub const MODERATION_MODELS: [&str; 2] = ["omni-moderation-latest", "text-moderation-latest"];

/// A whole, valid configuration.
pub struct Config {
    /// Upstream channels in the order of the file.
    pub channels: Vec<Arc<Channel>>,
    /// Who may use the gateway.
    pub client_keys: ClientKeys,
    /// Largest request body that is read, in bytes; above it the answer is 413.
    pub max_request_body_bytes: usize,
    /// The same for forms, which carry files; never less than for other bodies.
    pub max_upload_bytes: usize,
    /// What the gateway fetches for upstreams that take images and documents as bytes only.
    pub media_fetch: MediaFetch,
    /// `rate_limit` at the top: all clients together.
    pub rate_limit: ByModel<RateLimit>,
    /// `deadline`: how long a request may wait for the beginning of its answer, all attempts taken
    /// together. `None`: five minutes, and more where one attempt may take longer.
    pub deadline: Option<Duration>,
    /// Whether any limit is one of tokens, so that prompts have to be measured.
    pub measures_prompts: bool,
    /// Whether any stream may have to be kept alive.
    pub keeps_alive: bool,
    /// `trusted_proxies`: whose word is taken for where a request comes from.
    pub trusted_proxies: TrustedProxies,
    /// `connections`: how many clients may be connected, and how slow they may be.
    pub connections: ConnectionLimits,
    /// `moderation_on_error: allow`: prompts pass when they cannot be moderated.
    pub passes_unmoderated: bool,
    /// `metrics: public`: they can be read without a key.
    pub metrics_are_public: bool,
    /// `stats`: what the statistics keep.
    pub stats: StatsSettings,
    /// The id of the next channel that none of its predecessors had.
    pub(crate) next_channel: usize,
    /// The same for client keys.
    pub(crate) next_client: usize,
}

impl Config {
    /// The channel of this id.
    pub fn channel(&self, id: ChannelId) -> Option<&Arc<Channel>> {
        self.channels.iter().find(|channel| channel.id == id)
    }
}

/// `media_fetch`: which addresses of images and documents the gateway fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaFetch {
    /// None.
    Deny,
    /// Those on the public internet.
    Public,
    /// Those in private networks as well: whoever has a client key can then reach what the gateway
    /// can reach.
    Any,
}

impl MediaFetch {
    /// Every choice with its name in the configuration.
    pub const ALL: [(MediaFetch, &'static str); 3] =
        [(MediaFetch::Deny, "deny"), (MediaFetch::Public, "public"), (MediaFetch::Any, "any")];
}

/// One entry of `providers` that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchedOff {
    /// `provider:`; where there is none, its place, such as `providers[2]`.
    pub name: String,
    /// What is wrong with it, and where.
    pub why: String,
}

/// One entry of `providers`: where requests can go.
pub struct Channel {
    /// Its own in this configuration and in all that succeed it.
    pub id: ChannelId,
    /// `provider:`, as used in rules and statistics. Several channels may share a name.
    pub name: Arc<str>,
    /// The wire format that the upstream speaks.
    pub dialect: Dialect,
    /// `base_url:`; always http or https, with a host.
    pub base_url: Url,
    /// Upstream keys, used in turn. Empty: the upstream wants none.
    pub keys: Vec<Secret>,
    /// Which models it offers.
    pub models: ModelSource,
    /// False: `tools` and `tool_choice` are removed from requests.
    pub tools: bool,
    /// False: the upstream is not asked for usage in streams unless the client asks.
    pub stream_usage: bool,
    /// The time limits of one attempt, unless its model has its own.
    pub limits: TimeLimits,
    /// `model_timeout` of the provider, then the one at the top.
    pub model_timeouts: [ByModel<Duration>; 2],
    /// `keepalive_interval` of the provider, then the one at the top.
    pub keepalive_intervals: [ByModel<Duration>; 2],
    /// `api_key_schedule_algorithm`: which key is next.
    pub key_schedule: KeySchedule,
    /// `api_key_rate_limit`: of each key, for each model at the upstream.
    pub key_limit: ByModel<RateLimit>,
    /// How long it rests, and its keys, when they fail.
    pub rests: Rests,
    /// `breaker`; `None`: off.
    pub breaker: Option<Breaker>,
    /// `proxy` and `ca_file`: how connections to it are opened.
    pub outbound: Arc<Outbound>,
    /// `headers`: what every request to it carries. Names are in lower case, and each is there once.
    pub headers: Vec<(Arc<str>, Secret)>,
    /// `post_body_parameter_overrides`: what is changed in JSON bodies.
    pub overrides: Overrides,
    /// There for [`Dialect::Vertex`], and for no other.
    pub vertex: Option<Box<Vertex>>,
}

impl Channel {
    /// Whether it is the same but for its id.
    pub fn is_like(&self, other: &Self) -> bool {
        // Without `..`, so that no setting to come is forgotten.
        let Self {
            id: _,
            name,
            dialect,
            base_url,
            keys,
            models,
            tools,
            stream_usage,
            limits,
            model_timeouts,
            keepalive_intervals,
            key_schedule,
            key_limit,
            rests,
            breaker,
            outbound,
            headers,
            overrides,
            vertex,
        } = self;
        (name, dialect, base_url, keys, models, tools, stream_usage, limits)
            == (
                &other.name,
                &other.dialect,
                &other.base_url,
                &other.keys,
                &other.models,
                &other.tools,
                &other.stream_usage,
                &other.limits,
            )
            && (model_timeouts, keepalive_intervals, key_schedule, key_limit, rests, breaker, vertex)
                == (
                    &other.model_timeouts,
                    &other.keepalive_intervals,
                    &other.key_schedule,
                    &other.key_limit,
                    &other.rests,
                    &other.breaker,
                    &other.vertex,
                )
            && (outbound, headers, overrides) == (&other.outbound, &other.headers, &other.overrides)
    }

    /// The time limits of an attempt at a model: of this alias, by this name at the upstream.
    pub fn limits_for(&self, alias: &str, upstream_model: &str) -> TimeLimits {
        let names = [alias, upstream_model];
        let set = |by_model: &[ByModel<Duration>]| {
            by_model.iter().find_map(|times| times.find(&names)).map(|(_, time)| *time)
        };
        let limits = set(&self.model_timeouts).map_or(self.limits, TimeLimits::with_patience);
        TimeLimits { keepalive: set(&self.keepalive_intervals), ..limits }
    }
}

/// `api_key_schedule_algorithm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySchedule {
    /// Keys are used in turn.
    #[default]
    RoundRobin,
    /// Any key.
    Random,
    /// The first key that does not rest.
    FixedPriority,
}

impl KeySchedule {
    /// Every schedule with its name in the configuration.
    pub const ALL: [(KeySchedule, &'static str); 3] = [
        (KeySchedule::RoundRobin, "round_robin"),
        (KeySchedule::Random, "random"),
        (KeySchedule::FixedPriority, "fixed_priority"),
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(schedule, _)| *schedule == self).map_or("round_robin", |(_, name)| name)
    }
}

/// How long what has failed is left alone. `None` leaves it to the gateway, zero is not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rests {
    /// `cooldown_period`: the channel, for the model that failed.
    pub channel: Duration,
    /// `api_key_cooldown_period`: a key, whatever its failure.
    pub key: Option<Duration>,
    /// `api_key_rate_limit_cooldown_period`: a key whose rate is limited; longer if the upstream
    /// says so.
    pub limited_key: Option<Duration>,
    /// `api_key_quota_cooldown_period`: a key whose quota is spent.
    pub spent_key: Option<Duration>,
}

/// `breaker`: when a model of a channel is left alone because it keeps failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Opens after this many failures in a row; positive.
    pub failures: u32,
    /// Lets one request try again after this time.
    pub open: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, open: Duration::from_secs(30) }
    }
}

/// What a channel of Google Vertex AI has in place of keys.
#[derive(PartialEq)]
pub struct Vertex {
    /// Who asks.
    pub account: ServiceAccount,
    /// `region:`; names of lower case letters, digits and hyphens. Empty: it depends on the model.
    pub regions: Vec<Arc<str>>,
}

/// Tells channels apart: from those of this configuration, and of all that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub usize);

/// A wire format, named as `engine:` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI chat completions and everything compatible.
    Gpt,
    /// OpenAI chat completions as OpenRouter speaks it.
    OpenRouter,
    /// Anthropic messages.
    Claude,
    /// Gemini generateContent.
    Gemini,
    /// Google Vertex AI, Gemini or Claude by model.
    Vertex,
    /// Cohere chat.
    Cohere,
    /// Cloudflare Workers AI.
    Cloudflare,
}

impl Dialect {
    /// Every dialect with its `engine:` name.
    pub const ALL: [(Dialect, &'static str); 7] = [
        (Dialect::Gpt, "gpt"),
        (Dialect::OpenRouter, "openrouter"),
        (Dialect::Claude, "claude"),
        (Dialect::Gemini, "gemini"),
        (Dialect::Vertex, "vertex"),
        (Dialect::Cohere, "cohere"),
        (Dialect::Cloudflare, "cloudflare"),
    ];

    /// Its `engine:` name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(dialect, _)| *dialect == self).map_or("gpt", |(_, name)| name)
    }
}

/// Where a channel's list of models comes from.
#[derive(PartialEq)]
pub enum ModelSource {
    /// `model:` names them.
    Listed(Vec<ModelName>),
    /// There is no `model:`; the upstream's own list is asked for while the gateway runs.
    Discovered,
}

/// One model of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// The name that clients send.
    pub alias: Arc<str>,
    /// The name that is sent to the upstream.
    pub upstream: Arc<str>,
}

/// How long one attempt may take at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// Name look-up, TCP and TLS together.
    pub connect: Duration,
    /// From the start of the attempt to the first event (or the head, when not streaming).
    pub first_event: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// The whole answer, when not streaming. Streams have no such limit.
    pub total: Duration,
    /// So long a stream may say nothing to its client before it gets a comment, if it ever does.
    pub keepalive: Option<Duration>,
}

impl TimeLimits {
    /// The limits when `TIMEOUT` is `patience`: 15 s to connect, `patience` to the first event and
    /// between events, and ten times that for a whole answer, at least ten minutes.
    pub fn with_patience(patience: Duration) -> Self {
        Self {
            connect: Duration::from_secs(15).min(patience),
            first_event: patience,
            idle: patience,
            total: patience.saturating_mul(10).max(Duration::from_secs(600)),
            keepalive: None,
        }
    }
}

/// Everybody who may use the gateway, found by the fingerprint of what they send.
#[derive(Default)]
pub struct ClientKeys {
    by_fingerprint: HashMap<Fingerprint, Arc<ClientKey>>,
    in_order: Vec<Arc<ClientKey>>,
}

impl ClientKeys {
    /// Builds the look-up. A key listed twice keeps its first entry.
    pub fn new(keys: Vec<ClientKey>) -> Self {
        let mut all = Self::default();
        for key in keys {
            let key = Arc::new(key);
            all.by_fingerprint.entry(key.secret.fingerprint()).or_insert_with(|| {
                all.in_order.push(Arc::clone(&key));
                key
            });
        }
        all
    }

    /// The client key of this fingerprint.
    pub fn get(&self, key: Fingerprint) -> Option<&Arc<ClientKey>> {
        self.by_fingerprint.get(&key)
    }

    /// Who sent this credential.
    pub fn find(&self, credential: &[u8]) -> Option<&Arc<ClientKey>> {
        self.get(Fingerprint::of(credential))
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ClientKey>> {
        self.in_order.iter()
    }

    /// Whether nobody may use the gateway.
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }
}

/// One entry of `api_keys`.
#[derive(Clone)]
pub struct ClientKey {
    /// Its own in this configuration and in all that succeed it.
    pub id: usize,
    /// What the client sends.
    pub secret: Secret,
    /// [`Secret::label`] of it, for statistics.
    pub label: Arc<str>,
    /// `role: admin`, or the only key there is.
    pub is_admin: bool,
    /// What it may use, in the order written; never empty.
    pub rules: Vec<Rule>,
    /// In which order matching channels are tried.
    pub schedule: Schedule,
    /// How many further attempts a failed request gets.
    pub retries: Retries,
    /// `RATE_LIMIT` or `rate_limit`: of this key. 60 requests a minute when nothing is written.
    pub rate_limit: ByModel<RateLimit>,
    /// `ENABLE_MODERATION`: prompts are moderated before they are sent on.
    pub is_moderated: bool,
}

/// One line of a client key's `model:` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it allows.
    pub target: RuleTarget,
    /// The number behind it, if one was written; positive.
    pub weight: Option<u32>,
}

/// What a rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleTarget {
    /// `all` or `*`: every model of every channel.
    Everything,
    /// `gpt-4o` or `<a/b>`: this alias at every channel that offers it.
    Model(Arc<str>),
    /// `provider/*`: every alias of the channels of that name.
    Provider(Arc<str>),
    /// `provider/alias`: this alias at the channels of that name.
    ProviderModel {
        /// The channel name, up to the first slash.
        provider: Arc<str>,
        /// The alias behind it; may contain further slashes.
        alias: Arc<str>,
    },
    /// `sk-…/*` or `sk-…/alias`: what another client key may use, in the order that it has for it.
    /// There are no circles.
    Client {
        /// The other key.
        key: Fingerprint,
        /// The alias behind it; `None` for all.
        alias: Option<Arc<str>>,
    },
}

/// `SCHEDULING_ALGORITHM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Each request starts one channel further on.
    RoundRobin,
    /// Each request starts at the first channel.
    FixedPriority,
    /// Each channel is the first one as often as its weight says, evenly spread.
    WeightedRoundRobin,
    /// The order is drawn; who has more weight is drawn earlier.
    Lottery,
    /// Any order.
    Random,
}

impl Schedule {
    /// Every schedule with its name in the configuration.
    pub const ALL: [(Schedule, &'static str); 5] = [
        (Schedule::FixedPriority, "fixed_priority"),
        (Schedule::RoundRobin, "round_robin"),
        (Schedule::WeightedRoundRobin, "weighted_round_robin"),
        (Schedule::Lottery, "lottery"),
        (Schedule::Random, "random"),
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(schedule, _)| *schedule == self).map_or("round_robin", |(_, name)| name)
    }
}

/// `AUTO_RETRY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// `true`: until every matching channel and its keys have been tried.
    UntilExhausted,
    /// `false` is 0; a number is that many attempts after the first.
    AtMost(u32),
}
