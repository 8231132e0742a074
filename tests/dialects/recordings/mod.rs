//! Recorded traffic with real providers goes through and says the same on the other side.
//!
//! The recordings lie beside the repository, or where `UNI_API_RECORDINGS` says; where they are not, these tests say so
//! and pass. `cargo test --test dialects recordings -- --nocapture` prints what was counted.

mod embeddings;
mod native;
mod openai;
mod requests;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// One exchange with a provider.
struct Recording {
    /// Provider and file.
    name: String,
    provider: String,
    path: String,
    request: Value,
    status: u64,
    answer: Answered,
}

enum Answered {
    Whole(Value),
    Streamed(String),
}

/// What an exchange is to this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matter {
    /// A chat in OpenAI's format.
    OpenAi,
    /// A chat in a format of the provider's own.
    Native,
    /// Embeddings, files, counting of tokens, OpenAI's Responses API.
    NoChat,
}

impl Recording {
    fn matter(&self) -> Matter {
        match self.path.as_str() {
            path if path.ends_with("/chat/completions") => Matter::OpenAi,
            path if path.ends_with("/v1/messages") || path.ends_with("/v2/chat") => Matter::Native,
            path if path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") => Matter::Native,
            _ => Matter::NoChat,
        }
    }

    fn is_success(&self) -> bool {
        self.status == 200
    }

    /// The model that was asked.
    fn model(&self) -> &str {
        let in_path = || self.path.rsplit_once("/models/").and_then(|(_, rest)| rest.split(':').next());
        self.request["model"].as_str().or_else(in_path).unwrap()
    }
}

fn folder() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
    std::env::var_os("UNI_API_RECORDINGS").map_or_else(beside, PathBuf::from)
}

/// All recordings by name, or none and a line that says so.
fn all() -> Vec<Recording> {
    let Ok(providers) = fs::read_dir(folder()) else {
        println!("skipped: there are no recordings at {}", folder().display());
        return Vec::new();
    };
    let mut recordings = Vec::new();
    for provider in providers.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(&provider).unwrap().map(|entry| entry.unwrap().path()) {
            let provider = provider.file_name().unwrap().to_str().unwrap().to_owned();
            let mut all: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let (mut request, mut response) = (all["request"].take(), all["response"].take());
            recordings.push(Recording {
                name: format!("{provider}/{}", file.file_stem().unwrap().to_str().unwrap()),
                provider,
                path: request["path"].as_str().unwrap().to_owned(),
                request: request["body"].take(),
                status: response["status"].as_u64().unwrap(),
                answer: match response["sse"].as_str() {
                    Some(stream) => Answered::Streamed(stream.to_owned()),
                    None => Answered::Whole(response["body"].take()),
                },
            });
        }
    }
    recordings.sort_by(|a, b| a.name.cmp(&b.name));
    recordings
}

/// What was counted, by provider and by what it is.
#[derive(Default)]
struct Tally(BTreeMap<String, BTreeMap<String, usize>>);

impl Tally {
    fn add(&mut self, provider: &str, what: impl Into<String>) {
        *self.0.entry(provider.to_owned()).or_default().entry(what.into()).or_default() += 1;
    }

    /// Prints the counts and holds them against the expected ones: a line for each provider.
    fn check(&self, title: &str, expected: &[&str]) {
        let line = |(provider, counts): (&String, &BTreeMap<String, usize>)| {
            let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
            format!("{provider}: {}", counts.join(", "))
        };
        let lines: Vec<_> = self.0.iter().map(line).collect();
        println!("{title}\n  {}", lines.join("\n  "));
        assert!(self.0.is_empty() || lines == expected, "{title}: other counts than expected, see above");
    }
}

#[test]
fn every_recording_is_known_for_what_it_is() {
    let mut tally = Tally::default();
    for recording in all() {
        let kind = match recording.matter() {
            Matter::NoChat => "not chat",
            _ if !recording.is_success() => "chat refused",
            _ => "chat",
        };
        tally.add(&recording.provider, kind);
    }
    tally.check(
        "recordings",
        &[
            "anthropic: 35 chat, 7 not chat",
            "azure: 1 chat, 3 not chat",
            "cerebras: 7 chat",
            "cohere: 3 chat, 3 not chat",
            "deepseek: 10 not chat",
            "gemini: 32 chat, 12 not chat",
            "groq: 13 chat, 2 chat refused",
            "huggingface: 5 chat",
            "mistral: 10 chat",
            "openai: 19 chat, 1 chat refused, 20 not chat",
            "openrouter: 15 chat, 3 not chat",
            "vertex: 17 chat, 1 chat refused, 2 not chat",
            "zai: 4 chat",
        ],
    );
}
