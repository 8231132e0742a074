//! Which dialect an upstream speaks, told by `engine:` or by its address.

use url::Url;

use super::resolved::Dialect;

/// What there is to judge by.
#[derive(Default)]
pub struct Signs<'a> {
    /// `engine:`, which wins over everything.
    pub engine: Option<&'a str>,
    /// `base_url:`.
    pub base_url: Option<&'a Url>,
    /// `project_id` and `private_key` are there.
    pub has_service_account: bool,
    /// `cf_account_id` is there.
    pub has_cloudflare_account: bool,
}

/// The verdict.
#[derive(Debug, PartialEq, Eq)]
pub enum Inferred {
    /// One of ours.
    Dialect(Dialect),
    /// A format of other gateways that has no [`Dialect`].
    Foreign(&'static str),
    /// No `engine:` that anybody knows.
    Unknown,
}

/// Engine names that mean one of our dialects without being its name.
const OTHER_NAMES: [(&str, Dialect); 11] = [
    ("openai", Dialect::Gpt),
    ("azure", Dialect::Gpt),
    ("o1", Dialect::Gpt),
    ("dalle", Dialect::Gpt),
    ("whisper", Dialect::Gpt),
    ("tts", Dialect::Gpt),
    ("embedding", Dialect::Gpt),
    ("moderation", Dialect::Gpt),
    ("anthropic", Dialect::Claude),
    ("vertex-gemini", Dialect::Vertex),
    ("vertex-claude", Dialect::Vertex),
];

/// Engine names of formats that are not ours.
const FOREIGN: [&str; 6] = ["aws", "azure-databricks", "codex", "search", "doubao-translation", "content-generation"];

/// Paths that nobody but Cohere, and who speaks like it, has.
const COHERE_PATHS: [&str; 3] = ["/v2/chat", "/v2/embed", "/v2/rerank"];

/// Every name that `engine:` may have.
pub fn engine_names() -> impl Iterator<Item = &'static str> {
    let ours = Dialect::ALL.iter().map(|(_, name)| *name);
    ours.chain(OTHER_NAMES.iter().map(|(name, _)| *name)).chain(FOREIGN)
}

/// Decides. The name of the provider never matters.
pub fn infer(signs: &Signs) -> Inferred {
    if let Some(engine) = signs.engine {
        return by_engine(&engine.trim().to_ascii_lowercase());
    }
    if signs.has_service_account {
        return Inferred::Dialect(Dialect::Vertex);
    }
    if signs.has_cloudflare_account {
        return Inferred::Dialect(Dialect::Cloudflare);
    }
    signs.base_url.map_or(Inferred::Dialect(Dialect::Gpt), by_address)
}

fn by_engine(engine: &str) -> Inferred {
    let ours = Dialect::ALL.iter().map(|(dialect, name)| (*name, *dialect)).chain(OTHER_NAMES);
    match ours.into_iter().find(|(name, _)| *name == engine) {
        Some((_, dialect)) => Inferred::Dialect(dialect),
        None => FOREIGN.iter().find(|name| **name == engine).map_or(Inferred::Unknown, |name| Inferred::Foreign(name)),
    }
}

