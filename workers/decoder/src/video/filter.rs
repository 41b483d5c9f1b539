//! One filter graph from the decoder to every rung: deinterlace, scale, map HDR, turn, convert, scale again for each
//! smaller rung.
//!
//! Guarantee: what comes out is 8-bit 4:2:0, limited range, square pixels, upright, of exactly the sizes asked for, one
//! frame per rung for each frame that went in, with its time.

#![allow(unsafe_code)]

use std::ptr;

use ffmpeg_next::ffi;
use reelfleet_wire::{EncodeRequest, VIDEO_TIMESCALE};

use crate::cmaf::Color;
use crate::color;
use crate::fail::Failure;
use crate::ff::{self, Code, Frame, c_string, check, raw};
use crate::stream::Stream;

const BT709: i32 = 1;
const SMPTE170M: i32 = 6;
const UNSPECIFIED: i32 = 2;

/// Colour of the source by H.273, from the container and the stream's headers: the same for every span of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceColor {
    primaries: i32,
    transfer: i32,
    matrix: i32,
    full_range: bool,
    /// Lines of the picture, to guess by where nothing is said.
    height: i32,
}

impl SourceColor {
    pub fn of(stream: &Stream<'_>) -> Self {
        // SAFETY: valid while the input lives.
        unsafe {
            let par = stream.parameters();
            Self {
                primaries: raw!((*par).color_primaries),
                transfer: raw!((*par).color_trc),
                matrix: raw!((*par).color_space),
                full_range: raw!((*par).color_range) == 2,
                height: (*par).height,
            }
        }
    }

    fn is_wide(self) -> bool {
        matches!(self.matrix, 9 | 10) || self.primaries == 9
    }

    /// What the encoder says about the colour. Players guess differently where nothing is said, and small rungs of a
    /// large source would be guessed wrong, so something always is.
    pub fn output(self, tone_map: bool) -> Color {
        let known = |value, known: Option<&str>, otherwise| {
            if known.is_some() { value } else { otherwise }
        };
        let triple = if tone_map || self.is_wide() || self.matrix == 0 {
            (BT709, BT709, BT709)
        } else {
            let guess = if self.height >= 720 { BT709 } else { SMPTE170M };
            let matrix = known(self.matrix, color::matrix(self.matrix), guess);
            let otherwise = if matrix == BT709 { BT709 } else { SMPTE170M };
            (
                known(self.primaries, color::primaries(self.primaries), otherwise),
                known(self.transfer, color::transfer(self.transfer), otherwise),
                matrix,
            )
        };
        let number = |v: i32| u16::try_from(v).unwrap_or(UNSPECIFIED as u16);
        Color { primaries: number(triple.0), transfer: number(triple.1), matrix: number(triple.2) }
    }
}

/// What a graph is made for; a frame that differs needs another graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    width: i32,
    height: i32,
    format: i32,
    sar: (i32, i32),
}

impl Shape {
    pub fn of(frame: &Frame) -> Self {
        // SAFETY: valid while the frame lives.
        unsafe {
            let f = frame.as_ptr();
            let sar = (*f).sample_aspect_ratio;
            Self {
                width: (*f).width,
                height: (*f).height,
                format: (*f).format,
                sar: if sar.num > 0 && sar.den > 0 { (sar.num, sar.den) } else { (1, 1) },
            }
        }
    }
}

