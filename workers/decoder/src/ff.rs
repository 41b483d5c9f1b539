//! Owners of FFmpeg's objects, and the little arithmetic on its times.
//!
//! Guarantee: what is allocated here is freed once, a null from an allocator is a [`Failure`], and a field that a file
//! can set to anything is read as a plain integer, never as a Rust enum.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int};
use std::ptr;

use ffmpeg_next::ffi;

use crate::fail::Failure;

pub use ffi::{AVRational as Ratio, AVStream};

/// FFmpeg's code of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub c_int);

impl Code {
    pub const EOF: Self = Self(ffi::AVERROR_EOF);
    pub const AGAIN: Self = Self(-11);
    pub const NO_MEMORY: Self = Self(-12);
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0 as std::ffi::c_char; 128];
        // SAFETY: the buffer is writable for the length given, and av_strerror always ends it with a zero.
        let text = unsafe {
            ffi::av_strerror(self.0, text.as_mut_ptr(), text.len());
            CStr::from_ptr(text.as_ptr())
        };
        f.write_str(&text.to_string_lossy())
    }
}

/// The result of a call that answers a negative number on failure.
pub fn check(code: c_int) -> Result<c_int, Code> {
    if code < 0 { Err(Code(code)) } else { Ok(code) }
}

fn no_memory() -> Failure {
    Failure::memory("decoding it")
}

pub fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::internal("a zero byte in an option"))
}

/// Text that FFmpeg owns; `None` for null.
///
/// # Safety
/// `text` is null or ends with a zero and lives through the call.
pub unsafe fn text(text: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: as promised by the caller.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Reads a field that is an enum to bindgen but may hold any number a file put there.
macro_rules! raw {
    ($place:expr) => {
        std::ptr::addr_of!($place).cast::<std::ffi::c_int>().read()
    };
}
pub(crate) use raw;

pub const fn ratio(num: i32, den: i32) -> Ratio {
    Ratio { num, den }
}

pub const MICROSECONDS: Ratio = ratio(1, 1_000_000);

/// Times farther than this from zero are treated as missing: 20 years in microseconds.
const FAR_US: i64 = 20 * 366 * 86_400 * 1_000_000;

/// `value` in another time base, rounded to the nearest; `None` for a missing or absurd time.
pub fn rescale(value: i64, from: Ratio, to: Ratio) -> Option<i64> {
    if value == ffi::AV_NOPTS_VALUE || from.num <= 0 || from.den <= 0 || to.num <= 0 || to.den <= 0 {
        return None;
    }
    let num = i128::from(value) * i128::from(from.num) * i128::from(to.den);
    let den = i128::from(from.den) * i128::from(to.num);
    i64::try_from((num + den / 2).div_euclid(den)).ok()
}

/// A time in microseconds; `None` for a missing or absurd one.
pub fn micros(value: i64, base: Ratio) -> Option<i64> {
    rescale(value, base, MICROSECONDS).filter(|us| us.abs() < FAR_US)
}

/// Options for a call; whatever the call did not know stays inside.
pub struct Dict(*mut ffi::AVDictionary);

impl Dict {
    pub fn new(entries: &[(&str, &str)]) -> Result<Self, Failure> {
        let mut dict = Self(ptr::null_mut());
        for (key, value) in entries {
            let (key, value) = (c_string(key)?, c_string(value)?);
            // SAFETY: both strings end with a zero and are copied by the call.
            check(unsafe { ffi::av_dict_set(&mut dict.0, key.as_ptr(), value.as_ptr(), 0) })
                .map_err(|_| no_memory())?;
        }
        Ok(dict)
    }

    pub fn as_mut(&mut self) -> *mut *mut ffi::AVDictionary {
        &mut self.0
    }

    /// An option nobody took is a misspelt one, and may be the one that protects us.
    pub fn must_be_empty(&self) -> Result<(), Failure> {
        // SAFETY: the dictionary is null or valid; the entry lives as long as it.
        let left = unsafe {
            let entry = ffi::av_dict_get(self.0, c"".as_ptr(), ptr::null(), ffi::AV_DICT_IGNORE_SUFFIX);
            if entry.is_null() {
                return Ok(());
            }
            text((*entry).key)
        };
        Err(Failure::internal(format!("unknown option {}", left.unwrap_or_default())))
    }
}

impl Drop for Dict {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again.
        unsafe { ffi::av_dict_free(&mut self.0) }
    }
}

