//! PROBE: what is in the source, or why it is refused.
//!
//! Guarantee: reads headers and the first packets, never the whole source; what passes here can be decoded as far as
//! its headers tell, and is within the limits.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ptr;

use ffmpeg_next::ffi;
use reelfleet_wire::{AudioStream, FailCode, MAX_VIDEO_SIDE, MediaKind, MediaLimits, ProbeReport, VideoStream};

use crate::color;
use crate::fail::Failure;
use crate::ff::{self, Packet, micros, raw};
use crate::index::{Entry, entries};
use crate::input::{Input, Next};
use crate::stream::Stream;

const MOST_TAGS: usize = 32;
const LONGEST_TAG: usize = 512;
/// How often an edit list may show each sample on average, and how many entries need no reason.
const MOST_REPEATS: i64 = 4;
const FREE_ENTRIES: i64 = 20_000;

/// # Errors
/// Every refusal of [`FailCode`] that is about the source; `SourceRead`, `SourceChanged`.
pub fn probe(input: &mut Input, limits: &MediaLimits) -> Result<ProbeReport, Failure> {
    let (video, mut audio) = (input.best_video(), input.best_audio());
    let chosen: Vec<usize> = video.into_iter().chain(audio).collect();
    if chosen.is_empty() {
        return Err(nothing_to_decode(input));
    }
    input.keep_only(&chosen);
    if input.container().contains("mp4") {
        for stream in chosen.iter().filter_map(|i| input.stream(*i)) {
            refuse_repeated(&stream)?;
        }
    }
    let mut t0 = i64::MAX;
    for &index in &chosen {
        refuse_encrypted(input, index)?;
        t0 = t0.min(start_us(input, index).unwrap_or(i64::MAX));
    }
    let firsts = first_packets(input, &chosen)?;
    for (&index, first) in chosen.iter().zip(&firsts) {
        if first.encrypted {
            return Err(encrypted());
        }
        // The first packets of sound may hold priming that is never heard; its stream says where it really starts.
        let Some(stream) = input.stream(index).filter(|s| s.is_video() || s.start().is_none()) else {
            continue;
        };
        if let Some(us) = first.pts.and_then(|pts| micros(pts, stream.time_base())) {
            t0 = t0.min(us);
        }
    }
    if t0 == i64::MAX {
        t0 = 0;
    }

    // Headers may be damaged so that a decoder will not start; sound that fails so is left out where there is a picture.
    if let Some(stream) = video.and_then(|i| input.stream(i)) {
        stream.open_decoder(limits, 1)?;
    }
    if let Some(stream) = audio.and_then(|i| input.stream(i))
        && let Err(failure) = stream.open_decoder(limits, 1)
    {
        if video.is_none() {
            return Err(failure);
        }
        audio = None;
    }

    let kept = kept_share(input, video.or(audio), t0)?;
    let duration_ms = match kept {
        Some(last_us) => Some(u64::try_from(last_us / 1000).unwrap_or(0)),
        None => duration_ms(input, &chosen, t0, video.is_some()),
    };
    if duration_ms.is_some_and(|ms| ms > limits.max_duration_ms) {
        return Err(Failure::new(
            FailCode::TooLong,
            format!("{} s; at most {} s are allowed", duration_ms.unwrap_or(0) / 1000, limits.max_duration_ms / 1000),
        ));
    }
    let video = match video.and_then(|i| input.stream(i)) {
        Some(stream) => Some(video_stream(&stream, limits)?),
        None => None,
    };
    // SAFETY: valid while the input lives.
    let (bit_rate, tags) = unsafe {
        let context = input.context();
        ((*context).bit_rate, tags((*context).metadata))
    };
    Ok(ProbeReport {
        container: input.container(),
        kind: if video.is_some() { MediaKind::Video } else { MediaKind::Audio },
        duration_ms,
        start_us: t0,
        bit_rate: u64::try_from(bit_rate).ok().filter(|b| *b > 0),
        video,
        audio: audio.and_then(|i| input.stream(i)).map(|s| audio_stream(&s)),
        streams: u32::try_from(input.streams()).unwrap_or(u32::MAX),
        tags,
        truncated: kept.is_some(),
    })
}

fn encrypted() -> Failure {
    Failure::new(FailCode::Encrypted, "the media is encrypted (DRM)")
}

