//! Secrets of 256 random bits, and their hashes.
//!
//! Guarantee: a secret is not printed by accident, and only its SHA-256 is stored. A plain hash is enough here, since
//! nobody can guess 256 random bits; passwords need another function.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// 256 random bits, drawn by the caller.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// From random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From exactly 64 lower-case hexadecimal digits, the form in which secrets travel. `None` for anything else, so
    /// that one secret has one spelling.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// 64 lower-case hexadecimal digits. To be shown once, to its owner.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }

    /// What is stored of it: SHA-256, hexadecimal.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }

    /// Whether the stored hash is that of this secret, in constant time.
    pub fn matches(&self, stored: &str) -> bool {
        self.hash().as_bytes().ct_eq(stored.as_bytes()).into()
    }
}

/// Whether two texts are the same, in a time that says nothing of either, not even its length.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_spelling_and_does_not_show() {
        let secret = Secret::from_bytes([0xab; 32]);
        let text = secret.reveal();
        assert!(Secret::from_hex(&text).unwrap().matches(&secret.hash()));
        assert!(Secret::from_hex(&text.to_uppercase()).is_none());
        assert!(Secret::from_hex(&text[1..]).is_none());
        assert!(Secret::from_hex(&format!("{text}0")).is_none());
        assert!(Secret::from_hex(&text.replace('a', "g")).is_none());
        assert!(!format!("{secret:?}").contains("ab"));
    }

    #[test]
    fn texts_are_the_same_or_not() {
        assert!(same(b"abc", b"abc") && same(b"", b""));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
    }

    #[test]
    fn only_its_own_hash_matches() {
        let secret = Secret::from_bytes([1; 32]);
        assert!(!secret.matches(&Secret::from_bytes([2; 32]).hash()));
        assert!(!secret.matches(&secret.reveal()), "the secret itself is no hash");
        assert!(!secret.matches(""));
        assert!(!secret.matches(&secret.hash()[..63]));
    }
}
