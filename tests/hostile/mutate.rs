//! What is done to a file: flips, cuts, splices, repetitions, and lies in the fields that containers believe.

use super::Dice;

/// Names behind which containers keep sizes, counts, dimensions and times: MP4, RIFF, PNG, Ogg, FLAC and MP3 by their
/// letters, Matroska by its ids.
const PLACES: &[&[u8]] = &[
    b"ftyp",
    b"moov",
    b"mvhd",
    b"trak",
    b"tkhd",
    b"edts",
    b"elst",
    b"mdia",
    b"mdhd",
    b"hdlr",
    b"minf",
    b"dref",
    b"stbl",
    b"stsd",
    b"avc1",
    b"avcC",
    b"hvcC",
    b"mp4a",
    b"esds",
    b"alac",
    b"stts",
    b"ctts",
    b"stsc",
    b"stsz",
    b"stco",
    b"co64",
    b"stss",
    b"mvex",
    b"trex",
    b"moof",
    b"mfhd",
    b"traf",
    b"tfhd",
    b"tfdt",
    b"trun",
    b"mdat",
    b"sidx",
    b"mfra",
    b"udta",
    b"meta",
    b"ilst",
    b"encv",
    b"sinf",
    b"schm",
    b"tenc",
    b"senc",
    b"pssh",
    b"RIFF",
    b"LIST",
    b"avih",
    b"strh",
    b"strf",
    b"indx",
    b"idx1",
    b"movi",
    b"00dc",
    b"01wb",
    b"fmt ",
    b"data",
    b"IHDR",
    b"IDAT",
    b"PLTE",
    b"tRNS",
    b"VP8 ",
    b"VP8L",
    b"VP8X",
    b"ANIM",
    b"ANMF",
    b"OggS",
    b"fLaC",
    b"ID3",
    b"Xing",
    b"Info",
    b"FLV",
    b"theora",
    b"vorbis",
    b"OpusHead",
    b"\x1a\x45\xdf\xa3",
    b"\x18\x53\x80\x67",
    b"\x11\x4d\x9b\x74",
    b"\x15\x49\xa9\x66",
    b"\x16\x54\xae\x6b",
    b"\x1f\x43\xb6\x75",
    b"\x1c\x53\xbb\x6b",
    b"\x2a\xd7\xb1",
    b"\x44\x89",
    b"\xae",
    b"\xe0",
    b"\xb0",
    b"\xba",
    b"\xa3",
    b"\x23\xe3\x83",
    b"\x63\xa2",
    b"\xff\xc0",
    b"\xff\xc4",
    b"\xff\xdb",
    b"\xff\xda",
    b"\xff\xd8",
    b"\x2c\0\0",
    b"!\xf9",
    b"\0\0\x01\xb3",
    b"\0\0\x01\xba",
    b"\0\0\x01\xe0",
    b"\0\0\x01\x67",
    b"\x47\x40",
];

/// Numbers that arithmetic trips over.
const NUMBERS: [u32; 14] =
    [0, 1, 2, 7, 8, 0x7f, 0xff, 0xffff, 0x1_0000, 0x00ff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff];

type Change = fn(&mut Vec<u8>, &[u8], &mut Dice);

