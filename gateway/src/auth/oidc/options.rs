//! Which provider vouches for people, and what its words mean here.

use std::collections::BTreeMap;

use clap::Args;
use reelfleet_access::Roles;
use reelfleet_access::principal::valid_name;
use serde_json::{Map, Value};

use crate::options::OptionsError;

/// Options of signing in by an OpenID provider; there is none without an issuer.
#[derive(Args, Clone, Default)]
pub struct OidcOptions {
    /// Issuer of an OpenID provider by which people may sign in: https://…
    #[arg(long, env = "REELFLEET_OIDC_ISSUER")]
    pub oidc_issuer: Option<String>,
    /// What the provider knows this installation by
    #[arg(long, env = "REELFLEET_OIDC_CLIENT_ID")]
    pub oidc_client_id: Option<String>,
    /// The secret of that client, if it has one
    #[arg(long, env = "REELFLEET_OIDC_CLIENT_SECRET", hide_env_values = true)]
    pub oidc_client_secret: Option<String>,
    /// What the provider is called on the button [default: single sign-on]
    #[arg(long, env = "REELFLEET_OIDC_NAME")]
    pub oidc_name: Option<String>,
    /// What the provider is asked for [default: openid email profile]
    #[arg(long, env = "REELFLEET_OIDC_SCOPES")]
    pub oidc_scopes: Option<String>,
    /// Tenant of those who come by the provider without an invitation [default: that of the first uploads bucket]
    #[arg(long, env = "REELFLEET_OIDC_TENANT")]
    pub oidc_tenant: Option<String>,
    /// The claim that holds somebody's groups: groups, cognito:groups, realm_access.roles
    #[arg(long, env = "REELFLEET_OIDC_ROLES_CLAIM")]
    pub oidc_roles_claim: Option<String>,
    /// Which roles a group gives, as JSON: {"editors": ["user", "reviewer"]}
    #[arg(long, env = "REELFLEET_OIDC_ROLES")]
    pub oidc_roles: Option<String>,
}

/// The same in the form in which it is used.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) issuer: String,
    pub(crate) client: String,
    pub(crate) secret: Option<String>,
    pub(crate) name: String,
    pub(crate) scopes: String,
    pub(crate) tenant: Option<String>,
    pub(crate) roles: Option<RoleMap>,
}

/// Which roles groups give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleMap {
    claim: String,
    roles: BTreeMap<String, Vec<String>>,
}

impl OidcOptions {
    /// Checks the values; none without an issuer.
    pub(crate) fn check(&self) -> Result<Option<Terms>, OptionsError> {
        let refuse = |variable, problem: &str| Err(OptionsError { variable, problem: problem.to_owned() });
        // A variable that is set to nothing is not set.
        let given =
            |value: &Option<String>| value.as_deref().map(str::trim).filter(|v| !v.is_empty()).map(str::to_owned);
        let Some(issuer) = given(&self.oidc_issuer) else { return Ok(None) };
        if !is_safe(&issuer) || issuer.contains(['?', '#']) {
            return refuse("REELFLEET_OIDC_ISSUER", "an https URL without query (http to this machine alone)");
        }
        let Some(client) = given(&self.oidc_client_id) else {
            return refuse("REELFLEET_OIDC_CLIENT_ID", "the provider knows its clients by an id: set it");
        };
        let scopes = given(&self.oidc_scopes).unwrap_or_else(|| "openid email profile".to_owned());
        if !scopes.split(' ').any(|scope| scope == "openid") {
            return refuse("REELFLEET_OIDC_SCOPES", "openid is one of them, or it is no OpenID");
        }
        let tenant = given(&self.oidc_tenant);
        if tenant.as_deref().is_some_and(|tenant| !valid_name(tenant)) {
            return refuse("REELFLEET_OIDC_TENANT", "1 to 64 of A-Z a-z 0-9 . _ @ - (and not a dot first)");
        }
        let roles = match (given(&self.oidc_roles_claim), given(&self.oidc_roles)) {
            (None, None) => None,
            (Some(claim), Some(json)) => match serde_json::from_str::<BTreeMap<String, Vec<String>>>(&json) {
                Ok(roles) => {
                    for word in roles.values().flatten() {
                        if Roles::parse([word.as_str()]).is_err() {
                            let problem = format!("{word:?} is no role: user, reviewer, operator, admin");
                            return refuse("REELFLEET_OIDC_ROLES", &problem);
                        }
                    }
                    Some(RoleMap { claim, roles })
                }
                Err(error) => {
                    let problem = format!("a JSON object, from group to roles: {{\"editors\": [\"user\"]}}: {error}");
                    return refuse("REELFLEET_OIDC_ROLES", &problem);
                }
            },
            _ => return refuse("REELFLEET_OIDC_ROLES", "it goes with REELFLEET_OIDC_ROLES_CLAIM, and that with it"),
        };
        let name = given(&self.oidc_name).unwrap_or_else(|| "single sign-on".to_owned());
        Ok(Some(Terms { issuer, client, secret: given(&self.oidc_client_secret), name, scopes, tenant, roles }))
    }
}