fn refuse_encrypted(input: &Input, index: usize) -> Result<(), Failure> {
    match input.stream(index) {
        Some(stream) if stream.is_encrypted() => Err(encrypted()),
        _ => Ok(()),
    }
}

/// An edit list may show the same samples again and again. FFmpeg makes an index entry for each time, and its seeks take
/// as long as their number squared: a few kilobytes would keep a decoder for minutes.
fn refuse_repeated(stream: &Stream<'_>) -> Result<(), Failure> {
    // SAFETY: valid while the input lives.
    let (samples, shown) = unsafe {
        let stream = stream.as_ptr();
        ((*stream).nb_frames, i64::from(ffi::avformat_index_get_entries_count(stream)))
    };
    if samples > 0 && shown > samples.saturating_mul(MOST_REPEATS).saturating_add(FREE_ENTRIES) {
        let detail = format!("an edit list shows {samples} samples {shown} times");
        return Err(Failure::new(FailCode::TooLong, detail));
    }
    Ok(())
}

fn nothing_to_decode(input: &Input) -> Failure {
    if input.each_stream().any(|s| s.is_encrypted()) {
        return encrypted();
    }
    let mut names = Vec::new();
    for stream in input.each_stream().take(8) {
        // SAFETY: valid while the input lives; the name is static text.
        let name = unsafe { ff::text(ffi::avcodec_get_name((*stream.parameters()).codec_id)) };
        names.extend(name);
    }
    let found = if names.is_empty() { "no streams".to_owned() } else { names.join(", ") };
    Failure::new(FailCode::NoDecodableStream, format!("no video or audio that we can decode: {found}"))
}

fn start_us(input: &Input, index: usize) -> Option<i64> {
    let stream = input.stream(index)?;
    let start = micros(stream.start()?, stream.time_base())?;
    if stream.is_audio() && start < 0 {
        // Matroska counts the priming of Opus, which is never heard. Its times are rounded to milliseconds.
        // SAFETY: valid while the input lives.
        let priming = unsafe { (*stream.parameters()).initial_padding }.max(0);
        let priming = i64::from(priming) * 1_000_000 / i64::from(stream.sample_rate().max(1));
        return Some((start + priming + 1_000).min(0));
    }
    Some(start)
}

/// What the first packets of a stream say.
#[derive(Clone, Copy, Debug, Default)]
pub struct First {
    /// Smallest presentation time that is shown.
    pub pts: Option<i64>,
    /// Every packet came with a presentation time.
    pub timed: bool,
    /// Largest distance of a presentation time from its decode time.
    pub reorder: i64,
    /// Times of the first keyframe.
    pub key_pts: Option<i64>,
    pub key_dts: Option<i64>,
    pub encrypted: bool,
}

/// Packets looked at of each stream, and of all together.
const ENOUGH: u32 = 32;
const AT_MOST: u32 = 600;

fn first_packets(input: &mut Input, streams: &[usize]) -> Result<Vec<First>, Failure> {
    let mut firsts = vec![First::default(); streams.len()];
    let mut seen = vec![0u32; streams.len()];
    let mut untimed = vec![false; streams.len()];
    let mut packet = Packet::new()?;
    for _ in 0..AT_MOST {
        if seen.iter().all(|n| *n >= ENOUGH) {
            break;
        }
        if let Next::End = input.read(&mut packet)? {
            break;
        }
        let Some(i) = streams.iter().position(|s| *s == packet.stream()) else {
            continue;
        };
        let first = &mut firsts[i];
        seen[i] += 1;
        first.encrypted |= packet.is_encrypted();
        if packet.is_key() && first.key_dts.is_none() && first.key_pts.is_none() {
            first.key_pts = packet.pts();
            first.key_dts = packet.dts();
        }
        match packet.pts() {
            None => untimed[i] = true,
            Some(pts) => {
                if let Some(dts) = packet.dts() {
                    first.reorder = first.reorder.max(pts.saturating_sub(dts));
                }
                if !packet.is_discarded() {
                    first.pts = Some(first.pts.map_or(pts, |p| p.min(pts)));
                }
            }
        }
    }
    for (i, first) in firsts.iter_mut().enumerate() {
        first.timed = seen[i] > 0 && !untimed[i];
    }
    Ok(firsts)
}

