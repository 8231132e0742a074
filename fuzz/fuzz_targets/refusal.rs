//! Answers that are no success, and lists of models: whatever they say, something can be told.

#![no_main]

use libfuzzer_sys::fuzz_target;
use uni_api::dialect::model_list::read_model_list;
use uni_api::dialect::openai_chat::write_error;
use uni_api::dialect::refusal::{Said, refusal};

fuzz_target!(|data: &[u8]| {
    let _ = read_model_list(data);
    // The first line is the header that names a time.
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (head, body) = data.split_at(at);
    let retry_after = std::str::from_utf8(head).ok();
    for status in [302, 400, 401, 402, 403, 404, 413, 429, 500, 503, 529] {
        let said = Said {
            status,
            retry_after,
            retry_after_ms: retry_after,
            body,
            advice: "check it",
            now_unix_s: 1_700_000_000,
        };
        let failure = refusal(&said);
        assert!(!failure.message.is_empty());
        assert!((400..600).contains(&failure.status()));
        serde_json::from_str::<serde_json::Value>(&write_error(&failure)).unwrap();
    }
});
