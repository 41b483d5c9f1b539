//! A reader of fragmented MP4 at box level (ISO/IEC 14496-12): what players see before any library smooths it over.

use std::collections::BTreeMap;

/// Samples of one fragment of one track.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fragment {
    /// `tfdt`: decode time of the first sample, in ticks.
    pub base: u64,
    /// Samples in decode order.
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Ticks.
    pub duration: u32,
    /// Ticks from decoding to presentation, after the edit list.
    pub offset: i32,
    /// Whether it can be decoded alone (`sample_is_non_sync_sample` is 0).
    pub sync: bool,
}

impl Fragment {
    /// Presentation times in order, in ticks.
    pub fn times(&self) -> Vec<i64> {
        let mut at = i64::try_from(self.base).unwrap();
        let mut times = Vec::new();
        for sample in &self.samples {
            times.push(at + i64::from(sample.offset));
            at += i64::from(sample.duration);
        }
        times.sort_unstable();
        times
    }

    /// Ticks of all samples.
    pub fn duration(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.duration)).sum()
    }
}

/// An init segment: the timescale of its track, and the defaults of `trex`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// Ticks per second.
    pub timescale: u32,
    /// What the edit list takes from every presentation time, in ticks.
    pub edit: i64,
    duration: u32,
    flags: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The boxes directly in these bytes.
fn boxes(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let (mut size, mut head) = (u64::from(u32_at(bytes, at)), 8);
        if size == 1 {
            size = u64::from_be_bytes(bytes[at + 8..at + 16].try_into().unwrap());
            head = 16;
        }
        let end = if size == 0 { bytes.len() } else { at + usize::try_from(size).unwrap() };
        assert!(end <= bytes.len() && end >= at + head, "a box of {size} bytes at {at} of {}", bytes.len());
        found.push((&bytes[at + 4..at + 8], &bytes[at + head..end]));
        at = end;
    }
    assert_eq!(at, bytes.len(), "trailing bytes");
    found
}

/// The first box on this path.
fn find<'b>(bytes: &'b [u8], path: &[&[u8; 4]]) -> Option<&'b [u8]> {
    let (first, rest) = path.split_first()?;
    let (_, body) = boxes(bytes).into_iter().find(|(kind, _)| kind == first)?;
    if rest.is_empty() { Some(body) } else { find(body, rest) }
}

/// Names of the boxes at the top, in order.
pub fn top(bytes: &[u8]) -> Vec<String> {
    boxes(bytes).into_iter().map(|(kind, _)| String::from_utf8_lossy(kind).into_owned()).collect()
}

/// Reads an init segment.
pub fn init(bytes: &[u8]) -> Init {
    let mdhd = find(bytes, &[b"moov", b"trak", b"mdia", b"mdhd"]).unwrap();
    let timescale = u32_at(mdhd, if mdhd[0] == 1 { 20 } else { 12 });
    let trex = find(bytes, &[b"moov", b"mvex", b"trex"]).unwrap();
    let edit = find(bytes, &[b"moov", b"trak", b"edts", b"elst"]).map_or(0, |elst| {
        if elst[0] == 1 { i64::from_be_bytes(elst[16..24].try_into().unwrap()) } else { u32_at(elst, 12).into() }
    });
    Init { timescale, edit, duration: u32_at(trex, 12), flags: u32_at(trex, 20) }
}

/// Reads a media segment: all of its fragments.
pub fn fragments(bytes: &[u8], init: Init) -> Vec<Fragment> {
    boxes(bytes).into_iter().filter(|(kind, _)| kind == b"moof").map(|(_, moof)| fragment(moof, init)).collect()
}

fn fragment(moof: &[u8], init: Init) -> Fragment {
    let traf = find(moof, &[b"traf"]).unwrap();
    let tfhd = find(traf, &[b"tfhd"]).unwrap();
    let told = u32_at(tfhd, 0) & 0x00ff_ffff;
    let mut at = 8;
    let mut defaults = BTreeMap::new();
    for (flag, size) in [(0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4), (0x20, 4)] {
        if told & flag != 0 {
            defaults.insert(flag, at);
            at += size;
        }
    }
    let default = |flag: u32, otherwise: u32| defaults.get(&flag).map_or(otherwise, |at| u32_at(tfhd, *at));
    let (duration, flags) = (default(0x8, init.duration), default(0x20, init.flags));
    let tfdt = find(traf, &[b"tfdt"]).unwrap();
    let base =
        if tfdt[0] == 1 { u64::from_be_bytes(tfdt[4..12].try_into().unwrap()) } else { u64::from(u32_at(tfdt, 4)) };
    let mut samples = Vec::new();
    for (kind, trun) in boxes(traf) {
        if kind == b"trun" {
            run(trun, duration, flags, &mut samples);
        }
    }
    for sample in &mut samples {
        sample.offset = i32::try_from(i64::from(sample.offset) - init.edit).unwrap();
    }
    Fragment { base, samples }
}

fn run(trun: &[u8], duration: u32, flags: u32, samples: &mut Vec<Sample>) {
    let told = u32_at(trun, 0) & 0x00ff_ffff;
    let count = u32_at(trun, 4);
    let mut at = 8;
    let mut next = || {
        at += 4;
        u32_at(trun, at - 4)
    };
    if told & 0x1 != 0 {
        next();
    }
    let first = (told & 0x4 != 0).then(&mut next);
    for number in 0..count {
        let duration = if told & 0x100 != 0 { next() } else { duration };
        if told & 0x200 != 0 {
            next();
        }
        let own = (told & 0x400 != 0).then(&mut next);
        let offset = if told & 0x800 != 0 { next().cast_signed() } else { 0 };
        let flags = own.or(first.filter(|_| number == 0)).unwrap_or(flags);
        samples.push(Sample { duration, offset, sync: flags & 0x0001_0000 == 0 });
    }
}
