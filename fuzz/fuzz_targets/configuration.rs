//! A configuration: a gateway that can start, or at least one error that says why not.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use uni_api::config::{Severity, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let env = |name: &str| (name == "KEY").then(|| "sk-secret".to_owned());
    let loaded = parse(text, "api.yaml", &env, Duration::from_secs(60));
    assert!(loaded.config.is_some() || loaded.diagnostics.iter().any(|found| found.severity == Severity::Error));
});