/// One compressed packet.
pub struct Packet(*mut ffi::AVPacket);

// SAFETY: a packet is plain data with reference-counted buffers; FFmpeg's counts are atomic.
unsafe impl Send for Packet {}

impl Packet {
    pub fn new() -> Result<Self, Failure> {
        // SAFETY: no preconditions.
        let packet = unsafe { ffi::av_packet_alloc() };
        if packet.is_null() {
            return Err(no_memory());
        }
        Ok(Self(packet))
    }

    pub fn as_ptr(&self) -> *mut ffi::AVPacket {
        self.0
    }

    pub fn stream(&self) -> usize {
        // SAFETY: valid while `self` lives.
        usize::try_from(unsafe { (*self.0).stream_index }).unwrap_or(usize::MAX)
    }

    /// Presentation time in the stream's time base, if the packet has one.
    pub fn pts(&self) -> Option<i64> {
        // SAFETY: valid while `self` lives.
        let pts = unsafe { (*self.0).pts };
        (pts != ffi::AV_NOPTS_VALUE).then_some(pts)
    }

    pub fn dts(&self) -> Option<i64> {
        // SAFETY: valid while `self` lives.
        let dts = unsafe { (*self.0).dts };
        (dts != ffi::AV_NOPTS_VALUE).then_some(dts)
    }

    pub fn is_key(&self) -> bool {
        // SAFETY: valid while `self` lives.
        unsafe { (*self.0).flags & ffi::AV_PKT_FLAG_KEY != 0 }
    }

    /// The container says that what this decodes to is not shown.
    pub fn is_discarded(&self) -> bool {
        // SAFETY: valid while `self` lives.
        unsafe { (*self.0).flags & ffi::AV_PKT_FLAG_DISCARD != 0 }
    }

    pub fn is_encrypted(&self) -> bool {
        self.has(ffi::AVPacketSideDataType::AV_PKT_DATA_ENCRYPTION_INFO)
    }

    /// From it on the stream's parameters are others.
    pub fn has_other_parameters(&self) -> bool {
        self.has(ffi::AVPacketSideDataType::AV_PKT_DATA_NEW_EXTRADATA)
            || self.has(ffi::AVPacketSideDataType::AV_PKT_DATA_PARAM_CHANGE)
    }

    fn has(&self, kind: ffi::AVPacketSideDataType) -> bool {
        // SAFETY: valid while `self` lives; only the pointer is looked at.
        unsafe { !ffi::av_packet_get_side_data(self.0, kind, ptr::null_mut()).is_null() }
    }

    pub fn data(&self) -> &[u8] {
        // SAFETY: FFmpeg keeps `data` readable for `size` bytes while the packet lives.
        unsafe {
            let size = usize::try_from((*self.0).size).unwrap_or(0);
            if (*self.0).data.is_null() || size == 0 {
                return &[];
            }
            std::slice::from_raw_parts((*self.0).data, size)
        }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again.
        unsafe { ffi::av_packet_free(&mut self.0) }
    }
}

/// One decoded picture or stretch of sound.
pub struct Frame(*mut ffi::AVFrame);

// SAFETY: as for packets.
unsafe impl Send for Frame {}

impl Frame {
    pub fn new() -> Result<Self, Failure> {
        // SAFETY: no preconditions.
        let frame = unsafe { ffi::av_frame_alloc() };
        if frame.is_null() {
            return Err(no_memory());
        }
        Ok(Self(frame))
    }

    pub fn as_ptr(&self) -> *mut ffi::AVFrame {
        self.0
    }

    pub fn pts(&self) -> Option<i64> {
        // SAFETY: valid while `self` lives.
        let pts = unsafe { (*self.0).pts };
        (pts != ffi::AV_NOPTS_VALUE).then_some(pts)
    }

    pub fn set_pts(&mut self, pts: i64) {
        // SAFETY: valid while `self` lives.
        unsafe { (*self.0).pts = pts }
    }

