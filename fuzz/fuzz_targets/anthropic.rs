//! Answers of Anthropic, as a stream and as a whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use uni_api::dialect::Format;
use uni_api::dialect::anthropic::Host;
use uni_api_fuzz::other_format;

fuzz_target!(|data: &[u8]| other_format(Format::Anthropic(Host::Anthropic), data));
