//! This machine, its decoder, the database, the clock and the gateway.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_fleet::Context;
use reelfleet_media::wire::zygote::Missing;
use reelfleet_media::{DecoderConfig, Decoders};

use super::Chart;
use crate::http_client::{Http, empty};
use crate::up::disk;

/// Signatures of AWS are refused from 5 minutes on (Signature Version 4); leases compare clocks far below that.
const SKEW_FAILS_S: i64 = 240;
/// More than this, and leases are taken over too soon or too late.
const SKEW_WARNS_S: i64 = 5;
/// What to do about a clock.
pub const SET_THE_CLOCK: &str = "let chrony or systemd-timesyncd set the clocks";
const PATIENCE: Duration = Duration::from_secs(6);

/// The decoder with its jail, and room on the disk.
pub async fn look(chart: &mut Chart, folder: Option<&Path>) {
    match Decoders::start(DecoderConfig::default()) {
        Ok(decoders) => {
            let jail = decoders.jail().await;
            if jail.contains("Landlock") {
                chart.ok("jail", "decoder", format!("it starts, and its jail closes: {jail}"));
            } else {
                let cure = "use Linux 5.13 or later with Landlock in the kernel's list of LSMs (lsm=landlock,…); seccomp stands alone until then";
                chart.warn("jail_weak", "decoder", format!("its jail closes without Landlock: {jail}"), cure);
            }
            codecs(chart, &decoders.missing().await);
        }
        Err(error) => {
            let cure = "put reelfleet-decoder beside reelfleet, or set REELFLEET_DECODER; its jail needs seccomp (in a container: its default profile, or seccomp=unconfined)";
            chart.fail("decoder", "decoder", error.to_string(), cure);
        }
    }
    let Some(folder) = folder else { return };
    match disk::warning(folder) {
        Some(said) => {
            chart.fail("disk", folder.display().to_string(), said, "make room, or put --data on a larger volume");
        }
        None => chart.ok("disk", folder.display().to_string(), "there is room"),
    }
}

/// Whether the decoder's FFmpeg was built with what is needed.
fn codecs(chart: &mut Chart, missing: &Missing) {
    const CURE: &str = "run the decoder with Debian's FFmpeg (libavcodec59 or later), or one built with --enable-gpl --enable-libx264 \
                        --enable-libdav1d and without --disable-decoders or --disable-encoders";
    if !missing.encoders.is_empty() {
        let said = format!("FFmpeg was built without {}: nothing can be encoded", missing.encoders.join(", "));
        chart.fail("codecs", "FFmpeg", said, CURE);
    }
    if !missing.decoders.is_empty() {
        let said = format!("FFmpeg was built without {}: sources of these are refused", missing.decoders.join(", "));
        chart.warn("codecs", "FFmpeg", said, CURE);
    }
    if *missing == Missing::default() {
        chart.ok("codecs", "FFmpeg", "it has every encoder and decoder that is wanted");
    }
}

/// Whether the database answers, with this build's schema.
pub async fn database(chart: &mut Chart, catalog: &Catalog) {
    match catalog.check_schema().await {
        Ok(()) => chart.ok("schema", "database", "it answers, and its schema is this build's"),
        Err(error @ CatalogError::Schema(_)) => {
            chart.fail(
                "schema",
                "database",
                error.to_string(),
                "run `reelfleet migrate`, by the newest build of the fleet",
            );
        }
        Err(error) => {
            let text = error.to_string();
            // An empty database has not even the table that tells its version.
            if text.contains("schema_migration") {
                chart.fail("schema", "database", "it is empty", "run `reelfleet migrate`");
            } else {
                let cure = "check REELFLEET_DB_RESOURCE_ARN, REELFLEET_DB_SECRET_ARN and REELFLEET_DB_NAME, that the Data API is on, and the role's rights on both";
                chart.fail("database", "database", text, cure);
            }
        }
    }
}

/// How far this clock is from another, which is `place`'s.
pub fn clock(chart: &mut Chart, place: &str, ahead_s: i64) {
    let said = || {
        format!(
            "this clock is {} s {} that of {place}",
            ahead_s.unsigned_abs(),
            if ahead_s < 0 { "behind" } else { "ahead of" }
        )
    };
    match ahead_s.abs() {
        0..=SKEW_WARNS_S => {
            chart.ok("clock", "clock", format!("it agrees with that of {place} within {SKEW_WARNS_S} s"))
        }
        ..=SKEW_FAILS_S => chart.warn("clock", "clock", said(), SET_THE_CLOCK),
        _ => chart.fail("clock", "clock", said(), SET_THE_CLOCK),
    }
}

/// Whether the gateway is ready, and how far this clock is from its.
pub async fn gateway(chart: &mut Chart, context: &Context, gateway: &str) {
    let http = Http::new();
    let url = format!("{gateway}/readyz");
    let Ok(request) = Request::get(&url).body(empty()) else {
        chart.fail("gateway", gateway, "this is no URL", "set REELFLEET_PUBLIC_URL");
        return;
    };
    let answer = match http.fetch(request, PATIENCE).await {
        Ok(answer) => answer,
        Err(error) => {
            let cure = "start the gateway, or set REELFLEET_PUBLIC_URL to where it is reached";
            chart.fail("gateway", gateway, format!("{error:#}"), cure);
            return;
        }
    };
    if answer.status().is_success() {
        chart.ok("gateway", gateway, "it is ready");
    } else {
        let said = format!("it answers {} to /readyz: {}", answer.status(), first_line(answer.body()));
        chart.fail("gateway", gateway, said, "look at its log: it can't reach the database or S3");
    }
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return };
    let theirs = theirs.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    clock(chart, "the gateway", (context.clock.now_ms() / 1_000).saturating_sub(theirs));
}

fn first_line(body: &Bytes) -> String {
    String::from_utf8_lossy(body).lines().next().unwrap_or_default().chars().take(200).collect()
}
