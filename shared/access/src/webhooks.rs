//! Webhooks: their secrets, their signatures, and whose events they may hear.
//!
//! Guarantees: a webhook's secret is made of its id, its version and the installation's secret, so nothing to sign with
//! is at rest; after a rotation the old secret signs beside the new one for [`OVERLAP_MS`]. A webhook hears no more than
//! its owner may: one whose account is disabled hears nothing, and the whole tenant is for administrators.
//!
//! Source: Standard Webhooks 1.0.0 (standardwebhooks.com), signature scheme `v1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use reelfleet_catalog::accounts::ACTIVE;
use reelfleet_catalog::webhooks::Webhook;
use reelfleet_messages::WebhookId;
use sha2::Sha256;

use crate::principal::Scope;
use crate::roles::Roles;

/// The secret before the last rotation signs this long (milliseconds).
pub const OVERLAP_MS: i64 = 86_400_000;
/// Bytes of the shortest secret that is taken.
pub const MIN_SECRET: usize = 32;

/// The secret is too short to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the webhook secret needs at least {MIN_SECRET} bytes (try: openssl rand -hex 32)")]
pub struct WeakSecret;

/// Makes the secrets of webhooks. Gateways and notifiers of an installation share one.
#[derive(Clone)]
pub struct WebhookKey(Hmac<Sha256>);

impl std::fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookKey(..)")
    }
}

impl WebhookKey {
    /// From the configured secret.
    pub fn new(secret: &str) -> Result<Self, WeakSecret> {
        if secret.len() < MIN_SECRET {
            return Err(WeakSecret);
        }
        Hmac::new_from_slice(secret.as_bytes()).map(Self).map_err(|_| WeakSecret)
    }

    fn bytes(&self, id: &WebhookId, version: i64) -> [u8; 32] {
        let text = format!("reelfleet webhook v1\n{id}\n{version}");
        self.0.clone().chain_update(text).finalize().into_bytes().into()
    }

    /// The secret as its owner takes it: `whsec_` and 32 bytes in base 64.
    pub fn secret(&self, id: &WebhookId, version: i64) -> String {
        format!("whsec_{}", STANDARD.encode(self.bytes(id, version)))
    }

    /// The header `webhook-signature`: by the newest secret first, and by the one before while that counts.
    ///
    /// `now` is in epoch milliseconds, `at` in seconds.
    pub fn sign(&self, webhook: &Webhook, now: i64, message: &str, at: i64, body: &str) -> String {
        let newest = webhook.secret_version;
        let both = newest > 1 && now < webhook.rotated_at.saturating_add(OVERLAP_MS);
        let versions = if both { vec![newest, newest - 1] } else { vec![newest] };
        let signed = versions.into_iter().filter_map(|version| {
            let mac = Hmac::<Sha256>::new_from_slice(&self.bytes(&webhook.id, version)).ok()?;
            let mac = mac.chain_update(format!("{message}.{at}.")).chain_update(body).finalize();
            Some(format!("v1,{}", STANDARD.encode(mac.into_bytes())))
        });
        signed.collect::<Vec<_>>().join(" ")
    }
}

/// Whether a webhook's owner may still hear what it asks for.
pub fn may_hear(webhook: &Webhook) -> bool {
    match &webhook.user {
        // Whoever an API key was made for, without an account: an administrator made the webhook.
        None => true,
        Some((roles, state)) => {
            state == ACTIVE && (!webhook.is_of_tenant() || Roles::stored(roles).scopes().hold(Scope::Admin))
        }
    }
}

#[cfg(test)]
mod tests {
    use reelfleet_catalog::webhooks::of_tenant;
    use uuid::Uuid;

    use super::*;

    fn webhook(version: i64, stream: &str, user: Option<(&str, &str)>) -> Webhook {
        Webhook {
            id: WebhookId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
            tenant: "t".into(),
            owner: "ann".into(),
            name: "mine".into(),
            url: "https://example.com/hook".into(),
            events: String::new(),
            stream: stream.into(),
            position: 0,
            enabled: true,
            reason: None,
            secret_version: version,
            rotated_at: 1_000,
            created_at: 0,
            user: user.map(|(roles, state)| (roles.into(), state.into())),
        }
    }

    #[test]
    fn each_version_has_a_secret_of_its_own_and_the_last_two_overlap() {
        let key = WebhookKey::new("0123456789abcdef0123456789abcdef").unwrap();
        let (first, second) = (webhook(1, "user:t/ann", None), webhook(2, "user:t/ann", None));
        assert_ne!(key.secret(&first.id, 1), key.secret(&first.id, 2));
        assert!(key.secret(&first.id, 1).starts_with("whsec_"));
        assert_eq!(key.sign(&first, 2_000, "evt_1", 2, "{}").split(' ').count(), 1);
        let both = key.sign(&second, 2_000, "evt_1", 2, "{}");
        assert!(both.ends_with(&key.sign(&first, 2_000, "evt_1", 2, "{}")), "{both}");
        assert_eq!(key.sign(&second, 1_000 + OVERLAP_MS, "evt_1", 2, "{}").split(' ').count(), 1);
        let other = WebhookKey::new("0123456789abcdef0123456789abcdeg").unwrap();
        assert_ne!(other.secret(&first.id, 1), key.secret(&first.id, 1));
        assert!(WebhookKey::new("short").is_err());
        assert!(!format!("{key:?}").contains("0123"));
    }

    #[test]
    fn it_hears_no_more_than_its_owner() {
        let of_all = of_tenant();
        assert!(may_hear(&webhook(1, "user:t/ann", None)));
        assert!(may_hear(&webhook(1, of_all, None)));
        assert!(may_hear(&webhook(1, "user:t/ann", Some(("user", "active")))));
        assert!(!may_hear(&webhook(1, "user:t/ann", Some(("user", "disabled")))));
        assert!(!may_hear(&webhook(1, of_all, Some(("user reviewer operator", "active")))));
        assert!(may_hear(&webhook(1, of_all, Some(("admin", "active")))));
        assert!(!may_hear(&webhook(1, of_all, Some(("admin", "disabled")))));
    }
}