/// The steps, in FFmpeg's language.
fn describe(shape: Shape, color: SourceColor, request: &EncodeRequest) -> Result<String, Failure> {
    let mut steps: Vec<String> = Vec::new();
    if request.deinterlace {
        steps.push("bwdif=mode=send_frame:parity=auto:deint=interlaced".into());
    }
    let first = request.rungs.first().ok_or_else(|| Failure::internal("no rungs"))?;
    // Scaling before turning: fewer pixels to turn.
    let (w, h) =
        if matches!(request.rotation, 90 | 270) { (first.height, first.width) } else { (first.width, first.height) };
    let to_709 = request.tone_map || color.is_wide();
    if to_709 {
        let name = |found: Option<&'static str>, otherwise| found.unwrap_or(otherwise);
        let transfer = name(color::transfer(color.transfer), "smpte2084");
        let primaries = name(color::primaries(color.primaries), "bt2020");
        let matrix = name(color::matrix(color.matrix), "bt2020nc");
        let range = if color.full_range { "full" } else { "limited" };
        steps.push(format!("scale={w}:{h}:flags=bicubic"));
        let input = format!("tin={transfer}:pin={primaries}:min={matrix}:rin={range}");
        if request.tone_map {
            steps.push(format!("zscale={input}:t=linear:npl=100"));
            steps.push("format=gbrpf32le".into());
            steps.push("zscale=p=bt709".into());
            steps.push("tonemap=tonemap=hable:desat=0".into());
            steps.push("zscale=t=bt709:m=bt709:r=limited".into());
        } else {
            steps.push(format!("zscale={input}:t=bt709:p=bt709:m=bt709:r=limited"));
        }
    } else if color.matrix == 0 {
        steps.push(format!("scale={w}:{h}:flags=bicubic:out_range=tv:out_color_matrix=bt709"));
    } else {
        steps.push(format!("scale={w}:{h}:flags=bicubic:out_range=tv"));
    }
    steps.push("format=yuv420p".into());
    match request.rotation {
        90 => steps.push("transpose=clock".into()),
        180 => steps.push("hflip,vflip".into()),
        270 => steps.push("transpose=cclock".into()),
        _ => {}
    }
    if request.flipped {
        steps.push("hflip".into());
    }
    steps.push("setsar=1".into());

    let last = request.rungs.len() - 1;
    let mut text = format!(
        "buffer@in=video_size={}x{}:pix_fmt={}:time_base=1/{VIDEO_TIMESCALE}:pixel_aspect={}/{},{}",
        shape.width,
        shape.height,
        shape.format,
        shape.sar.0,
        shape.sar.1,
        steps.join(",")
    );
    for (i, rung) in request.rungs.iter().enumerate() {
        if i > 0 {
            text.push_str(&format!("[s{}]scale={}:{}:flags=bicubic,setsar=1", i - 1, rung.width, rung.height));
        }
        if i < last {
            text.push_str(&format!(",split[o{i}][s{i}];[o{i}]buffersink@{i};"));
        } else {
            text.push_str(&format!(",buffersink@{i}"));
        }
    }
    Ok(text)
}

/// A configured graph.
pub struct Graph {
    graph: *mut ffi::AVFilterGraph,
    source: *mut ffi::AVFilterContext,
    sinks: Vec<*mut ffi::AVFilterContext>,
    shape: Shape,
}

impl Graph {
    /// # Errors
    /// `Decode` where FFmpeg cannot build it for such frames.
    pub fn new(shape: Shape, color: SourceColor, request: &EncodeRequest) -> Result<Self, Failure> {
        let text = describe(shape, color, request)?;
        let c_text = c_string(&text)?;
        // SAFETY: no preconditions.
        let graph = unsafe { ffi::avfilter_graph_alloc() };
        if graph.is_null() {
            return Err(Failure::memory("scaling it"));
        }
        let mut this = Self { graph, source: ptr::null_mut(), sinks: Vec::new(), shape };
        let (mut inputs, mut outputs) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the graph is ours; the lists that the call makes (none here: nothing is left open) are freed.
        let built = unsafe {
            (*graph).nb_threads = i32::try_from(request.threads_decode).unwrap_or(1);
            let parsed = check(ffi::avfilter_graph_parse2(graph, c_text.as_ptr(), &mut inputs, &mut outputs));
            ffi::avfilter_inout_free(&mut inputs);
            ffi::avfilter_inout_free(&mut outputs);
            parsed.and_then(|_| check(ffi::avfilter_graph_config(graph, ptr::null_mut())))
        };
        built.map_err(|code| Failure::decode(format!("filters for {shape:?}: {code}")))?;
        this.source = this.find("buffer@in")?;
        for i in 0..request.rungs.len() {
            let sink = this.find(&format!("buffersink@{i}"))?;
            this.sinks.push(sink);
        }
        Ok(this)
    }

