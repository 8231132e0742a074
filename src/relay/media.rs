//! Brings in what a client names by its address, for upstreams that take bytes only.

use std::borrow::Cow;
use std::cell::{Ref, RefCell};
use std::collections::{HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};

use crate::canon::{ChatRequest, Failure, FailureKind, Source};
use crate::config::MediaFetch;
use crate::dialect::Format;
use crate::upstream::{Media, fetch_media};

/// A request may name this many addresses.
const MAX_ADDRESSES: usize = 20;
/// What is behind them may be this long together, in bytes of base64. They stay in memory, and once
/// more in the body for the upstream.
const MAX_BASE64_BYTES: usize = 64 * 1024 * 1024;
/// So many are fetched at a time.
const AT_ONCE: usize = 4;

/// What was fetched for one request, for each of its attempts.
#[derive(Default)]
pub struct Fetched(RefCell<HashMap<String, Media>>);

impl Fetched {
    /// Fetches what is behind the addresses that this format does not take.
    ///
    /// # Errors
    ///
    /// `MediaUnavailable`, with the reason.
    pub(super) async fn fetch_for(
        &self,
        request: &mut ChatRequest<'_>,
        format: Format,
        policy: MediaFetch,
    ) -> Result<(), Failure> {
        let wanted: HashSet<&str> = wanted(request, format).filter_map(|source| address(source)).collect();
        if wanted.len() > MAX_ADDRESSES {
            return Err(too_much(format!("more than {MAX_ADDRESSES} addresses of images or documents")));
        }
        let missing: Vec<String> = {
            let known = self.0.borrow();
            wanted.into_iter().filter(|url| !known.contains_key(*url)).map(str::to_owned).collect()
        };
        let fetching = missing.into_iter().map(async |url| {
            let media = fetch_media(&url, policy).await.map_err(|failure| failure.at("messages"))?;
            self.keep(url, media)
        });
        stream::iter(fetching).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    fn keep(&self, url: String, media: Media) -> Result<(), Failure> {
        let mut known = self.0.borrow_mut();
        let length: usize = known.values().chain([&media]).map(|media| media.base64.len()).sum();
        if length > MAX_BASE64_BYTES {
            let most = MAX_BASE64_BYTES / 4 * 3;
            return Err(too_much(format!("images or documents of more than {most} bytes together behind addresses")));
        }
        known.insert(url, media);
        Ok(())
    }

    /// What is there so far, by its address.
    pub(super) fn media(&self) -> Ref<'_, HashMap<String, Media>> {
        self.0.borrow()
    }
}

/// Puts bytes in the place of the addresses that this format does not take.
pub(super) fn bring_in<'a>(request: &mut ChatRequest<'a>, format: Format, fetched: &'a HashMap<String, Media>) {
    for source in wanted(request, format) {
        if let Some(Media { media_type, base64 }) = address(source).and_then(|url| fetched.get(url)) {
            *source = Source::Base64 { media_type: Cow::Borrowed(media_type), data: Cow::Borrowed(base64) };
        }
    }
}

fn wanted<'r, 'a>(request: &'r mut ChatRequest<'a>, format: Format) -> impl Iterator<Item = &'r mut Source<'a>> {
    let is_wanted = move |source: &&mut Source<'a>| address(source).is_some_and(|url| !format.takes_url(url));
    request.sources_mut().into_iter().filter(is_wanted)
}

fn address<'r>(source: &'r Source<'_>) -> Option<&'r str> {
    match source {
        Source::Url(url) => Some(url),
        Source::Base64 { .. } | Source::FileId(_) => None,
    }
}

fn too_much(what: String) -> Failure {
    Failure::new(FailureKind::MediaUnavailable, format!("{what}; send fewer")).at("messages")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_for_one_request_is_bounded() {
        let fetched = Fetched::default();
        let keep = |url: &str, length| {
            fetched.keep(url.to_owned(), Media { media_type: "image/png", base64: "A".repeat(length) })
        };
        assert!(keep("a", MAX_BASE64_BYTES / 2).is_ok());
        assert!(keep("b", MAX_BASE64_BYTES / 2).is_ok());
        let failure = keep("c", 1).unwrap_err();
        assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::MediaUnavailable, Some("messages")));
        assert_eq!(fetched.media().len(), 2);
    }
}