    /// The decoder's best guess of the presentation time, in the stream's time base.
    pub fn best_pts(&self) -> Option<i64> {
        // SAFETY: valid while `self` lives.
        let pts = unsafe { (*self.0).best_effort_timestamp };
        (pts != ffi::AV_NOPTS_VALUE).then_some(pts)
    }

    /// Duration of the packet it came from, in the stream's time base; 0 if unknown.
    pub fn duration(&self) -> i64 {
        // SAFETY: valid while `self` lives.
        unsafe { (*self.0).pkt_duration }.max(0)
    }

    /// Parts of it were lost and invented.
    pub fn is_damaged(&self) -> bool {
        // SAFETY: valid while `self` lives.
        unsafe { (*self.0).decode_error_flags != 0 || (*self.0).flags & ffi::AV_FRAME_FLAG_CORRUPT != 0 }
    }

    /// It refers to no other picture, as far as the decoder says.
    pub fn stands_alone(&self) -> bool {
        use ffi::AVPictureType::{AV_PICTURE_TYPE_BI, AV_PICTURE_TYPE_I, AV_PICTURE_TYPE_NONE, AV_PICTURE_TYPE_SI};
        // SAFETY: valid while `self` lives.
        let (key, kind) = unsafe { ((*self.0).key_frame != 0, (*self.0).pict_type) };
        key || matches!(kind, AV_PICTURE_TYPE_NONE | AV_PICTURE_TYPE_I | AV_PICTURE_TYPE_SI | AV_PICTURE_TYPE_BI)
    }

    /// Samples per channel of decoded sound.
    pub fn samples(&self) -> i32 {
        // SAFETY: valid while `self` lives.
        unsafe { (*self.0).nb_samples }.max(0)
    }

    pub fn sample_rate(&self) -> i32 {
        // SAFETY: valid while `self` lives.
        unsafe { (*self.0).sample_rate }
    }

    /// Another reference to the same pixels.
    pub fn share(&self) -> Result<Self, Failure> {
        // SAFETY: valid while `self` lives; the new frame has its own reference.
        let frame = unsafe { ffi::av_frame_clone(self.0) };
        if frame.is_null() {
            return Err(no_memory());
        }
        Ok(Self(frame))
    }

    /// Lets go of the pixels, so that the frame can be filled again.
    pub fn clear(&mut self) {
        // SAFETY: valid while `self` lives.
        unsafe { ffi::av_frame_unref(self.0) }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again.
        unsafe { ffi::av_frame_free(&mut self.0) }
    }
}

/// A decoder or an encoder.
pub struct Codec(*mut ffi::AVCodecContext);

// SAFETY: a codec context may move between threads as long as one thread at a time uses it, which `&mut` gives.
unsafe impl Send for Codec {}

impl Codec {
    pub fn alloc(codec: *const ffi::AVCodec) -> Result<Self, Failure> {
        // SAFETY: a null codec is allowed by the call; ours never is.
        let context = unsafe { ffi::avcodec_alloc_context3(codec) };
        if context.is_null() {
            return Err(no_memory());
        }
        Ok(Self(context))
    }

    pub fn as_ptr(&self) -> *mut ffi::AVCodecContext {
        self.0
    }

    /// Opens with options, each of which must be known.
    pub fn open(&mut self, options: &[(&str, &str)]) -> Result<Result<(), Code>, Failure> {
        let mut options = Dict::new(options)?;
        // SAFETY: the context was made for its codec; the dictionary is ours.
        let opened = check(unsafe { ffi::avcodec_open2(self.0, ptr::null(), options.as_mut()) });
        if opened.is_ok() {
            options.must_be_empty()?;
        }
        Ok(opened.map(drop))
    }

    /// `None` says that no more will come.
    pub fn send_packet(&mut self, packet: Option<&Packet>) -> Result<(), Code> {
        let packet = packet.map_or(ptr::null_mut(), Packet::as_ptr);
        // SAFETY: open, and the packet is null or valid.
        check(unsafe { ffi::avcodec_send_packet(self.0, packet) }).map(drop)
    }

    pub fn receive_frame(&mut self, frame: &mut Frame) -> Result<(), Code> {
        // SAFETY: open, and the frame is valid.
        check(unsafe { ffi::avcodec_receive_frame(self.0, frame.0) }).map(drop)
    }

