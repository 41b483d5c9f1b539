//! One rung: frames in, segments out, on a thread of its own.
//!
//! Guarantees: x264 with one thread, so the same frames give the same bytes; a segment begins with an IDR picture, no
//! picture of it refers outside, and it holds exactly the frames between two cuts.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ptr::addr_of_mut;
use std::sync::mpsc::Receiver;

use ffmpeg_next::ffi;
use reelfleet_wire::{EncodeRequest, OutputHeader, Rung, SegmentInfo, VIDEO_TIMESCALE};

use super::collect::Collector;
use crate::cmaf::{self, Color, Sample};
use crate::fail::Failure;
use crate::ff::{self, Code, Codec, Frame, Packet, Ratio};

/// What the cutter tells each rung, in the same order for all.
pub enum Job {
    /// Encode it; `first` begins a segment.
    Frame { frame: Frame, first: bool },
    /// To a rung that is copied: so much of the source, in the order of decoding, before any of it is shown.
    Packet(Sample),
    /// To a rung that is copied: a picture of the segment was shown at this time; `first` begins one.
    Shown { ticks: i64, first: bool },
    /// To a rung that is copied: the packets so far are forgotten, others come from another place.
    Forget,
    /// The segment is complete; the next begins at this time.
    Cut { end: i64 },
    /// A frame behind the last segment: looked at, never given out.
    Behind { frame: Frame, first: bool },
}

/// How many frames x264 holds back before it decides about one (`rc-lookahead` of its presets): having seen as many
/// behind the end, it has given out everything before it.
pub fn foresight(preset: &str) -> usize {
    match preset {
        "ultrafast" | "superfast" => 0,
        "veryfast" => 10,
        "faster" => 20,
        "fast" => 30,
        "medium" => 40,
        "slow" => 50,
        _ => 60,
    }
}

/// Settings that are the same for all rungs.
#[derive(Clone, Copy)]
pub struct Common {
    pub color: Color,
    /// Only a hint for rate control and level; times decide.
    pub frame_rate: Ratio,
}

/// A segment on its way through the encoder.
struct Pending {
    frames: usize,
    end: Option<i64>,
}

struct Rendition<'a> {
    rung: &'a Rung,
    number: usize,
    encoder: Codec,
    /// How long a picture waits for those that are decoded before it (ticks).
    delay: i64,
    pending: VecDeque<Pending>,
    samples: Vec<Sample>,
    segments: u32,
    /// Whether frames were shown that belong to no segment.
    behind: bool,
    collector: &'a Collector<'a>,
}

/// Encodes until the cutter hangs up, then gives out what is left.
///
/// # Errors
/// `Encode`, `Internal`.
pub fn encode(
    jobs: Receiver<Job>,
    request: &EncodeRequest,
    number: usize,
    common: Common,
    collector: &Collector<'_>,
) -> Result<(), Failure> {
    let rung = request.rungs.get(number).ok_or_else(|| Failure::internal("no such rung"))?;
    let mut rendition: Option<Rendition<'_>> = None;
    for job in jobs {
        let rendition = match &mut rendition {
            Some(r) => r,
            None => rendition.insert(Rendition::open(rung, number, &request.preset, common, collector)?),
        };
        rendition.take(job)?;
    }
    match rendition {
        Some(rendition) => rendition.finish(),
        None => Ok(()),
    }
}

fn failed(what: &str, code: Code) -> Failure {
    Failure::encode(format!("x264 {what}: {code}"))
}

fn open_x264(rung: &Rung, preset: &str, common: Common) -> Result<Codec, Failure> {
    let mut encoder = Codec::alloc(ff::encoder("libx264")?)?;
    // SAFETY: a fresh context; enums are written as the numbers of H.273, which FFmpeg's enums hold.
    unsafe {
        let c = encoder.as_ptr();
        (*c).width = rung.width as i32;
        (*c).height = rung.height as i32;
        (*c).pix_fmt = ffi::AVPixelFormat::AV_PIX_FMT_YUV420P;
        (*c).time_base = ff::ratio(1, VIDEO_TIMESCALE as i32);
        (*c).framerate = common.frame_rate;
        (*c).sample_aspect_ratio = ff::ratio(1, 1);
        (*c).flags |= (ffi::AV_CODEC_FLAG_GLOBAL_HEADER | ffi::AV_CODEC_FLAG_CLOSED_GOP) as i32;
        addr_of_mut!((*c).color_primaries).cast::<i32>().write(common.color.primaries.into());
        addr_of_mut!((*c).color_trc).cast::<i32>().write(common.color.transfer.into());
        addr_of_mut!((*c).colorspace).cast::<i32>().write(common.color.matrix.into());
        (*c).color_range = ffi::AVColorRange::AVCOL_RANGE_MPEG;
    }
    let (crf, maxrate, bufsize) = (rung.crf.to_string(), rung.maxrate.to_string(), rung.bufsize.to_string());
    encoder
        .open(&[
            ("threads", "1"),
            ("preset", preset),
            ("profile", "high"),
            ("crf", &crf),
            ("maxrate", &maxrate),
            ("bufsize", &bufsize),
            ("forced-idr", "1"),
            // Segments alone decide where a picture stands by itself; NAL units carry lengths, as MP4 wants them. The zone is
            // the first picture: x264 divides the quantiser of every later keyframe by `ipratio` (1.4), its very first
            // one's it does not, and half a second behind each border of chunks would look worse than the rest. With it a
            // chunk has the quantisers that one encode of the whole film has.
            ("x264-params", "keyint=infinite:min-keyint=1:scenecut=0:open-gop=0:annexb=0:zones=0,0,b=1.4"),
        ])?
        .map_err(|code| failed("does not open", code))?;
    Ok(encoder)
}

