//! The grid: sound in at any place, AAC frames out in order, cut into segments.
//!
//! Guarantees: what nobody put on the grid is silence, what two put there is the first one's; the encoder's priming
//! frame and the run-in are never given out.

#![allow(unsafe_code)]

use std::collections::VecDeque;

use ffmpeg_next::ffi;
use reelfleet_wire::{AAC_FRAME, AUDIO_RATE, AudioRequest, OutputHeader, SegmentInfo};

use super::place::Piece;
use crate::cmaf::{self, Sample};
use crate::fail::Failure;
use crate::ff::{self, Code, Codec, Frame, Packet, check};
use crate::output::Output;

/// Name of the only audio rendition.
pub const RENDITION: &str = "audio";
const FRAME: usize = AAC_FRAME as usize;
/// Frames encoded and dropped before the first that is wanted, so that the encoder's model has settled.
const RUN_IN_FRAMES: u64 = 10;
/// Silence is made in pieces of this many samples.
const SILENCE: usize = 1 << 16;

pub struct Encoder<'a> {
    output: &'a Output,
    codec: Codec,
    /// Samples that wait, left and right; the first lies at `start`.
    waiting: [VecDeque<f32>; 2],
    start: i64,
    /// AAC frame that the next packet decodes to; the priming frame comes first.
    next_packet: i64,
    /// First AAC frame to give out.
    from: u64,
    samples: Vec<Sample>,
    /// First AAC frame of the segment being filled.
    segment_start: u64,
    segment_samples: u64,
    segments: u32,
    stopped: bool,
}

/// A segment that was just written.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// AAC frame behind it.
    pub behind: u64,
    /// AAC frame behind the segment that follows.
    pub next_border: u64,
    /// Segments so far.
    pub segments: u32,
}

/// Told of each segment; answers whether to stop there.
pub type OnCut<'c> = &'c mut dyn FnMut(Cut) -> Result<bool, Failure>;

/// FFmpeg's AAC encoder, open, of so many bits per second.
///
/// # Errors
/// `Encode`, `Internal`.
pub fn codec(bitrate: u32) -> Result<Codec, Failure> {
    let mut codec = Codec::alloc(ff::encoder("aac")?)?;
    // SAFETY: a fresh context.
    unsafe {
        let c = codec.as_ptr();
        (*c).sample_rate = AUDIO_RATE as i32;
        (*c).sample_fmt = ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP;
        (*c).bit_rate = i64::from(bitrate);
        (*c).time_base = ff::ratio(1, AUDIO_RATE as i32);
        (*c).flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
        ffi::av_channel_layout_default(&mut (*c).ch_layout, 2);
    }
    // At high rates the cheaper search is the better one: the other spoils single frames of pure tones.
    let coder = if bitrate >= 96_000 { "fast" } else { "twoloop" };
    codec
        .open(&[("profile", "aac_low"), ("threads", "1"), ("aac_coder", coder)])?
        .map_err(|code| Failure::encode(format!("AAC does not open: {code}")))?;
    Ok(codec)
}

impl<'a> Encoder<'a> {
    /// # Errors
    /// `Encode`, `Internal`.
    pub fn open(request: &AudioRequest, output: &'a Output) -> Result<Self, Failure> {
        let codec = codec(request.bitrate)?;
        let (body, codecs) = cmaf::audio_header(request.bitrate)?;
        output.write(&OutputHeader::Init { rendition: RENDITION.into(), codecs, width: 0, height: 0 }, &body)?;
        let run_in = request.from_frame.saturating_sub(RUN_IN_FRAMES);
        Ok(Self {
            output,
            codec,
            waiting: Default::default(),
            start: (run_in * AAC_FRAME) as i64,
            next_packet: run_in as i64 - 1,
            from: request.from_frame,
            samples: Vec::new(),
            segment_start: request.from_frame,
            segment_samples: u64::from(request.segment_ms) * u64::from(AUDIO_RATE) / 1000,
            segments: 0,
            stopped: false,
        })
    }

    /// Sample behind the last one that is on the grid.
    fn end(&self) -> i64 {
        self.start + self.waiting[0].len() as i64
    }

    /// Somebody said to stop at a segment; nothing more is given out.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// # Errors
    /// `Encode`, `Internal`.
    pub fn put(&mut self, piece: &Piece, on_cut: OnCut<'_>) -> Result<(), Failure> {
        while self.end() < piece.at && !self.stopped {
            let gap = usize::try_from(piece.at - self.end()).unwrap_or(SILENCE).min(SILENCE);
            for plane in &mut self.waiting {
                plane.extend(std::iter::repeat_n(0.0, gap));
            }
            self.encode_whole(on_cut)?;
        }
        let overlap = usize::try_from(self.end() - piece.at).unwrap_or(0);
        for (plane, sound) in self.waiting.iter_mut().zip(&piece.sound) {
            plane.extend(sound.iter().skip(overlap));
        }
        self.encode_whole(on_cut)
    }

