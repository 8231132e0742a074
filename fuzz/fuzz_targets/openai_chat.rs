//! Answers in OpenAI's format, as chunks, as a stream and as a whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use uni_api::dialect::openai_chat::{read_answer, read_chunk};
use uni_api_fuzz::same_format_stream;

fuzz_target!(|data: &[u8]| {
    same_format_stream(data);
    let _ = read_chunk(data);
    // Skimming may be content with less, but refuses nothing that reading accepts.
    if read_answer(data, false).is_ok() {
        assert!(read_answer(data, true).is_ok());
    }
});
