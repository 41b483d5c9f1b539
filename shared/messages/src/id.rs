//! Typed ids: a prefix that says what is named, and a UUIDv7 in base 32 (the TypeID form, `ast_01h2x…`).
//!
//! Guarantee: an id of one kind can't be taken for another, neither by the compiler nor in a log.
//! Ids sort by the time of their making. They are made only from a UUID that the caller got from `fleet::Ids`.

use type_safe_id::{StaticType, TypeSafeId};

macro_rules! ids {
    ($($(#[$doc:meta])* $kind:ident, $id:ident, $prefix:literal;)*) => {$(
        #[doc = concat!("Marks ids that begin with `", $prefix, "_`.")]
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $kind;
        impl StaticType for $kind {
            const TYPE: &'static str = $prefix;
        }
        $(#[$doc])*
        pub type $id = TypeSafeId<$kind>;
    )*};
}

ids! {
    /// What was uploaded.
    Asset, AssetId, "ast";
    /// One processing of an asset.
    Job, JobId, "job";
    /// One message on one queue, and its row.
    TaskKind, TaskId, "tsk";
    /// An upload through the API, before it is an asset.
    Upload, UploadId, "upl";
    /// One fact. Receivers deduplicate by it.
    Fact, EventId, "evt";
    /// An API key; the secret is not part of it.
    ApiKey, ApiKeyId, "key";
    /// A person with an account.
    User, UserId, "usr";
    /// One signing-in of a person, on one device.
    Session, SessionId, "ses";
    /// An invitation to sign up; the secret is not part of it.
    Invitation, InvitationId, "inv";
    /// One mail; its Message-ID is made of it.
    Mail, MailId, "eml";
    /// One review: an asset that waits, or waited, for people's verdict.
    Review, ReviewId, "rev";
    /// One webhook: an endpoint that hears of events.
    Webhook, WebhookId, "whk";
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn an_id_reads_back_and_keeps_its_kind() {
        let id = AssetId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        let text = id.to_string();
        assert!(text.starts_with("ast_"), "{text}");
        assert_eq!(text.parse::<AssetId>().unwrap(), id);
        assert!(text.parse::<JobId>().is_err(), "an asset's id is not a job's");
    }
}
