//! What the handlers share.

use std::sync::Arc;

use reelfleet_access::Keys;
use reelfleet_catalog::Catalog;
use reelfleet_domain::policy::Policy;
use reelfleet_fleet::{Context, MediaKind};
use reelfleet_objects::{Multipart, Presigner};

use crate::options::{Checked, GatewayOptions, OptionsError};

/// One gateway's means.
pub(crate) struct App {
    pub(crate) context: Context,
    pub(crate) catalog: Catalog,
    pub(crate) keys: Keys,
    pub(crate) policy: Policy,
    pub(crate) presigner: Presigner,
    pub(crate) options: Checked,
}

impl App {
    pub(crate) fn new(context: Context, catalog: Catalog, options: GatewayOptions) -> Result<Arc<Self>, OptionsError> {
        let limits = &context.config.limits;
        let policy = Policy {
            max_bytes: limits.max_bytes,
            max_duration_ms: limits.max_duration_s.saturating_mul(1_000),
            max_pixels: limits.max_pixels,
            kinds: limits
                .allowed_kinds
                .iter()
                .map(|kind| match kind {
                    MediaKind::Video => "video".to_owned(),
                    MediaKind::Audio => "audio".to_owned(),
                    MediaKind::Image => "image".to_owned(),
                })
                .collect(),
        };
        Ok(Arc::new(Self {
            keys: Keys::new(catalog.clone()),
            presigner: Presigner::new(context.clients.presign.clone()),
            policy,
            options: options.check()?,
            context,
            catalog,
        }))
    }

    /// Epoch milliseconds.
    pub(crate) fn now(&self) -> i64 {
        self.context.clock.now_ms()
    }

    /// Multipart uploads into a bucket.
    pub(crate) fn multipart(&self, bucket: &str) -> Multipart {
        Multipart::new(self.context.clients.s3.clone(), bucket)
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
