//! Who may do what: API keys, sessions, roles, who sees an asset, realtime tickets, topic rights and playback tokens, for
//! the gateway and the notifier alike.
//!
//! Guarantees:
//! - a secret is stored only as its SHA-256 and compared in constant time; it shows in no `Debug` and in no error;
//! - tenant and owner come from the row of the key or the session, never from the request;
//! - what is not allowed explicitly is refused: an unknown scope grants nothing, an unknown topic is nobody's;
//! - randomness and the wall clock are arguments: a [`Secret`] is made from 256 random bits that the caller drew.
//!
//! A revoked key or an ended session admits nothing after [`REVOCATION_BOUND`]; a realtime ticket drawn just before that lives 30 s
//! more. Playback tokens are bound to one asset and one generation and end by their own expiry or with the asset.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod id_token;
mod kept;
pub mod keys;
pub mod playback;
pub mod principal;
pub mod roles;
mod sealed;
pub mod secret;
pub mod sessions;
pub mod sight;
pub mod standing;
pub mod targets;
pub mod tickets;
pub mod topics;
pub mod webhooks;

use reelfleet_catalog::CatalogError;

pub use kept::REVOCATION_BOUND;
pub use keys::{Keys, NewKey};
pub use playback::{Grant, PlaybackKey, TokenError};
pub use principal::{Principal, Scope, Scopes, Via};
pub use roles::{Role, Roles};
pub use secret::Secret;
pub use sessions::{SessionKey, Sessions};
pub use sight::{Sight, sees};
pub use standing::{Standing, standing};
pub use tickets::Ticket;
pub use topics::Topic;
pub use webhooks::WebhookKey;

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No such credential, or it is malformed, revoked, expired or used up: the caller learns no more than that.
    #[error("the credential is not valid")]
    Unauthenticated,
    /// A valid credential without the scope.
    #[error("the scope {0} is needed")]
    ScopeMissing(Scope),
    /// A topic or an object that is not the caller's, or that does not exist: indistinguishable.
    #[error("there is no such topic for this caller")]
    NotYours,
    /// It could not be found out.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}
