//! The parent's side over a local file: answers range reads, collects what comes out, writes it as playable HLS.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use reelfleet_wire::{
    AudioRequest, EncodeRequest, FailCode, IndexReport, MediaLimits, OutputHeader, ProbeReport, READ_AT_LEN, ReadAt,
    ReadStatus, Request, RunEndReport, Rung, SegmentInfo, read_output, write_reply, write_request,
};

/// All that one decoder said.
pub struct Answer {
    pub frames: Vec<(OutputHeader, Vec<u8>)>,
    /// Bytes of the source that were asked for.
    pub fetched: u64,
}

fn socket(stream: UnixStream) -> File {
    File::from(OwnedFd::from(stream))
}

/// Serves `request` over a file; from read number `fail_at` on every read is answered with that status.
pub fn ask_failing(path: &Path, request: &Request, fail_at: Option<(u64, ReadStatus)>) -> Answer {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (mut out, out_theirs) = UnixStream::pair().unwrap();
    let mut file = File::open(path).unwrap();
    let request = request.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || reelfleet_decoder::serve(socket(theirs), socket(out_theirs)));
        let reads = scope.spawn(move || {
            write_request(&mut ours, &request).unwrap();
            let (mut fetched, mut reads) = (0, 0);
            let mut head = [0; READ_AT_LEN];
            while ours.read_exact(&mut head).is_ok() {
                let ask = ReadAt::from_bytes(head).unwrap();
                assert!(ask.offset + u64::from(ask.len) <= request.size());
                let mut bytes = vec![0; ask.len as usize];
                file.seek(SeekFrom::Start(ask.offset)).unwrap();
                file.read_exact(&mut bytes).unwrap();
                fetched += u64::from(ask.len);
                let status = match fail_at {
                    Some((at, status)) if reads >= at => status,
                    _ => ReadStatus::Ok,
                };
                reads += 1;
                if write_reply(&mut ours, status, &bytes).is_err() {
                    break;
                }
            }
            fetched
        });
        let mut frames = Vec::new();
        while let Some(frame) = read_output(&mut out).unwrap() {
            frames.push(frame);
        }
        Answer { frames, fetched: reads.join().unwrap() }
    })
}

pub fn ask(path: &Path, request: &Request) -> Answer {
    ask_failing(path, request, None)
}

pub fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

pub fn probe(path: &Path) -> Result<ProbeReport, (FailCode, String)> {
    let answer = ask(path, &Request::Probe { size: size(path), limits: MediaLimits::default() });
    answer.failed()?;
    Ok(answer
        .frames
        .iter()
        .find_map(|(h, _)| match h {
            OutputHeader::Probed(report) => Some(*report.clone()),
            _ => None,
        })
        .expect("a report"))
}

pub fn index(path: &Path) -> IndexReport {
    let answer = ask(path, &Request::Index { size: size(path), limits: MediaLimits::default() });
    answer.failed().expect("an index");
    answer
        .frames
        .iter()
        .find_map(|(h, _)| match h {
            OutputHeader::Indexed(report) => Some(report.clone()),
            _ => None,
        })
        .expect("a report")
}

/// Even sizes of the source's shape, no larger than the source.
pub fn rungs(report: &ProbeReport, heights: &[u32]) -> Vec<Rung> {
    let video = report.video.as_ref().expect("video");
    let mut heights: Vec<u32> = heights.iter().map(|h| h.min(&video.display_height) / 2 * 2).collect();
    heights.dedup();
    heights
        .into_iter()
        .map(|h| {
            let w = u64::from(video.display_width) * u64::from(h) / u64::from(video.display_height);
            Rung {
                name: format!("{h}p"),
                width: (w as u32 / 2 * 2).max(2),
                height: h.max(2),
                crf: 26,
                maxrate: 2_000_000,
                bufsize: 4_000_000,
            }
        })
        .collect()
}

/// The whole video as one request; change what a test is about.
pub fn encode(path: &Path, report: &ProbeReport, heights: &[u32]) -> EncodeRequest {
    let video = report.video.as_ref().expect("video");
    EncodeRequest {
        size: size(path),
        limits: MediaLimits::default(),
        t0_us: report.start_us,
        start_us: 0,
        end_us: None,
        sequential: false,
        stop_after_ms: None,
        run_ms: 4_000,
        segment_ms: 2_000,
        cuts_us: Vec::new(),
        copy: None,
        rungs: rungs(report, heights),
        preset: "ultrafast".into(),
        rotation: video.rotation,
        flipped: video.flipped,
        deinterlace: video.interlaced,
        tone_map: video.hdr,
        video_stream: video.index,
        threads_decode: 2,
    }
}

/// All of the sound.
pub fn audio(path: &Path, report: &ProbeReport) -> AudioRequest {
    AudioRequest {
        size: size(path),
        limits: MediaLimits::default(),
        t0_us: report.start_us,
        from_frame: 0,
        anchor: None,
        sequential: false,
        stop_after_ms: None,
        run_ms: 4_000,
        first_run_ms: 2_000,
        segment_ms: 2_000,
        bitrate: 128_000,
        audio_stream: report.audio.as_ref().expect("audio").index,
    }
}

impl Answer {
    pub fn failed(&self) -> Result<(), (FailCode, String)> {
        match self.frames.last() {
            Some((OutputHeader::Failed { code, detail }, _)) => Err((*code, detail.clone())),
            Some((OutputHeader::Done { .. }, _)) => Ok(()),
            other => panic!("neither Done nor Failed: {:?}", other.map(|(h, _)| h)),
        }
    }

    /// (end, frames, packets, errors)
    pub fn done(&self) -> (bool, u64, u64, u64) {
        match self.frames.last() {
            Some((OutputHeader::Done { end, frames, packets, errors }, _)) => (*end, *frames, *packets, *errors),
            other => panic!("not done: {:?}", other.map(|(h, _)| h)),
        }
    }

    pub fn runs(&self) -> Vec<RunEndReport> {
        self.frames
            .iter()
            .filter_map(|(h, _)| match h {
                OutputHeader::RunEnd(run) => Some(run.clone()),
                _ => None,
            })
            .collect()
    }

    pub fn init(&self, name: &str) -> Option<&[u8]> {
        self.frames.iter().find_map(|(h, body)| match h {
            OutputHeader::Init { rendition, .. } if rendition == name => Some(body.as_slice()),
            _ => None,
        })
    }

    pub fn segments(&self, name: &str) -> Vec<(&SegmentInfo, &[u8])> {
        self.frames
            .iter()
            .filter_map(|(h, body)| match h {
                OutputHeader::Segment(info) if info.rendition == name => Some((info, body.as_slice())),
                _ => None,
            })
            .collect()
    }

    pub fn renditions(&self) -> Vec<String> {
        self.frames
            .iter()
            .filter_map(|(h, _)| match h {
                OutputHeader::Init { rendition, .. } => Some(rendition.clone()),
                _ => None,
            })
            .collect()
    }
}

/// Writes a rendition of one answer after the other as one file, which is also valid HLS media. Answers `false` where
/// there is nothing.
pub fn write_joined(answers: &[&Answer], name: &str, to: &Path) -> bool {
    let Some(init) = answers.iter().find_map(|a| a.init(name)) else {
        return false;
    };
    let mut all = init.to_vec();
    for answer in answers {
        if let Some(other) = answer.init(name) {
            assert_eq!(other, init, "init segments differ");
        }
        for (_, body) in answer.segments(name) {
            all.extend_from_slice(body);
        }
    }
    fs::write(to, all).unwrap();
    true
}
