//! What the program uses: validated, immutable, shared by reference.
//!
//! Nothing in here can be half right. A provider with a mistake is not in [`Config::channels`] at
//! all; its diagnostic says why. Only [`crate::config::load`] builds these values.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::secret::{Fingerprint, Secret};
use super::service_account::ServiceAccount;

/// A whole, valid configuration.
pub struct Config {
    /// Upstream channels in the order of the file.
    pub channels: Vec<Arc<Channel>>,
    /// Who may use the gateway.
    pub client_keys: ClientKeys,
    /// Largest request body that is read, in bytes; above it the answer is 413.
    pub max_request_body_bytes: usize,
    /// What the gateway fetches for upstreams that take images and documents as bytes only.
    pub media_fetch: MediaFetch,
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

/// One entry of `providers`: where requests can go.
pub struct Channel {
    /// Position among the channels of this configuration.
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
    /// The time limits of one attempt.
    pub limits: TimeLimits,
    /// There for [`Dialect::Vertex`], and for no other.
    pub vertex: Option<Box<Vertex>>,
}

/// What a channel of Google Vertex AI has in place of keys.
pub struct Vertex {
    /// Who asks.
    pub account: ServiceAccount,
    /// `region:`; names of lower case letters, digits and hyphens. Empty: it depends on the model.
    pub regions: Vec<Arc<str>>,
}

/// Position of a channel in [`Config::channels`].
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

    /// Who sent this credential.
    pub fn find(&self, credential: &[u8]) -> Option<&Arc<ClientKey>> {
        self.by_fingerprint.get(&Fingerprint::of(credential))
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
pub struct ClientKey {
    /// Position among the client keys of this configuration.
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
}

/// `SCHEDULING_ALGORITHM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Each request starts one channel further on.
    RoundRobin,
    /// Each request starts at the first channel.
    FixedPriority,
}

/// `AUTO_RETRY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// `true`: until every matching channel and its keys have been tried.
    UntilExhausted,
    /// `false` is 0; a number is that many attempts after the first.
    AtMost(u32),
}
