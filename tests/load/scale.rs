//! How much of it: a short version by itself, everything with `LOAD=full`.

use std::time::Duration;

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Streams that are open at once.
    pub streams: usize,
    /// Requests per second.
    pub rate: u32,
    /// How long they keep coming.
    pub time: Duration,
}

impl Scale {
    /// As `LOAD`, `LOAD_STREAMS`, `LOAD_RATE` and `LOAD_SECONDS` say.
    pub fn from_environment() -> Self {
        let (streams, rate, seconds) = match std::env::var("LOAD").as_deref() {
            Ok("full") => (2000, 1000, 30 * 60),
            Ok(other) if !other.is_empty() => panic!("LOAD={other} is not known; it may be full"),
            _ => (200, 200, 8),
        };
        Self {
            streams: number("LOAD_STREAMS").and_then(|streams| streams.try_into().ok()).unwrap_or(streams),
            rate: number("LOAD_RATE").unwrap_or(rate),
            time: Duration::from_secs(number("LOAD_SECONDS").unwrap_or(seconds).into()),
        }
    }
}

fn number(name: &str) -> Option<u32> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}
