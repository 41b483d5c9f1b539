//! The committed beginning of a track, as far as it is proved.
//!
//! Guarantee: no run is named by a playlist before its joint with the run before it holds (`domain::joint`). Where one
//! does not, the prefix ends, and the publisher falls back.

use reelfleet_catalog::runs::Run;
use reelfleet_domain::joint::{Expected, Misfit, Stretch};

use crate::recipe::VideoRecipe;

/// Runs of the pictures from the beginning.
pub(crate) struct Proved<'r> {
    pub runs: Vec<&'r Run>,
    /// The first run that does not fit the one before.
    pub misfit: Option<(&'r Run, Misfit)>,
}

/// Runs in order as long as nothing is missing between them.
pub(crate) fn contiguous<'r>(runs: &'r [Run], track: &str) -> Vec<&'r Run> {
    let (mut chunk, mut number) = (0, 0);
    let mut prefix = Vec::new();
    for run in runs.iter().filter(|run| run.track == track) {
        if (run.chunk, run.run) != (chunk, number) {
            break;
        }
        prefix.push(run);
        (chunk, number) = if run.is_last { (chunk + 1, 0) } else { (chunk, number + 1) };
    }
    prefix
}

/// The same for pictures, each of which is there once.
pub(crate) fn proved<'r>(video: &VideoRecipe, runs: &'r [Run]) -> Proved<'r> {
    let (mut expected, mut proved) = (Expected::Anything, Vec::new());
    for run in contiguous(runs, "video") {
        let stretch = stretch(run);
        expected = match expected.behind(&stretch) {
            Ok(expected) => expected,
            // A chain that reads from the beginning is what everything else is measured by: there is nothing better.
            Err(misfit) if video.sequential && !video.is_seam(run) => {
                tracing::warn!(chunk = run.chunk, run = run.run, "the chain does not fit itself: {misfit}");
                Expected::Anything.behind(&stretch).unwrap_or_default()
            }
            Err(misfit) => return Proved { runs: proved, misfit: Some((run, misfit)) },
        };
        proved.push(run);
    }
    Proved { runs: proved, misfit: None }
}

fn stretch(run: &Run) -> Stretch {
    Stretch {
        start_us: run.start_us,
        end_us: run.end_us,
        frames: run.frames,
        first_us: run.first_pts_us,
        next_us: run.next_pts_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(chunk: i64, run: i64, is_last: bool) -> Run {
        let start_us = chunk * 100 + run * 10;
        Run {
            track: "video".into(),
            chunk,
            run,
            start_us,
            end_us: if is_last { (chunk + 1) * 100 } else { start_us + 10 },
            frames: 1,
            packets: 1,
            errors: 0,
            first_pts_us: start_us,
            last_pts_us: start_us,
            next_pts_us: Some(if is_last { (chunk + 1) * 100 } else { start_us + 10 }),
            next_frame: None,
            anchor: None,
            renditions: Vec::new(),
            is_last,
        }
    }

    fn recipe(sequential: bool, seam: Option<(u32, i64)>) -> VideoRecipe {
        VideoRecipe { sequential, seam, ..VideoRecipe::default() }
    }

    fn places(runs: &[&Run]) -> Vec<(i64, i64)> {
        runs.iter().map(|run| (run.chunk, run.run)).collect()
    }

    #[test]
    fn a_prefix_ends_where_something_is_missing() {
        let places = |runs: &[Run]| places(&contiguous(runs, "video"));
        assert_eq!(places(&[run(0, 0, true), run(1, 0, true), run(3, 0, true)]), [(0, 0), (1, 0)]);
        assert_eq!(places(&[run(1, 0, true)]), []);
        assert_eq!(places(&[run(0, 0, false), run(1, 0, true)]), [(0, 0)], "chunk 0 has not ended");
        assert_eq!(places(&[run(0, 0, false), run(0, 1, true), run(1, 0, true)]), [(0, 0), (0, 1), (1, 0)]);
    }

    #[test]
    fn a_joint_that_does_not_hold_ends_the_proof() {
        let late = Run { first_pts_us: 130, ..run(1, 0, true) };
        let runs = [run(0, 0, false), run(0, 1, true), late, run(2, 0, true)];
        let found = proved(&recipe(false, None), &runs);
        assert_eq!(places(&found.runs), [(0, 0), (0, 1)]);
        assert_eq!(found.misfit.unwrap().1, Misfit::Missing(100, Some(130)));
        let found = proved(&recipe(true, Some((1, 0))), &runs);
        assert_eq!(found.misfit.unwrap().0.chunk, 1, "a chain that does not fit what it follows");
        let found = proved(&recipe(true, None), &runs);
        assert_eq!(found.runs.len(), 4, "a chain from the beginning is believed");
        assert!(found.misfit.is_none());
    }
}
