//! Pictures: posters and storyboards of a video, sizes of an uploaded picture.
//!
//! Guarantee: what comes out is upright, has square pixels and no side larger than the source's; a poster reads a few
//! keyframes and nothing between them.

mod canvas;
mod encode;
mod keyframes;
mod poster;
pub mod still;
mod storyboard;
mod tone;

use std::collections::BTreeMap;
use std::fs::File;

use reelfleet_wire::PicturesRequest;

use crate::fail::Failure;
use crate::input::Input;
use crate::output::Output;
use crate::source::Reading;

use canvas::Canvas;
use keyframes::Keyframes;

/// How much was done, for `Done`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames decoded, or pictures read.
    pub frames: u64,
    /// Packets given to the decoder.
    pub packets: u64,
    /// Packets that gave no picture.
    pub errors: u64,
}

/// Serves a `Pictures` request: the poster first, because somebody waits for it, then the storyboard.
///
/// # Errors
/// Those of [`Input::open`]; `NoDecodableStream`; `Decode` where not one frame can be had; `Encode`.
pub fn run(socket: File, request: &PicturesRequest, output: &Output) -> Result<Counts, Failure> {
    let stream = request.video_stream as usize;
    let mut input = Input::open_for(stream, socket, request.size, &request.limits, Reading::SPARSE)?;
    let mut keyframes = Keyframes::new(&mut input, request)?;
    // Tiles of the frames that were looked at for the poster, so that the storyboard need not read them again.
    let mut tiles: BTreeMap<i64, Canvas> = BTreeMap::new();
    poster::run(&mut keyframes, request, output, &mut tiles)?;
    if let Some(spec) = &request.storyboard {
        storyboard::run(&mut keyframes, spec, output, tiles)?;
    }
    Ok(keyframes.counts())
}
