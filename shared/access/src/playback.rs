//! Playback tokens: the right to fetch the outputs of one asset, carried in the path (`/p/{token}/…`) so that relative
//! URIs in playlists inherit it.
//!
//! Guarantee: a token names one asset and one generation and ends at its expiry. It can't be made or changed without
//! the key (HMAC-SHA256, RFC 2104, compared in constant time). It needs no row; that the asset still exists is for the
//! caller to check; and, of a grant that strangers were given, that the asset is still open to them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use reelfleet_messages::AssetId;
use sha2::Sha256;

/// What separates this use of the key from any other.
const DOMAIN: &[u8] = b"reelfleet playback v1\n";
/// Ends the claim of a grant that is open.
const OPEN: &str = ".open";
/// Bytes of the shortest secret that is taken.
pub const MIN_SECRET: usize = 32;

/// What a token grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The asset.
    pub asset: AssetId,
    /// Its outputs lie under this generation.
    pub generation: u32,
    /// Epoch seconds.
    pub expires_at: i64,
    /// Given to whoever asked, because the asset was open to everybody: good only while it is.
    pub open: bool,
}

/// Why a token grants nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not one of ours.
    #[error("the playback token is not valid")]
    Invalid,
    /// Ours, but its time is over: ask for the asset again.
    #[error("the playback token has expired")]
    Expired,
}

/// The secret is too short to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the playback secret needs at least {MIN_SECRET} bytes (try: openssl rand -hex 32)")]
pub struct WeakSecret;

/// Signs and checks tokens. All gateways of an installation share one.
#[derive(Clone)]
pub struct PlaybackKey(Hmac<Sha256>);

impl std::fmt::Debug for PlaybackKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlaybackKey(..)")
    }
}

impl PlaybackKey {
    /// From the configured secret.
    pub fn new(secret: &str) -> Result<Self, WeakSecret> {
        if secret.len() < MIN_SECRET {
            return Err(WeakSecret);
        }
        let mac = Hmac::new_from_slice(secret.as_bytes()).map_err(|_| WeakSecret)?;
        Ok(Self(mac))
    }

    /// The token of a grant: `{asset}.{generation}.{expiry}[.open].{mac}`, safe in a path.
    pub fn sign(&self, grant: &Grant) -> String {
        let open = if grant.open { OPEN } else { "" };
        let claim = format!("{}.{}.{}{open}", grant.asset, grant.generation, grant.expires_at);
        let mac = self.mac(&claim).finalize().into_bytes();
        format!("{claim}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// What a token grants. `now` is in epoch milliseconds.
    pub fn check(&self, now: i64, token: &str) -> Result<Grant, TokenError> {
        let (claim, mac) = token.rsplit_once('.').ok_or(TokenError::Invalid)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| TokenError::Invalid)?;
        self.mac(claim).verify_slice(&mac).map_err(|_| TokenError::Invalid)?;
        let grant = read(claim).ok_or(TokenError::Invalid)?;
        if now >= grant.expires_at.saturating_mul(1_000) {
            return Err(TokenError::Expired);
        }
        Ok(grant)
    }

    fn mac(&self, claim: &str) -> Hmac<Sha256> {
        self.0.clone().chain_update(DOMAIN).chain_update(claim)
    }
}

fn read(claim: &str) -> Option<Grant> {
    let (claim, open) = claim.strip_suffix(OPEN).map_or((claim, false), |claim| (claim, true));
    let mut fields = claim.split('.');
    let grant = Grant {
        asset: fields.next()?.parse().ok()?,
        generation: fields.next()?.parse().ok()?,
        expires_at: fields.next()?.parse().ok()?,
        open,
    };
    fields.next().is_none().then_some(grant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> PlaybackKey {
        PlaybackKey::new("0123456789abcdef0123456789abcdef").unwrap()
    }

    fn grant() -> Grant {
        Grant {
            asset: "ast_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
            generation: 2,
            expires_at: 1_000,
            open: false,
        }
    }

    #[test]
    fn a_token_grants_what_was_signed_until_it_expires() {
        let token = key().sign(&grant());
        assert_eq!(key().check(999_999, &token), Ok(grant()));
        assert_eq!(key().check(1_000_000, &token), Err(TokenError::Expired));
        let open = Grant { open: true, ..grant() };
        assert_eq!(key().check(0, &key().sign(&open)), Ok(open));
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(token.chars().all(plain), "{token}");
    }

    #[test]
    fn another_key_or_another_claim_is_not_believed() {
        let token = key().sign(&grant());
        let other = PlaybackKey::new("x123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(other.check(0, &token), Err(TokenError::Invalid));
        let (claim, mac) = token.rsplit_once('.').unwrap();
        for forged in [
            format!("{}.{mac}", claim.replace(".2.", ".3.")),
            format!("{}.{mac}", claim.replace(".1000", ".9999")),
            format!("{claim}."),
            format!("{claim}.{}", &mac[..20]),
            format!("{claim}.{mac}="),
            format!("{claim}.open.{mac}"),
            key().sign(&Grant { open: true, ..grant() }).replace(".open", ""),
            claim.to_owned(),
            String::new(),
            ".".into(),
        ] {
            assert_eq!(key().check(0, &forged), Err(TokenError::Invalid), "{forged}");
        }
        assert_eq!(PlaybackKey::new("short").unwrap_err(), WeakSecret);
    }

    proptest! {
        #[test]
        fn no_single_change_survives(at in 0usize..80, byte in 0x20u8..0x7f) {
            let token = key().sign(&grant());
            let mut bytes = token.clone().into_bytes();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            prop_assert_eq!(key().check(0, &String::from_utf8(bytes).unwrap()), Err(TokenError::Invalid));
        }
    }
}
