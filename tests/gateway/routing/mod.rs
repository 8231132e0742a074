//! Which channel and which key a request goes to, through HTTP and the real actors.

mod attempts;
mod breaker;
mod endings;
mod key_limits;
mod keys;
mod nested;
mod rests;
mod schedules;

use crate::support::{Answer, FakeUpstream, Received, Reply, upstream_key};

/// One upstream behind several channels, told apart by their keys: what it answers depends on the channel's name.
async fn shared(answer: impl Fn(&str, &Received) -> Reply + Send + Sync + 'static) -> FakeUpstream {
    FakeUpstream::answering(move |request| answer(&channel_of(request), request)).await
}

/// The name of the channel that has sent this, by the key that [`upstream_key`] gives it.
fn channel_of(request: &Received) -> String {
    let (before, after) = (upstream_key(""), "-0123456789");
    let prefix = before.strip_suffix(after).unwrap();
    let key = request.bearer().unwrap_or_default();
    key.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(after)).unwrap_or(key).to_owned()
}

/// The channels that were asked, in order, each name followed by a blank.
fn asked(upstream: &FakeUpstream) -> String {
    upstream.received().iter().map(|request| channel_of(request) + " ").collect()
}

/// The keys that were used, in order.
fn keys(upstream: &FakeUpstream) -> Vec<String> {
    upstream.received().iter().map(|request| request.bearer().unwrap_or_default().to_owned()).collect()
}

/// Status and code of an error.
fn verdict(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}
