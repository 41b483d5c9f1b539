//! Realtime tickets: how a browser, which can't set headers on a WebSocket, shows who it is.
//!
//! Guarantees: a ticket admits once, within 30 s, whoever comes first with it; only its SHA-256 is stored. It carries
//! the asker's tenant, owner and credential and no more scopes than realtime needs. One drawn by a web page is of no use to a page
//! of another origin: a browser always sends its origin with a WebSocket and with a request to another site (WHATWG
//! Fetch, "Origin header"), and a try from elsewhere uses the ticket up.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::access::TicketRow;

use crate::principal::{Principal, Scope, Scopes};
use crate::{AccessError, Secret};

/// How long a ticket can be redeemed (milliseconds).
pub const LIFETIME_MS: i64 = 30_000;
const PREFIX: &str = "rt_";

/// A ticket as it is handed out, once.
#[derive(Clone)]
pub struct Ticket {
    /// Goes into `?ticket=` or into `hello`. A secret: logs must not hold it.
    pub text: String,
    /// Epoch milliseconds.
    pub expires_at: i64,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket(.., expires_at: {})", self.expires_at)
    }
}

/// Issues a ticket to whoever holds the scope `realtime`. `origin` is that of the page that asks, as its `Origin` header
/// said; none for a program. `now` is in epoch milliseconds.
pub async fn issue(
    catalog: &Catalog,
    now: i64,
    secret: &Secret,
    principal: &Principal,
    origin: Option<&str>,
) -> Result<Ticket, AccessError> {
    let row = row_for(now, principal, origin)?;
    catalog.add_ticket(&secret.hash(), &row).await?;
    Ok(Ticket { text: format!("{PREFIX}{}", secret.reveal()), expires_at: row.expires_at })
}

/// Redeems a ticket. `origin` is the `Origin` header of the connection, if it has one; `op` names this very use and must
/// be fresh for every connection (a repeated call with the same `op` is settled as the same use).
pub async fn redeem(
    catalog: &Catalog,
    now: i64,
    text: &str,
    origin: Option<&str>,
    op: &str,
) -> Result<Principal, AccessError> {
    let secret = text.strip_prefix(PREFIX).and_then(Secret::from_hex).ok_or(AccessError::Unauthenticated)?;
    let row = catalog.use_ticket(now, &secret.hash(), op).await?;
    admit(&row.ok_or(AccessError::Unauthenticated)?, now, origin)
}

fn row_for(now: i64, principal: &Principal, origin: Option<&str>) -> Result<TicketRow, AccessError> {
    principal.require(Scope::Realtime)?;
    let of_use = |scope: &Scope| matches!(scope, Scope::Realtime | Scope::Reviews | Scope::Admin | Scope::Ops);
    let needed = principal.scopes.iter().filter(of_use);
    Ok(TicketRow {
        tenant: principal.tenant.clone(),
        owner: principal.owner.clone(),
        scopes: Scopes::of(&needed.collect::<Vec<_>>()).to_string(),
        drawn_by: principal.via.to_string(),
        origin: origin.map(str::to_owned),
        expires_at: now.saturating_add(LIFETIME_MS),
    })
}

fn admit(row: &TicketRow, now: i64, origin: Option<&str>) -> Result<Principal, AccessError> {
    // A request without an origin comes from no other site's page.
    let foreign = origin.is_some_and(|origin| row.origin.as_deref() != Some(origin));
    if foreign || row.expires_at < now {
        return Err(AccessError::Unauthenticated);
    }
    let (tenant, owner) = (row.tenant.clone(), row.owner.clone());
    Ok(Principal { tenant, owner, scopes: Scopes::stored(&row.scopes), via: row.drawn_by.parse()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Via;

    fn principal(scopes: &[Scope]) -> Principal {
        Principal {
            tenant: "t".into(),
            owner: "o".into(),
            scopes: Scopes::of(scopes),
            via: Via::Key("key_01h455vb4pex5vsknk084sn02q".parse().unwrap()),
        }
    }

    #[test]
    fn a_ticket_carries_no_more_than_realtime_needs() {
        let row = row_for(5, &principal(&[Scope::Admin, Scope::UploadsWrite]), None).unwrap();
        assert_eq!((row.scopes.as_str(), row.expires_at), ("admin", 30_005), "which holds realtime");
        let row = row_for(5, &principal(&[Scope::Realtime, Scope::Ops]), None).unwrap();
        assert_eq!(row.scopes, "realtime ops");
        let row = row_for(5, &principal(&[Scope::Realtime, Scope::AssetsRead, Scope::Reviews]), None).unwrap();
        assert_eq!(row.scopes, "realtime reviews");
        let without = row_for(5, &principal(&[Scope::UploadsWrite, Scope::Ops]), None);
        assert!(matches!(without, Err(AccessError::ScopeMissing(Scope::Realtime))));
    }

    #[test]
    fn a_ticket_is_bound_to_its_origin_and_time() {
        let mut row = row_for(0, &principal(&[Scope::Realtime]), Some("https://a.example")).unwrap();
        let same = admit(&row, 30_000, Some("https://a.example")).unwrap();
        assert_eq!(same.via, principal(&[]).via, "it ends with what it was drawn by");
        assert!(admit(&row, 30_000, None).is_ok());
        for other in ["https://b.example", "http://a.example", "https://a.example:8443", "null", ""] {
            assert!(admit(&row, 0, Some(other)).is_err(), "{other}");
        }
        assert!(admit(&row, 30_001, Some("https://a.example")).is_err());
        row.origin = None;
        assert!(admit(&row, 0, Some("https://a.example")).is_err(), "drawn by a program, shown by a page");
    }
}
