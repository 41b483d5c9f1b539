//! One request, from its first byte to its last frame.

use std::fs::File;

use reelfleet_wire::zygote::Missing;
use reelfleet_wire::{FailCode, MediaKind, MediaLimits, OutputHeader, Request, WireError, read_request};

use crate::fail::Failure;
use crate::ff::Codec;
use crate::input::Input;
use crate::output::Output;
use crate::source::{Reading, Source};
use crate::stream::DECODERS;
use crate::video::Totals;
use crate::{audio, ff, index, pictures, probe, still, video};

/// Decoders whose tables are made before anybody needs them: those of what people upload most.
const WARM: [&str; 7] = ["h264", "hevc", "vp9", "mpeg4", "aac", "mp3float", "ac3"];

/// Encoders that everything is made with.
const ENCODERS: [&str; 2] = ["libx264", "aac"];

/// Makes FFmpeg ready, as far as that can be done without media: a process that forks afterwards saves its children
/// the trouble. Gives the codecs that it was built without.
pub fn prepare() -> Missing {
    ff::quiet();
    // That one is missing, or wants headers that only media has, is said when a request needs it.
    let _ = ff::encoder("libx264");
    let _ = audio::encoder(128_000);
    for name in WARM {
        let _ = ff::decoder(name).and_then(Codec::alloc).and_then(|mut codec| codec.open(&[("threads", "1")]));
    }
    Missing {
        encoders: ENCODERS.iter().filter(|name| ff::encoder(name).is_err()).map(ToString::to_string).collect(),
        decoders: DECODERS.split(',').filter(|name| ff::decoder(name).is_err()).map(str::to_owned).collect(),
    }
}

/// Serves the one request that comes on `source`, and answers on `output`. Gives the exit status: 0 after `Done`, 1
/// after `Failed`, 2 where the parent could not be told.
pub fn serve(mut source: File, output: File) -> i32 {
    let request = read_request(&mut source);
    serve_request(request, source, output)
}

/// The same for a request that has been read from `source` already.
pub fn serve_request(request: Result<Request, WireError>, source: File, output: File) -> i32 {
    ff::quiet();
    let output = Output::new(output);
    let (header, status) = match request.map_err(Failure::from).and_then(|request| answer(&request, source, &output)) {
        Ok(totals) => (
            OutputHeader::Done {
                end: totals.end,
                frames: totals.frames,
                packets: totals.packets,
                errors: totals.errors,
            },
            0,
        ),
        Err(failure) => (OutputHeader::Failed { code: failure.code, detail: failure.detail_for_wire() }, 1),
    };
    match output.write(&header, &[]) {
        Ok(()) => status,
        Err(_) => 2,
    }
}

/// Nothing but facts was asked for.
const FACTS: Totals = Totals { end: true, frames: 0, packets: 0, errors: 0 };

fn answer(request: &Request, socket: File, output: &Output) -> Result<Totals, Failure> {
    request.validate()?;
    match request {
        Request::Probe { size, limits } => {
            let mut source = Source::new(socket, *size, Reading::SPARSE);
            let report = match still_report(&mut source, limits)? {
                Some(report) => report,
                None => probe::probe(&mut Input::over(source, limits)?, limits)?,
            };
            output.write(&OutputHeader::Probed(Box::new(report)), &[])?;
            Ok(FACTS)
        }
        Request::Index { size, limits } => {
            let (t0, video, watch) = {
                let mut input = Input::open(clone(&socket)?, *size, limits, Reading::SPARSE)?;
                let report = probe::probe(&mut input, limits)?;
                (report.start_us, report.video.map(|v| v.index as usize), input.watch().clone())
            };
            let report = match video {
                Some(video) => {
                    // Opened anew, so that it stands at its first packet; the bytes are those of before.
                    let mut input = Input::over(watch.again(socket), limits)?;
                    index::index(&mut input, video, t0)?
                }
                None => Default::default(),
            };
            output.write(&OutputHeader::Indexed(report), &[])?;
            Ok(FACTS)
        }
        Request::Encode(r) => {
            let mut input = Input::open(socket, r.size, &r.limits, Reading::SPARSE)?;
            video::run(&mut input, r, output)
        }
        Request::Audio(r) => {
            let mut input = Input::open(socket, r.size, &r.limits, Reading::SPARSE)?;
            audio::run(&mut input, r, output)
        }
        Request::Pictures(r) => Ok(totals(pictures::run(socket, r, output)?)),
        Request::Still(r) => Ok(totals(pictures::still::run(socket, r, output)?)),
    }
}

fn totals(counts: pictures::Counts) -> Totals {
    Totals { end: true, frames: counts.frames, packets: counts.packets, errors: counts.errors }
}

fn clone(socket: &File) -> Result<File, Failure> {
    socket.try_clone().map_err(|e| Failure::internal(format!("source socket: {e}")))
}

/// The report of an uploaded picture; `None` for anything else.
fn still_report(source: &mut Source, limits: &MediaLimits) -> Result<Option<reelfleet_wire::ProbeReport>, Failure> {
    if source.size() == 0 {
        return Err(Failure::new(FailCode::Empty, "the object has no bytes"));
    }
    let report = still::probe(source, limits)?;
    debug_assert!(report.as_ref().is_none_or(|r| r.kind == MediaKind::Image));
    Ok(report)
}
