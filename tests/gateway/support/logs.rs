//! What the gateway logs, kept for tests that look for what must not be there.
//!
//! All tests of the binary share one log. Lines of other crates are kept only if they have a watchword in them.

use std::sync::{Mutex, OnceLock, PoisonError};

use log::kv::{Error, Key, Value, VisitSource};
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

/// Puts fields behind a line: ` name=value`.
struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, name: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push_str(&format!(" {name}={value}"));
        Ok(())
    }
}

/// The line about the request of this id, if it is over.
pub fn of_request(id: &str) -> Option<String> {
    let is_wanted = |line: &String| line.starts_with("INFO uni_api::request ") && line.contains(id);
    lines().into_iter().find(is_wanted)
}

struct Keeper;

impl Log for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = format!("{} {} {}", record.level(), record.target(), record.args());
        record.key_values().visit(&mut Fields(&mut line)).expect("fields");
        if record.target().starts_with("uni_api") || line.contains(CANARY) {
            LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn flush(&self) {}
}
