//! Where each dialect has its operations, and how it wants to be shown a key.
//!
//! Source: the API references of OpenAI ("Create chat completion", "List models" and so on),
//! Anthropic ("Authentication", "List models"), Google ("Gemini API",
//! "models.generateContent", "models.batchEmbedContents", "models.list"), Cohere ("Chat", "Embed",
//! "Rerank", "List models"), Cloudflare ("OpenAI compatible API endpoints", "Search models"),
//! OpenRouter ("Headers").

use ::url::Url;

use crate::canon::Operation;
use crate::config::{Channel, Dialect};
use crate::dialect::anthropic::Host;
use crate::dialect::gemini::embeddings::Method;
use crate::dialect::{Format, Translation, Wire, gemini};

use super::target::InvalidTarget;
use super::url::{MODELS, endpoint_url, is_version};

/// What is asked for at an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'m> {
    /// An answer of a model.
    Answer {
        /// What it is to do.
        operation: Operation,
        /// Its name at the upstream.
        model: &'m str,
        /// Whether the answer is streamed.
        stream: bool,
    },
    /// The list of models.
    ListModels,
}

impl<'m> Endpoint<'m> {
    /// For channels that do not have it.
    fn unsupported(self) -> InvalidTarget {
        InvalidTarget::Unsupported(match self {
            Self::Answer { operation, .. } => operation.row().name,
            Self::ListModels => "list of models",
        })
    }

    /// The path behind the version, at upstreams that speak like OpenAI.
    fn path(self) -> &'static str {
        match self {
            Self::Answer { operation, .. } => operation.row().path,
            Self::ListModels => MODELS,
        }
    }

    /// The model and whether it streams, where it is asked for a chat.
    fn chat(self) -> Option<(&'m str, bool)> {
        match self {
            Self::Answer { operation: Operation::Chat, model, stream } => Some((model, stream)),
            _ => None,
        }
    }
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
    pub wire: Wire,
    pub auth: Auth,
    /// Headers that every request carries.
    pub headers: &'static [(&'static str, &'static str)],
}

const ANTHROPIC_HEADERS: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];
/// Names the program to OpenRouter.
const OPENROUTER_HEADERS: &[(&str, &str)] =
    &[("http-referer", "https://github.com/yym68686/uni-api"), ("x-title", "uni-api")];

/// Whether the address of an answer depends on the model and on streaming.
pub fn address_names_model(dialect: Dialect) -> bool {
    dialect == Dialect::Gemini
}

/// The route to an operation of a channel.
///
/// # Errors
///
/// The channel's format has no such operation.
pub(super) fn route(channel: &Channel, endpoint: Endpoint<'_>) -> Result<Route, InvalidTarget> {
    find(channel.dialect, &channel.base_url, endpoint).ok_or_else(|| endpoint.unsupported())
}

fn find(dialect: Dialect, base: &Url, endpoint: Endpoint<'_>) -> Option<Route> {
    let like_openai = |url| Route { url, wire: Wire::Same, auth: Auth::Bearer, headers: &[] };
    Some(match dialect {
        Dialect::Gpt => Route { wire: wire_of_gpt(base, endpoint), ..like_openai(openai(base, endpoint)) },
        Dialect::OpenRouter => Route { headers: OPENROUTER_HEADERS, ..like_openai(openai(base, endpoint)) },
        Dialect::Cloudflare => like_openai(cloudflare(base, endpoint)?),
        Dialect::Claude => Route {
            url: claude(base, endpoint)?,
            wire: Wire::Chat(Format::Anthropic(Host::Anthropic)),
            auth: Auth::Header("x-api-key"),
            headers: ANTHROPIC_HEADERS,
        },
        Dialect::Gemini => {
            let (url, wire) = gemini(base, endpoint)?;
            Route { url, wire, auth: Auth::Header("x-goog-api-key"), headers: &[] }
        }
        Dialect::Cohere => {
            let (url, wire) = cohere(base, endpoint)?;
            Route { wire, ..like_openai(url) }
        }
        // Its address depends on a region; see `vertex`.
        Dialect::Vertex => return None,
    })
}

