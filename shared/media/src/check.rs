//! What a decoder may say, given what it was asked.
//!
//! Guarantee: an output that passes names only renditions of the request, has a body exactly where one belongs, comes
//! in order (`Init` before the segments of its rendition, one report before `Done`), and carries numbers on which the
//! consumer can do arithmetic.

use std::collections::HashSet;

use reelfleet_wire::{Cue, MAX_KEYFRAMES, OutputHeader, PictureKind, ProbeReport, Request, RunEndReport};

/// Largest side of a picture that we pass on (WebP can do no more).
const MAX_SIDE: u32 = 16_383;
/// Times lie within ± 10 years.
const FAR_US: i64 = 10 * 366 * 86_400 * 1_000_000;
/// Longest `detail` of a refusal, in bytes.
const MAX_DETAIL: usize = 2048;

/// The state of one conversation.
#[derive(Debug)]
pub(crate) struct Check {
    op: Op,
    renditions: Vec<String>,
    begun: HashSet<String>,
    reported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Probe,
    Index,
    Encode,
    Pictures,
    Still,
}

impl Check {
    pub(crate) fn new(request: &Request) -> Self {
        let (op, renditions) = match request {
            Request::Probe { .. } => (Op::Probe, Vec::new()),
            Request::Index { .. } => (Op::Index, Vec::new()),
            Request::Encode(r) => (Op::Encode, r.rungs.iter().map(|rung| rung.name.clone()).collect()),
            Request::Audio(_) => (Op::Encode, vec!["audio".to_owned()]),
            Request::Pictures(_) => (Op::Pictures, Vec::new()),
            Request::Still(_) => (Op::Still, Vec::new()),
        };
        Self { op, renditions, begun: HashSet::new(), reported: false }
    }

    /// Says what is wrong with an output, if anything is. Cuts an overlong `detail`.
    pub(crate) fn output(&mut self, header: &mut OutputHeader, body: usize) -> Result<(), String> {
        let with_body =
            matches!(header, OutputHeader::Init { .. } | OutputHeader::Segment(_) | OutputHeader::Picture { .. });
        require(with_body == (body > 0), "a body where none belongs, or none where one does")?;
        match header {
            OutputHeader::Init { rendition, codecs, width, height } => {
                self.rendition(rendition)?;
                require(self.begun.insert(rendition.clone()), "a second init of one rendition")?;
                require(*width <= MAX_SIDE && *height <= MAX_SIDE, "an init larger than any picture")?;
                let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b',' | b'-');
                require((1..=128).contains(&codecs.len()) && codecs.bytes().all(plain), "codecs that are none")
            }
            OutputHeader::Segment(s) => {
                self.rendition(&s.rendition)?;
                require(self.begun.contains(&s.rendition), "a segment before its init")?;
                require(s.frames > 0 && s.duration > 0, "an empty segment")?;
                require((1..=1_000_000).contains(&s.timescale), "a timescale that is none")?;
                require(s.start.checked_add(s.duration).is_some_and(|end| end < 1 << 60), "a segment beyond all time")
            }
            OutputHeader::RunEnd(run) => {
                self.is(&[Op::Encode])?;
                run_end(run)
            }
            OutputHeader::Progress(p) => require(near(p.done_us) && p.fps.is_finite(), "progress beyond all time"),
            OutputHeader::Picture { kind, width, height, time_us, .. } => {
                self.is(&[if *kind == PictureKind::Size { Op::Still } else { Op::Pictures }])?;
                let sides = 1..=MAX_SIDE;
                require(sides.contains(width) && sides.contains(height), "a picture of no possible size")?;
                require(time_us.is_none_or(near), "a picture beyond all time")
            }
            OutputHeader::Storyboard { cues } => {
                self.is(&[Op::Pictures])?;
                require(cues.len() <= 10_000 && cues.iter().all(cue), "a storyboard that is none")
            }
            OutputHeader::Probed(report) => {
                self.is(&[Op::Probe])?;
                self.reported = true;
                probed(report)
            }
            OutputHeader::Indexed(index) => {
                self.is(&[Op::Index])?;
                self.reported = true;
                let times = &index.keyframes_us;
                require(times.len() <= MAX_KEYFRAMES && times.iter().all(|t| near(*t)), "an index beyond all time")?;
                require(times.is_sorted(), "keyframes out of order")
            }
            OutputHeader::Done { .. } => {
                require(self.reported || !matches!(self.op, Op::Probe | Op::Index), "done without a report")
            }
            OutputHeader::Failed { detail, .. } => {
                detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
                Ok(())
            }
        }
    }

    fn is(&self, ops: &[Op]) -> Result<(), String> {
        require(ops.contains(&self.op), "an output that was not asked for")
    }

    fn rendition(&self, name: &str) -> Result<(), String> {
        require(self.renditions.iter().any(|r| r == name), "a rendition that was not asked for")
    }
}

