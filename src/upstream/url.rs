//! Where an endpoint is, seen from a provider's `base_url`.
//!
//! Users write a `base_url` in every form: the bare host, a version root, a full endpoint, with a
//! prefix of a gateway in front. All of them lead to the same endpoints.

use ::url::Url;

use crate::canon::Operation;

/// The path of the list of models, behind the version.
pub(super) const MODELS: &str = "models";

/// Endpoints that a `base_url` may already name beside those of the table of operations; longest first
/// where one ends like another.
const OTHER_ENDPOINTS: [&str; 4] = ["responses/compact", "responses", MODELS, "messages"];

/// Every endpoint that a `base_url` may already name. The one of chats ends like the one of texts and
/// comes before it.
fn known_endpoints() -> impl Iterator<Item = &'static str> {
    Operation::ALL.into_iter().map(|operation| operation.row().path).chain(OTHER_ENDPOINTS)
}

/// Last words of a path that name an endpoint which only its provider knows.
const ENDPOINT_WORDS: [&str; 8] =
    ["chat", "completion", "generate", "generation", "predict", "invoke", "invocations", "converse"];

/// The URL of a path at the provider behind `base`. A query is kept: Azure has its version there.
pub(super) fn endpoint_url(base: &Url, endpoint: &str) -> Url {
    let path = base.path().trim_matches('/');
    let mut url = base.clone();
    url.set_fragment(None);
    let known = known_endpoints().find_map(|known| {
        let root = path.strip_suffix(known)?;
        (root.is_empty() || root.ends_with('/')).then(|| root.trim_end_matches('/'))
    });
    let root = match known {
        Some(root) => root,
        None if path.is_empty() => "v1",
        None if ENDPOINT_WORDS.iter().any(|word| path.rsplit('/').next() == Some(word)) => {
            if endpoint == Operation::Chat.row().path {
                return url;
            }
            version_root(path)
        }
        None => path,
    };
    let slash = if root.is_empty() { "" } else { "/" };
    url.set_path(&format!("/{root}{slash}{endpoint}"));
    url
}

/// The path up to its version, such as `api/v1`; without one, `v1`.
fn version_root(path: &str) -> &str {
    let mut end = 0;
    for part in path.split('/') {
        end += part.len();
        if is_version(part) {
            return path.get(..end).unwrap_or(path);
        }
        end += 1;
    }
    "v1"
}

/// Whether a part of a path is a version, such as `v1` or `v1beta`.
pub(super) fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = Operation::Chat.row().path;
    const MODERATIONS: &str = Operation::Moderations.row().path;

    fn of(base: &str, endpoint: &str) -> String {
        endpoint_url(&Url::parse(base).unwrap(), endpoint).to_string()
    }

    #[test]
    fn every_form_of_base_url_leads_to_the_chat_endpoint() {
        for (base, chat) in [
            ("https://h", "https://h/v1/chat/completions"),
            ("https://h/", "https://h/v1/chat/completions"),
            ("https://h/v1", "https://h/v1/chat/completions"),
            ("https://h/v1/", "https://h/v1/chat/completions"),
            ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
            ("https://h/v1/chat/completions/", "https://h/v1/chat/completions"),
            ("https://h/chat/completions", "https://h/chat/completions"),
            ("https://h/openai/v1", "https://h/openai/v1/chat/completions"),
            ("https://h/v1/models", "https://h/v1/chat/completions"),
            ("https://h:8443/m/x/v1/chat/completions", "https://h:8443/m/x/v1/chat/completions"),
            ("https://h/v1beta/openai", "https://h/v1beta/openai/chat/completions"),
            ("https://h/v1/account/gateway/openai", "https://h/v1/account/gateway/openai/chat/completions"),
            ("https://h/d/chat/completions?api-version=1", "https://h/d/chat/completions?api-version=1"),
            ("https://h/api/generate", "https://h/api/generate"),
        ] {
            assert_eq!(of(base, CHAT), chat, "{base}");
        }
    }

    #[test]
    fn models_are_listed_beside_the_chat_endpoint() {
        for (base, models) in [
            ("https://h", "https://h/v1/models"),
            ("https://h/v1", "https://h/v1/models"),
            ("https://h/openai/v1/chat/completions", "https://h/openai/v1/models"),
            ("https://h/chat/completions", "https://h/models"),
            ("https://h/api/v1/generate", "https://h/api/v1/models"),
            ("https://h/api/generate", "https://h/v1/models"),
        ] {
            assert_eq!(of(base, MODELS), models, "{base}");
        }
    }

    #[test]
    fn texts_are_moderated_beside_the_chat_endpoint() {
        for (base, moderations) in [
            ("https://h", "https://h/v1/moderations"),
            ("https://h/v1/", "https://h/v1/moderations"),
            ("https://h/v1/moderations", "https://h/v1/moderations"),
            ("https://h/openai/v1/chat/completions", "https://h/openai/v1/moderations"),
            ("https://h/chat/completions?api-version=1", "https://h/moderations?api-version=1"),
            ("https://h/api/v1/generate", "https://h/api/v1/moderations"),
        ] {
            assert_eq!(of(base, MODERATIONS), moderations, "{base}");
        }
    }
}
