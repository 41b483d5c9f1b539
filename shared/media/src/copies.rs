//! Whether a source's own stream becomes the top rendition: one rule for the planner and for estimates.
//!
//! Guarantee: what is said here is what the planner does with a source that nothing is known of but its probe and its index.

use reelfleet_domain::plan::{CopiedChunk, copied_chunks};
use reelfleet_domain::{Rung, ladder};
use reelfleet_wire::{IndexReport, MOST_DELAY_US, ProbeReport, VideoStream};

/// The ladder of a source, and its frames in a second: the mean, where the index names every packet.
pub fn ladder_of(stream: &VideoStream, index: &IndexReport, duration_us: i64) -> (Vec<Rung>, Option<f64>) {
    let nominal =
        (stream.fps_den > 0 && stream.fps_num > 0).then(|| f64::from(stream.fps_num) / f64::from(stream.fps_den));
    let mean = index.packets.filter(|_| duration_us > 0).map(|packets| packets as f64 * 1e6 / duration_us as f64);
    let fps = mean.or(nominal);
    (ladder(stream.display_width, stream.display_height, fps.unwrap_or(25.0)), fps)
}

/// The longest that anything says; a plan needs it only roughly, since the last chunk is open-ended.
pub fn duration_us(probe: &ProbeReport, index: Option<&IndexReport>) -> i64 {
    let streams = [
        probe.duration_ms,
        probe.video.as_ref().and_then(|video| video.duration_ms),
        probe.audio.as_ref().and_then(|audio| audio.duration_ms),
    ];
    let told =
        streams.into_iter().flatten().max().and_then(|ms| i64::try_from(ms).ok()).unwrap_or(0).saturating_mul(1000);
    told.max(index.and_then(|index| index.last_us).unwrap_or(0))
}

/// The chunks of a source whose stream is already what its top rendition would be: of its size, as it is to be shown,
/// within its bit rate, and with keyframes often enough.
pub fn copied_into(top: &Rung, stream: &VideoStream, index: &IndexReport) -> Option<Vec<CopiedChunk>> {
    let copy = index.copy.as_ref()?;
    let fits = (stream.width, stream.height) == (top.width, top.height);
    let waits = (0..=MOST_DELAY_US).contains(&index.reorder_us);
    if !index.seekable || !shown_as_it_is(stream) || !fits || !waits || copy.peak_bps > top.most_copied_bps() {
        return None;
    }
    copied_chunks(index.last_us?, &copy.keyframes_us)
}

/// Whether it will be copied, as a new upload. None: it may be, but its index was not read.
pub fn copied(probe: &ProbeReport, index: Option<&IndexReport>) -> Option<bool> {
    let Some(stream) = &probe.video else { return Some(false) };
    let Some(index) = index else {
        let plain = stream.codec == "h264" && stream.pix_fmt == "yuv420p" && shown_as_it_is(stream);
        return if plain { None } else { Some(false) };
    };
    let (rungs, _) = ladder_of(stream, index, duration_us(probe, Some(index)));
    Some(rungs.first().is_some_and(|top| copied_into(top, stream, index).is_some()))
}

fn shown_as_it_is(stream: &VideoStream) -> bool {
    let upright = stream.rotation == 0 && !stream.flipped;
    let square = (stream.display_width, stream.display_height) == (stream.width, stream.height);
    upright && square && !stream.interlaced && !stream.hdr
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reelfleet_wire::{Copyable, MediaKind};

    use super::*;

    fn film() -> (ProbeReport, IndexReport) {
        let video = VideoStream {
            codec: "h264".into(),
            pix_fmt: "yuv420p".into(),
            width: 1280,
            height: 720,
            display_width: 1280,
            display_height: 720,
            fps_num: 25,
            fps_den: 1,
            ..VideoStream::default()
        };
        let copy = Copyable { keyframes_us: vec![0, 4_000_000, 8_000_000], peak_bps: 4_000_000 };
        let index = IndexReport {
            seekable: true,
            last_us: Some(9_960_000),
            packets: Some(250),
            copy: Some(copy),
            ..IndexReport::default()
        };
        let probe = ProbeReport {
            container: "mov,mp4,m4a,3gp,3g2,mj2".into(),
            kind: MediaKind::Video,
            duration_ms: Some(10_000),
            start_us: 0,
            bit_rate: None,
            video: Some(video),
            audio: None,
            streams: 1,
            tags: BTreeMap::new(),
            truncated: false,
        };
        (probe, index)
    }

    #[test]
    fn what_is_right_is_copied_and_without_an_index_nobody_knows() {
        let (probe, index) = film();
        assert_eq!((copied(&probe, Some(&index)), copied(&probe, None)), (Some(true), None));
        type Change = fn(&mut VideoStream, &mut IndexReport);
        let changes: [(Change, Option<bool>); 6] = [
            (|stream, _| stream.codec = "hevc".into(), Some(false)),
            (|stream, _| stream.rotation = 90, Some(false)),
            (|stream, _| stream.interlaced = true, Some(false)),
            (|stream, _| stream.display_width = 1278, Some(false)),
            // 3.5 Mbit/s and half as much again are let through.
            (|_, index| index.copy.as_mut().unwrap().peak_bps = 5_250_001, None),
            (|_, index| index.copy.as_mut().unwrap().keyframes_us.truncate(1), None),
        ];
        for (number, (change, without_index)) in changes.into_iter().enumerate() {
            let (mut probe, mut index) = film();
            change(probe.video.as_mut().unwrap(), &mut index);
            if probe.video.as_ref().unwrap().codec != "h264" {
                index.copy = None;
            }
            assert_eq!((copied(&probe, Some(&index)), copied(&probe, None)), (Some(false), without_index), "{number}");
        }
    }
}
