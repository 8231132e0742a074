//! Integration tests: the real server on a free port, in front of upstreams that misbehave on purpose.
//!
//! All of them are modules of this one binary, so that they share `support` and are linked once.

// Always true here. It tells clippy that helper functions are tests as well: they may unwrap, index and panic.
#![cfg(test)]

mod access;
mod actors;
mod browsers;
mod canaries;
mod cancel;
mod chat;
mod claude;
mod cloudflare;
mod cohere;
mod completions;
mod discovery;
mod doors;
mod embeddings;
mod failover;
mod fake_upstream_itself;
mod floods;
mod gemini;
mod google_images;
mod hot_reload;
mod http;
mod image_edits;
mod images;
mod keepalive;
mod layers;
mod media_fetch;
mod metrics;
mod moderation;
mod moderations;
mod outbound;
mod own_answers;
mod process;
mod rate_limits;
mod reload;
mod request_log;
mod rerank;
mod routing;
mod secrets;
mod shutdown;
mod sixteen;
mod speech;
mod statistics;
mod statistics_faults;
mod statistics_kept;
mod stats_endpoint;
mod stream_failures;
mod streams;
mod support;
mod transcriptions;
mod upload_memory;
mod verdicts;
mod vertex;
