//! What is in a CMAF file at box level (ISO/IEC 14496-12): samples, their times, the bytes that are decoded.
//!
//! Guarantee: nothing of the fleet's own words is believed and nothing of its own writer is used; a file that is not
//! what it should be is an error that says what is missing, never a panic.

use anyhow::{Context as _, ensure};

/// Timescale and defaults of a track, from its init segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init {
    /// Ticks per second.
    pub timescale: u32,
    duration: u32,
}

/// One fragment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// `tfdt`: when it begins, in ticks.
    pub base: u64,
    /// Ticks of all samples.
    pub duration: u64,
    /// Presentation times in rising order, in ticks.
    pub times: Vec<i64>,
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn u32(&mut self) -> anyhow::Result<u32> {
        let (head, rest) = self.0.split_first_chunk().context("a box ends too early")?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*head))
    }

    fn u64(&mut self) -> anyhow::Result<u64> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    fn skip(&mut self, bytes: usize) -> anyhow::Result<()> {
        self.0 = self.0.get(bytes..).context("a box ends too early")?;
        Ok(())
    }

    /// Version and flags.
    fn full(&mut self) -> anyhow::Result<(u8, u32)> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff))
    }
}

/// The boxes directly in these bytes: name and content.
fn boxes(mut bytes: &[u8]) -> anyhow::Result<Vec<([u8; 4], &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut reader = Reader(bytes);
        let (short, name) = (reader.u32()?, reader.u32()?.to_be_bytes());
        let (size, head) = match short {
            0 => (bytes.len() as u64, 8),
            1 => (reader.u64()?, 16),
            size => (u64::from(size), 8),
        };
        let size = usize::try_from(size)?;
        let body = bytes.get(head..size);
        let body = body.with_context(|| format!("{} of {size} bytes does not fit", String::from_utf8_lossy(&name)))?;
        found.push((name, body));
        bytes = &bytes[size..];
    }
    Ok(found)
}

/// The first box on a path.
fn find<'b>(bytes: &'b [u8], path: &[&[u8; 4]]) -> anyhow::Result<&'b [u8]> {
    let mut bytes = bytes;
    for name in path {
        let found = boxes(bytes)?.into_iter().find(|(kind, _)| kind == *name);
        bytes = found.with_context(|| format!("no {}", String::from_utf8_lossy(*name)))?.1;
    }
    Ok(bytes)
}

/// Reads an init segment.
pub fn init(bytes: &[u8]) -> anyhow::Result<Init> {
    let mut mdhd = Reader(find(bytes, &[b"moov", b"trak", b"mdia", b"mdhd"])?);
    let (version, _) = mdhd.full()?;
    mdhd.skip(if version == 1 { 16 } else { 8 })?;
    let timescale = mdhd.u32()?;
    ensure!(timescale > 0, "the timescale is 0");
    let mut trex = Reader(find(bytes, &[b"moov", b"mvex", b"trex"])?);
    trex.skip(12)?;
    Ok(Init { timescale, duration: trex.u32()? })
}

/// Reads a media segment: its fragments, and the bytes that a decoder gets.
pub fn segment(bytes: &[u8], init: Init) -> anyhow::Result<(Vec<Fragment>, Vec<&[u8]>)> {
    let (mut fragments, mut payload) = (Vec::new(), Vec::new());
    for (name, body) in boxes(bytes)? {
        match &name {
            b"moof" => fragments.push(fragment(body, init)?),
            b"mdat" => payload.push(body),
            _ => {}
        }
    }
    ensure!(!fragments.is_empty(), "a segment without a fragment");
    Ok((fragments, payload))
}

fn fragment(moof: &[u8], init: Init) -> anyhow::Result<Fragment> {
    let traf = find(moof, &[b"traf"])?;
    let mut tfhd = Reader(find(traf, &[b"tfhd"])?);
    let (_, flags) = tfhd.full()?;
    tfhd.skip(4)?;
    for (flag, bytes) in [(0x1, 8), (0x2, 4)] {
        if flags & flag != 0 {
            tfhd.skip(bytes)?;
        }
    }
    let default = if flags & 0x8 != 0 { tfhd.u32()? } else { init.duration };
    let mut tfdt = Reader(find(traf, &[b"tfdt"])?);
    let base = if tfdt.full()?.0 == 1 { tfdt.u64()? } else { u64::from(tfdt.u32()?) };
    let mut at = i64::try_from(base)?;
    let mut times = Vec::new();
    for (_, trun) in boxes(traf)?.into_iter().filter(|(name, _)| name == b"trun") {
        let mut trun = Reader(trun);
        let (_, flags) = trun.full()?;
        let samples = trun.u32()?;
        for flag in [0x1, 0x4] {
            if flags & flag != 0 {
                trun.skip(4)?;
            }
        }
        for _ in 0..samples {
            let duration = if flags & 0x100 != 0 { trun.u32()? } else { default };
            for flag in [0x200, 0x400] {
                if flags & flag != 0 {
                    trun.skip(4)?;
                }
            }
            let offset = if flags & 0x800 != 0 { trun.u32()?.cast_signed() } else { 0 };
            times.push(at + i64::from(offset));
            at += i64::from(duration);
        }
    }
    times.sort_unstable();
    Ok(Fragment { base, duration: at.abs_diff(i64::try_from(base)?), times })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&(body.len() as u32 + 8).to_be_bytes()[..], name, &body].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn samples_and_payload_are_read_whatever_the_flags() {
        let mdhd = boxed(b"mdhd", &[&words(&[0, 0, 0, 90_000, 0, 0])]);
        let trak = boxed(b"trak", &[&boxed(b"mdia", &[&mdhd])]);
        let trex = boxed(b"trex", &[&words(&[0, 1, 1, 3_000, 0, 0])]);
        let file = boxed(b"moov", &[&trak, &boxed(b"mvex", &[&trex])]);
        let init = init(&file).unwrap();
        assert_eq!(init, Init { timescale: 90_000, duration: 3_000 });

        let tfhd = boxed(b"tfhd", &[&words(&[0x02_0000, 1])]);
        let tfdt = boxed(b"tfdt", &[&words(&[0x0100_0000, 0, 6_000])]);
        // Data offset, sizes and signed composition offsets; the second is shown before the first.
        let trun = boxed(b"trun", &[&words(&[0x0100_0a01, 2, 99, 7, 3_000, 8, (-3_000_i32).cast_unsigned()])]);
        let moof = boxed(b"moof", &[&boxed(b"traf", &[&tfhd, &tfdt, &trun])]);
        let media = [moof, boxed(b"mdat", &[b"payload"])].concat();
        let (fragments, payload) = segment(&media, init).unwrap();
        assert_eq!(fragments, [Fragment { base: 6_000, duration: 6_000, times: vec![6_000, 9_000] }]);
        assert_eq!(payload, [b"payload"]);

        for cut in 0..media.len() {
            let _ = segment(&media[..cut], init);
        }
        assert!(segment(&media[..media.len() - 1], init).is_err());
        assert!(segment(b"", init).is_err());
    }
}
