//! Brings in what a client names by its address, for upstreams that take bytes only.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};

use crate::canon::{ChatRequest, Failure, FailureKind, Source};
use crate::config::MediaFetch;
use crate::dialect::Format;
use crate::upstream::{Media, fetch_media};

/// A request may name this many addresses.
const MAX_ADDRESSES: usize = 20;
/// So many are fetched at a time.
const AT_ONCE: usize = 4;

/// What was fetched for one request, for each of its attempts.
#[derive(Default)]
pub struct Fetched(RefCell<HashMap<String, Media>>);

impl Fetched {
    /// Puts bytes in the place of the addresses that this format does not take.
    ///
    /// # Errors
    ///
    /// `MediaUnavailable`, with the reason.
    pub(super) async fn bring_in(
        &self,
        request: &mut ChatRequest<'_>,
        format: Format,
        policy: MediaFetch,
    ) -> Result<(), Failure> {
        let mut wanted: Vec<_> = request
            .sources_mut()
            .into_iter()
            .filter(|source| matches!(source, Source::Url(url) if !format.takes_url(url)))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        if wanted.len() > MAX_ADDRESSES {
            let message = format!("more than {MAX_ADDRESSES} addresses of images or documents; send the bytes instead");
            return Err(Failure::new(FailureKind::MediaUnavailable, message).at("messages"));
        }
        let missing = wanted.iter().filter_map(|source| match source {
            Source::Url(url) if !self.0.borrow().contains_key(url.as_ref()) => Some(url.as_ref().to_owned()),
            _ => None,
        });
        let missing: Vec<String> = missing.collect();
        let fetching = missing.into_iter().map(async |url| {
            let media = fetch_media(&url, policy).await.map_err(|failure| failure.at("messages"))?;
            self.0.borrow_mut().insert(url, media);
            Ok::<(), Failure>(())
        });
        stream::iter(fetching).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        for source in &mut wanted {
            if let Source::Url(url) = &**source
                && let Some(media) = self.0.borrow().get(url.as_ref())
            {
                let media_type = Cow::Borrowed(media.media_type);
                **source = Source::Base64 { media_type, data: Cow::Owned(media.base64.clone()) };
            }
        }
        Ok(())
    }
}