fn by_address(url: &Url) -> Inferred {
    let host = url.host_str().unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    let at = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|sub| sub.ends_with(['.', '-']));
    let dialect = if at("openrouter.ai") {
        Dialect::OpenRouter
    } else if path.ends_with("/chat/completions")
        || path.contains("/v1beta/openai")
        || path.contains("/compatibility/v1")
    {
        // Many of the hosts below also offer the OpenAI format; the path says so.
        Dialect::Gpt
    } else if at("generativelanguage.googleapis.com") || path.ends_with("/v1beta") || path.ends_with("/v1beta/models") {
        Dialect::Gemini
    } else if at("aiplatform.googleapis.com") || path.contains("google-vertex-ai") {
        Dialect::Vertex
    } else if at("azuredatabricks.net") {
        return Inferred::Foreign("azure-databricks");
    } else if at("amazonaws.com") {
        return Inferred::Foreign("aws");
    } else if at("api.cloudflare.com") && !path.ends_with("/ai/v1") {
        Dialect::Cloudflare
    } else if at("api.anthropic.com") || path.ends_with("/v1/messages") {
        Dialect::Claude
    } else if at("api.cohere.com") || at("api.cohere.ai") || COHERE_PATHS.iter().any(|end| path.ends_with(end)) {
        Dialect::Cohere
    } else {
        Dialect::Gpt
    };
    Inferred::Dialect(dialect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Inferred {
        infer(&Signs { base_url: Some(&Url::parse(url).unwrap()), ..Signs::default() })
    }

    fn named(engine: &str) -> Inferred {
        let url = Url::parse("https://api.anthropic.com/v1/messages").unwrap();
        infer(&Signs { engine: Some(engine), base_url: Some(&url), has_service_account: true, ..Signs::default() })
    }

    #[test]
    fn the_address_tells_the_dialect() {
        for (url, dialect) in [
            ("https://api.openai.com/v1/chat/completions", Dialect::Gpt),
            ("https://api.groq.com/openai/v1", Dialect::Gpt),
            ("https://models.inference.ai.azure.com/chat/completions", Dialect::Gpt),
            ("https://openrouter.ai/api/v1/chat/completions", Dialect::OpenRouter),
            ("https://api.anthropic.com/v1/messages", Dialect::Claude),
            ("http://127.0.0.1:9000/v1/messages", Dialect::Claude),
            ("http://127.0.0.1:9000/proxy/v1/messages/", Dialect::Claude),
            ("https://generativelanguage.googleapis.com/v1beta", Dialect::Gemini),
            ("https://generativelanguage.googleapis.com/v1", Dialect::Gemini),
            ("https://proxy.example/gemini/v1beta", Dialect::Gemini),
            ("https://generativelanguage.googleapis.com/v1beta/openai/chat/completions", Dialect::Gpt),
            ("https://generativelanguage.googleapis.com/v1beta/openai", Dialect::Gpt),
            ("https://us-east5-aiplatform.googleapis.com/", Dialect::Vertex),
            ("https://gateway.ai.cloudflare.com/v1/a/b/google-vertex-ai", Dialect::Vertex),
            ("https://api.cloudflare.com/client/v4/accounts/x/ai/run", Dialect::Cloudflare),
            ("https://api.cloudflare.com/client/v4/accounts/x/ai/v1", Dialect::Gpt),
            ("https://api.cohere.com/v1/chat", Dialect::Cohere),
            ("https://api.cohere.com", Dialect::Cohere),
            ("http://127.0.0.1:9000/v2/chat", Dialect::Cohere),
            ("http://127.0.0.1:9000/x/v2/embed", Dialect::Cohere),
            ("http://127.0.0.1:9000/v2/rerank/", Dialect::Cohere),
            ("https://api.cohere.ai/compatibility/v1", Dialect::Gpt),
            ("https://notopenrouter.ai/v1", Dialect::Gpt),
        ] {
            assert_eq!(at(url), Inferred::Dialect(dialect), "{url}");
        }
        assert_eq!(at("https://bedrock-runtime.us-east-1.amazonaws.com/"), Inferred::Foreign("aws"));
    }

    #[test]
    fn the_engine_wins() {
        assert_eq!(named("openrouter"), Inferred::Dialect(Dialect::OpenRouter));
        assert_eq!(named(" GPT "), Inferred::Dialect(Dialect::Gpt));
        assert_eq!(named("vertex-claude"), Inferred::Dialect(Dialect::Vertex));
        assert_eq!(named("whisper"), Inferred::Dialect(Dialect::Gpt));
        assert_eq!(named("codex"), Inferred::Foreign("codex"));
        assert_eq!(named("gpt4"), Inferred::Unknown);
    }

    #[test]
    fn accounts_tell_the_dialect() {
        let vertex = Signs { has_service_account: true, ..Signs::default() };
        assert_eq!(infer(&vertex), Inferred::Dialect(Dialect::Vertex));
        let cloudflare = Signs { has_cloudflare_account: true, ..Signs::default() };
        assert_eq!(infer(&cloudflare), Inferred::Dialect(Dialect::Cloudflare));
    }
}
