//! Small documents that are asked for once in a while: a list of models, a configuration file.

use std::sync::Arc;
use std::time::Duration;

use awc::http::StatusCode;
use awc::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use tokio::time::timeout;
use url::Url;

use crate::canon::{Failure, FailureKind};
use crate::config::{Outbound, TimeLimits};
use crate::dialect::model_list::read_model_list;

use super::attempt::{ask, not_answered};
use super::body::Body;
use super::client::{USER_AGENT, client};
use super::question::{Method, Question};
use super::response::Response;
use super::target::Target;

/// A document must be there within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A document may be this long, in bytes.
const MAX_DOCUMENT_BYTES: usize = 8 * 1024 * 1024;

/// What a server says of one version of a document, for asking whether there is another.
#[derive(Clone, Default)]
pub struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

impl Validators {
    fn of(response: &Response) -> Self {
        let header = |name: HeaderName| response.headers().get(name).cloned();
        Self { etag: header(header::ETAG), last_modified: header(header::LAST_MODIFIED) }
    }

    fn conditions(&self) -> impl Iterator<Item = (HeaderName, &HeaderValue)> {
        let etag = self.etag.as_ref().map(|etag| (header::IF_NONE_MATCH, etag));
        let last_modified = self.last_modified.as_ref().map(|time| (header::IF_MODIFIED_SINCE, time));
        etag.into_iter().chain(last_modified)
    }
}

/// A document as it came.
pub struct Document {
    /// All of it.
    pub text: String,
    /// What its server says of this version.
    pub validators: Validators,
    /// Whether its server said how long it is.
    pub has_known_end: bool,
}

impl Document {
    /// Warns if a part of it could have been taken for the whole.
    pub fn warn_of_unknown_end(&self) {
        if !self.has_known_end {
            log::warn!("{WITHOUT_LENGTH}");
        }
    }
}

const WITHOUT_LENGTH: &str = "a document came without Content-Length; should it have been cut, nobody could tell";

/// The ids that an upstream lists, in its order.
///
/// # Errors
///
/// The upstream did not answer with such a list.
pub async fn list_models(target: &Target, limits: &TimeLimits) -> Result<Vec<String>, Failure> {
    let text = in_time(async {
        let question = Question { method: Method::GET, headers: HeaderMap::new(), body: &[] };
        let response = found(ask(target, &question, limits.connect).await?)?;
        if response.content_length().is_none() {
            log::warn!("{WITHOUT_LENGTH}");
        }
        whole(response, limits).await
    });
    read_model_list(&text.await?)
}

/// The document at an address that the administrator configured.
///
/// # Errors
///
/// There is none, or it is not text.
pub async fn fetch_text(url: &Url) -> Result<String, Failure> {
    let document = fetch_changed(url, &Validators::default()).await?;
    let document = document.ok_or_else(|| refused(StatusCode::NOT_MODIFIED))?;
    document.warn_of_unknown_end();
    Ok(document.text)
}

/// The same, if it is another version than the one that these validators are of.
///
/// # Errors
///
/// There is none, or it is not text.
pub async fn fetch_changed(url: &Url, known: &Validators) -> Result<Option<Document>, Failure> {
    let (outbound, limits) = (Arc::default(), TimeLimits::with_patience(PATIENCE));
    let mut request = client(&outbound, limits.connect).get(url.as_str());
    if !url.username().is_empty() {
        request = request.basic_auth(url.username(), url.password().unwrap_or_default());
    }
    for (name, value) in known.conditions() {
        request = request.insert_header((name, value.clone()));
    }
    in_time(async {
        let response = match get(request, &outbound).await? {
            response if response.status() == StatusCode::NOT_MODIFIED => return Ok(None),
            response => response,
        };
        let (validators, has_known_end) = (Validators::of(&response), response.content_length().is_some());
        let text = String::from_utf8(whole(response, &limits).await?.to_vec())
            .map_err(|_| Failure::new(FailureKind::UnreadableAnswer, "the document is not UTF-8 text"))?;
        Ok(Some(Document { text, validators, has_known_end }))
    })
    .await
}

async fn in_time<T>(document: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(PATIENCE, document)
        .await
        .map_err(|_| Failure::new(FailureKind::TotalTimeout, "the document did not come in time"))?
}

async fn get(request: awc::ClientRequest, outbound: &Outbound) -> Result<Response, Failure> {
    let request = request.insert_header_if_none((header::USER_AGENT, USER_AGENT));
    found(request.send().await.map_err(|error| not_answered(&error, outbound))?.into())
}

fn found(response: Response) -> Result<Response, Failure> {
    match response.status() {
        status if status.is_success() || status == StatusCode::NOT_MODIFIED => Ok(response),
        status => Err(refused(status)),
    }
}

fn refused(status: StatusCode) -> Failure {
    Failure::new(FailureKind::UpstreamStatus, format!("the answer has status {}", status.as_u16()))
}

async fn whole(response: Response, limits: &TimeLimits) -> Result<Bytes, Failure> {
    Body::new(response, limits.idle).collect(MAX_DOCUMENT_BYTES).await
}
