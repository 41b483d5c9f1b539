//! Who is asking, and what they may do.
//!
//! Guarantee: a principal exists only by a verified credential, and its rights never reach beyond its tenant, but for
//! the operators' stream.

use std::fmt;
use std::str::FromStr;

use reelfleet_messages::{ApiKeyId, SessionId};

use crate::AccessError;

/// A right. The texts are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Make, resume, complete and abort one's own uploads.
    UploadsWrite,
    /// Read the assets that one sees.
    AssetsRead,
    /// Delete and restore one's own assets.
    AssetsWrite,
    /// Be told of what happens to them as it happens.
    Realtime,
    /// Decide over what awaits approval in one's tenant.
    Reviews,
    /// All of the above, and other users' things, within one's tenant.
    Admin,
    /// The operators' view over all tenants: topic `ops`. No other scope holds it.
    Ops,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 7] = [
        Self::UploadsWrite,
        Self::AssetsRead,
        Self::AssetsWrite,
        Self::Realtime,
        Self::Reviews,
        Self::Admin,
        Self::Ops,
    ];

    /// As it stands in rows, flags and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UploadsWrite => "uploads:write",
            Self::AssetsRead => "assets:read",
            Self::AssetsWrite => "assets:write",
            Self::Realtime => "realtime",
            Self::Reviews => "reviews",
            Self::Admin => "admin",
            Self::Ops => "ops",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// These scopes.
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Scopes separated by spaces or commas, as a person gives them. The first unknown word is the error.
    pub fn parse(text: &str) -> Result<Self, String> {
        words(text).try_fold(Self::default(), |set, word| match scope(word) {
            Some(scope) => Ok(Self(set.0 | scope.bit())),
            None => Err(word.to_owned()),
        })
    }

    /// Scopes as a row holds them. A word that this build does not know grants nothing.
    pub fn stored(text: &str) -> Self {
        Self(words(text).filter_map(scope).fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Every one of these that `most` holds too.
    #[must_use]
    pub fn within(self, most: Self) -> Self {
        let held = Scope::ALL.into_iter().filter(|scope| self.hold(*scope) && most.hold(*scope));
        Self(held.fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Each scope that is held by itself.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }

    /// Whether the scope is held, by itself or through `admin`.
    pub fn hold(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0 || (scope != Scope::Ops && self.0 & Scope::Admin.bit() != 0)
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',']).filter(|word| !word.is_empty())
}

fn scope(word: &str) -> Option<Scope> {
    Scope::ALL.into_iter().find(|scope| scope.as_str() == word)
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

/// By what somebody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// A program, by an API key.
    Key(ApiKeyId),
    /// A person who has signed in.
    Session(SessionId),
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Session(id) => id.fmt(f),
        }
    }
}

impl FromStr for Via {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let key = || text.parse().map(Self::Key);
        text.parse().map(Self::Session).or_else(|_| key()).map_err(|_| AccessError::Unauthenticated)
    }
}

/// Whoever showed a valid credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose data it sees.
    pub tenant: String,
    /// The user that it acts as.
    pub owner: String,
    /// What it may do.
    pub scopes: Scopes,
    /// By what it was let in.
    pub via: Via,
}

impl Principal {
    /// Demands a scope.
    pub fn require(&self, scope: Scope) -> Result<(), AccessError> {
        if self.scopes.hold(scope) { Ok(()) } else { Err(AccessError::ScopeMissing(scope)) }
    }

    /// The user: the id of an account (`usr_…`), or the name that an API key was made for.
    pub fn user(&self) -> &str {
        &self.owner
    }

    /// Whether this is the tenant. What belongs to a user of it is another question: [`Self::controls`], and for assets
    /// [`Self::may_see`].
    pub fn sees(&self, tenant: &str) -> bool {
        self.tenant == tenant
    }

    /// Whether something of this user may be changed: one's own, or as an administrator of the tenant.
    pub fn controls(&self, tenant: &str, owner: &str) -> bool {
        self.sees(tenant) && (self.owner == owner || self.scopes.hold(Scope::Admin))
    }
}

/// Whether a text may name a tenant or an owner: 1 to 64 of `A-Z a-z 0-9 . _ @ -`, not beginning with a dot. Such names
/// stand in object keys and stream names, so they hold no separator of those.
pub fn valid_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(scopes: &[Scope]) -> Principal {
        Principal {
            tenant: "t".into(),
            owner: "o".into(),
            scopes: Scopes::of(scopes),
            via: Via::Key("key_01h455vb4pex5vsknk084sn02q".parse().unwrap()),
        }
    }

    #[test]
    fn scopes_read_back_and_unknown_ones_grant_nothing() {
        let set = Scopes::parse("realtime, uploads:write").unwrap();
        assert_eq!(set.to_string(), "uploads:write realtime");
        assert_eq!(Scopes::stored(&set.to_string()), set);
        assert_eq!(Scopes::parse("realtime root"), Err("root".into()));
        assert_eq!(Scopes::stored("root admin2 OPS"), Scopes::default());
        assert_eq!(Scopes::parse(""), Ok(Scopes::default()));
    }

    #[test]
    fn a_part_of_a_set_holds_no_more_than_either() {
        let key = Scopes::of(&[Scope::Admin, Scope::Ops]);
        let user = Scopes::of(&[Scope::AssetsRead, Scope::Realtime]);
        assert_eq!(key.within(user), user, "what admin holds counts");
        assert_eq!(user.within(key), user);
        assert_eq!(Scopes::of(&[Scope::Ops]).within(Scopes::of(&[Scope::Admin])), Scopes::default());
        assert_eq!(user.within(Scopes::default()), Scopes::default());
    }

    #[test]
    fn nothing_is_held_that_was_not_given() {
        for scope in Scope::ALL {
            assert!(principal(&[]).require(scope).is_err());
            assert!(principal(&[scope]).require(scope).is_ok());
        }
        assert!(principal(&[Scope::Realtime]).require(Scope::Ops).is_err());
        assert!(principal(&[Scope::Ops]).require(Scope::UploadsWrite).is_err());
    }

    #[test]
    fn an_administrator_is_no_operator_and_stays_in_the_tenant() {
        let admin = principal(&[Scope::Admin]);
        assert!(admin.require(Scope::AssetsRead).is_ok());
        assert!(admin.require(Scope::Ops).is_err());
        assert!(admin.controls("t", "somebody"));
        assert!(!admin.controls("t2", "o"));
        let user = principal(&[Scope::UploadsWrite]);
        assert!(user.controls("t", "o"));
        assert!(!user.controls("t", "o2"));
        assert!(!user.sees("T"));
    }

    #[test]
    fn names_hold_no_separator() {
        for good in ["default", "a.b@example.org", "A-1_2"] {
            assert!(valid_name(good), "{good}");
        }
        for bad in ["", "..", ".a", "a/b", "a b", "a:b", "é", "a\n", &"x".repeat(65)] {
            assert!(!valid_name(bad), "{bad}");
        }
    }
}
