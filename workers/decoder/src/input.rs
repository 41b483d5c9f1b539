//! The one place where media is opened, for every use.
//!
//! Guarantees: only real containers and listed decoders touch the bytes; nothing can make FFmpeg open another file or
//! address; every option given was understood; limits hold before a frame is decoded; a read that failed is reported
//! as such and never as a damaged or finished source.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::fs::File;
use std::ptr::{self, NonNull};

use ffmpeg_next::ffi;
use ffmpeg_next::format::context::StreamIo;
use reelfleet_wire::{FailCode, MediaLimits};

use crate::fail::Failure;
use crate::ff::{self, Code, Dict, Packet, check};
use crate::jumps::Jumps;
use crate::source::{Reading, Source, Watch};
use crate::stream::{DECODERS, Stream};

/// Containers by FFmpeg's names. Playlists, manifests, image sequences and scripts are not among them.
const CONTAINERS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,mp3,wav,flac,aac";

/// Bytes of packets looked at in a container whose header describes its streams.
const HEADER_PROBE: i64 = 1_000_000;
/// The same where a probe has looked at them before: the first packet of the stream that is wanted.
const FIRST_PACKET: i64 = 1;

/// Bytes of the largest index that is read in large pieces: some 40 hours of film.
const MOST_INDEX: u64 = 64 << 20;

/// An open container.
pub struct Input {
    context: NonNull<ffi::AVFormatContext>,
    watch: Watch,
    fragmented: bool,
    /// Only in containers whose clock may jump.
    jumps: Option<Jumps>,
    /// Freed after the context, which reads through it.
    _io: StreamIo,
}

/// What a packet that was asked for turned out to be.
pub enum Next {
    Packet,
    /// The container has no more.
    End,
}

/// Refuses whatever a demuxer wants to open besides the source.
unsafe extern "C" fn refuse_open(
    _context: *mut ffi::AVFormatContext,
    _io: *mut *mut ffi::AVIOContext,
    _url: *const c_char,
    _flags: c_int,
    _options: *mut *mut ffi::AVDictionary,
) -> c_int {
    -1 // EPERM
}

impl Input {
    /// Opens the source that the parent answers on `socket`.
    ///
    /// # Errors
    /// `Empty`, `NotMedia`, `Truncated`, `TooManyStreams`, `SourceRead`, `SourceChanged`, `Internal`.
    pub fn open(socket: File, size: u64, limits: &MediaLimits, reading: Reading) -> Result<Self, Failure> {
        Self::over(Source::new(socket, size, reading), limits)
    }

    /// Opens for one stream a source that a probe has passed: of a container whose header describes its streams, one
    /// packet is read and decoded.
    ///
    /// # Errors
    /// As for [`Input::open`].
    pub fn open_for(
        stream: usize,
        socket: File,
        size: u64,
        limits: &MediaLimits,
        reading: Reading,
    ) -> Result<Self, Failure> {
        let mut input = Self::header(Source::new(socket, size, reading), limits)?;
        input.keep_only(&[stream]);
        input.find_stream_info(limits, FIRST_PACKET)?;
        // Streams that were found by their packets.
        input.keep_only(&[stream]);
        Ok(input)
    }

    /// The same as [`Input::open`] over a source of which something may have been read.
    ///
    /// # Errors
    /// As for [`Input::open`].
    pub fn over(source: Source, limits: &MediaLimits) -> Result<Self, Failure> {
        let mut input = Self::header(source, limits)?;
        input.find_stream_info(limits, HEADER_PROBE)?;
        Ok(input)
    }

