//! What the gateway logs, kept for tests that look for what must not be there.
//!
//! All tests of the binary share one log. Lines of other crates are kept only if they have a watchword in them.

use std::sync::{Mutex, OnceLock, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

/// What a test hides in secrets to find it again. Part of no other text.
pub const CANARY: &str = "kanarienvogel";

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps every line from now on, of every level and crate. Can be called any number of times.
pub fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        log::set_logger(&Keeper).expect("no other logger");
        log::set_max_level(LevelFilter::Trace);
    });
}

/// Every line so far.
pub fn lines() -> Vec<String> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

struct Keeper;

impl Log for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {} {}", record.level(), record.target(), record.args());
        if record.target().starts_with("uni_api") || line.contains(CANARY) {
            LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn flush(&self) {}
}
