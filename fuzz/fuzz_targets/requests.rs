//! A client's request, written in every other format: valid JSON that says nothing twice, or a refusal.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use uni_api::dialect::Format;
use uni_api::dialect::json::Fields;
use uni_api::dialect::openai_chat::read_request;
use uni_api::dialect::{anthropic, gemini};

const FORMATS: [(Format, &str); 10] = [
    (Format::Anthropic(anthropic::Host::Anthropic), "claude-3-haiku-20240307"),
    (Format::Anthropic(anthropic::Host::Anthropic), "claude-sonnet-4-5"),
    (Format::Anthropic(anthropic::Host::Anthropic), "somebody-elses"),
    (Format::Anthropic(anthropic::Host::Vertex), "claude-opus-4-7"),
    (Format::Gemini(gemini::Host::AiStudio), "gemini-2.5-pro"),
    (Format::Gemini(gemini::Host::AiStudioV1), "gemini-1.5-flash"),
    (Format::Gemini(gemini::Host::Vertex), "gemini-3-pro-preview"),
    (Format::CohereV2, "command-a-reasoning-08-2025"),
    (Format::CohereV2, "command-r7b-12-2024"),
    (Format::CohereV1, "command-r"),
];

fuzz_target!(|data: &[u8]| {
    let Ok(body) = std::str::from_utf8(data) else { return };
    let Ok(request) = read_request(body) else { return };
    let asked = request.extra.iter().map(|(name, _)| name);
    let asks_twice = asked.clone().collect::<HashSet<_>>().len() < asked.count();
    for (format, model) in FORMATS {
        if let Ok(body) = format.write_request(&request, model) {
            // Values stay as they are: half a surrogate pair in a schema is valid JSON, and passed on.
            let Fields(written) = serde_json::from_slice(&body).unwrap();
            let names: HashSet<_> = written.iter().map(|(name, _)| name).collect();
            assert!(asks_twice || names.len() == written.len(), "a field is written twice");
        }
    }
});
