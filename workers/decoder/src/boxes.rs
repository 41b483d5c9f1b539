//! A look at the outermost boxes of an MP4 or QuickTime file (ISO/IEC 14496-12 section 4.2), to say *why* one cannot be
//! opened: FFmpeg answers "invalid data" both for a film that was cut off and for something that never was one.

use std::io::{Read, Seek, SeekFrom};

use reelfleet_wire::FailCode;

use crate::fail::Failure;
use crate::ff::Code;
use crate::source::Source;

/// What the outermost boxes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Begins like an MP4 or QuickTime file.
    is_mp4: bool,
    /// Where the index (moov) lies: its first byte and the one behind it.
    pub index: Option<(u64, u64)>,
    /// Has movie fragments.
    pub is_fragmented: bool,
    /// A box announces more bytes than there are.
    cut_off: bool,
}

/// Boxes looked at; a fragmented file has two for each fragment, and the index stands at the beginning or at the end.
const MOST_BOXES: usize = 64;

const FIRST: [&[u8; 4]; 9] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"uuid"];

impl Shape {
    /// Reads the head of each outermost box. A failed read ends it; the source remembers it.
    pub fn of(source: &mut Source) -> Self {
        let size = source.size();
        let mut shape = Self::default();
        let mut at = 0u64;
        for _ in 0..MOST_BOXES {
            let Some((kind, length)) = head(source, at, size) else {
                break;
            };
            if at == 0 {
                if !FIRST.contains(&&kind) {
                    return shape;
                }
                shape.is_mp4 = true;
            }
            if &kind == b"moov" {
                shape.index = Some((at, at.saturating_add(length)));
            }
            shape.is_fragmented |= &kind == b"moof";
            match at.checked_add(length) {
                Some(next) if next < size => at = next,
                Some(next) if next == size => break,
                _ => {
                    shape.cut_off = true;
                    break;
                }
            }
        }
        shape
    }

    /// The reason to give where FFmpeg would not open the source.
    pub fn why_not_opened(self, code: Code) -> Failure {
        if self.is_mp4 && self.index.is_none() {
            return Failure::new(
                FailCode::Truncated,
                "the index of the file (moov) is missing; the file was cut off or never finished",
            );
        }
        if self.is_mp4 && self.cut_off {
            return Failure::new(FailCode::Truncated, "the file ends within its index");
        }
        // FFmpeg says this also of a table that announces more entries than there are bytes.
        if code == Code::NO_MEMORY {
            return Failure::new(FailCode::NotMedia, "its header asks for more memory than a decoder may have");
        }
        Failure::new(FailCode::NotMedia, "it is no video, audio or picture of a kind that is known here")
    }
}

fn head(source: &mut Source, at: u64, size: u64) -> Option<([u8; 4], u64)> {
    source.seek(SeekFrom::Start(at)).ok()?;
    let mut head = [0; 16];
    let have = usize::try_from(size.saturating_sub(at).min(16)).ok()?;
    source.read_exact(head.get_mut(..have)?).ok()?;
    if have < 8 {
        return None;
    }
    let [l0, l1, l2, l3, k0, k1, k2, k3, rest @ ..] = head;
    let length = match u32::from_be_bytes([l0, l1, l2, l3]) {
        0 => size - at,
        1 => u64::from_be_bytes(rest),
        n => u64::from(n),
    };
    (length >= 8).then_some(([k0, k1, k2, k3], length))
}
