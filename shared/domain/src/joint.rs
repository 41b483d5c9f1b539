//! The proof of a count: whether what follows a run begins with the very picture that its decoder saw behind it.
//!
//! Guarantee: where every joint holds, the pictures of all runs together are those that one decoder gives that reads the
//! source from its beginning, each once. Chunk 0 is read from the beginning; whoever makes a run decodes without a gap up
//! to the first picture behind it; so each joint that holds carries the proof one run further.
//!
//! Pictures are compared with pictures, never with packets: a packet may hold none (a reference that is never shown), half
//! of one (a field) or a damaged one, and a sound film is full of them.

use std::fmt;

/// What a run says of its place among the pictures. Times are microseconds from the asset's zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// First instant.
    pub start_us: i64,
    /// The instant after its last; equal to the first in an open-ended span without pictures.
    pub end_us: i64,
    /// Pictures in it.
    pub frames: i64,
    /// The first of them.
    pub first_us: i64,
    /// The source's first picture behind it; `None`: the source ends.
    pub next_us: Option<i64>,
}

/// The picture with which the next run has to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    /// Nothing is known: there is no run with pictures before.
    #[default]
    Anything,
    /// The one shown at this time.
    Picture(i64),
    /// None: the source has ended.
    Nothing,
}

/// How two runs do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// From the one time to the other, or to the end, pictures are missing.
    Missing(i64, Option<i64>),
    /// Pictures that the run before has, or that are not in the source.
    Doubled(i64),
}

impl Expected {
    /// What is expected behind a run, if the run begins as expected itself.
    pub fn behind(self, run: &Stretch) -> Result<Self, Misfit> {
        if run.frames == 0 {
            let open = run.end_us <= run.start_us;
            return match self {
                Self::Picture(at) if open || at < run.end_us => Err(Misfit::Missing(at, None)),
                other => Ok(other),
            };
        }
        match self {
            Self::Picture(at) if at < run.first_us => Err(Misfit::Missing(at, Some(run.first_us))),
            Self::Picture(at) if at > run.first_us => Err(Misfit::Doubled(run.first_us)),
            Self::Nothing => Err(Misfit::Doubled(run.first_us)),
            _ => Ok(run.next_us.map_or(Self::Nothing, Self::Picture)),
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(from, Some(to)) => write!(f, "pictures from {from} to {to} µs are missing"),
            Self::Missing(from, None) => write!(f, "pictures from {from} µs on are missing"),
            Self::Doubled(at) => write!(f, "the picture at {at} µs is there twice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stretch(start_us: i64, end_us: i64, times: &[i64], next_us: Option<i64>) -> Stretch {
        Stretch {
            start_us,
            end_us,
            frames: times.len() as i64,
            first_us: times.first().copied().unwrap_or(start_us),
            next_us,
        }
    }

    fn walk(runs: &[Stretch]) -> Result<Expected, Misfit> {
        runs.iter().try_fold(Expected::default(), Expected::behind)
    }

    #[test]
    fn a_held_still_leaves_chunks_without_pictures() {
        let still = [stretch(0, 2, &[0], None), stretch(2, 6, &[], None), stretch(6, 6, &[], None)];
        assert_eq!(walk(&still), Ok(Expected::Nothing));
        let long = [stretch(0, 2, &[0], Some(9)), stretch(2, 6, &[], None), stretch(6, 6, &[9], None)];
        assert_eq!(walk(&long), Ok(Expected::Nothing));
    }

    #[test]
    fn a_chunk_that_could_not_be_entered_is_found() {
        let lost = [stretch(0, 2, &[0, 1], Some(2)), stretch(2, 6, &[], None)];
        assert_eq!(walk(&lost), Err(Misfit::Missing(2, None)));
        assert_eq!(walk(&[stretch(0, 2, &[0, 1], Some(2)), stretch(2, 2, &[], None)]), Err(Misfit::Missing(2, None)));
        let late = [stretch(0, 2, &[0, 1], Some(2)), stretch(2, 6, &[4, 5], Some(6))];
        assert_eq!(walk(&late), Err(Misfit::Missing(2, Some(4))));
        let ended = [stretch(0, 2, &[0, 1], None), stretch(2, 6, &[2], None)];
        assert_eq!(walk(&ended), Err(Misfit::Doubled(2)));
    }

    proptest! {
        /// Whatever the times and the borders, chunks cut from one list of pictures fit, and chunks of which one lost a
        /// picture at its beginning, or took one of its neighbour's, do not.
        #[test]
        fn exactly_the_whole_fits(
            gaps in proptest::collection::vec(1i64..50, 1..60),
            cuts in proptest::collection::btree_set(1i64..1500, 0..6),
            victim in any::<prop::sample::Index>(),
        ) {
            let times: Vec<i64> = gaps.iter().scan(-1, |at, gap| { *at += gap; Some(*at) }).collect();
            let borders: Vec<i64> = std::iter::once(0).chain(cuts).collect();
            let span = |i: usize| (borders[i], borders.get(i + 1).copied());
            let inside = |i: usize| {
                let (start, end) = span(i);
                times.iter().copied().filter(|t| *t >= start && end.is_none_or(|end| *t < end)).collect::<Vec<_>>()
            };
            let next = |i: usize| span(i).1.and_then(|end| times.iter().copied().find(|t| *t >= end));
            let cut = |i: usize, own: &[i64]| stretch(span(i).0, span(i).1.unwrap_or(span(i).0), own, next(i));
            let whole: Vec<Stretch> = (0..borders.len()).map(|i| cut(i, &inside(i))).collect();
            prop_assert!(walk(&whole).is_ok(), "{whole:?}");

            // Before the first chunk with pictures nothing is known, and nothing is claimed.
            let first = (0..borders.len()).find(|i| !inside(*i).is_empty()).unwrap();
            let later: Vec<usize> = (first + 1..borders.len()).filter(|i| !inside(*i).is_empty()).collect();
            if !later.is_empty() {
                let victim = later[victim.index(later.len())];
                let mut broken = whole.clone();
                broken[victim] = cut(victim, &inside(victim)[1..]);
                prop_assert!(walk(&broken).is_err(), "{broken:?}");
                broken[victim] = Stretch { first_us: whole[victim].first_us - 1, ..whole[victim] };
                prop_assert!(walk(&broken).is_err(), "{broken:?}");
            }
        }
    }
}