    /// Fills the last frame with silence and gives out everything.
    ///
    /// # Errors
    /// `Encode`, `Internal`.
    pub fn finish(&mut self, on_cut: OnCut<'_>) -> Result<(), Failure> {
        let rest = self.waiting[0].len() % FRAME;
        if rest > 0 {
            for plane in &mut self.waiting {
                plane.extend(std::iter::repeat_n(0.0, FRAME - rest));
            }
        }
        self.encode_whole(on_cut)?;
        self.codec.send_frame(None).map_err(|code| Failure::encode(format!("AAC does not end: {code}")))?;
        self.drain(on_cut)?;
        if !self.samples.is_empty() {
            self.cut(on_cut)?;
        }
        Ok(())
    }

    fn encode_whole(&mut self, on_cut: OnCut<'_>) -> Result<(), Failure> {
        while self.waiting[0].len() >= FRAME && !self.stopped {
            let frame = self.take_frame()?;
            self.codec
                .send_frame(Some(&frame))
                .map_err(|code| Failure::encode(format!("AAC takes no frame: {code}")))?;
            self.drain(on_cut)?;
        }
        Ok(())
    }

    fn take_frame(&mut self) -> Result<Frame, Failure> {
        let frame = Frame::new()?;
        // SAFETY: a fresh frame; after the buffers are made, each of the two planes has room for the samples.
        unsafe {
            let f = frame.as_ptr();
            (*f).format = ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP as i32;
            (*f).sample_rate = AUDIO_RATE as i32;
            (*f).nb_samples = FRAME as i32;
            ffi::av_channel_layout_default(&mut (*f).ch_layout, 2);
            check(ffi::av_frame_get_buffer(f, 0)).map_err(|_| Failure::memory("encoding its sound"))?;
            (*f).pts = self.start;
            for (i, plane) in self.waiting.iter_mut().enumerate() {
                let to = std::slice::from_raw_parts_mut((*f).data[i].cast::<f32>(), FRAME);
                for (to, sample) in to.iter_mut().zip(plane.drain(..FRAME)) {
                    *to = sample;
                }
            }
        }
        self.start += FRAME as i64;
        Ok(frame)
    }

    fn drain(&mut self, on_cut: OnCut<'_>) -> Result<(), Failure> {
        let mut packet = Packet::new()?;
        loop {
            match self.codec.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(Code::AGAIN | Code::EOF) => return Ok(()),
                Err(code) => return Err(Failure::encode(format!("AAC gives no packet: {code}"))),
            }
            let number = self.next_packet;
            self.next_packet += 1;
            if number * (FRAME as i64) >= self.start {
                // Only padding of the encoder's own end.
                continue;
            }
            if u64::try_from(number).is_ok_and(|n| n >= self.from) && !self.stopped {
                self.samples.push(Sample { pts: number * FRAME as i64, sync: true, data: packet.data().to_vec() });
                if self.next_packet.unsigned_abs() == self.border_behind(self.segment_start) {
                    self.cut(on_cut)?;
                }
            }
        }
    }

    /// The first segment border behind a frame. Borders lie on the frame nearest to each multiple of the segment's
    /// length from t0, whoever encodes.
    fn border_behind(&self, frame: u64) -> u64 {
        let length = self.segment_samples.max(AAC_FRAME);
        let mut i = frame * AAC_FRAME / length;
        loop {
            let border = (i * length + AAC_FRAME / 2) / AAC_FRAME;
            if border > frame {
                return border;
            }
            i += 1;
        }
    }

    fn cut(&mut self, on_cut: OnCut<'_>) -> Result<(), Failure> {
        let samples = std::mem::take(&mut self.samples);
        let behind = self.segment_start + samples.len() as u64;
        let segment = cmaf::segment(&samples, (behind * AAC_FRAME) as i64, 0, self.segments + 1)?;
        let info = SegmentInfo {
            rendition: RENDITION.into(),
            index: self.segments,
            start: segment.start,
            duration: segment.duration,
            timescale: AUDIO_RATE,
            frames: u32::try_from(samples.len()).unwrap_or(u32::MAX),
            independent: true,
        };
        self.output.write(&OutputHeader::Segment(info), &segment.bytes)?;
        self.segments += 1;
        self.segment_start = behind;
        self.stopped = on_cut(Cut { behind, next_border: self.border_behind(behind), segments: self.segments })?;
        Ok(())
    }
}