    fn header(mut source: Source, limits: &MediaLimits) -> Result<Self, Failure> {
        let watch = source.watch();
        if watch.size() == 0 {
            return Err(Failure::new(FailCode::Empty, "the object has no bytes"));
        }
        let shape = crate::boxes::Shape::of(&mut source);
        watch.failure()?;
        // A box that says it is larger is no index of anything that would pass.
        if let Some((start, end)) = shape.index.filter(|(start, end)| end - start <= MOST_INDEX) {
            watch.read_in_one(start, end);
        }
        std::io::Seek::seek(&mut source, std::io::SeekFrom::Start(0)).map_err(|e| Failure::internal(e.to_string()))?;
        let mut io = StreamIo::from_read_seek(source).map_err(|e| Failure::internal(format!("custom I/O: {e}")))?;

        let probe_bytes = limits.probe_bytes.to_string();
        let mut options = Dict::new(&[
            ("format_whitelist", CONTAINERS),
            ("codec_whitelist", DECODERS),
            // No protocol has this name, so none may be used.
            ("protocol_whitelist", "none"),
            ("probesize", &probe_bytes),
            ("max_streams", "1000"),
        ])?;
        // SAFETY: no preconditions.
        let mut context = unsafe { ffi::avformat_alloc_context() };
        if context.is_null() {
            return Err(Failure::memory("opening it"));
        }
        // SAFETY: the context is fresh; `io` outlives it (field order of `Input`, and the failure path below). The
        // call frees the context where it fails.
        let opened = check(unsafe {
            (*context).pb = io.as_mut_ptr();
            (*context).flags |= ffi::AVFMT_FLAG_CUSTOM_IO;
            (*context).io_open = Some(refuse_open);
            ffi::avformat_open_input(&mut context, ptr::null(), ptr::null_mut(), options.as_mut())
        });
        if let Err(code) = opened {
            drop(io);
            watch.failure()?;
            return Err(shape.why_not_opened(code));
        }
        let Some(context) = NonNull::new(context) else {
            return Err(Failure::internal("no context"));
        };
        // SAFETY: an opened context has a format.
        let jumps = unsafe { (*(*context.as_ptr()).iformat).flags } & ffi::AVFMT_TS_DISCONT != 0;
        let jumps = jumps.then(Jumps::default);
        let input = Self { context, watch, fragmented: shape.is_fragmented, jumps, _io: io };
        options.must_be_empty()?;
        Ok(input)
    }

    /// `enough`: bytes of packets, in a container whose header describes its streams.
    fn find_stream_info(&mut self, limits: &MediaLimits, enough: i64) -> Result<(), Failure> {
        let too_many = |n: usize| {
            Failure::new(FailCode::TooManyStreams, format!("{n} streams; at most {} are allowed", limits.max_streams))
        };
        let streams = self.streams();
        if streams > limits.max_streams as usize {
            return Err(too_many(streams));
        }
        if self.container().split(',').any(|name| matches!(name, "mov" | "matroska")) {
            // SAFETY: valid while `self` lives. The header of these says nearly all; packets only confirm it.
            unsafe {
                let context = self.context.as_ptr();
                (*context).probesize = (*context).probesize.min(enough);
            }
        }
        let pixels = limits.max_pixels.to_string();
        let mut options = Vec::new();
        for _ in 0..streams {
            options.push(Dict::new(&[("max_pixels", &pixels), ("threads", "1")])?);
        }
        let mut raw_options: Vec<*mut ffi::AVDictionary> = options.iter_mut().map(|d| unsafe { *d.as_mut() }).collect();
        // SAFETY: one dictionary for each stream that exists now, as the call wants. It may replace them, so what it
        // left is given back to the owners.
        let found = check(unsafe { ffi::avformat_find_stream_info(self.context.as_ptr(), raw_options.as_mut_ptr()) });
        for (dict, raw) in options.iter_mut().zip(raw_options) {
            // SAFETY: the dictionary is ours again.
            unsafe { *dict.as_mut() = raw }
        }
        self.watch.failure()?;
        if found.is_err() {
            return Err(Failure::new(FailCode::NotMedia, "the streams of the file can't be read"));
        }
        let streams = self.streams();
        if streams > limits.max_streams as usize {
            return Err(too_many(streams));
        }
        Ok(())
    }

    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// An MP4 whose index is spread over its fragments.
    pub fn is_fragmented(&self) -> bool {
        self.fragmented
    }

    pub fn context(&self) -> *mut ffi::AVFormatContext {
        self.context.as_ptr()
    }

    pub fn streams(&self) -> usize {
        // SAFETY: valid while `self` lives.
        unsafe { (*self.context.as_ptr()).nb_streams as usize }
    }

    /// FFmpeg's name of the container.
    pub fn container(&self) -> String {
        // SAFETY: an open context has a format, whose name is static text.
        unsafe { ff::text((*(*self.context.as_ptr()).iformat).name) }.unwrap_or_default()
    }