fn require(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn near(us: i64) -> bool {
    (-FAR_US..=FAR_US).contains(&us)
}

fn run_end(run: &RunEndReport) -> Result<(), String> {
    let times = [run.start_us, run.end_us, run.first_pts_us, run.last_pts_us];
    let all_near = times.into_iter().chain(run.next_pts_us).all(near);
    require(all_near && run.start_us <= run.end_us, "a run beyond all time")?;
    let far = |n: i64| n.unsigned_abs() < 1 << 61;
    require(run.anchor.is_none_or(|a| far(a.pts) && far(a.sample)), "an anchor beyond all time")?;
    require(run.next_frame.is_none_or(|n| n < 1 << 50), "a frame beyond all time")
}

fn cue(cue: &Cue) -> bool {
    let inside = |at: u32, len: u32| len > 0 && at.checked_add(len).is_some_and(|end| end <= MAX_SIDE);
    near(cue.start_us) && near(cue.end_us) && cue.start_us <= cue.end_us && inside(cue.x, cue.w) && inside(cue.y, cue.h)
}

fn probed(report: &ProbeReport) -> Result<(), String> {
    require(near(report.start_us), "a start beyond all time")?;
    require(report.duration_ms.is_none_or(|ms| ms <= FAR_US.unsigned_abs() / 1000), "a length beyond all time")?;
    require(report.container.len() <= 256 && report.tags.len() <= 64, "a report too long")?;
    let short = |text: &Option<String>| text.as_ref().is_none_or(|t| t.len() <= 256);
    if let Some(v) = &report.video {
        let sides = 1..=1 << 20;
        require([v.width, v.height, v.display_width, v.display_height].iter().all(|s| sides.contains(s)), "no size")?;
        require(v.sar_num > 0 && v.sar_den > 0 && v.fps_den > 0, "a ratio over nothing")?;
        require(v.time_base_num > 0 && v.time_base_den > 0, "a time base over nothing")?;
        require(matches!(v.rotation, 0 | 90 | 180 | 270), "a rotation that is none")?;
        require(near(v.start_us) && v.codec.len() <= 64 && short(&v.profile), "a video stream that is none")?;
    }
    if let Some(a) = &report.audio {
        require(near(a.start_us) && a.codec.len() <= 64 && short(&a.language), "an audio stream that is none")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelfleet_wire::{FailCode, MediaLimits, SegmentInfo};

    fn audio() -> Check {
        let mut check = Check::new(&Request::Probe { size: 1, limits: MediaLimits::default() });
        check.op = Op::Encode;
        check.renditions = vec!["audio".into()];
        check
    }

    fn init(name: &str) -> OutputHeader {
        OutputHeader::Init { rendition: name.into(), codecs: "mp4a.40.2".into(), width: 0, height: 0 }
    }

    fn segment() -> SegmentInfo {
        SegmentInfo {
            rendition: "audio".into(),
            index: 0,
            start: 0,
            duration: 1024,
            timescale: 48_000,
            frames: 1,
            independent: true,
        }
    }

    #[test]
    fn the_order_and_the_names_are_held() {
        let mut check = audio();
        assert!(check.output(&mut OutputHeader::Segment(segment()), 9).is_err(), "before its init");
        assert!(check.output(&mut init("../../x"), 9).is_err());
        assert!(check.output(&mut init("audio"), 0).is_err(), "no body");
        assert_eq!(check.output(&mut init("audio"), 9), Ok(()));
        assert!(check.output(&mut init("audio"), 9).is_err(), "twice");
        assert_eq!(check.output(&mut OutputHeader::Segment(segment()), 9), Ok(()));
    }

    #[test]
    fn numbers_that_would_overflow_are_refused() {
        let mut check = audio();
        check.output(&mut init("audio"), 9).unwrap();
        for bad in [
            SegmentInfo { start: u64::MAX, ..segment() },
            SegmentInfo { timescale: 0, ..segment() },
            SegmentInfo { frames: 0, ..segment() },
        ] {
            assert!(check.output(&mut OutputHeader::Segment(bad), 9).is_err());
        }
        let far = OutputHeader::RunEnd(RunEndReport {
            index: 0,
            start_us: 0,
            end_us: i64::MAX,
            frames: 1,
            packets: 1,
            errors: 0,
            first_pts_us: 0,
            last_pts_us: 0,
            next_pts_us: None,
            segments: 1,
            anchor: None,
            next_frame: None,
        });
        assert!(check.output(&mut far.clone(), 0).is_err());
    }

    #[test]
    fn a_probe_ends_with_a_report_and_a_long_reason_is_cut() {
        let mut check = Check::new(&Request::Probe { size: 1, limits: MediaLimits::default() });
        let mut done = OutputHeader::Done { end: true, frames: 0, packets: 0, errors: 0 };
        assert!(check.output(&mut done, 0).is_err());
        let mut failed = OutputHeader::Failed { code: FailCode::NotMedia, detail: "ä".repeat(5000) };
        check.output(&mut failed, 0).unwrap();
        assert!(matches!(failed, OutputHeader::Failed { detail, .. } if detail.len() == MAX_DETAIL));
    }
}