    fn find(&self, name: &str) -> Result<*mut ffi::AVFilterContext, Failure> {
        let c_name = c_string(name)?;
        // SAFETY: the graph is ours; the context lives as long as it.
        let found = unsafe { ffi::avfilter_graph_get_filter(self.graph, c_name.as_ptr()) };
        if found.is_null() {
            return Err(Failure::internal(format!("filter {name} is missing")));
        }
        Ok(found)
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Takes a frame whose time is in 90 kHz; `None` says that no more will come.
    ///
    /// # Errors
    /// `Decode`.
    pub fn push(&mut self, frame: Option<&Frame>) -> Result<(), Failure> {
        let frame = frame.map_or(ptr::null_mut(), Frame::as_ptr);
        // SAFETY: the source is of this graph; the frame is null or valid, and a reference is kept.
        check(unsafe { ffi::av_buffersrc_add_frame_flags(self.source, frame, ffi::AV_BUFFERSRC_FLAG_KEEP_REF as i32) })
            .map(drop)
            .map_err(|code| Failure::decode(format!("filters: {code}")))
    }

    /// One frame for each rung, in their order, with times in 90 kHz; `None` where more must be pushed first.
    ///
    /// # Errors
    /// `Decode`.
    pub fn pull(&mut self) -> Result<Option<Vec<Frame>>, Failure> {
        let mut set = Vec::with_capacity(self.sinks.len());
        for (i, sink) in self.sinks.iter().enumerate() {
            let mut frame = Frame::new()?;
            // SAFETY: the sink is of this graph, the frame is valid.
            let got = check(unsafe { ffi::av_buffersink_get_frame(*sink, frame.as_ptr()) });
            match got {
                Ok(_) => {}
                Err(Code::AGAIN | Code::EOF) if i == 0 => return Ok(None),
                Err(code) => return Err(Failure::decode(format!("filters, rung {i}: {code}"))),
            }
            // SAFETY: as above. bwdif halves the time base.
            let base = unsafe { ffi::av_buffersink_get_time_base(*sink) };
            let pts = frame
                .pts()
                .and_then(|pts| ff::rescale(pts, base, ff::ratio(1, VIDEO_TIMESCALE as i32)))
                .ok_or_else(|| Failure::decode("a filtered frame without a time"))?;
            frame.set_pts(pts);
            set.push(frame);
        }
        Ok(Some(set))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again; frees its filters.
        unsafe { ffi::avfilter_graph_free(&mut self.graph) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SD: SourceColor = SourceColor {
        primaries: UNSPECIFIED,
        transfer: UNSPECIFIED,
        matrix: UNSPECIFIED,
        full_range: false,
        height: 480,
    };

    fn triple(color: SourceColor, tone_map: bool) -> (u16, u16, u16) {
        let c = color.output(tone_map);
        (c.primaries, c.transfer, c.matrix)
    }

    #[test]
    fn colour_is_always_said() {
        assert_eq!(triple(SD, false), (6, 6, 6));
        assert_eq!(triple(SourceColor { height: 1080, ..SD }, false), (1, 1, 1));
        let pal = SourceColor { primaries: 5, matrix: 5, ..SD };
        assert_eq!(triple(pal, false), (5, 6, 5));
        let hdr = SourceColor { primaries: 9, transfer: color::PQ, matrix: 9, ..SD };
        assert_eq!(triple(hdr, true), (1, 1, 1));
        assert_eq!(triple(SourceColor { matrix: 0, ..SD }, false), (1, 1, 1));
        assert_eq!(triple(SourceColor { matrix: 250, transfer: -7, ..SD }, false), (6, 6, 6));
    }
}
