//! What people are, and what that lets them do.
//!
//! Guarantee: a role is a fixed set of scopes; a word that this build does not know grants nothing.

use std::fmt;

use crate::principal::{Scope, Scopes};

/// What a person is in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Uploads, and manages what is one's own.
    User,
    /// Decides over what awaits approval.
    Reviewer,
    /// Watches and steers the fleet.
    Operator,
    /// Manages everything of the tenant, its people too.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::User, Self::Reviewer, Self::Operator, Self::Admin];

    /// As it stands in rows and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Reviewer => "reviewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    fn scopes(self) -> &'static [Scope] {
        match self {
            Self::User => &[Scope::UploadsWrite, Scope::AssetsRead, Scope::AssetsWrite, Scope::Realtime],
            Self::Reviewer => &[Scope::AssetsRead, Scope::Realtime, Scope::Reviews],
            Self::Operator => &[Scope::Realtime, Scope::Ops],
            Self::Admin => &[Scope::Admin],
        }
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// What the first person of an installation is.
    pub fn all() -> Self {
        Self::of(&Role::ALL)
    }

    /// These roles.
    pub fn of(roles: &[Role]) -> Self {
        Self(roles.iter().fold(0, |bits, role| bits | 1 << *role as u8))
    }

    /// Roles as the API gets them. The first unknown word is the error.
    pub fn parse<'t>(words: impl IntoIterator<Item = &'t str>) -> Result<Self, String> {
        words.into_iter().try_fold(Self::default(), |set, word| {
            let known = Role::ALL.into_iter().find(|role| role.as_str() == word);
            known.map(|role| Self(set.0 | 1 << role as u8)).ok_or_else(|| word.to_owned())
        })
    }

    /// Roles as a row holds them, separated by spaces.
    pub fn stored(text: &str) -> Self {
        let known = |word: &str| Role::ALL.into_iter().find(|role| role.as_str() == word);
        Self::of(&text.split(' ').filter_map(known).collect::<Vec<_>>())
    }

    /// Whether the role is among them.
    pub fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }

    /// What whoever has them may do.
    pub fn scopes(self) -> Scopes {
        Scopes::of(&self.iter().flat_map(|role| role.scopes()).copied().collect::<Vec<_>>())
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Role::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_back_and_unknown_ones_grant_nothing() {
        let roles = Roles::parse(["admin", "user"]).unwrap();
        assert_eq!(roles.to_string(), "user admin");
        assert_eq!(Roles::stored("user admin"), roles);
        assert_eq!(Roles::parse(["user", "root"]), Err("root".into()));
        assert_eq!(Roles::stored("root ADMIN useradmin"), Roles::default());
        assert_eq!(Roles::default().scopes(), Scopes::default());
        assert!(Roles::default().is_empty() && !roles.is_empty());
    }

    #[test]
    fn each_role_has_its_scopes_and_no_more() {
        let holds = |role, scope| Roles::of(&[role]).scopes().hold(scope);
        assert!(holds(Role::User, Scope::UploadsWrite) && holds(Role::User, Scope::Realtime));
        for (role, scope) in [
            (Role::User, Scope::Reviews),
            (Role::User, Scope::Ops),
            (Role::User, Scope::Admin),
            (Role::Reviewer, Scope::Admin),
            (Role::Reviewer, Scope::AssetsWrite),
            (Role::Operator, Scope::Reviews),
            (Role::Operator, Scope::AssetsRead),
            (Role::Admin, Scope::Ops),
        ] {
            assert!(!holds(role, scope), "{role:?} {scope}");
        }
        assert!(holds(Role::Admin, Scope::Reviews), "all in the tenant");
        assert!(Scope::ALL.into_iter().all(|scope| Roles::all().scopes().hold(scope)));
    }
}
