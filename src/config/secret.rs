//! A value that must never be printed.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ring::digest;
use subtle::ConstantTimeEq;

/// An upstream or client key. Has no `Debug`, `Display` or `Serialize`: the only ways out are
/// [`Secret::expose`] and [`Secret::exposed`], for the wire and for statistics that are told so, and
/// [`Secret::masked`], for people.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a key as it was configured.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }

    /// The key itself. Only for building a request to the upstream that owns it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key itself, shared: for statistics that were told to keep it, and never for a log.
    pub fn exposed(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// `sk-ab…yz`: enough to tell two keys apart, too little to use one.
    pub fn masked(&self) -> String {
        let chars: Vec<char> = self.0.chars().collect();
        match chars.len() {
            // Its ends would give away too much of a short one.
            0..=19 => "…".to_owned(),
            n => {
                let head: String = chars.iter().take(5).collect();
                let tail: String = chars.iter().skip(n - 2).collect();
                format!("{head}…{tail}")
            }
        }
    }

    /// The look-up form of the whole key.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.0.as_bytes())
    }

    /// How the key appears in the statistics: masked, with a short hash that keeps two keys of the
    /// same ends apart.
    pub fn label(&self) -> String {
        format!("{}#{}", self.masked(), self.fingerprint().short())
    }
}

/// SHA-256 of a whole key. Keys are compared by it, never by a prefix and never in clear.
///
/// Finding a key by it tells nobody anything by the time it takes:
///
/// - What is hashed is what the client sent, so that time depends on nothing secret.
/// - A hash table finds the place of a fingerprint by SipHash with a key that is drawn when the process
///   starts. Nobody outside can choose or know which fingerprints share a place there.
/// - Where there is one to compare with, all 32 bytes are compared in constant time, so that not even
///   the beginning of a stored hash, against which guesses could be tried elsewhere, can be measured.
#[derive(Clone, Copy, Eq)]
pub struct Fingerprint([u8; 32]);

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Fingerprint {
    /// The fingerprint of a key as it came in.
    pub fn of(key: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
        Self(hash)
    }

    /// Eight hex digits of it.
    pub fn short(&self) -> String {
        self.0.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_key_shows_its_ends_only() {
        assert_eq!(Secret::new("sk-abcdefghijklmnopqrstuvwxyz").masked(), "sk-ab…yz");
        assert_eq!(Secret::new("short").masked(), "…");
        assert_eq!(Secret::new("clé-très-très-secrète").masked(), "clé-t…te");
    }

    #[test]
    fn fingerprints_are_the_same_in_every_byte_or_not_at_all() {
        let one = Fingerprint([7; 32]);
        assert_eq!(one, Fingerprint([7; 32]));
        for place in 0..32 {
            for bit in 0..8 {
                let mut other = one;
                other.0[place] ^= 1 << bit;
                assert!(one != other, "bit {bit} of byte {place}");
            }
        }
    }

    #[test]
    fn keys_with_the_same_ends_have_different_labels() {
        let one = Secret::new("sk-abcdefghijklmnopqrstuvwxyz").label();
        let other = Secret::new("sk-abcdefghijklmnopqrstuXwxyz").label();
        assert_ne!(one, other);
    }
}
