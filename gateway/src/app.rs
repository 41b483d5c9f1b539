//! What the handlers share.

use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderValue;
use reelfleet_access::{Keys, Principal, Via};
use reelfleet_catalog::Catalog;
use reelfleet_catalog::assets::Asset;
use reelfleet_fleet::Context;
use reelfleet_objects::{Multipart, Presigner};
use tokio::sync::OnceCell;

use crate::asset_view::Playback;
use crate::auth::Accounts;
use crate::auth::limits::{Buckets, too_often};
use crate::auth::oidc::provider::Provider;
use crate::options::{Checked, GatewayOptions, OptionsError};
use crate::problem::Problem;
use crate::sources::Doors;

/// Calls from one address of whoever shows nothing: a second, and at once. Several people may share one.
const STRANGERS: (f64, f64) = (10.0, 240.0);

/// One gateway's means.
pub(crate) struct App {
    pub(crate) context: Context,
    pub(crate) catalog: Catalog,
    pub(crate) keys: Keys,
    /// There if a session secret is.
    pub(crate) accounts: Option<Accounts>,
    /// Calls of one key or session, and of one user over all of them.
    calls: (Buckets, Buckets),
    /// Calls from one address of whoever shows nothing.
    strangers: Buckets,
    pub(crate) presigner: Presigner,
    pub(crate) options: Checked,
    /// S3 servers that tell by webhook.
    pub(crate) doors: Doors,
    /// Who looks through the dead letters.
    pub(crate) letters: tokio::sync::Mutex<()>,
    /// The Content-Security-Policy of the web app's pages, once one was asked for.
    pub(crate) web_policy: OnceCell<HeaderValue>,
}

impl App {
    pub(crate) fn new(context: Context, catalog: Catalog, options: GatewayOptions) -> Result<Arc<Self>, OptionsError> {
        let sources = options.sources.clone();
        let options = options.check(&context.config.public_url)?;
        let callback = format!("{}/v1/auth/oidc/callback", context.config.public_url);
        let provider = options.oidc.clone().map(|terms| Provider::new(terms, callback)).transpose()?;
        let accounts =
            options.session.clone().map(|key| Accounts::new(catalog.clone(), key, options.sign_up, provider));
        let (rate, burst) = (options.rate_per_second, options.rate_burst);
        Ok(Arc::new(Self {
            keys: Keys::new(catalog.clone()),
            accounts,
            calls: (Buckets::new(rate, burst), Buckets::new(4.0 * rate, 4.0 * burst)),
            strangers: Buckets::new(STRANGERS.0, STRANGERS.1),
            presigner: Presigner::new(context.clients.presign.clone()),
            options,
            doors: Doors::new(sources),
            letters: tokio::sync::Mutex::default(),
            web_policy: OnceCell::new(),
            context,
            catalog,
        }))
    }

    /// Counts a call of somebody; refuses it if there are too many.
    pub(crate) fn count(&self, principal: &Principal) -> Result<(), Problem> {
        let now = Instant::now();
        let by = match principal.via {
            Via::Key(id) => id.to_string(),
            Via::Session(id) => id.to_string(),
        };
        self.calls.0.take(&by, now).map_err(too_often)?;
        let user = format!("{}/{}", principal.tenant, principal.user());
        self.calls.1.take(&user, now).map_err(too_often)
    }

    /// Counts a call from an address; refuses it if there are too many.
    pub(crate) fn count_stranger(&self, address: &str) -> Result<(), Problem> {
        self.strangers.take(address, Instant::now()).map_err(too_often)
    }

    /// Epoch milliseconds.
    pub(crate) fn now(&self) -> i64 {
        self.context.clock.now_ms()
    }

    /// Multipart uploads into a bucket.
    pub(crate) fn multipart(&self, bucket: &str) -> Multipart {
        Multipart::new(self.context.clients.s3.clone(), bucket)
    }

    /// Where an asset plays, for those whose it is. None for one that is gone.
    pub(crate) fn playback(&self, asset: &Asset) -> Option<Playback> {
        self.plays(asset, false)
    }

    /// Where an asset plays for strangers, as long as it is open to them.
    pub(crate) fn open_playback(&self, asset: &Asset) -> Option<Playback> {
        self.plays(asset, true)
    }

    fn plays(&self, asset: &Asset, open: bool) -> Option<Playback> {
        let (options, url) = (&self.options, &self.context.config.public_url);
        Playback::of(asset, &options.playback, url, self.now(), options.playback_ttl_s, open)
    }

    /// An absolute URL of this origin.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.context.config.public_url)
    }
}

/// A time as the API shows it: RFC 3339, UTC, milliseconds.
pub(crate) fn rfc3339(epoch_ms: i64) -> String {
    let since = std::time::Duration::from_millis(u64::try_from(epoch_ms).unwrap_or(0));
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}