/// Whether what is sent to this URL is read by nobody in between: https, or http to this machine.
pub(crate) fn is_safe(url: &str) -> bool {
    let Ok(url) = url.parse::<axum::http::Uri>() else { return false };
    let Some(host) = url.host() else { return false };
    match url.scheme_str() {
        Some("https") => true,
        Some("http") => {
            host == "localhost"
                || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        _ => false,
    }
}

impl RoleMap {
    /// Whether somebody's groups are told.
    pub(crate) fn is_told(&self, claims: &Map<String, Value>) -> bool {
        self.found(claims).is_some()
    }

    /// The roles of whoever has these claims: those of all groups together; `user` if they give none.
    pub(crate) fn of(&self, claims: &Map<String, Value>) -> Roles {
        let groups: Vec<&str> = match self.found(claims) {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(group)) => vec![group],
            _ => Vec::new(),
        };
        let words = groups.iter().filter_map(|group| self.roles.get(*group)).flatten().map(String::as_str);
        let roles = Roles::parse(words).unwrap_or_default();
        if roles.is_empty() { Roles::of(&[reelfleet_access::Role::User]) } else { roles }
    }

    /// The claim of this name; else what lies at this path (`realm_access.roles`).
    fn found<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        claims.get(&self.claim).or_else(|| {
            let mut parts = self.claim.split('.');
            let first = claims.get(parts.next()?)?;
            parts.try_fold(first, |at, part| at.get(part))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(change: impl FnOnce(&mut OidcOptions)) -> OidcOptions {
        let mut options = OidcOptions {
            oidc_issuer: Some("https://id.example/realms/films".into()),
            oidc_client_id: Some("films".into()),
            ..OidcOptions::default()
        };
        change(&mut options);
        options
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_variable() {
        assert!(OidcOptions::default().check().unwrap().is_none());
        assert!(options(|o| o.oidc_issuer = Some(String::new())).check().unwrap().is_none());
        let terms = options(|_| ()).check().unwrap().unwrap();
        assert_eq!((terms.scopes.as_str(), terms.secret, terms.roles), ("openid email profile", None, None));
        assert!(options(|o| o.oidc_issuer = Some("http://127.0.0.1:1".into())).check().unwrap().is_some());
        type Change = fn(&mut OidcOptions);
        let cases: [(&str, Change); 8] = [
            ("REELFLEET_OIDC_ISSUER", |o| o.oidc_issuer = Some("http://id.example".into())),
            ("REELFLEET_OIDC_ISSUER", |o| o.oidc_issuer = Some("https://id.example?a=b".into())),
            ("REELFLEET_OIDC_CLIENT_ID", |o| o.oidc_client_id = None),
            ("REELFLEET_OIDC_SCOPES", |o| o.oidc_scopes = Some("email".into())),
            ("REELFLEET_OIDC_TENANT", |o| o.oidc_tenant = Some("a/b".into())),
            ("REELFLEET_OIDC_ROLES", |o| o.oidc_roles_claim = Some("groups".into())),
            ("REELFLEET_OIDC_ROLES", |o| o.oidc_roles = Some("{}".into())),
            ("REELFLEET_OIDC_ROLES", |o| {
                o.oidc_roles_claim = Some("groups".into());
                o.oidc_roles = Some(r#"{"a": ["root"]}"#.into());
            }),
        ];
        for (variable, change) in cases {
            let refused = options(change).check().map(drop).unwrap_err();
            assert_eq!(refused.variable, variable, "{refused}");
        }
    }

    #[test]
    fn groups_give_roles_and_no_group_gives_the_least() {
        let map = |claim: &str| RoleMap {
            claim: claim.into(),
            roles: serde_json::from_value(json!({ "staff": ["user", "reviewer"], "root": ["admin"] })).unwrap(),
        };
        let of = |claim: &str, claims: Value| map(claim).of(claims.as_object().unwrap()).to_string();
        assert_eq!(of("groups", json!({ "groups": ["staff", "root", "others"] })), "user reviewer admin");
        assert_eq!(of("realm_access.roles", json!({ "realm_access": { "roles": ["root"] } })), "admin");
        assert_eq!(of("https://a.b/roles", json!({ "https://a.b/roles": "root" })), "admin");
        for none in [json!({}), json!({ "groups": [] }), json!({ "groups": 7 }), json!({ "groups": ["others"] })] {
            assert_eq!(of("groups", none), "user");
        }
        assert!(!map("groups").is_told(&Map::new()));
    }
}
