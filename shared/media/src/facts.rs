//! What a probe knows that an estimate asks for.

use reelfleet_domain::price_estimate::{Facts, Media};
use reelfleet_wire::{IndexReport, MediaKind, ProbeReport};

use crate::copies;

/// The facts of a source of so many bytes, with its index if that was read; nobody has said how often it is watched.
pub fn facts(size: u64, report: &ProbeReport, index: Option<&IndexReport>) -> Facts {
    let video = report.video.as_ref();
    let media = match report.kind {
        MediaKind::Video => Media::Video,
        MediaKind::Audio => Media::Audio,
        MediaKind::Image => Media::Image,
    };
    let fps = video.filter(|v| v.fps_num > 0 && v.fps_den > 0).map(|v| f64::from(v.fps_num) / f64::from(v.fps_den));
    Facts {
        size,
        media: Some(media),
        duration_ms: report.duration_ms,
        width: video.map(|v| v.display_width),
        height: video.map(|v| v.display_height),
        fps,
        sound: Some(report.audio.is_some()),
        copied: copies::copied(report, index),
        views: 0,
    }
}