    pub fn send_frame(&mut self, frame: Option<&Frame>) -> Result<(), Code> {
        let frame = frame.map_or(ptr::null_mut(), Frame::as_ptr);
        // SAFETY: open, and the frame is null or valid.
        check(unsafe { ffi::avcodec_send_frame(self.0, frame) }).map(drop)
    }

    pub fn receive_packet(&mut self, packet: &mut Packet) -> Result<(), Code> {
        // SAFETY: open, and the packet is valid.
        check(unsafe { ffi::avcodec_receive_packet(self.0, packet.0) }).map(drop)
    }

    /// The decoder itself keeps pictures back until what they refer to is there: its first need not stand alone (a
    /// frame of two fields, a gradual refresh).
    pub fn waits_to_recover(&self) -> bool {
        // SAFETY: open.
        unsafe { (*self.0).codec_id == ffi::AVCodecID::AV_CODEC_ID_H264 }
    }

    /// From now on pictures are given out even if the decoder is not sure that all they refer to was there.
    pub fn trust_pictures(&mut self) {
        // SAFETY: open; the flag is looked at for each picture.
        unsafe { (*self.0).flags |= ffi::AV_CODEC_FLAG_OUTPUT_CORRUPT as i32 }
    }

    /// Forgets everything, as after a seek.
    pub fn flush(&mut self) {
        // SAFETY: open.
        unsafe { ffi::avcodec_flush_buffers(self.0) }
    }

    /// Global headers of an open encoder.
    pub fn extradata(&self) -> &[u8] {
        // SAFETY: FFmpeg keeps `extradata` readable for `extradata_size` bytes while the context lives.
        unsafe {
            let size = usize::try_from((*self.0).extradata_size).unwrap_or(0);
            if (*self.0).extradata.is_null() || size == 0 {
                return &[];
            }
            std::slice::from_raw_parts((*self.0).extradata, size)
        }
    }
}

impl Drop for Codec {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again.
        unsafe { ffi::avcodec_free_context(&mut self.0) }
    }
}

/// Finds an encoder by its name.
pub fn encoder(name: &str) -> Result<*const ffi::AVCodec, Failure> {
    let c_name = c_string(name)?;
    // SAFETY: the name ends with a zero.
    let codec = unsafe { ffi::avcodec_find_encoder_by_name(c_name.as_ptr()) };
    if codec.is_null() {
        return Err(Failure::internal(format!("FFmpeg has no encoder {name}")));
    }
    Ok(codec)
}

/// Finds a decoder by its name.
pub fn decoder(name: &str) -> Result<*const ffi::AVCodec, Failure> {
    let c_name = c_string(name)?;
    // SAFETY: the name ends with a zero.
    let codec = unsafe { ffi::avcodec_find_decoder_by_name(c_name.as_ptr()) };
    if codec.is_null() {
        return Err(Failure::internal(format!("FFmpeg has no decoder {name}")));
    }
    Ok(codec)
}

/// Keeps FFmpeg from filling stderr, which is a pipe: damaged media has something to say for every block.
pub fn quiet() {
    // SAFETY: sets one integer.
    unsafe { ffi::av_log_set_level(ffi::AV_LOG_FATAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_to_the_nearest_and_absurd_ones_are_missing() {
        assert_eq!(rescale(1, ratio(1, 3), ratio(1, 10)), Some(3));
        assert_eq!(rescale(-1, ratio(1, 3), ratio(1, 10)), Some(-3));
        assert_eq!(rescale(i64::MAX, ratio(1, 1), MICROSECONDS), None);
        assert_eq!(rescale(5, ratio(1, 0), MICROSECONDS), None);
        assert_eq!(micros(ffi::AV_NOPTS_VALUE, ratio(1, 1000)), None);
        assert_eq!(micros(i64::MAX / 4, MICROSECONDS), None);
        assert_eq!(micros(1001, ratio(1, 30_000)), Some(33_367));
    }

    #[test]
    fn an_option_nobody_took_is_an_error() {
        assert!(Dict::new(&[]).unwrap().must_be_empty().is_ok());
        let left = Dict::new(&[("format_whitelst", "mov")]).unwrap();
        assert!(left.must_be_empty().unwrap_err().detail.contains("format_whitelst"));
    }
}
