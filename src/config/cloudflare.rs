//! The address of a Cloudflare account's models, which its `cf_account_id` is enough for.
//!
//! Source: Cloudflare's Workers AI documentation, "OpenAI compatible API endpoints".

use url::Url;

use super::diagnostic::Report;
use super::expand::Unset;
use super::path::KeyPath;
use super::providers::empty_because;
use super::raw::{PROVIDER, RawProvider};

const BASE_URL: &str = "https://api.cloudflare.com/";

/// The root of the account's OpenAI-compatible endpoints. `base_url` stands for Cloudflare's own
/// host; one that already names an account needs no `cf_account_id`.
pub(super) fn base_url(
    raw: &RawProvider,
    base_url: Option<Url>,
    place: &KeyPath,
    unset: &[Unset],
    report: &mut Report,
) -> Option<Url> {
    let mut url = base_url.or_else(|| Url::parse(BASE_URL).ok())?;
    let path = url.path().trim_matches('/').to_owned();
    let (front, named) = match path.split_once("client/v4/accounts/") {
        Some((front, rest)) => (front, rest.split('/').next()),
        None => (path.as_str(), None),
    };
    let account = match (raw.cf_account_id.is_absent(), named) {
        (true, Some(named)) => named.to_owned(),
        (is_absent, _) => {
            if is_absent {
                PROVIDER.missing("cf_account_id", &raw.others, place, report);
            }
            raw.cf_account_id.clone().take("cf_account_id", place, report)?.0.trim().to_owned()
        }
    };
    let at = place.key("cf_account_id");
    if account.is_empty() {
        report.error(&at, empty_because(&at, unset));
        return None;
    }
    if account.contains(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
        report.error(&at, "expected the id of a Cloudflare account: 32 letters and digits");
        return None;
    }
    let front = front.trim_matches('/');
    let slash = if front.is_empty() { "" } else { "/" };
    url.set_path(&format!("/{front}{slash}client/v4/accounts/{account}/ai/v1"));
    Some(url)
}