/// All but one of those who speak like OpenAI do so for every operation.
fn wire_of_gpt(base: &Url, endpoint: Endpoint<'_>) -> Wire {
    match endpoint {
        Endpoint::Answer { operation: Operation::Embeddings, .. } if base.host_str() == Some("api.jina.ai") => {
            Wire::Call(Translation::JinaEmbeddings)
        }
        _ => Wire::Same,
    }
}

fn openai(base: &Url, endpoint: Endpoint<'_>) -> Url {
    let path = endpoint.path();
    match base.path() {
        "/" if base.host_str() == Some("openrouter.ai") => with_path(base, &format!("/api/v1/{path}"), None),
        _ => endpoint_url(base, path),
    }
}

/// Source: "OpenAI compatible API endpoints": chats and embeddings.
fn cloudflare(base: &Url, endpoint: Endpoint<'_>) -> Option<Url> {
    match endpoint {
        Endpoint::Answer { operation: Operation::Chat | Operation::Embeddings, .. } => {
            Some(endpoint_url(base, endpoint.path()))
        }
        Endpoint::Answer { .. } => None,
        Endpoint::ListModels => {
            // The OpenAI-compatible root, which is its base, has no list.
            let path = format!("{}/models/search", versionless(base.path(), &["v1"]));
            Some(with_path(base, &path, Some("task=Text%20Generation&per_page=100")))
        }
    }
}

