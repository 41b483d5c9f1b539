//! One stream of an open container: what its header says, and its decoder.
//!
//! Guarantee: no decoder is opened that is not on the list, nor one of a picture larger than is allowed.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ptr;

use ffmpeg_next::ffi;
use reelfleet_wire::{FailCode, MediaLimits};

use crate::fail::Failure;
use crate::ff::{self, AVStream, Codec, Ratio, check, raw};
use crate::input::Input;

/// Decoders by FFmpeg's names: what people really upload.
pub const DECODERS: &str = "h264,hevc,libdav1d,vp8,vp9,mpeg1video,mpeg2video,mpegvideo,mpeg4,msmpeg4v1,msmpeg4v2,msmpeg4,\
h261,h263,h263i,h263p,flv,wmv1,wmv2,wmv3,vc1,prores,dnxhd,mjpeg,theora,vp3,vp6,vp6a,vp6f,dvvideo,ffv1,ffvhuff,huffyuv,\
utvideo,qtrle,cinepak,svq1,svq3,rawvideo,\
aac,aac_latm,mp1float,mp2float,mp3float,mp3adufloat,mp1,mp2,mp3,ac3,eac3,dca,truehd,mlp,opus,libopus,vorbis,flac,alac,\
wmav1,wmav2,wmapro,wmalossless,wmavoice,amrnb,amrwb,speex,nellymoser,gsm,gsm_ms,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,\
adpcm_swf,pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_s8,pcm_u8,pcm_s16be,\
pcm_s16le,pcm_s16be_planar,pcm_s16le_planar,pcm_s24be,pcm_s24le,pcm_s24le_planar,pcm_s32be,pcm_s32le,pcm_s32le_planar";

/// Codec tags of tracks that are encrypted whatever else they say (ISO/IEC 14496-12 8.12, and QuickTime's own).
const ENCRYPTED_TAGS: [[u8; 4]; 5] = [*b"encv", *b"enca", *b"drms", *b"drmi", *b"drmt"];

/// One stream of an open container.
pub struct Stream<'a> {
    pub(crate) stream: *mut AVStream,
    pub index: usize,
    pub(crate) _input: &'a Input,
}

