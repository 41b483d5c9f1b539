//! Any sound to 48 kHz stereo in floating point, through libswresample.
//!
//! Guarantee: the first sample given out belongs to the time of the first sample put in.

#![allow(unsafe_code)]

use std::ptr;

use ffmpeg_next::ffi;
use reelfleet_wire::AUDIO_RATE;

use crate::fail::Failure;
use crate::ff::{Code, Frame, check};

/// The format of decoded sound; a frame that differs needs another resampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rate: i32,
    format: i32,
    channels: i32,
    /// Which speakers; 0 where nothing is said.
    mask: u64,
}

impl Shape {
    /// `None` for a frame without sound.
    pub fn of(frame: &Frame) -> Option<Self> {
        // SAFETY: valid while the frame lives. The mask is only read where the layout has one.
        unsafe {
            let f = frame.as_ptr();
            let layout = &(*f).ch_layout;
            let native = layout.order == ffi::AVChannelOrder::AV_CHANNEL_ORDER_NATIVE;
            let shape = Self {
                rate: (*f).sample_rate,
                format: (*f).format,
                channels: layout.nb_channels,
                mask: if native { layout.u.mask } else { 0 },
            };
            let sound = shape.rate > 0
                && shape.rate <= 768_000
                && (1..=64).contains(&shape.channels)
                && (*f).nb_samples > 0
                && (0..ffi::AVSampleFormat::AV_SAMPLE_FMT_NB as i32).contains(&shape.format);
            sound.then_some(shape)
        }
    }
}

/// Left and right.
pub type Stereo = [Vec<f32>; 2];

pub struct Resampler {
    context: *mut ffi::SwrContext,
    shape: Shape,
}

impl Resampler {
    /// # Errors
    /// `Decode` where libswresample cannot mix such sound down.
    pub fn new(shape: Shape) -> Result<Self, Failure> {
        let mut this = Self { context: ptr::null_mut(), shape };
        // SAFETY: layouts are local and copied by the call; the format was checked to be one of the enum.
        let made = unsafe {
            let mut from = std::mem::zeroed::<ffi::AVChannelLayout>();
            let mut to = std::mem::zeroed::<ffi::AVChannelLayout>();
            ffi::av_channel_layout_default(&mut to, 2);
            if shape.mask == 0 || check(ffi::av_channel_layout_from_mask(&mut from, shape.mask)).is_err() {
                ffi::av_channel_layout_default(&mut from, shape.channels);
            }
            let format = std::mem::transmute::<i32, ffi::AVSampleFormat>(shape.format);
            check(ffi::swr_alloc_set_opts2(
                &mut this.context,
                &raw mut to,
                ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP,
                AUDIO_RATE as i32,
                &raw mut from,
                format,
                shape.rate,
                0,
                ptr::null_mut(),
            ))
            .and_then(|_| check(ffi::swr_init(this.context)))
        };
        made.map_err(|code: Code| Failure::decode(format!("mixing down {shape:?}: {code}")))?;
        Ok(this)
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Takes a frame without its first `skip` samples.
    ///
    /// # Errors
    /// `Decode`.
    pub fn convert(&mut self, frame: &Frame, skip: i32) -> Result<Stereo, Failure> {
        // SAFETY: the frame has the shape of this resampler, so `extended_data` has one plane for each channel, or one
        // for all; each is `nb_samples` long, and `skip` is less than that.
        unsafe {
            let f = frame.as_ptr();
            let count = (*f).nb_samples - skip;
            if skip < 0 || count <= 0 {
                return Ok(Stereo::default());
            }
            let format = std::mem::transmute::<i32, ffi::AVSampleFormat>(self.shape.format);
            let planar = ffi::av_sample_fmt_is_planar(format) != 0;
            let width = ffi::av_get_bytes_per_sample(format);
            let (planes, step) = if planar { (self.shape.channels, width) } else { (1, width * self.shape.channels) };
            let mut data: Vec<*const u8> = Vec::new();
            for i in 0..planes as usize {
                let plane = *(*f).extended_data.add(i);
                if plane.is_null() {
                    return Err(Failure::decode("a frame of sound without samples"));
                }
                data.push(plane.add((skip * step) as usize));
            }
            self.run(data.as_mut_ptr(), count)
        }
    }

    /// What is still inside.
    ///
    /// # Errors
    /// `Decode`.
    pub fn flush(&mut self) -> Result<Stereo, Failure> {
        // SAFETY: null input flushes.
        unsafe { self.run(ptr::null_mut(), 0) }
    }

    /// # Safety
    /// `data` is null, or has the planes of this resampler's shape, each `count` samples long.
    unsafe fn run(&mut self, data: *mut *const u8, count: i32) -> Result<Stereo, Failure> {
        let mut out = Stereo::default();
        // SAFETY: as promised by the caller; the output has room for `room` samples in each plane.
        unsafe {
            let room = ffi::swr_get_out_samples(self.context, count).clamp(0, 1 << 24) + 64;
            for plane in &mut out {
                plane.resize(room as usize, 0.0);
            }
            let [left, right] = &mut out;
            let mut planes = [left.as_mut_ptr().cast::<u8>(), right.as_mut_ptr().cast::<u8>()];
            let made = check(ffi::swr_convert(self.context, planes.as_mut_ptr(), room, data, count))
                .map_err(|code| Failure::decode(format!("resampling: {code}")))?;
            for plane in &mut out {
                plane.truncate(made as usize);
                for sample in plane {
                    // What a decoder made of damage may be no number at all, and would poison the encoder's model.
                    *sample = if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
                }
            }
        }
        Ok(out)
    }
}

impl Drop for Resampler {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again.
        unsafe { ffi::swr_free(&mut self.context) }
    }
}
