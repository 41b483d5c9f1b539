//! `reelfleet invite`: a link by which somebody may sign up, into any tenant.
//!
//! Guarantee: it asks the gateway with an API key, which says whether one may; the link, which is a secret, goes to
//! standard output alone.

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::place::Place;
use crate::table;

/// Options of `invite`.
#[derive(Args)]
pub struct InviteArgs {
    /// Where the invited will belong; there is nothing to be made first [default: the key's own tenant]
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// What the invited will be: user, reviewer, operator, admin; may be given more than once
    #[arg(long = "role", value_name = "ROLE", default_value = "user")]
    roles: Vec<String>,
    /// Who alone may use it, and where it is mailed to
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Prints the link.
pub async fn run(args: InviteArgs) -> anyhow::Result<()> {
    let wanted = json!({ "tenant": args.tenant, "roles": args.roles, "email": args.email });
    let made = args.place.api()?.invite(&wanted).await?;
    println!("{}", made["url"].as_str().context("the link is missing")?);
    let tenant = made["tenant"].as_str().unwrap_or_default();
    eprintln!("good once, for seven days, into the tenant {}", table::shown(tenant, 64));
    Ok(())
}