impl Stream<'_> {
    pub fn as_ptr(&self) -> *mut AVStream {
        self.stream
    }

    pub fn parameters(&self) -> *mut ffi::AVCodecParameters {
        // SAFETY: valid while the input lives.
        unsafe { (*self.stream).codecpar }
    }

    pub fn time_base(&self) -> Ratio {
        // SAFETY: valid while the input lives.
        unsafe { (*self.stream).time_base }
    }

    /// Start in the stream's time base, if known.
    pub fn start(&self) -> Option<i64> {
        // SAFETY: valid while the input lives.
        let start = unsafe { (*self.stream).start_time };
        (start != ffi::AV_NOPTS_VALUE).then_some(start)
    }

    /// Length in the stream's time base, if known.
    pub fn duration(&self) -> Option<i64> {
        // SAFETY: valid while the input lives.
        let duration = unsafe { (*self.stream).duration };
        (duration != ffi::AV_NOPTS_VALUE && duration > 0).then_some(duration)
    }

    fn disposition(&self) -> c_int {
        // SAFETY: valid while the input lives.
        unsafe { (*self.stream).disposition }
    }

    pub(crate) fn is_default(&self) -> bool {
        self.disposition() & ffi::AV_DISPOSITION_DEFAULT != 0
    }

    /// Commentary and the like.
    pub(crate) fn is_aside(&self) -> bool {
        let aside = ffi::AV_DISPOSITION_COMMENT
            | ffi::AV_DISPOSITION_HEARING_IMPAIRED
            | ffi::AV_DISPOSITION_VISUAL_IMPAIRED
            | ffi::AV_DISPOSITION_CLEAN_EFFECTS;
        self.disposition() & aside != 0
    }

    /// H.264 of 8 bits, 4:2:0, limited range, square pixels.
    pub fn is_plain_h264(&self) -> bool {
        // SAFETY: valid while the input lives; enums are read as numbers.
        unsafe {
            let par = self.parameters();
            let sar = (*par).sample_aspect_ratio;
            raw!((*par).codec_id) == ffi::AVCodecID::AV_CODEC_ID_H264 as c_int
                && (*par).format == ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as c_int
                && raw!((*par).color_range) != ffi::AVColorRange::AVCOL_RANGE_JPEG as c_int
                && (sar.num <= 0 || sar.num == sar.den)
        }
    }

    /// The codec's parameters, as the container has them.
    pub fn extradata(&self) -> &[u8] {
        // SAFETY: FFmpeg keeps `extradata` readable for `extradata_size` bytes while the input lives.
        unsafe {
            let par = self.parameters();
            let size = usize::try_from((*par).extradata_size).unwrap_or(0);
            if (*par).extradata.is_null() || size == 0 {
                return &[];
            }
            std::slice::from_raw_parts((*par).extradata, size)
        }
    }

    fn kind(&self) -> c_int {
        // SAFETY: valid while the input lives.
        unsafe { raw!((*self.parameters()).codec_type) }
    }

    /// Moving pictures; a cover or a thumbnail is none.
    pub fn is_video(&self) -> bool {
        let still = ffi::AV_DISPOSITION_ATTACHED_PIC | ffi::AV_DISPOSITION_TIMED_THUMBNAILS;
        self.kind() == ffi::AVMediaType::AVMEDIA_TYPE_VIDEO as c_int && self.disposition() & still == 0
    }

    pub fn is_audio(&self) -> bool {
        self.kind() == ffi::AVMediaType::AVMEDIA_TYPE_AUDIO as c_int
    }

    pub fn pixels(&self) -> u64 {
        // SAFETY: valid while the input lives.
        let (w, h) = unsafe { ((*self.parameters()).width, (*self.parameters()).height) };
        u64::try_from(w).unwrap_or(0) * u64::try_from(h).unwrap_or(0)
    }

    /// Coded width.
    pub fn width(&self) -> u32 {
        // SAFETY: valid while the input lives.
        u32::try_from(unsafe { (*self.parameters()).width }).unwrap_or(0)
    }

    pub fn channels(&self) -> i32 {
        // SAFETY: valid while the input lives.
        unsafe { (*self.parameters()).ch_layout.nb_channels }
    }

    pub fn sample_rate(&self) -> i32 {
        // SAFETY: valid while the input lives.
        unsafe { (*self.parameters()).sample_rate }
    }

    /// The decoder for it, if it is on the list.
    pub fn decoder(&self) -> Option<*const ffi::AVCodec> {
        // SAFETY: valid while the input lives; the name of a codec is static text.
        let (codec, name) = unsafe {
            let codec = ffi::avcodec_find_decoder((*self.parameters()).codec_id);
            if codec.is_null() {
                return None;
            }
            (codec, ff::text((*codec).name)?)
        };
        DECODERS.split(',').any(|d| d == name).then_some(codec)
    }

    pub(crate) fn has_decoder(&self) -> bool {
        self.decoder().is_some()
    }

    /// Whether the container says that the stream is encrypted. A packet may still say so later.
    pub fn is_encrypted(&self) -> bool {
        // SAFETY: valid while the input lives; only the pointer is looked at.
        let (tag, init) = unsafe {
            (
                (*self.parameters()).codec_tag.to_le_bytes(),
                ffi::av_stream_get_side_data(
                    self.stream,
                    ffi::AVPacketSideDataType::AV_PKT_DATA_ENCRYPTION_INIT_INFO,
                    ptr::null_mut(),
                ),
            )
        };
        !init.is_null() || ENCRYPTED_TAGS.contains(&tag)
    }

    /// Opens its decoder with the limits and so many threads.
    ///
    /// # Errors
    /// `NoDecodableStream`, `TooManyPixels`, `Decode`.
    pub fn open_decoder(&self, limits: &MediaLimits, threads: u32) -> Result<Codec, Failure> {
        let codec = self.decoder().ok_or_else(|| Failure::new(FailCode::NoDecodableStream, "no decoder for it"))?;
        if self.is_video() && self.pixels() > limits.max_pixels {
            return Err(Failure::new(
                FailCode::TooManyPixels,
                format!("{} pixels; at most {} are allowed", self.pixels(), limits.max_pixels),
            ));
        }
        let mut decoder = Codec::alloc(codec)?;
        // SAFETY: both valid; the parameters are copied.
        check(unsafe {
            let copied = ffi::avcodec_parameters_to_context(decoder.as_ptr(), self.parameters());
            (*decoder.as_ptr()).pkt_timebase = self.time_base();
            copied
        })
        .map_err(|code| Failure::decode(format!("decoder: {code}")))?;
        let pixels = limits.max_pixels.to_string();
        let threads = threads.to_string();
        decoder
            .open(&[("max_pixels", &pixels), ("threads", &threads), ("codec_whitelist", DECODERS)])?
            .map_err(|_| Failure::new(FailCode::NoDecodableStream, "the file's settings do not suit its decoder"))?;
        Ok(decoder)
    }
}
