//! A film of one second, from the bucket to the playlists: what no look at settings can tell (rights of each role, the
//! workers, FFmpeg's codecs).
//!
//! Guarantee: it is deleted for good afterwards, whatever became of it.

use std::time::Duration;

use aws_sdk_s3::error::DisplayErrorContext;
use reelfleet_catalog::Catalog;
use reelfleet_catalog::assets::Asset;
use reelfleet_domain::AssetState;
use reelfleet_fleet::Context;
use reelfleet_messages::Event;
use reelfleet_messages::event::AssetDeleting;
use tokio::time::{Instant, sleep};

use super::Chart;

const LOOK: Duration = Duration::from_millis(250);
/// Pixels and frames of the film: ten a second.
const WIDTH: u32 = 64;
const HEIGHT: u32 = 36;
const FRAMES: u32 = 10;

/// Tries it.
pub async fn run(chart: &mut Chart, context: &Context, catalog: &Catalog, patience: Duration) {
    let Some(route) = context.config.uploads.first() else { return };
    let key = format!("{}reelfleet-doctor/{}.avi", route.prefix, context.ids.token());
    let put = context.clients.s3.put_object().bucket(&route.bucket).key(&key).body(film().into());
    if let Err(error) = put.send().await {
        let cure = "give this role s3:PutObject on the uploads bucket, or test by the web page";
        return chart.fail("self_test_put", &route.bucket, DisplayErrorContext(&error).to_string(), cure);
    }
    let begun = Instant::now();
    let mut last: Option<Asset> = None;
    while begun.elapsed() < patience {
        match catalog.assets_of_key(&route.tenant, &route.bucket, &key, 1).await {
            Ok(mut found) => last = found.pop().or(last),
            Err(error) => tracing::warn!(%error, "the catalog did not answer"),
        }
        let over = |asset: &Asset| !asset.state.is_live() || asset.state == AssetState::AwaitingApproval;
        if last.as_ref().is_some_and(over) {
            break;
        }
        sleep(LOOK).await;
    }
    judge(chart, last.as_ref(), begun.elapsed());
    if let Some(asset) = last
        && let Err(error) = delete(context, catalog, &asset).await
    {
        let cure = "delete it by hand: it is in the library";
        chart.warn("self_test_left", asset.id.to_string(), format!("it could not be deleted: {error}"), cure);
    }
}

fn judge(chart: &mut Chart, asset: Option<&Asset>, took: Duration) {
    let seconds = took.as_secs_f64();
    let Some(asset) = asset else {
        let cure = "look whether intake runs (`reelfleet status`), and at its log: the notification came to nobody";
        return chart.fail("self_test_landing", "self-test", format!("nobody noticed it in {seconds:.0} s"), cure);
    };
    match asset.state {
        AssetState::Ready => {
            chart.ok("self_test", "self-test", format!("a film was ready {seconds:.1} s after it landed"))
        }
        AssetState::AwaitingApproval => {
            chart.ok("self_test", "self-test", "a film was probed and waits for approval, as REELFLEET_APPROVAL says");
        }
        state => {
            let why = asset.reason_detail.clone().unwrap_or_default();
            let said = format!("after {seconds:.0} s the film is {}: {why}", state.as_str());
            let cure = "look at `reelfleet dlq ls` and at the logs of transcoder and thumbnailer; libx264 and aac must be in FFmpeg";
            chart.fail("self_test_processing", "self-test", said, cure);
        }
    }
}

async fn delete(context: &Context, catalog: &Catalog, asset: &Asset) -> Result<(), reelfleet_catalog::CatalogError> {
    let step = context.step();
    let fact = Event::AssetDeleting(AssetDeleting { asset: asset.id, purge_at_ms: step.now.unsigned_abs() });
    let emissions = [context.emission(&asset.tenant, &asset.owner, None, fact)];
    // Read anew: what was seen last may have changed.
    let asset = catalog.asset(&asset.id).await?.unwrap_or_else(|| asset.clone());
    catalog.mark_deleted(&step, &asset, "reelfleet doctor", step.now, &emissions).await
}

/// An AVI of uncompressed frames (RIFF; `vids`, BI_RGB, 24 bits), each of another grey.
fn film() -> Vec<u8> {
    let frame = (WIDTH * HEIGHT * 3) as usize;
    let words = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let chunk = |id: &[u8; 4], body: &[u8]| [&id[..], &(body.len() as u32).to_le_bytes(), body].concat();
    let list = |kind: &[u8; 4], parts: &[Vec<u8>]| chunk(b"LIST", &[&kind[..], &parts.concat()].concat());
    let size = frame as u32;
    // MainAVIHeader: 100 ms a frame, has an index, one stream.
    let main = chunk(b"avih", &words(&[100_000, size * 10, 0, 0x10, FRAMES, 0, 1, size, WIDTH, HEIGHT, 0, 0, 0, 0]));
    // AVIStreamHeader: 10 frames a second.
    let stream =
        [&b"vidsDIB "[..], &words(&[0, 0, 0, 1, 10, 0, FRAMES, size, u32::MAX, 0]), &words(&[0, WIDTH | HEIGHT << 16])];
    // BITMAPINFOHEADER: one plane, 24 bits, BI_RGB.
    let format = words(&[40, WIDTH, HEIGHT, 1 | 24 << 16, 0, size, 0, 0, 0, 0]);
    let header = list(b"hdrl", &[main, list(b"strl", &[chunk(b"strh", &stream.concat()), chunk(b"strf", &format)])]);
    let (mut frames, mut index) = (Vec::new(), Vec::new());
    for number in 0..FRAMES {
        index.extend([&b"00db"[..], &words(&[0x10, 4 + number * (size + 8), size])].concat());
        frames.push(chunk(b"00db", &vec![(40 + number * 18) as u8; frame]));
    }
    chunk(b"RIFF", &[&b"AVI "[..], &header, &list(b"movi", &frames), &chunk(b"idx1", &index)].concat())
}
