//! Small documents that are asked for once in a while: a list of models, a configuration file.

use std::sync::Arc;
use std::time::Duration;

use awc::http::header;
use tokio::time::timeout;
use url::Url;

use crate::canon::{Failure, FailureKind};
use crate::config::{Outbound, TimeLimits};
use crate::dialect::model_list::read_model_list;

use super::attempt::{content_length, not_answered};
use super::body::Body;
use super::client::{USER_AGENT, client};
use super::target::Target;

/// A document must be there within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A document may be this long, in bytes.
const MAX_DOCUMENT_BYTES: usize = 8 * 1024 * 1024;

/// The ids that an upstream lists, in its order.
///
/// # Errors
///
/// The upstream did not answer with such a list.
pub async fn list_models(target: &Target, limits: &TimeLimits) -> Result<Vec<String>, Failure> {
    let mut request = client(&target.outbound, limits.connect).get(target.uri.clone());
    for (name, value) in &target.headers {
        request = request.insert_header((name.clone(), value.clone()));
    }
    let text = get(request, &target.outbound, limits).await?;
    read_model_list(&text)
}

/// The document at an address that the administrator configured.
///
/// # Errors
///
/// There is none, or it is not text.
pub async fn fetch_text(url: &Url) -> Result<String, Failure> {
    let (outbound, limits) = (Arc::default(), TimeLimits::with_patience(PATIENCE));
    let mut request = client(&outbound, limits.connect).get(url.as_str());
    if !url.username().is_empty() {
        request = request.basic_auth(url.username(), url.password().unwrap_or_default());
    }
    let document = get(request, &outbound, &limits).await?;
    String::from_utf8(document.to_vec())
        .map_err(|_| Failure::new(FailureKind::UnreadableAnswer, "the document is not UTF-8 text"))
}

async fn get(request: awc::ClientRequest, outbound: &Outbound, limits: &TimeLimits) -> Result<bytes::Bytes, Failure> {
    let request = request.insert_header_if_none((header::USER_AGENT, USER_AGENT));
    let document = async {
        let response = request.send().await.map_err(|error| not_answered(&error, outbound))?;
        let status = response.status();
        if !status.is_success() {
            let message = format!("the answer has status {}", status.as_u16());
            return Err(Failure::new(FailureKind::UpstreamStatus, message));
        }
        let length = content_length(&response);
        if length.is_none() {
            log::warn!("a document came without Content-Length; should it have been cut, nobody could tell");
        }
        Body::new(response, length, limits.idle).collect(MAX_DOCUMENT_BYTES).await
    };
    timeout(PATIENCE, document)
        .await
        .map_err(|_| Failure::new(FailureKind::TotalTimeout, "the document did not come in time"))?
}
