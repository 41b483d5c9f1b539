//! Single keyframes of a video, decoded alone.
//!
//! Guarantee: a keyframe costs a seek and its own packet; nothing between keyframes is decoded, and streams that are not
//! shown are not read. A packet that gives no picture is counted and passed over.

#![allow(unsafe_code)]

use ffmpeg_next::ffi;
use reelfleet_wire::{FailCode, PicturesRequest};

use crate::color;
use crate::fail::Failure;
use crate::ff::{Code, Codec, Frame, MICROSECONDS, Packet, Ratio, check, micros, raw, rescale};
use crate::index::{self, Entry};
use crate::input::{Input, Next};
use crate::pictures::Counts;
use crate::pictures::canvas::{Canvas, Layout, height_for};
use crate::pictures::tone;
use crate::probe;
use crate::stream::Stream;

/// Packets passed over in search of a keyframe: some seconds of any video.
const MOST_PASSED: u32 = 2_000;
/// Keyframes tried at one place.
const MOST_TRIED: u32 = 4;
/// A keyframe of up to this size is read in one piece.
const MOST_IN_ONE: i64 = 4 << 20;
/// A source at least this many times as wide as a tile loses nothing there by not being deblocked.
const DEBLOCK_BELOW: u32 = 4;
/// What may be read from the beginning of a container that can't be seeked.
const SEQUENTIAL_BYTES: u64 = 64 << 20;
/// Tallest picture made (WebP can do no more).
const MAX_SIDE: u32 = 16_383;

/// A decoded picture and its time from t0.
pub struct Shot {
    pub time_us: i64,
    frame: Frame,
}

pub struct Keyframes<'a> {
    input: &'a mut Input,
    decoder: KeyframeDecoder<'a>,
    stream: usize,
    base: Ratio,
    request: &'a PicturesRequest,
    counts: Counts,
    /// What the container's index knew when it was opened.
    index: Vec<Entry>,
}

/// How a frame is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Bicubic, for pictures that are looked at.
    Fine,
    /// Area, for small tiles.
    Quick,
}

impl<'a> Keyframes<'a> {
    /// # Errors
    /// `NoDecodableStream`, `TooManyPixels`, `Decode`.
    pub fn new(input: &'a mut Input, request: &'a PicturesRequest) -> Result<Self, Failure> {
        let stream = request.video_stream as usize;
        let video = input
            .stream(stream)
            .filter(|s| s.is_video())
            .ok_or_else(|| Failure::new(FailCode::NoDecodableStream, format!("stream {stream} is no video")))?;
        let shown = probe::video_stream(&video, &request.limits)?;
        let base = video.time_base();
        let size = (shown.display_width, shown.display_height);
        let quarter = |rotation: u16| matches!(rotation, 90 | 270);
        let size = if quarter(shown.rotation) == quarter(request.rotation) { size } else { (size.1, size.0) };
        let mut decoder = KeyframeDecoder::open(&video, request, size)?;
        if request.poster_widths.is_empty() {
            decoder.make_tiles(shown.width);
        }
        let index = if request.sequential { Vec::new() } else { index::keyframes(input, stream)? };
        Ok(Self { input, decoder, stream, base, request, counts: Counts::default(), index })
    }

