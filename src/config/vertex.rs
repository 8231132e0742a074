//! What a provider of Google Vertex AI has beside an address: a service account and its regions.

use std::sync::Arc;

use url::Url;

use super::diagnostic::Report;
use super::expand::Unset;
use super::path::KeyPath;
use super::providers::{empty_because, parse_url};
use super::raw::{PROVIDER, RawProvider};
use super::resolved::Vertex;
use super::service_account::{ServiceAccount, SigningKey};
use super::typed::{Text, Texts, Typed};

/// Where Vertex AI is, for the region that has no host of its own.
const BASE_URL: &str = "https://aiplatform.googleapis.com/";
/// Where a Google service account gets its access tokens.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// The address when there is no `base_url`.
pub(super) fn default_base_url() -> Option<Url> {
    Url::parse(BASE_URL).ok()
}

/// The account and the regions of the entry at `place`, if there are no mistakes in them.
pub(super) fn resolve(
    raw: &RawProvider,
    base_url: Option<&Url>,
    place: &KeyPath,
    unset: &[Unset],
    report: &mut Report,
) -> Option<Vertex> {
    let fields = Fields { raw, place, unset };
    if raw.model.is_absent() {
        report.error(&place.key("model"), "missing; Vertex AI has no list to ask for, so name the models here");
    }
    if !raw.api.is_absent() {
        report.warning(&place.key("api"), "not used: Vertex AI is asked in the name of the service account");
    }
    // All of them before the first `?`, so that all mistakes are told.
    let project_id = fields.project_id(report);
    let client_email = fields.client_email(report);
    let private_key = fields.private_key(report);
    let token_uri = fields.token_uri(report);
    let regions = fields.regions(report);
    let account = ServiceAccount {
        project_id: project_id?,
        client_email: client_email?,
        private_key: private_key?,
        token_uri: token_uri?,
    };
    let mut regions = regions?;
    if regions.is_empty() {
        regions.extend(base_url.and_then(region_of));
    }
    Some(Vertex { account, regions })
}

struct Fields<'a> {
    raw: &'a RawProvider,
    place: &'a KeyPath,
    unset: &'a [Unset],
}

impl Fields<'_> {
    fn required(&self, field: &Typed<Text>, key: &'static str, report: &mut Report) -> Option<String> {
        if field.is_absent() {
            PROVIDER.missing(key, &self.raw.others, self.place, report);
        }
        let text = field.clone().take(key, self.place, report)?.0.trim().to_owned();
        if text.is_empty() {
            let at = self.place.key(key);
            report.error(&at, empty_because(&at, self.unset));
            return None;
        }
        Some(text)
    }

    fn project_id(&self, report: &mut Report) -> Option<String> {
        let id = self.required(&self.raw.project_id, "project_id", report)?;
        // Old projects have the domain of their owner in front, with a colon behind it.
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
        if !id.starts_with(|c: char| c.is_ascii_alphanumeric()) || !id.chars().all(is_part) {
            let message = "expected the id of a Google Cloud project: letters, digits and hyphens";
            report.error(&self.place.key("project_id"), message);
            return None;
        }
        Some(id)
    }

    fn client_email(&self, report: &mut Report) -> Option<String> {
        let email = self.required(&self.raw.client_email, "client_email", report)?;
        if !email.contains('@') {
            let message = "expected the service account's address, such as name@project.iam.gserviceaccount.com";
            report.error(&self.place.key("client_email"), message);
            return None;
        }
        Some(email)
    }

    fn private_key(&self, report: &mut Report) -> Option<SigningKey> {
        let text = self.required(&self.raw.private_key, "private_key", report)?;
        match SigningKey::from_pem(&text) {
            Ok(key) => Some(key),
            Err(why) => {
                report.error(&self.place.key("private_key"), why.to_string());
                None
            }
        }
    }

    fn token_uri(&self, report: &mut Report) -> Option<Url> {
        if self.raw.token_uri.is_absent() {
            return Url::parse(TOKEN_URI).ok();
        }
        let text = self.raw.token_uri.clone().take("token_uri", self.place, report)?;
        match parse_url(text.0.trim(), TOKEN_URI) {
            Ok(url) => Some(url),
            Err(message) => {
                report.error(&self.place.key("token_uri"), message);
                None
            }
        }
    }

    fn regions(&self, report: &mut Report) -> Option<Vec<Arc<str>>> {
        const EXPECTED: &str = "expected a region such as us-central1, or global, or a list of them";
        let at = self.place.key("region");
        let names = match self.raw.region.clone() {
            Typed::Absent => return Some(Vec::new()),
            Typed::Is(Texts(names)) => names,
            Typed::Wrong { below, .. } => {
                report.error(&at.join(&below), EXPECTED);
                return None;
            }
        };
        let mut regions: Vec<Arc<str>> = Vec::new();
        for name in names.iter().map(|name| name.trim().to_ascii_lowercase()) {
            if !is_region(&name) {
                report.error(&at, if name.is_empty() { empty_because(&at, self.unset) } else { EXPECTED.to_owned() });
                return None;
            }
            if !regions.iter().any(|known| **known == *name) {
                regions.push(name.into());
            }
        }
        Some(regions)
    }
}

/// Whether this can be a label of a host name.
fn is_region(name: &str) -> bool {
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_inside) && !name.ends_with('-')
}

/// The region that one of Google's own hosts is in.
fn region_of(base_url: &Url) -> Option<Arc<str>> {
    let region = base_url.host_str()?.strip_suffix("-aiplatform.googleapis.com")?;
    is_region(region).then(|| region.into())
}