fn claude(base: &Url, endpoint: Endpoint<'_>) -> Option<Url> {
    let (path, query) = match endpoint {
        Endpoint::ListModels => (MODELS, Some("limit=1000")),
        _ => endpoint.chat().map(|_| ("messages", base.query()))?,
    };
    let mut url = match names_version(base.path()) {
        true => endpoint_url(base, path),
        // As Anthropic's own clients understand a base.
        false => with_path(base, &format!("{}/v1/{path}", base.path().trim_end_matches('/')), None),
    };
    url.set_query(query);
    Some(url)
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
fn gemini(base: &Url, endpoint: Endpoint<'_>) -> Option<(Url, Wire)> {
    let (root, host) = (gemini_root(base), gemini_host(base));
    let chat = Wire::Chat(Format::Gemini(host));
    let Endpoint::Answer { operation, model, stream } = endpoint else {
        return Some((with_path(base, &format!("{root}/models"), Some("pageSize=1000")), chat));
    };
    let (method, query, wire) = match operation {
        Operation::Chat if stream => ("streamGenerateContent", Some("alt=sse"), chat),
        Operation::Chat => ("generateContent", None, chat),
        Operation::ImageGenerations | Operation::ImageEdits => {
            let (method, translation) = Translation::google_images(model, host);
            (method, None, Wire::Call(translation))
        }
        Operation::Embeddings => {
            let (method, translation) = Translation::google_embeddings(Method::BatchEmbedContents);
            (method, None, Wire::Call(translation))
        }
        _ => return None,
    };
    let mut url = with_path(base, root, query);
    if let Ok(mut path) = url.path_segments_mut() {
        // Tuned models have a collection of their own, which their name says.
        if !model.contains('/') {
            path.push("models");
        }
        path.extend(format!("{model}:{method}").split('/'));
    }
    Some((url, wire))
}

/// What a base of Cohere may end with; longest first where one ends like another.
const COHERE_ENDINGS: [&str; 6] = ["v1/chat", "v2/chat", "v2/embed", "v2/rerank", "v1", "v2"];

/// Cohere's two versions of chat; the list of models is in the first one only, and of the rest the
/// second one is taken.
fn cohere(base: &Url, endpoint: Endpoint<'_>) -> Option<(Url, Wire)> {
    let root = versionless(base.path(), &COHERE_ENDINGS);
    let is_v1 = base.path().trim_end_matches('/').ends_with("/v1/chat");
    let chat = Wire::Chat(if is_v1 { Format::CohereV1 } else { Format::CohereV2 });
    let operation = match endpoint {
        Endpoint::ListModels => {
            return Some((with_path(base, &format!("{root}/v1/models"), Some("page_size=1000")), chat));
        }
        Endpoint::Answer { operation, .. } => operation,
    };
    let (path, wire) = match operation {
        Operation::Chat => (if is_v1 { "v1/chat" } else { "v2/chat" }, chat),
        Operation::Embeddings => ("v2/embed", Wire::Call(Translation::CohereEmbeddings)),
        Operation::Rerank => ("v2/rerank", Wire::Call(Translation::CohereRerank)),
        _ => return None,
    };
    Some((with_path(base, &format!("{root}/{path}"), base.query()), wire))
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

    const CHAT_OF_M: Endpoint<'_> = Endpoint::Answer { operation: Operation::Chat, model: "m", stream: false };

    fn address(dialect: Dialect, base: &str, endpoint: Endpoint<'_>) -> Option<String> {
        find(dialect, &Url::parse(base).unwrap(), endpoint).map(|route| route.url.to_string())
    }

    #[test]
    fn whoever_speaks_like_openai_has_every_operation() {
        let of = |operation| Endpoint::Answer { operation, model: "m", stream: false };
        for operation in Operation::ALL {
            let path = operation.row().path;
            for (dialect, base, root) in [
                (Dialect::Gpt, "https://h/v1/chat/completions", "https://h/v1"),
                (Dialect::Gpt, "https://h/v1/images/generations", "https://h/v1"),
                (Dialect::Gpt, "https://h/proxy/v1", "https://h/proxy/v1"),
                (Dialect::OpenRouter, "https://h/v1", "https://h/v1"),
                (Dialect::OpenRouter, "https://openrouter.ai", "https://openrouter.ai/api/v1"),
            ] {
                assert_eq!(address(dialect, base, of(operation)), Some(format!("{root}/{path}")));
            }
            let query = address(Dialect::Gpt, "https://h/proxy/v1?a=b", of(operation));
            assert_eq!(query, Some(format!("https://h/proxy/v1/{path}?a=b")));
        }
    }

    #[test]
    fn what_a_format_does_not_have_is_named() {
        let moderation = Endpoint::Answer { operation: Operation::Moderations, model: "m", stream: false };
        let others = Dialect::ALL.iter().map(|(dialect, _)| *dialect);
        for dialect in others.filter(|dialect| !matches!(dialect, Dialect::Gpt | Dialect::OpenRouter)) {
            assert_eq!(address(dialect, "https://h/v1", moderation), None, "{dialect:?}");
        }
        assert_eq!(moderation.unsupported().to_string(), "this channel's format has no moderation");
    }

    #[test]
    fn a_query_of_the_base_goes_with_messages_but_not_with_the_list_of_models() {
        let claude = |endpoint| address(Dialect::Claude, "https://h/anthropic?a=b", endpoint).unwrap();
        assert_eq!(claude(CHAT_OF_M), "https://h/anthropic/v1/messages?a=b");
        assert_eq!(claude(Endpoint::ListModels), "https://h/anthropic/v1/models?limit=1000");
    }

    #[test]
    fn cloudflare_searches_models_beside_its_openai_root() {
        let cloudflare = |endpoint| address(Dialect::Cloudflare, "https://h/accounts/1/ai/v1", endpoint).unwrap();
        assert_eq!(cloudflare(CHAT_OF_M), "https://h/accounts/1/ai/v1/chat/completions");
        let search = "https://h/accounts/1/ai/models/search?task=Text%20Generation&per_page=100";
        assert_eq!(cloudflare(Endpoint::ListModels), search);
    }

    #[test]
    fn every_form_of_base_url_leads_to_the_messages() {
        let messages = |base| address(Dialect::Claude, base, CHAT_OF_M).unwrap();
        for base in ["https://h", "https://h/v1", "https://h/v1/messages", "https://h/v1/messages/"] {
            assert_eq!(messages(base), "https://h/v1/messages", "{base}");
        }
        assert_eq!(messages("https://h/anthropic"), "https://h/anthropic/v1/messages");
        assert_eq!(messages("https://h/messages"), "https://h/messages");
    }

    fn embeddings(dialect: Dialect, base: &str, model: &str) -> (String, Wire) {
        let endpoint = Endpoint::Answer { operation: Operation::Embeddings, model, stream: false };
        let route = find(dialect, &Url::parse(base).unwrap(), endpoint).unwrap();
        (route.url.to_string(), route.wire)
    }

    #[test]
    fn every_form_of_base_url_leads_to_the_embeddings_of_google() {
        for base in ["https://h", "https://h/v1beta", "https://h/v1beta/", "https://h/v1beta/models"] {
            let (url, wire) = embeddings(Dialect::Gemini, base, "e-2");
            assert_eq!(url, "https://h/v1beta/models/e-2:batchEmbedContents", "{base}");
            assert_eq!(wire, Wire::Call(Translation::GoogleEmbeddings(Method::BatchEmbedContents)));
        }
    }

    #[test]
    fn every_form_of_base_url_leads_to_cohere() {
        for (base, root) in [
            ("https://h", "https://h"),
            ("https://h/v1/", "https://h"),
            ("https://h/p/v2", "https://h/p"),
            ("https://h/v1/chat", "https://h"),
            ("https://h/v2/chat", "https://h"),
            ("https://h/p/v2/embed", "https://h/p"),
            ("https://h/v2/rerank", "https://h"),
        ] {
            let of = |operation| Endpoint::Answer { operation, model: "m", stream: false };
            let address = |endpoint| address(Dialect::Cohere, base, endpoint).unwrap();
            assert_eq!(address(of(Operation::Embeddings)), format!("{root}/v2/embed"), "{base}");
            assert_eq!(address(of(Operation::Rerank)), format!("{root}/v2/rerank"), "{base}");
            assert_eq!(address(Endpoint::ListModels), format!("{root}/v1/models?page_size=1000"), "{base}");
            let version = if base.ends_with("v1/chat") { "v1" } else { "v2" };
            assert_eq!(address(CHAT_OF_M), format!("{root}/{version}/chat"), "{base}");
        }
    }

    #[test]
    fn jina_alone_wants_its_own_words() {
        for base in ["https://api.jina.ai", "https://api.jina.ai/v1", "https://api.jina.ai/v1/embeddings"] {
            let (url, wire) = embeddings(Dialect::Gpt, base, "m");
            assert_eq!(url, "https://api.jina.ai/v1/embeddings", "{base}");
            assert_eq!(wire, Wire::Call(Translation::JinaEmbeddings), "{base}");
            let rerank = Endpoint::Answer { operation: Operation::Rerank, model: "m", stream: false };
            let route = find(Dialect::Gpt, &Url::parse(base).unwrap(), rerank).unwrap();
            assert_eq!((route.url.as_str(), route.wire), ("https://api.jina.ai/v1/rerank", Wire::Same), "{base}");
        }
        assert_eq!(embeddings(Dialect::Gpt, "https://h/v1", "m").1, Wire::Same);
    }

    #[test]
    fn every_form_of_base_url_leads_to_the_model() {
        let chat = |base, model, stream| {
            address(Dialect::Gemini, base, Endpoint::Answer { operation: Operation::Chat, model, stream }).unwrap()
        };
        for base in ["https://h", "https://h/v1beta", "https://h/v1beta/", "https://h/v1beta/models"] {
            assert_eq!(chat(base, "g-2", false), "https://h/v1beta/models/g-2:generateContent", "{base}");
        }
        assert_eq!(chat("https://h/p/v1?x=1", "g-2", true), "https://h/p/v1/models/g-2:streamGenerateContent?alt=sse");
        assert_eq!(chat("https://h/v1", "tunedModels/mine", false), "https://h/v1/tunedModels/mine:generateContent");
        assert_eq!(chat("https://h", "a b?c#d", false), "https://h/v1beta/models/a%20b%3Fc%23d:generateContent");
        assert_eq!(
            address(Dialect::Gemini, "https://h/v1", Endpoint::ListModels).unwrap(),
            "https://h/v1/models?pageSize=1000"
        );
    }

    #[test]
    fn imagen_has_a_method_of_its_own() {
        for operation in [Operation::ImageGenerations, Operation::ImageEdits] {
            let of = |model| {
                address(Dialect::Gemini, "https://h", Endpoint::Answer { operation, model, stream: true }).unwrap()
            };
            assert_eq!(of("gemini-3-pro-image"), "https://h/v1beta/models/gemini-3-pro-image:generateContent");
            assert_eq!(of("imagen-4.0-generate-001"), "https://h/v1beta/models/imagen-4.0-generate-001:predict");
        }
    }
}