    /// Another decoder of the same pictures, for another thread: for tiles alone.
    ///
    /// # Errors
    /// As for [`Keyframes::new`].
    pub fn another_decoder(&self) -> Result<KeyframeDecoder<'a>, Failure> {
        let video = self.input.stream(self.stream).ok_or_else(|| Failure::internal("no such stream"))?;
        let mut decoder = KeyframeDecoder::open(&video, self.request, self.size())?;
        decoder.make_tiles(video.width());
        Ok(decoder)
    }

    /// Width and height as shown.
    pub fn size(&self) -> (u32, u32) {
        self.decoder.size
    }

    /// Counts what another decoder made of a packet.
    pub fn count(&mut self, shown: bool) {
        if shown { self.counts.frames += 1 } else { self.counts.errors += 1 }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of the source read so far.
    pub fn fetched(&self) -> u64 {
        self.input.watch().fetched()
    }

    /// Whether places can be reached by time.
    pub fn seekable(&self) -> bool {
        !self.request.sequential
    }

    /// Times from t0 that lead to different keyframes, as far as the index knows.
    pub fn times(&self) -> Vec<i64> {
        let known = self.index.iter().filter_map(|entry| micros(entry.time, self.base));
        known.map(|us| us - self.request.t0_us).collect()
    }

    /// Length from t0, if anybody knows it.
    pub fn end_us(&self) -> Option<i64> {
        self.request.duration_ms.and_then(|ms| i64::try_from(ms).ok()?.checked_mul(1000)).filter(|us| *us > 0)
    }

    /// The keyframe at or before a time, or near it where the container seeks badly. `None` where there is none.
    ///
    /// # Errors
    /// `SourceRead`, `SourceChanged`.
    pub fn at(&mut self, time_us: i64) -> Result<Option<Shot>, Failure> {
        if self.go_to(time_us)? { self.next() } else { Ok(None) }
    }

    /// The packet of that keyframe.
    ///
    /// # Errors
    /// `SourceRead`, `SourceChanged`.
    pub fn packet_at(&mut self, time_us: i64) -> Result<Option<Packet>, Failure> {
        let mut packet = Packet::new()?;
        let found = self.go_to(time_us)? && self.next_packet(&mut packet, &mut 0)?;
        Ok(found.then_some(packet))
    }

    fn go_to(&mut self, time_us: i64) -> Result<bool, Failure> {
        let time = time_us.saturating_add(self.request.t0_us);
        let Some(time) = rescale(time, MICROSECONDS, self.base) else { return Ok(false) };
        if let Some(entry) = self.index.partition_point(|e| e.time <= time).checked_sub(1).map(|i| self.index[i])
            && (1..=MOST_IN_ONE).contains(&entry.size)
            && let (Ok(start), Ok(size)) = (u64::try_from(entry.pos), u64::try_from(entry.size))
        {
            self.input.watch().read_in_one(start, start.saturating_add(size));
        }
        self.input.seek(self.stream, time)
    }

    /// Reads the next packet of a keyframe; `passed`: how many were passed over in this search.
    fn next_packet(&mut self, packet: &mut Packet, passed: &mut u32) -> Result<bool, Failure> {
        while *passed < MOST_PASSED {
            *passed += 1;
            if !self.seekable() && self.input.watch().fetched() > SEQUENTIAL_BYTES {
                break;
            }
            if let Next::End = self.input.read(packet)? {
                break;
            }
            if packet.stream() == self.stream && packet.is_key() {
                self.counts.packets += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next keyframe from here on.
    ///
    /// # Errors
    /// `SourceRead`, `SourceChanged`.
    pub fn next(&mut self) -> Result<Option<Shot>, Failure> {
        let (mut packet, mut passed) = (Packet::new()?, 0);
        for _ in 0..MOST_TRIED {
            if !self.next_packet(&mut packet, &mut passed)? {
                break;
            }
            let shot = self.decoder.alone(&packet)?;
            self.count(shot.is_some());
            if shot.is_some() {
                return Ok(shot);
            }
        }
        Ok(None)
    }

    /// The first frame that is shown at all, decoded in order: for videos whose keyframes give nothing alone.
    ///
    /// # Errors
    /// `SourceRead`, `SourceChanged`, `Decode`.
    pub fn first_shown(&mut self) -> Result<Option<Shot>, Failure> {
        self.input.rewind(self.stream)?;
        let decoder = &mut self.decoder;
        decoder.codec.flush();
        let mut packet = Packet::new()?;
        for _ in 0..MOST_PASSED {
            let more = matches!(self.input.read(&mut packet)?, Next::Packet);
            if more && packet.stream() != self.stream {
                continue;
            }
            self.counts.packets += 1;
            match decoder.codec.send_packet(more.then_some(&packet)) {
                Ok(()) | Err(Code::AGAIN) => {}
                Err(_) => self.counts.errors += 1,
            }
            if let Some(shot) = decoder.receive()? {
                self.counts.frames += 1;
                return Ok(Some(shot));
            }
            if !more {
                break;
            }
        }
        Ok(None)
    }

    /// Goes back to the beginning.
    ///
    /// # Errors
    /// `SourceRead`, `SourceChanged`, `Decode`.
    pub fn rewind(&mut self) -> Result<(), Failure> {
        self.input.rewind(self.stream)
    }

    /// A frame as people shall see it: upright, square pixels, sRGB, so wide.
    ///
    /// # Errors
    /// `Decode` where its pixel format can't be converted; `Internal`.
    pub fn draw(&self, shot: &Shot, width: u32, quality: Quality) -> Result<Canvas, Failure> {
        let height = height_for(width, self.size()).min(MAX_SIDE);
        self.decoder.draw_as(shot, width, height, quality)
    }

    /// The same with a height of its own.
    ///
    /// # Errors
    /// As for [`Keyframes::draw`].
    pub fn draw_as(&self, shot: &Shot, width: u32, height: u32, quality: Quality) -> Result<Canvas, Failure> {
        self.decoder.draw_as(shot, width, height, quality)
    }
}

/// Makes pictures of single packets.
pub struct KeyframeDecoder<'a> {
    codec: Codec,
    base: Ratio,
    request: &'a PicturesRequest,
    /// Size as shown.
    size: (u32, u32),
}

impl<'a> KeyframeDecoder<'a> {
    fn open(video: &Stream<'_>, request: &'a PicturesRequest, size: (u32, u32)) -> Result<Self, Failure> {
        // One thread: a picture comes out as soon as its packet is in.
        let codec = video.open_decoder(&request.limits, 1)?;
        // SAFETY: open and ours. A keyframe that is no clean entry point still makes a poster.
        unsafe { (*codec.as_ptr()).flags |= ffi::AV_CODEC_FLAG_OUTPUT_CORRUPT as i32 };
        Ok(Self { codec, base: video.time_base(), request, size })
    }

    /// From now on what it shows is for tiles, which are too small to show blocks of a source so wide.
    fn make_tiles(&mut self, width: u32) {
        let spec = self.request.storyboard.as_ref();
        if spec.is_some_and(|spec| width >= spec.tile_width.saturating_mul(DEBLOCK_BELOW)) {
            // SAFETY: open and ours.
            unsafe { (*self.codec.as_ptr()).skip_loop_filter = ffi::AVDiscard::AVDISCARD_ALL };
        }
    }

    /// Decodes one packet by itself.
    ///
    /// # Errors
    /// `Decode` where there is no memory for it.
    pub fn alone(&mut self, packet: &Packet) -> Result<Option<Shot>, Failure> {
        self.codec.flush();
        let sent = self.codec.send_packet(Some(packet)).and_then(|()| self.codec.send_packet(None));
        let shot = match sent {
            Ok(()) => self.receive()?,
            Err(_) => None,
        };
        self.codec.flush();
        Ok(shot)
    }

    fn receive(&mut self) -> Result<Option<Shot>, Failure> {
        let mut frame = Frame::new()?;
        if self.codec.receive_frame(&mut frame).is_err() {
            return Ok(None);
        }
        let time = frame.best_pts().and_then(|pts| micros(pts, self.base));
        Ok(Some(Shot { time_us: time.map_or(0, |t| t - self.request.t0_us), frame }))
    }

    /// A frame as people shall see it: upright, sRGB, of this size.
    ///
    /// # Errors
    /// As for [`Keyframes::draw`].
    pub fn draw_as(&self, shot: &Shot, width: u32, height: u32, quality: Quality) -> Result<Canvas, Failure> {
        let rotation = self.request.rotation;
        let (w, h) = if matches!(rotation, 90 | 270) { (height, width) } else { (width, height) };
        // SAFETY: valid while the shot lives.
        let transfer = unsafe { raw!((*shot.frame.as_ptr()).color_trc) };
        let pixels = if self.request.tone_map && color::is_hdr(transfer) {
            let wide = scaled(&shot.frame, w, h, ffi::AVPixelFormat::AV_PIX_FMT_RGB48LE, 6, quality)?;
            let components: Vec<u16> = wide.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
            tone::map(&components, transfer)
        } else {
            scaled(&shot.frame, w, h, ffi::AVPixelFormat::AV_PIX_FMT_RGB24, 3, quality)?
        };
        Ok(Canvas::new(w, h, Layout::Rgb, pixels)?.turned(rotation, self.request.flipped))
    }
}

struct Scaler(*mut ffi::SwsContext);

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again.
        unsafe { ffi::sws_freeContext(self.0) }
    }
}

