//! Where each dialect has its operations, and how it wants to be shown a key.
//!
//! Source: the API references of Anthropic ("Authentication", "List models"), Google ("Gemini API",
//! "models.generateContent", "models.list"), Cohere ("Chat", "List models"), Cloudflare ("OpenAI
//! compatible API endpoints", "Search models"), OpenRouter ("Headers").

use ::url::Url;

use crate::config::{Channel, Dialect};
use crate::dialect::anthropic::Host;
use crate::dialect::{Format, gemini};

use super::url::{CHAT, MODELS, endpoint_url, is_version};

/// What a request to an upstream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'m> {
    /// An answer of this model.
    Chat {
        /// Its name at the upstream.
        model: &'m str,
        /// Whether the answer is streamed.
        stream: bool,
    },
    /// The list of models.
    ListModels,
}

/// How a key is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// `authorization: Bearer`.
    Bearer,
    /// The same for the access token of an account.
    AccessToken,
    /// In a header of its own.
    Header(&'static str),
}

/// Where and how an operation is asked for.
pub(super) struct Route {
    pub url: Url,
    /// `None` speaks like the client.
    pub format: Option<Format>,
    pub auth: Auth,
    /// Headers that every request carries.
    pub headers: &'static [(&'static str, &'static str)],
}

const ANTHROPIC_HEADERS: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];
/// Names the program to OpenRouter.
const OPENROUTER_HEADERS: &[(&str, &str)] =
    &[("http-referer", "https://github.com/yym68686/uni-api"), ("x-title", "uni-api")];

/// Whether the address of a chat depends on the model and on streaming.
pub fn address_names_model(dialect: Dialect) -> bool {
    dialect == Dialect::Gemini
}

/// The route to an operation of a channel.
pub(super) fn route(channel: &Channel, operation: Operation<'_>) -> Route {
    let base = &channel.base_url;
    match channel.dialect {
        Dialect::Claude => {
            let path = if operation == Operation::ListModels { MODELS } else { "messages" };
            let mut url = match names_version(base.path()) {
                true => endpoint_url(base, path),
                // As Anthropic's own clients understand a base.
                false => with_path(base, &format!("{}/v1/{path}", base.path().trim_end_matches('/')), base.query()),
            };
            if operation == Operation::ListModels {
                url.set_query(Some("limit=1000"));
            }
            Route {
                url,
                format: Some(Format::Anthropic(Host::Anthropic)),
                auth: Auth::Header("x-api-key"),
                headers: ANTHROPIC_HEADERS,
            }
        }
        Dialect::Gemini => Route {
            url: gemini(base, operation),
            format: Some(Format::Gemini(gemini_host(base))),
            auth: Auth::Header("x-goog-api-key"),
            headers: &[],
        },
        Dialect::Cohere => {
            let (url, format) = cohere(base, operation);
            Route { url, format: Some(format), auth: Auth::Bearer, headers: &[] }
        }
        Dialect::Cloudflare if operation == Operation::ListModels => {
            // The OpenAI-compatible root, which is its base, has no list.
            let path = format!("{}/models/search", versionless(base.path(), &["v1"]));
            let url = with_path(base, &path, Some("task=Text%20Generation&per_page=100"));
            Route { url, format: None, auth: Auth::Bearer, headers: &[] }
        }
        dialect => {
            let path = if operation == Operation::ListModels { MODELS } else { CHAT };
            let headers = if dialect == Dialect::OpenRouter { OPENROUTER_HEADERS } else { &[] };
            let url = match base.path() {
                "/" if base.host_str() == Some("openrouter.ai") => with_path(base, &format!("/api/v1/{path}"), None),
                _ => endpoint_url(base, path),
            };
            Route { url, format: None, auth: Auth::Bearer, headers }
        }
    }
}

/// Google's `v1` knows less than its `v1beta`; what others offer under that name is taken for whole.
fn gemini_host(base: &Url) -> gemini::Host {
    let is_v1 = gemini_root(base).ends_with("/v1") && base.host_str() == Some("generativelanguage.googleapis.com");
    if is_v1 { gemini::Host::AiStudioV1 } else { gemini::Host::AiStudio }
}

/// The path up to the version.
fn gemini_root(base: &Url) -> &str {
    let root = base.path().split("/models").next().unwrap_or_default().trim_end_matches('/');
    if root.is_empty() { "/v1beta" } else { root }
}

