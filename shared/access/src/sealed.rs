//! What a browser keeps for us between two requests, and secrets that are made again rather than stored.
//!
//! Guarantee: a sealed text is read back only if it was sealed by an installation's own secret, for the same purpose, and
//! its time is not over; it can be read by whoever has it, so no secret goes into it. A derived secret can't be guessed
//! from its name, nor from one of another purpose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

use crate::sessions::SessionKey;

impl SessionKey {
    /// Seals a value until `expires_at` (epoch milliseconds), for one purpose. The text fits into a cookie.
    pub fn seal(&self, purpose: &str, expires_at: i64, value: &impl Serialize) -> Result<String, serde_json::Error> {
        let claim = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(expires_at, value))?);
        let mac = self.named("seal", purpose, &claim).finalize().into_bytes();
        Ok(format!("{claim}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }

    /// What was sealed, if its time is not over. `now` is in epoch milliseconds.
    pub fn unseal<T: DeserializeOwned>(&self, purpose: &str, now: i64, text: &str) -> Option<T> {
        let (claim, mac) = text.split_once('.')?;
        self.named("seal", purpose, claim).verify_slice(&URL_SAFE_NO_PAD.decode(mac).ok()?).ok()?;
        let (expires_at, value) = serde_json::from_slice::<(i64, T)>(&URL_SAFE_NO_PAD.decode(claim).ok()?).ok()?;
        (now < expires_at).then_some(value)
    }

    /// The secret of a name, for one purpose: 64 hexadecimal digits, each time the same.
    pub fn derive(&self, purpose: &str, name: &str) -> String {
        hex::encode(self.named("derive", purpose, name).finalize().into_bytes())
    }

    fn named(&self, use_: &str, purpose: &str, text: &str) -> Hmac<Sha256> {
        self.base().chain_update(format!("reelfleet {use_} v1\n{purpose}\n{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> SessionKey {
        SessionKey::new(secret, "https://films.example").unwrap()
    }

    #[test]
    fn what_was_sealed_reads_back_for_its_purpose_and_in_time() {
        let ours = key("0123456789abcdef0123456789abcdef");
        let value = ("usr_1".to_owned(), Some("/watch?a=b".to_owned()));
        let text = ours.seal("one", 100, &value).unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{text}");
        let read =
            |key: &SessionKey, purpose, now, text: &str| key.unseal::<(String, Option<String>)>(purpose, now, text);
        assert_eq!(read(&ours, "one", 99, &text), Some(value));
        assert_eq!(read(&ours, "one", 100, &text), None, "its time is over");
        assert_eq!(read(&ours, "two", 0, &text), None, "another purpose");
        assert_eq!(read(&key("x123456789abcdef0123456789abcdef"), "one", 0, &text), None, "another secret");
        let (claim, mac) = text.split_once('.').unwrap();
        let other = URL_SAFE_NO_PAD.encode(r#"[999,["usr_2",null]]"#);
        for forged in [format!("{other}.{mac}"), format!("{claim}."), claim.to_owned(), format!("{text}x")] {
            assert_eq!(read(&ours, "one", 0, &forged), None, "{forged}");
        }
    }

    #[test]
    fn a_secret_is_made_again_and_no_other_is_like_it() {
        let ours = key("0123456789abcdef0123456789abcdef");
        assert_eq!(ours.derive("nonce", "a"), ours.derive("nonce", "a"));
        assert_eq!(ours.derive("nonce", "a").len(), 64);
        assert_ne!(ours.derive("nonce", "a"), ours.derive("nonce", "b"));
        assert_ne!(ours.derive("nonce", "a"), ours.derive("state", "a"));
    }
}