const CHANGES: [(&str, Change); 12] = [
    (" flip", |bytes, _, dice| {
        for _ in 0..1 + dice.below(64) {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
        }
    }),
    (" scatter", |bytes, _, dice| {
        for _ in 0..1 + dice.below(1 + bytes.len() / 100) {
            let at = dice.below(bytes.len());
            bytes[at] = dice.next() as u8;
        }
    }),
    (" head", |bytes, _, dice| {
        let head = bytes.len().min(400);
        for _ in 0..1 + dice.below(6) {
            poke(bytes, head, dice);
        }
    }),
    (" lie", |bytes, _, dice| lie(bytes, dice)),
    (" lie", |bytes, _, dice| lie(bytes, dice)),
    (" lies", |bytes, _, dice| {
        for _ in 0..2 + dice.below(8) {
            lie(bytes, dice);
        }
    }),
    (" cut", |bytes, _, dice| bytes.truncate(1 + dice.below(bytes.len()))),
    (" gap", |bytes, _, dice| {
        let (from, to) = span(bytes.len(), dice);
        bytes.drain(from..to);
    }),
    (" blank", |bytes, _, dice| {
        let (from, to) = span(bytes.len(), dice);
        bytes[from..to].fill(if dice.one_in(2) { 0 } else { 0xff });
    }),
    (" splice", |bytes, other, dice| {
        let (from, to) = span(other.len(), dice);
        let at = dice.below(bytes.len());
        let end = if dice.one_in(2) { at } else { (at + to - from).min(bytes.len()) };
        bytes.splice(at..end, other[from..to].iter().copied());
    }),
    (" again", |bytes, _, dice| {
        let (from, to) = place(bytes, dice).map_or_else(|| span(bytes.len(), dice), |(at, end)| (at, end));
        let part = bytes[from..to].to_vec();
        let most = (1 << 20) / part.len().max(1) + 1;
        let times = 1 + dice.below(most.min(3000));
        bytes.splice(to..to, part.repeat(times));
    }),
    (" nest", |bytes, _, dice| {
        let depth = 1 + dice.below(4000);
        let kind = *dice.of(&[b"moov", b"trak", b"udta", b"meta", b"mdia", b"LIST"]);
        let at = dice.below(bytes.len().min(64));
        let mut heads = Vec::with_capacity(depth * 8);
        for level in (0..depth).rev() {
            heads.extend_from_slice(&(level as u32 * 8 + 8).to_be_bytes());
            heads.extend_from_slice(kind);
        }
        bytes.splice(at..at, heads);
    }),
];

/// Changes the bytes in one way and says which.
pub fn once(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) -> &'static str {
    if bytes.is_empty() {
        return " empty";
    }
    let (name, change) = dice.of(&CHANGES);
    change(bytes, other, dice);
    name
}

/// A stretch that is short more often than long.
fn span(len: usize, dice: &mut Dice) -> (usize, usize) {
    let longest = if dice.one_in(3) { len } else { len.min(256) };
    let (from, long) = (dice.below(len), 1 + dice.below(longest));
    (from, (from + long).min(len))
}

/// A number of 1, 2, 4 or 8 bytes below `end`, in either order.
fn poke(bytes: &mut [u8], end: usize, dice: &mut Dice) {
    let at = dice.below(end.min(bytes.len()));
    let value = if dice.one_in(4) { dice.next() as u32 } else { *dice.of(&NUMBERS) };
    let wide = (u64::from(value) << 32 | u64::from(value)).to_be_bytes();
    let number: &[u8] = match dice.below(5) {
        0 => &[value as u8],
        1 => &(value as u16).to_be_bytes(),
        2 => &value.to_be_bytes(),
        3 => &value.to_le_bytes(),
        _ => &wide,
    };
    for (byte, new) in bytes[at..].iter_mut().zip(number) {
        *byte = *new;
    }
}

/// A wrong number right before, at or behind one of the places.
fn lie(bytes: &mut [u8], dice: &mut Dice) {
    match place(bytes, dice) {
        Some((at, end)) => {
            let reach = (end - at).min(if dice.one_in(2) { 16 } else { 48 });
            poke(&mut bytes[at..], reach, dice);
        }
        None => poke(bytes, 64, dice),
    }
}

/// Where a random one of the places that occur begins (with the size before it), and about where what it names ends.
fn place(bytes: &[u8], dice: &mut Dice) -> Option<(usize, usize)> {
    for _ in 0..24 {
        let name = dice.of(PLACES);
        let found: Vec<usize> =
            bytes.windows(name.len()).enumerate().filter(|(_, w)| w == name).map(|(i, _)| i).collect();
        if !found.is_empty() {
            let at = *dice.of(&found);
            let size = at
                .checked_sub(4)
                .map_or(0, |s| u32::from_be_bytes([bytes[s], bytes[s + 1], bytes[s + 2], bytes[s + 3]]));
            let size = (size as usize).clamp(16, 4096);
            let from = at.saturating_sub(4);
            return Some((from, (from + size).min(bytes.len())));
        }
    }
    None
}
