//! Access tokens for a Google service account.
//!
//! Source: Google's "Using OAuth 2.0 for Server to Server Applications", and RFC 7523.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::url::form_urlencoded;
use awc::http::header;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::canon::{Failure, FailureKind};
use crate::config::{Outbound, Secret, ServiceAccount, TimeLimits};

use super::attempt::not_answered;
use super::body::Body;
use super::client::{USER_AGENT, client};

/// What the token is for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an assertion is good for, in seconds; Google takes no longer one.
const ASSERTION_LIFETIME_S: u64 = 3600;
/// An exchange may take this long; requests wait for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// An answer may be this long, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// What a token is taken to live when nothing is said of it, at least and at most, in seconds.
const DEFAULT_LIFETIME_S: u64 = 3600;
const MIN_LIFETIME_S: u64 = 1;
const MAX_LIFETIME_S: u64 = 12 * 3600;
/// As much is repeated of what the endpoint says of an error, in characters.
const MAX_SAID: usize = 200;

/// What requests to Google's APIs are made with.
pub struct Token {
    /// The token itself.
    pub value: Secret,
    /// How long it is good for, from now on.
    pub lifetime: Duration,
}

/// Exchanges a signed assertion for an access token, over connections that are opened like those of
/// the channel.
///
/// # Errors
///
/// The endpoint refuses the account, cannot be reached, or does not answer with a token.
pub async fn fetch_token(
    account: &ServiceAccount,
    outbound: &Arc<Outbound>,
    limits: &TimeLimits,
) -> Result<Token, Failure> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let assertion = assertion(account, since_1970.as_secs())?;
    timeout(PATIENCE.min(limits.first_event), exchange(account, &assertion, outbound, limits)).await.unwrap_or_else(
        |_| Err(Failure::new(FailureKind::FirstEventTimeout, "the endpoint for access tokens did not answer in time")),
    )
}