/// [`First`] of one stream.
///
/// # Errors
/// `SourceRead`, `SourceChanged`.
pub fn first_times(input: &mut Input, stream: usize) -> Result<First, Failure> {
    Ok(first_packets(input, &[stream])?.pop().unwrap_or_default())
}

/// Where an MP4 was cut off: the last time that is still there, from t0. `None` where all of it is.
///
/// # Errors
/// `Truncated` where less than half of what the index names is there.
fn kept_share(input: &Input, stream: Option<usize>, t0: i64) -> Result<Option<i64>, Failure> {
    let Some(stream) = stream.filter(|_| input.container().contains("mp4")) else {
        return Ok(None);
    };
    let all = entries(input, stream);
    let size = i64::try_from(input.watch().size()).unwrap_or(i64::MAX);
    let is_there = |e: &&Entry| e.pos.saturating_add(e.size) <= size;
    let there = all.iter().filter(is_there).count();
    if there == all.len() {
        return Ok(None);
    }
    if there * 2 < all.len() {
        return Err(Failure::new(FailCode::Truncated, format!("only {there} of {} frames are in the file", all.len())));
    }
    let base = input.stream(stream).map(|s| s.time_base());
    let last = all.iter().filter(is_there).map(|e| e.time).max();
    let last_us = last.zip(base).and_then(|(t, base)| micros(t, base));
    Ok(Some(last_us.unwrap_or(t0) - t0))
}

fn duration_ms(input: &Input, chosen: &[usize], t0: i64, has_video: bool) -> Option<u64> {
    let mut end: Option<i64> = None;
    for stream in chosen.iter().filter_map(|i| input.stream(*i)) {
        let base = stream.time_base();
        let start = stream.start().and_then(|s| micros(s, base)).unwrap_or(t0);
        if let Some(us) = stream.duration().and_then(|d| micros(d, base)) {
            end = end.max(Some(start.saturating_add(us)));
        }
    }
    // SAFETY: valid while the input lives.
    let (whole, guessed) = unsafe {
        let context = input.context();
        let method = raw!((*context).duration_estimation_method);
        let guess = ffi::AVDurationEstimationMethod::AVFMT_DURATION_FROM_BITRATE;
        ((*context).duration, method == guess as i32)
    };
    if guessed && has_video {
        return None;
    }
    let us = end.map(|end| end - t0).or((whole != ffi::AV_NOPTS_VALUE).then_some(whole))?;
    u64::try_from(us / 1000).ok().filter(|ms| *ms > 0)
}

pub fn video_stream(stream: &Stream<'_>, limits: &MediaLimits) -> Result<VideoStream, Failure> {
    let base = stream.time_base();
    if stream.pixels() > limits.max_pixels {
        return Err(Failure::new(
            FailCode::TooManyPixels,
            format!("{} pixels; at most {} are allowed", stream.pixels(), limits.max_pixels),
        ));
    }
    let (rotation, flipped) = orientation(stream);
    // SAFETY: the stream and its parameters are valid while the input lives.
    let report = unsafe {
        let par = stream.parameters();
        let sar = [(*stream.as_ptr()).sample_aspect_ratio, (*par).sample_aspect_ratio];
        let sar = sar.into_iter().find(is_shape).unwrap_or(ff::ratio(1, 1));
        let (width, height) = ((*par).width.unsigned_abs(), (*par).height.unsigned_abs());
        let (display_width, display_height) = display_size(width, height, sar.num as u32, sar.den as u32, rotation);
        let fps = frame_rate(stream);
        let field_order = raw!((*par).field_order);
        let transfer = raw!((*par).color_trc);
        let (pix_fmt, bit_depth) = pixel_format((*par).format);
        VideoStream {
            index: stream.index as u32,
            codec: ff::text(ffi::avcodec_get_name((*par).codec_id)).unwrap_or_default(),
            profile: ff::text(ffi::avcodec_profile_name((*par).codec_id, (*par).profile)),
            width,
            height,
            display_width,
            display_height,
            rotation,
            flipped,
            sar_num: sar.num as u32,
            sar_den: sar.den as u32,
            fps_num: fps.num.max(0) as u32,
            fps_den: fps.den.max(1) as u32,
            pix_fmt,
            bit_depth,
            color_transfer: color::transfer(transfer).map(str::to_owned),
            color_primaries: color::primaries(raw!((*par).color_primaries)).map(str::to_owned),
            color_space: color::matrix(raw!((*par).color_space)).map(str::to_owned),
            color_range: color::range(raw!((*par).color_range)).map(str::to_owned),
            hdr: color::is_hdr(transfer),
            interlaced: (2..=5).contains(&field_order),
            frames: u64::try_from((*stream.as_ptr()).nb_frames).ok().filter(|n| *n > 0),
            start_us: stream.start().and_then(|s| micros(s, base)).unwrap_or(0),
            duration_ms: stream.duration().and_then(|d| micros(d, base)).and_then(|us| u64::try_from(us / 1000).ok()),
            time_base_num: base.num.max(0) as u32,
            time_base_den: base.den.max(0) as u32,
            attached_pic: false,
        }
    };
    let sides = [report.width, report.height, report.display_width, report.display_height];
    if let Some(side) = sides.into_iter().find(|side| *side > MAX_VIDEO_SIDE) {
        return Err(Failure::new(
            FailCode::TooManyPixels,
            format!("a side of {side} pixels; at most {MAX_VIDEO_SIDE} are allowed in moving pictures"),
        ));
    }
    if u64::from(report.fps_num) > u64::from(limits.max_fps) * u64::from(report.fps_den) {
        return Err(Failure::new(
            FailCode::TooManyFramesPerSecond,
            format!("{}/{} frames per second; at most {} are allowed", report.fps_num, report.fps_den, limits.max_fps),
        ));
    }
    Ok(report)
}