/// Gemini names model and method in the path. A base may name the list of models already.
fn gemini(base: &Url, operation: Operation<'_>) -> Url {
    let root = gemini_root(base);
    let Operation::Chat { model, stream } = operation else {
        return with_path(base, &format!("{root}/models"), Some("pageSize=1000"));
    };
    let (method, query) = if stream { ("streamGenerateContent", Some("alt=sse")) } else { ("generateContent", None) };
    let mut url = with_path(base, root, query);
    if let Ok(mut path) = url.path_segments_mut() {
        // Tuned models have a collection of their own, which their name says.
        if !model.contains('/') {
            path.push("models");
        }
        path.extend(format!("{model}:{method}").split('/'));
    }
    url
}

/// Cohere's two versions of chat; the list of models is in the first one only.
fn cohere(base: &Url, operation: Operation<'_>) -> (Url, Format) {
    let root = versionless(base.path(), &["v1/chat", "v2/chat", "v1", "v2"]);
    let is_v1 = base.path().trim_end_matches('/').ends_with("/v1/chat");
    let (path, query) = match operation {
        Operation::ListModels => ("v1/models", Some("page_size=1000&endpoint=chat")),
        Operation::Chat { .. } if is_v1 => ("v1/chat", base.query()),
        Operation::Chat { .. } => ("v2/chat", base.query()),
    };
    let format = if is_v1 { Format::CohereV1 } else { Format::CohereV2 };
    (with_path(base, &format!("{root}/{path}"), query), format)
}

/// Whether a path has a version in it, or the endpoint behind one.
fn names_version(path: &str) -> bool {
    path.split('/').any(is_version) || path.trim_end_matches('/').ends_with("/messages")
}

/// A path without the endpoint or version that it may end with, nor a slash.
fn versionless<'p>(path: &'p str, endings: &[&str]) -> &'p str {
    let path = path.trim_end_matches('/');
    let root = endings.iter().find_map(|ending| path.strip_suffix(ending)?.strip_suffix('/'));
    root.unwrap_or(path)
}

fn with_path(base: &Url, path: &str, query: Option<&str>) -> Url {
    let mut url = base.clone();
    url.set_fragment(None);
    url.set_path(path);
    url.set_query(query);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_base_url_leads_to_the_messages() {
        let messages = |base: &str| {
            let channel = Channel {
                id: crate::config::ChannelId(0),
                name: "c".into(),
                dialect: Dialect::Claude,
                base_url: Url::parse(base).unwrap(),
                keys: Vec::new(),
                models: crate::config::ModelSource::Discovered,
                tools: true,
                stream_usage: true,
                limits: crate::config::TimeLimits::with_patience(std::time::Duration::from_secs(1)),
                model_timeouts: Default::default(),
                key_schedule: Default::default(),
                key_limit: Default::default(),
                rests: Default::default(),
                breaker: None,
                vertex: None,
            };
            route(&channel, Operation::Chat { model: "m", stream: false }).url.to_string()
        };
        for base in ["https://h", "https://h/v1", "https://h/v1/messages", "https://h/v1/messages/"] {
            assert_eq!(messages(base), "https://h/v1/messages", "{base}");
        }
        assert_eq!(messages("https://h/anthropic"), "https://h/anthropic/v1/messages");
        assert_eq!(messages("https://h/messages"), "https://h/messages");
    }

    #[test]
    fn every_form_of_base_url_leads_to_the_model() {
        let chat = |base: &str, model, stream| {
            gemini(&Url::parse(base).unwrap(), Operation::Chat { model, stream }).to_string()
        };
        for base in ["https://h", "https://h/v1beta", "https://h/v1beta/", "https://h/v1beta/models"] {
            assert_eq!(chat(base, "g-2", false), "https://h/v1beta/models/g-2:generateContent", "{base}");
        }
        assert_eq!(chat("https://h/p/v1?x=1", "g-2", true), "https://h/p/v1/models/g-2:streamGenerateContent?alt=sse");
        assert_eq!(chat("https://h/v1", "tunedModels/mine", false), "https://h/v1/tunedModels/mine:generateContent");
        assert_eq!(chat("https://h", "a b?c#d", false), "https://h/v1beta/models/a%20b%3Fc%23d:generateContent");
        assert_eq!(
            gemini(&Url::parse("https://h/v1").unwrap(), Operation::ListModels).to_string(),
            "https://h/v1/models?pageSize=1000"
        );
    }
}