/// As many frames as the encoder reorders, at the nominal rate (ticks).
fn reorder_delay(encoder: &Codec, rate: Ratio) -> i64 {
    // SAFETY: the context is open, and nobody else has it.
    let frames = i64::from(unsafe { (*encoder.as_ptr()).has_b_frames }.max(0));
    let (num, den) = if rate.num > 0 && rate.den > 0 { (rate.num, rate.den) } else { (25, 1) };
    let frame = i64::from(VIDEO_TIMESCALE) * i64::from(den) / i64::from(num);
    frames * frame.max(1)
}

impl<'a> Rendition<'a> {
    fn open(
        rung: &'a Rung,
        number: usize,
        preset: &str,
        common: Common,
        collector: &'a Collector<'a>,
    ) -> Result<Self, Failure> {
        let encoder = open_x264(rung, preset, common)?;
        let delay = reorder_delay(&encoder, common.frame_rate);
        let (body, codecs) = cmaf::video_header(
            cmaf::configuration(encoder.extradata())?,
            rung.width as u16,
            rung.height as u16,
            common.color,
            u32::try_from(rung.maxrate).unwrap_or(u32::MAX),
            delay.unsigned_abs(),
        )?;
        collector.header(
            &OutputHeader::Init { rendition: rung.name.clone(), codecs, width: rung.width, height: rung.height },
            &body,
        )?;
        Ok(Self {
            rung,
            number,
            encoder,
            delay,
            pending: VecDeque::new(),
            samples: Vec::new(),
            segments: 0,
            behind: false,
            collector,
        })
    }

    fn take(&mut self, job: Job) -> Result<(), Failure> {
        match job {
            Job::Frame { frame, first } => {
                if first {
                    self.pending.push_back(Pending { frames: 0, end: None });
                }
                let Some(segment) = self.pending.back_mut() else {
                    return Err(Failure::internal("a frame before its segment"));
                };
                segment.frames += 1;
                self.show(&frame, first)
            }
            Job::Behind { frame, first } => {
                self.behind = true;
                // Once every segment is out there is nothing left to decide.
                if self.pending.is_empty() { Ok(()) } else { self.show(&frame, first) }
            }
            Job::Cut { end } => {
                if let Some(segment) = self.pending.back_mut() {
                    segment.end = Some(end);
                }
                self.give_out()
            }
            Job::Packet(_) | Job::Shown { .. } | Job::Forget => Err(Failure::internal("a rung that is not copied")),
        }
    }

    fn show(&mut self, frame: &Frame, first: bool) -> Result<(), Failure> {
        // SAFETY: the frame is valid and ours. What the source's encoder chose is forgotten.
        unsafe {
            let f = frame.as_ptr();
            (*f).key_frame = i32::from(first);
            (*f).pict_type =
                if first { ffi::AVPictureType::AV_PICTURE_TYPE_I } else { ffi::AVPictureType::AV_PICTURE_TYPE_NONE };
        }
        self.encoder.send_frame(Some(frame)).map_err(|code| failed("takes no frame", code))?;
        self.drain()
    }

    fn drain(&mut self) -> Result<(), Failure> {
        let mut packet = Packet::new()?;
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(Code::AGAIN | Code::EOF) => return Ok(()),
                Err(code) => return Err(failed("gives no packet", code)),
            }
            let pts = packet.pts().ok_or_else(|| Failure::encode("x264 gave a packet without a time"))?;
            self.samples.push(Sample { pts, sync: packet.is_key(), data: packet.data().to_vec() });
            self.give_out()?;
        }
    }

    /// Writes the oldest segment once all of its frames are out and its end is known.
    fn give_out(&mut self) -> Result<(), Failure> {
        while let Some(&Pending { frames, end: Some(end) }) = self.pending.front() {
            if self.samples.len() < frames {
                break;
            }
            let rest = self.samples.split_off(frames);
            let samples = std::mem::replace(&mut self.samples, rest);
            self.pending.pop_front();
            if !samples.first().is_some_and(|s| s.sync) {
                return Err(Failure::encode("a segment does not begin with an IDR picture"));
            }
            let segment = cmaf::segment(&samples, end, self.delay, self.segments + 1)?;
            let info = SegmentInfo {
                rendition: self.rung.name.clone(),
                index: self.segments,
                start: segment.start,
                duration: segment.duration,
                timescale: VIDEO_TIMESCALE,
                frames: u32::try_from(samples.len()).unwrap_or(u32::MAX),
                independent: true,
            };
            self.segments += 1;
            self.collector.segment(self.number, info, segment.bytes)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        if self.behind && self.pending.is_empty() {
            // What is inside belongs to whoever encodes what comes next.
            return Ok(());
        }
        self.encoder.send_frame(None).map_err(|code| failed("does not end", code))?;
        self.drain()?;
        if !self.pending.is_empty() || (!self.behind && !self.samples.is_empty()) {
            return Err(Failure::encode("x264 kept frames back"));
        }
        Ok(())
    }
}
