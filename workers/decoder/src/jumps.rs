//! Recordings whose clock goes back: joined of several, or restarted in the middle.
//!
//! Guarantee: in a container whose clock may jump (MPEG-TS, MPEG-PS), a stretch that would overwrite what came before is
//! an error that says where, never a film that silently lacks it. A clock that jumps forward loses nothing and passes.

use crate::fail::Failure;
use crate::ff::{Packet, Ratio, micros};

/// Going back by less is jitter of a bad muxer, which decoders put in order (microseconds).
const TOLERATED_US: i64 = 1_000_000;

/// The decode times of each stream since the last seek.
#[derive(Debug, Default)]
pub struct Jumps {
    last_us: Vec<Option<i64>>,
}

impl Jumps {
    /// After a seek anything may come.
    pub fn forget(&mut self) {
        self.last_us.clear();
    }

    /// Looks at a packet.
    ///
    /// # Errors
    /// `Decode` where the clock goes back.
    pub fn look(&mut self, packet: &Packet, base: Ratio) -> Result<(), Failure> {
        let stream = packet.stream();
        let Some(now) = packet.dts().and_then(|dts| micros(dts, base)) else { return Ok(()) };
        if self.last_us.len() <= stream {
            self.last_us.resize(stream + 1, None);
        }
        let Some(last) = self.last_us.get_mut(stream) else { return Ok(()) };
        match last.replace(now) {
            Some(before) if before - now > TOLERATED_US => Err(Failure::decode(format!(
                "the recording's clock goes back by {:.1} s after {:.1} s: it seems to be joined of several; join them \
                 with new times (for example by ffmpeg's concat demuxer) and upload that",
                (before - now) as f64 / 1e6,
                before as f64 / 1e6,
            ))),
            _ => Ok(()),
        }
    }
}
