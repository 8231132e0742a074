//! The account that a channel signs in to Google with.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use thiserror::Error;
use url::Url;

/// A Google Cloud service account: what its JSON key file says of it.
#[derive(PartialEq)]
pub struct ServiceAccount {
    /// The project that is charged; stands in the path of every request.
    pub project_id: String,
    /// Its name.
    pub client_email: String,
    /// What it proves itself with.
    pub private_key: SigningKey,
    /// Where it gets its access tokens; always http or https, with a host.
    pub token_uri: Url,
}

/// A private RSA key. Has no `Debug`, `Display` or `Serialize`, and there is no way to get the key
/// out: all it does is sign.
pub struct SigningKey(RsaKeyPair);

/// Why a text is no [`SigningKey`]. Never repeats any of it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidKey {
    /// Not the armour of a private key around it.
    #[error(
        "expected the whole private_key of the service account's JSON file, from -----BEGIN PRIVATE KEY----- to \
         -----END PRIVATE KEY-----"
    )]
    Pem,
    /// What is inside the armour is no base64.
    #[error("is damaged between its first and its last line; copy it again from the service account's JSON file")]
    Base64,
    /// No key, or none that RS256 takes.
    #[error("is no RSA key of 2048 to 4096 bits; create a new JSON key for the service account")]
    Rsa,
}

impl PartialEq for SigningKey {
    /// Two private keys are the same if their public halves are.
    fn eq(&self, other: &Self) -> bool {
        self.0.public_key().as_ref() == other.0.public_key().as_ref()
    }
}

impl SigningKey {
    /// Reads a key in PEM form, PKCS#8 or PKCS#1, also one whose JSON escapes nobody has undone, and
    /// one whose lines have become one.
    ///
    /// # Errors
    ///
    /// The text is no unencrypted RSA key.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let text = text.replace("\\r", "").replace("\\n", "\n").replace("\\u003d", "=");
        if let Some(der) = unwrapped(&text, "PRIVATE KEY") {
            return RsaKeyPair::from_pkcs8(&der?).map(Self).map_err(|_| InvalidKey::Rsa);
        }
        let der = unwrapped(&text, "RSA PRIVATE KEY").ok_or(InvalidKey::Pem)??;
        RsaKeyPair::from_der(&der).map(Self).map_err(|_| InvalidKey::Rsa)
    }

    /// The RS256 signature of a message; `None` when the system has no randomness to give.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
        Some(signature)
    }
}

/// What is between the first and the last line of a PEM text of this label.
fn unwrapped(text: &str, label: &str) -> Option<Result<Vec<u8>, InvalidKey>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_whitespace().collect();
    Some(STANDARD.decode(body).map_err(|_| InvalidKey::Base64))
}

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    const PKCS8: &str = include_str!("../../tests/fixtures/service-account-key.pem");
    const PKCS1: &str = include_str!("../../tests/fixtures/service-account-key-pkcs1.pem");

    fn refused(text: &str) -> InvalidKey {
        SigningKey::from_pem(text).err().unwrap()
    }

    #[test]
    fn both_forms_of_a_key_sign_alike() {
        let keys = [PKCS8, PKCS1].map(|text| SigningKey::from_pem(text).unwrap());
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, keys[0].0.public_key().as_ref().to_vec());
        for key in keys {
            public.verify(b"message", &key.sign(b"message").unwrap()).unwrap();
        }
    }

    #[test]
    fn escapes_may_be_left_and_line_breaks_lost() {
        for line_break in ["\\n", "\\r\\n", "\r\n", " "] {
            assert!(SigningKey::from_pem(&PKCS8.replace('\n', line_break)).is_ok(), "{line_break:?}");
        }
        let padded = PKCS8.replace('=', "\\u003d");
        assert!(padded != PKCS8 && SigningKey::from_pem(&padded).is_ok());
    }

    #[test]
    fn a_text_that_is_no_key_says_what_is_wrong() {
        let half = PKCS8.split("-----END").next().unwrap();
        let certificate = PKCS8.replace("PRIVATE KEY", "CERTIFICATE");
        let encrypted = PKCS8.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for text in ["", "xxxxx", half, &certificate, &encrypted] {
            assert_eq!(refused(text), InvalidKey::Pem);
        }
        assert_eq!(refused("-----BEGIN PRIVATE KEY-----\nx?x\n-----END PRIVATE KEY-----\n"), InvalidKey::Base64);
        assert_eq!(refused("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), InvalidKey::Rsa);
        assert_eq!(refused(&PKCS8.replace("PRIVATE", "RSA PRIVATE")), InvalidKey::Rsa);
    }
}