/// The statement "I am this account, let me in", signed by it.
fn assertion(account: &ServiceAccount, now_unix_s: u64) -> Result<String, Failure> {
    let claims = json!({
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri.as_str(),
        "iat": now_unix_s,
        "exp": now_unix_s.saturating_add(ASSERTION_LIFETIME_S),
    });
    let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let statement = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
    let signature = account.private_key.sign(statement.as_bytes()).ok_or_else(|| {
        Failure::new(FailureKind::Internal, "no access token could be asked for, because the system has no randomness")
    })?;
    Ok(format!("{statement}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

async fn exchange(
    account: &ServiceAccount,
    assertion: &str,
    outbound: &Arc<Outbound>,
    limits: &TimeLimits,
) -> Result<Token, Failure> {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", GRANT_TYPE)
        .append_pair("assertion", assertion)
        .finish();
    let request = client(outbound, limits.connect)
        .post(account.token_uri.as_str())
        .insert_header((header::CONTENT_TYPE, "application/x-www-form-urlencoded"))
        .insert_header((header::USER_AGENT, USER_AGENT));
    let sent = request.send_body(Bytes::from(form)).await;
    let response = sent.map_err(|error| unreachable(not_answered(&error, outbound)))?;
    let status = response.status();
    let said = Body::new(response, limits.idle).collect(MAX_ANSWER_BYTES).await.map_err(unreachable)?;
    if status.is_success() { token(&said) } else { Err(refused(status.as_u16(), &said, assertion)) }
}

/// Says of a failed connection which one it was.
fn unreachable(failure: Failure) -> Failure {
    Failure { message: format!("the endpoint for access tokens failed: {}", failure.message), ..failure }
}

fn token(said: &[u8]) -> Result<Token, Failure> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
        expires_in: Option<u64>,
    }
    let granted: Granted = serde_json::from_slice(said).map_err(|_| {
        Failure::new(FailureKind::UnreadableAnswer, "the endpoint for access tokens gave none; check token_uri")
    })?;
    let lifetime_s = granted.expires_in.unwrap_or(DEFAULT_LIFETIME_S).clamp(MIN_LIFETIME_S, MAX_LIFETIME_S);
    Ok(Token { value: Secret::new(granted.access_token), lifetime: Duration::from_secs(lifetime_s) })
}

/// What it means that no token was given.
fn refused(status: u16, said: &[u8], assertion: &str) -> Failure {
    #[derive(Default, Deserialize)]
    struct Refusal {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let kind = match status {
        429 => FailureKind::RateLimited,
        503 => FailureKind::Overloaded,
        400..=499 => FailureKind::KeyRefused,
        _ => FailureKind::UpstreamStatus,
    };
    let Refusal { error, error_description } = serde_json::from_slice(said).unwrap_or_default();
    let said = match (error.is_empty(), error_description.is_empty()) {
        (true, _) => format!("status {status}"),
        (false, true) => error,
        (false, false) => format!("{error}: {error_description}"),
    };
    let said: String = said.replace(assertion, "…").trim_end_matches('.').chars().take(MAX_SAID).collect();
    let message = match kind {
        FailureKind::KeyRefused => format!(
            "Google refused the service account ({said}); check private_key, client_email and the clock of this machine"
        ),
        _ => format!("the endpoint for access tokens failed ({said})"),
    };
    Failure { upstream_status: Some(status), ..Failure::new(kind, message) }
}

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;
    use crate::config::SigningKey;

    const PEM: &str = include_str!("../../tests/fixtures/service-account-key.pem");

    fn account() -> ServiceAccount {
        ServiceAccount {
            project_id: "p-1".to_owned(),
            client_email: "a@p-1.example".to_owned(),
            private_key: SigningKey::from_pem(PEM).unwrap(),
            token_uri: "https://oauth2.googleapis.com/token".parse().unwrap(),
        }
    }

    fn decoded(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_states_who_asks_for_what_and_is_signed() {
        let assertion = assertion(&account(), 1_700_000_000).unwrap();
        let (statement, signature) = assertion.rsplit_once('.').unwrap();
        let (head, claims) = statement.split_once('.').unwrap();
        assert_eq!(decoded(head), json!({"alg": "RS256", "typ": "JWT"}));
        assert_eq!(
            decoded(claims),
            json!({
                "iss": "a@p-1.example",
                "scope": "https://www.googleapis.com/auth/cloud-platform",
                "aud": "https://oauth2.googleapis.com/token",
                "iat": 1_700_000_000,
                "exp": 1_700_003_600,
            })
        );
        let body: String = PEM.lines().filter(|line| !line.contains("-----") && !line.contains(' ')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        let public = RsaKeyPair::from_pkcs8(&der).unwrap().public_key().as_ref().to_vec();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
        public.verify(statement.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }

    #[test]
    fn a_token_comes_with_its_lifetime() {
        let read = |said: &str| token(said.as_bytes()).map(|token| (token.value.expose().to_owned(), token.lifetime));
        let granted = |seconds| Ok(("t".to_owned(), Duration::from_secs(seconds)));
        assert_eq!(read(r#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#), granted(3599));
        assert_eq!(read(r#"{"access_token":"t"}"#), granted(3600));
        assert_eq!(read(r#"{"access_token":"t","expires_in":18446744073709551615}"#), granted(43_200));
        assert_eq!(read(r#"{"access_token":"t","expires_in":0}"#), granted(1));
        for other in ["", "<html>", r#"{"id_token":"t"}"#] {
            assert_eq!(read(other).unwrap_err().kind, FailureKind::UnreadableAnswer);
        }
    }

    #[test]
    fn a_refusal_says_what_to_check() {
        let said = br#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#;
        let failure = refused(400, said, "assertion");
        assert_eq!((failure.kind, failure.status()), (FailureKind::KeyRefused, 502));
        assert_eq!(
            failure.message,
            "Google refused the service account (invalid_grant: Invalid JWT Signature); check private_key, \
             client_email and the clock of this machine"
        );
        assert!(refused(403, b"<html>", "assertion").message.contains("(status 403)"));
        for (status, kind) in [
            (429, FailureKind::RateLimited),
            (500, FailureKind::UpstreamStatus),
            (503, FailureKind::Overloaded),
            (302, FailureKind::UpstreamStatus),
        ] {
            assert_eq!(refused(status, b"", "assertion").kind, kind);
        }
    }

    #[test]
    fn an_assertion_that_is_sent_back_is_not_repeated() {
        let said = br#"{"error":"invalid_grant","error_description":"bad: head.claims.signature"}"#;
        assert!(!refused(400, said, "head.claims.signature").message.contains("claims"));
    }
}