/// Scales and converts by swscale, with the matrix and the range of the frame; rows without padding.
fn scaled(
    from: &Frame,
    width: u32,
    height: u32,
    format: ffi::AVPixelFormat,
    pixel_bytes: usize,
    quality: Quality,
) -> Result<Vec<u8>, Failure> {
    let flags = match quality {
        Quality::Fine => ffi::SWS_BICUBIC,
        Quality::Quick => ffi::SWS_AREA,
    } | ffi::SWS_ACCURATE_RND;
    let failed = |code: Code| Failure::decode(format!("scaling: {code}"));
    let to = Frame::new()?;
    // SAFETY: the source frame is valid and its format is checked to be one that swscale reads before it is made an
    // enum; the target's buffers are allocated for its size by FFmpeg, with the padding that swscale writes into; rows
    // are copied within their line size.
    unsafe {
        let src = from.as_ptr();
        if !(0..ffi::AVPixelFormat::AV_PIX_FMT_NB as i32).contains(&(*src).format) {
            return Err(Failure::decode("a frame without a pixel format"));
        }
        let src_format = std::mem::transmute::<i32, ffi::AVPixelFormat>((*src).format);
        let dst = to.as_ptr();
        (*dst).width = width as i32;
        (*dst).height = height as i32;
        (*dst).format = format as i32;
        check(ffi::av_frame_get_buffer(dst, 0)).map_err(failed)?;
        let scaler = Scaler(ffi::sws_getContext(
            (*src).width,
            (*src).height,
            src_format,
            width as i32,
            height as i32,
            format,
            flags,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null(),
        ));
        if scaler.0.is_null() {
            return Err(Failure::decode("a pixel format that can't be converted"));
        }
        let full_range = raw!((*src).color_range) == ffi::AVColorRange::AVCOL_RANGE_JPEG as i32;
        let matrix = match raw!((*src).colorspace) {
            // Unspecified: what players assume, by size.
            2 if (*src).height >= 720 => ffi::SWS_CS_ITU709,
            2 => ffi::SWS_CS_ITU601,
            said => said,
        };
        // Refused for formats without a matrix (RGB), which need none.
        ffi::sws_setColorspaceDetails(
            scaler.0,
            ffi::sws_getCoefficients(matrix),
            i32::from(full_range),
            ffi::sws_getCoefficients(ffi::SWS_CS_DEFAULT),
            1,
            0,
            1 << 16,
            1 << 16,
        );
        check(ffi::sws_scale(
            scaler.0,
            (*src).data.as_ptr().cast::<*const u8>(),
            (*src).linesize.as_ptr(),
            0,
            (*src).height,
            (*dst).data.as_ptr(),
            (*dst).linesize.as_ptr(),
        ))
        .map_err(failed)?;
        let (row, stride) = (width as usize * pixel_bytes, (*dst).linesize[0].unsigned_abs() as usize);
        let mut pixels = Vec::with_capacity(row * height as usize);
        for y in 0..height as usize {
            pixels.extend_from_slice(std::slice::from_raw_parts((*dst).data[0].add(y * stride), row));
        }
        Ok(pixels)
    }
}