    pub fn stream(&self, index: usize) -> Option<Stream<'_>> {
        if index >= self.streams() {
            return None;
        }
        // SAFETY: within the array, whose entries are valid while `self` lives.
        let stream = unsafe { *(*self.context.as_ptr()).streams.add(index) };
        Some(Stream { stream, index, _input: self })
    }

    pub fn each_stream(&self) -> impl Iterator<Item = Stream<'_>> {
        (0..self.streams()).filter_map(|i| self.stream(i))
    }

    /// The moving picture people mean: never a cover; a default track first, then the largest.
    pub fn best_video(&self) -> Option<usize> {
        self.each_stream()
            .filter(|s| s.is_video() && s.has_decoder() && s.pixels() > 0)
            .max_by_key(|s| (s.is_default(), s.pixels(), std::cmp::Reverse(s.index)))
            .map(|s| s.index)
    }

    /// The sound people mean: a default track first, then the one that is the programme itself.
    pub fn best_audio(&self) -> Option<usize> {
        self.each_stream()
            .filter(|s| s.is_audio() && s.has_decoder() && s.channels() > 0 && s.sample_rate() > 0)
            .max_by_key(|s| (!s.is_aside(), s.is_default(), std::cmp::Reverse(s.index)))
            .map(|s| s.index)
    }

    /// Packets of all other streams are dropped by the demuxer, most of them without being read.
    pub fn keep_only(&mut self, wanted: &[usize]) {
        for stream in self.each_stream() {
            let discard = if wanted.contains(&stream.index) {
                ffi::AVDiscard::AVDISCARD_DEFAULT
            } else {
                ffi::AVDiscard::AVDISCARD_ALL
            };
            // SAFETY: valid while `self` lives, and borrowed mutably.
            unsafe { (*stream.stream).discard = discard }
        }
    }

    /// The next packet of any kept stream. Damaged stretches are skipped by the demuxer.
    ///
    /// # Errors
    /// `SourceRead`, `SourceChanged`; never for damage in the media itself, which ends it.
    pub fn read(&mut self, packet: &mut Packet) -> Result<Next, Failure> {
        // SAFETY: both valid; the packet is emptied first.
        let read = check(unsafe {
            ffi::av_packet_unref(packet.as_ptr());
            ffi::av_read_frame(self.context.as_ptr(), packet.as_ptr())
        });
        self.watch.failure()?;
        match read {
            Ok(_) => self.look(packet).map(|()| Next::Packet),
            Err(Code::NO_MEMORY) => Err(Failure::memory("reading it")),
            Err(_) => Ok(Next::End),
        }
    }

    fn look(&mut self, packet: &Packet) -> Result<(), Failure> {
        let base = self.stream(packet.stream()).map(|stream| stream.time_base());
        match (&mut self.jumps, base) {
            (Some(jumps), Some(base)) => jumps.look(packet, base),
            _ => Ok(()),
        }
    }

    /// Goes to the keyframe at or before `time` (in the stream's time base), as well as the container can.
    /// Answers whether it could.
    ///
    /// # Errors
    /// `SourceRead`, `SourceChanged`.
    pub fn seek(&mut self, stream: usize, time: i64) -> Result<bool, Failure> {
        if let Some(jumps) = &mut self.jumps {
            jumps.forget();
        }
        let index = c_int::try_from(stream).unwrap_or(-1);
        // SAFETY: valid context; a wrong index is refused by the call.
        let sought =
            check(unsafe { ffi::av_seek_frame(self.context.as_ptr(), index, time, ffi::AVSEEK_FLAG_BACKWARD) });
        self.watch.failure()?;
        Ok(sought.is_ok())
    }

    /// Goes back to the first packet; by time, and by byte where the container knows no times.
    ///
    /// # Errors
    /// `SourceRead`, `SourceChanged`; `Decode` where neither works.
    pub fn rewind(&mut self, stream: usize) -> Result<(), Failure> {
        if self.seek(stream, i64::MIN / 4)? {
            return Ok(());
        }
        let start = self.stream(stream).map_or(0, |s| s.start().unwrap_or(0));
        if self.seek(stream, start)? {
            return Ok(());
        }
        // SAFETY: valid context.
        let sought = check(unsafe { ffi::av_seek_frame(self.context.as_ptr(), -1, 0, ffi::AVSEEK_FLAG_BYTE) });
        self.watch.failure()?;
        sought.map(drop).map_err(|code| Failure::decode(format!("cannot go back to the beginning: {code}")))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let mut context = self.context.as_ptr();
        // SAFETY: ours, and not used again; with custom I/O the call leaves `pb` to its owner.
        unsafe { ffi::avformat_close_input(&mut context) }
    }
}