/// Whether a pixel may have this shape: one that is more than ten times as wide as high, or as high as wide, is none
/// that a camera or an encoder makes, but a damaged field.
fn is_shape(ratio: &ff::Ratio) -> bool {
    let (num, den) = (i64::from(ratio.num), i64::from(ratio.den));
    num > 0 && den > 0 && num <= den * 10 && den <= num * 10
}

/// Average frame rate, else the container's guess, else 0/1.
pub fn frame_rate(stream: &Stream<'_>) -> ff::Ratio {
    // SAFETY: valid while the input lives.
    let (average, guess) = unsafe { ((*stream.as_ptr()).avg_frame_rate, (*stream.as_ptr()).r_frame_rate) };
    [average, guess].into_iter().find(|r| r.num > 0 && r.den > 0).unwrap_or(ff::ratio(0, 1))
}

/// Size as shown. Pixels that are not square stretch the width, so that no line is lost.
fn display_size(width: u32, height: u32, num: u32, den: u32, rotation: u16) -> (u32, u32) {
    let stretched = (u64::from(width) * u64::from(num) + u64::from(den) / 2) / u64::from(den.max(1));
    let stretched = u32::try_from(stretched).unwrap_or(u32::MAX).max(1);
    if matches!(rotation, 90 | 270) { (height, stretched) } else { (stretched, height) }
}

/// Clockwise rotation in degrees, and whether to mirror left to right after it, from the display matrix.
pub fn orientation(stream: &Stream<'_>) -> (u16, bool) {
    let mut size = 0;
    // SAFETY: side data is readable for `size` bytes while the input lives; the matrix is copied unaligned.
    unsafe {
        let data = ffi::av_stream_get_side_data(
            stream.as_ptr(),
            ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX,
            ptr::addr_of_mut!(size),
        );
        if data.is_null() || size < std::mem::size_of::<[i32; 9]>() {
            return (0, false);
        }
        turn(data.cast::<[i32; 9]>().read_unaligned())
    }
}

/// The quarter turn nearest to a display matrix (ISO/IEC 14496-12 section 8.3.2): x' = ax + cy, y' = bx + dy, y down.
fn turn(matrix: [i32; 9]) -> (u16, bool) {
    let [a, b, _, c, d, ..] = matrix.map(i64::from);
    if a.abs() + d.abs() >= b.abs() + c.abs() {
        match (a < 0, d < 0) {
            (false, false) => (0, false),
            (true, true) => (180, false),
            (true, false) => (0, true),
            (false, true) => (180, true),
        }
    } else {
        match (b < 0, c < 0) {
            (false, true) => (90, false),
            (true, false) => (270, false),
            (false, false) => (90, true),
            (true, true) => (270, true),
        }
    }
}

/// Name and bits per component of a pixel format.
fn pixel_format(format: i32) -> (String, u8) {
    if !(0..ffi::AVPixelFormat::AV_PIX_FMT_NB as i32).contains(&format) {
        return (String::new(), 8);
    }
    // SAFETY: within the enum, which has no holes; names and descriptions are static.
    unsafe {
        let format = std::mem::transmute::<i32, ffi::AVPixelFormat>(format);
        let name = ff::text(ffi::av_get_pix_fmt_name(format)).unwrap_or_default();
        let description = ffi::av_pix_fmt_desc_get(format);
        let depth = if description.is_null() { 8 } else { (*description).comp[0].depth };
        (name, u8::try_from(depth).unwrap_or(8))
    }
}

fn audio_stream(stream: &Stream<'_>) -> AudioStream {
    let base = stream.time_base();
    let mut layout = [0 as std::ffi::c_char; 128];
    // SAFETY: the stream and its parameters are valid while the input lives; the layout is written within its buffer.
    unsafe {
        let par = stream.parameters();
        ffi::av_channel_layout_describe(&(*par).ch_layout, layout.as_mut_ptr(), layout.len());
        layout[layout.len() - 1] = 0;
        let language = ffi::av_dict_get((*stream.as_ptr()).metadata, c"language".as_ptr(), ptr::null(), 0);
        AudioStream {
            index: stream.index as u32,
            codec: ff::text(ffi::avcodec_get_name((*par).codec_id)).unwrap_or_default(),
            profile: ff::text(ffi::avcodec_profile_name((*par).codec_id, (*par).profile)),
            channels: stream.channels().unsigned_abs(),
            channel_layout: ff::text(layout.as_ptr()).unwrap_or_default(),
            sample_rate: stream.sample_rate().unsigned_abs(),
            start_us: stream.start().and_then(|s| micros(s, base)).unwrap_or(0),
            duration_ms: stream.duration().and_then(|d| micros(d, base)).and_then(|us| u64::try_from(us / 1000).ok()),
            language: if language.is_null() {
                None
            } else {
                ff::text((*language).value).map(|l| clean(&l)).filter(|l| l != "und" && !l.is_empty())
            },
        }
    }
}

/// Printable text of at most [`LONGEST_TAG`] bytes.
fn clean(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > LONGEST_TAG {
            break;
        }
        out.push(c);
    }
    out
}

/// # Safety
/// `dict` is null or valid.
unsafe fn tags(dict: *const ffi::AVDictionary) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut entry = ptr::null_mut();
    while all.len() < MOST_TAGS {
        // SAFETY: as promised by the caller; each entry stays valid while the dictionary does.
        unsafe {
            entry = ffi::av_dict_get(dict, c"".as_ptr(), entry, ffi::AV_DICT_IGNORE_SUFFIX);
            if entry.is_null() {
                break;
            }
            if let (Some(key), Some(value)) = (ff::text((*entry).key), ff::text((*entry).value)) {
                all.insert(clean(&key), clean(&value));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_give_turns() {
        let m = |a, b, c, d| turn([a, b, 0, c, d, 0, 0, 0, 1 << 30]);
        let one = 1 << 16;
        assert_eq!(m(one, 0, 0, one), (0, false));
        assert_eq!(m(0, one, -one, 0), (90, false));
        assert_eq!(m(-one, 0, 0, -one), (180, false));
        assert_eq!(m(0, -one, one, 0), (270, false));
        assert_eq!(m(-one, 0, 0, one), (0, true));
        assert_eq!(m(one, 0, 0, -one), (180, true));
        assert_eq!(m(i32::MIN, i32::MIN, i32::MIN, i32::MIN), (180, false));
    }

    #[test]
    fn the_shown_size_takes_aspect_and_turn() {
        assert_eq!(display_size(720, 576, 16, 11, 0), (1047, 576));
        assert_eq!(display_size(1920, 1080, 1, 1, 90), (1080, 1920));
        assert_eq!(display_size(1, 1, 1, 3, 0), (1, 1));
    }

    #[test]
    fn tags_are_cut_between_characters() {
        assert_eq!(clean("a\nb\u{7f}c"), "abc");
        assert!(clean(&"ü".repeat(400)).len() <= LONGEST_TAG);
    }
}
