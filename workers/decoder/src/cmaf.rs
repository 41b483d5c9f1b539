//! CMAF tracks (ISO/IEC 23000-19): one header and media segments, each one fragment.
//!
//! Guarantees: a segment's decode times begin at the time of its first picture and end where the next segment begins,
//! whatever the frame rate does; composition offsets are never negative, and the header's edit list takes their delay
//! away again, since readers that know no signed offsets (FFmpeg's among them) would show every picture late against
//! the sound; the same samples give the same bytes.

use mp4_atom::{
    Audio, Avc1, Avcc, Btrt, Codec, Colr, Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry, Encode, Esds, FixedPoint,
    FourCC, Ftyp, Hdlr, Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mp4a, Mvex, Mvhd, Pasp, Smhd, Stbl, Stsd, Styp, Tfdt, Tfhd,
    Tkhd, Traf, Trak, Trex, Trun, TrunEntry, Url, Visual, Vmhd,
};
use reelfleet_wire::{AUDIO_RATE, VIDEO_TIMESCALE};

use crate::fail::Failure;

const TRACK: u32 = 1;
/// ISO/IEC 14496-12 section 8.8.3.1: depends on no other sample; or depends on others and is no sync sample.
const SYNC: u32 = 0x0200_0000;
const NOT_SYNC: u32 = 0x0101_0000;

fn boxed(error: mp4_atom::Error) -> Failure {
    Failure::internal(format!("box: {error}"))
}

/// Colour as signalled to the player (H.273 numbers); limited range always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    pub primaries: u16,
    pub transfer: u16,
    pub matrix: u16,
}

/// SPS and PPS out of the global headers of the encoder: start codes or 4-byte lengths (ITU-T H.264 Annex B).
fn parameter_sets(headers: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let mut sets = (None, None);
    let mut units: Vec<&[u8]> = Vec::new();
    if headers.starts_with(&[0, 0, 0, 1]) || headers.starts_with(&[0, 0, 1]) {
        let mut starts: Vec<usize> = Vec::new();
        for at in 0..headers.len().saturating_sub(2) {
            if headers[at..].starts_with(&[0, 0, 1]) {
                starts.push(at + 3);
            }
        }
        for (i, start) in starts.iter().enumerate() {
            let mut end = starts.get(i + 1).map_or(headers.len(), |next| next - 3);
            while end > *start && headers[end - 1] == 0 {
                end -= 1;
            }
            units.push(&headers[*start..end]);
        }
    } else {
        let mut rest = headers;
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((unit, tail)) = tail.split_at_checked(length) else {
                break;
            };
            units.push(unit);
            rest = tail;
        }
    }
    for unit in units {
        match unit.first().map(|b| b & 0x1f) {
            Some(7) => sets.0 = Some(unit.to_vec()),
            Some(8) => sets.1 = Some(unit.to_vec()),
            _ => {}
        }
    }
    match sets {
        (Some(sps), Some(pps)) if sps.len() > 3 => Ok((sps, pps)),
        _ => Err(Failure::encode("the encoder gave no parameter sets")),
    }
}

/// The decoder configuration out of the global headers of the encoder.
///
/// # Errors
/// `Encode` where they hold no parameter sets.
pub fn configuration(headers: &[u8]) -> Result<Avcc, Failure> {
    let (sps, pps) = parameter_sets(headers)?;
    Avcc::new(&sps, &pps).map_err(boxed)
}

/// The header of an H.264 track and its codec string (RFC 6381). `delay` is that of its segments, in ticks.
///
/// # Errors
/// `Internal`.
pub fn video_header(
    avcc: Avcc,
    width: u16,
    height: u16,
    color: Color,
    bitrate: u32,
    delay: u64,
) -> Result<(Vec<u8>, String), Failure> {
    let codecs = format!(
        "avc1.{:02x}{:02x}{:02x}",
        avcc.avc_profile_indication, avcc.profile_compatibility, avcc.avc_level_indication
    );
    let entry = Codec::Avc1(Avc1 {
        visual: Visual { data_reference_index: 1, width, height, ..Visual::default() },
        avcc,
        btrt: Some(Btrt { buffer_size_db: 0, max_bitrate: bitrate, avg_bitrate: 0 }),
        colr: Some(Colr::Nclx {
            colour_primaries: color.primaries,
            transfer_characteristics: color.transfer,
            matrix_coefficients: color.matrix,
            full_range_flag: false,
        }),
        pasp: Some(Pasp { h_spacing: 1, v_spacing: 1 }),
        ..Avc1::default()
    });
    let minf = Minf { vmhd: Some(Vmhd::default()), ..Minf::default() };
    let tkhd = Tkhd { width: FixedPoint::new(width, 0), height: FixedPoint::new(height, 0), ..Tkhd::default() };
    let bytes = header(entry, VIDEO_TIMESCALE, *b"vide", minf, tkhd, delay)?;
    Ok((bytes, codecs))
}

/// The header of an AAC-LC stereo track at 48 kHz.
///
/// # Errors
/// `Internal`.
pub fn audio_header(bitrate: u32) -> Result<(Vec<u8>, String), Failure> {
    use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
    let entry = Codec::Mp4a(Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count: 2,
            sample_size: 16,
            sample_rate: FixedPoint::new(AUDIO_RATE as u16, 0),
        },
        esds: Esds {
            es_desc: EsDescriptor {
                es_id: TRACK as u16,
                dec_config: DecoderConfig {
                    object_type_indication: 0x40,
                    stream_type: 5,
                    up_stream: 0,
                    buffer_size_db: Default::default(),
                    max_bitrate: bitrate,
                    avg_bitrate: bitrate,
                    // AudioSpecificConfig (ISO/IEC 14496-3): AAC-LC, 48 kHz, two channels.
                    dec_specific: Some(DecoderSpecific {
                        profile: 2,
                        freq_index: 3,
                        chan_conf: 2,
                        ..Default::default()
                    }),
                },
                sl_config: SLConfig {},
                ..EsDescriptor::default()
            },
        },
        btrt: None,
        taic: None,
    });
    let minf = Minf { smhd: Some(Smhd::default()), ..Minf::default() };
    let tkhd = Tkhd { volume: FixedPoint::new(1, 0), ..Tkhd::default() };
    let bytes = header(entry, AUDIO_RATE, *b"soun", minf, tkhd, 0)?;
    Ok((bytes, "mp4a.40.2".to_owned()))
}

fn header(
    entry: Codec,
    timescale: u32,
    handler: [u8; 4],
    minf: Minf,
    tkhd: Tkhd,
    delay: u64,
) -> Result<Vec<u8>, Failure> {
    // Segment duration 0: to the end, however long that will be.
    let edit = ElstEntry { segment_duration: 0, media_time: Some(delay), media_rate: FixedPoint::new(1, 0) };
    let edts = (delay > 0).then(|| Edts { elst: Some(Elst { entries: vec![edit] }) });
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 0,
        compatible_brands: vec![FourCC::new(b"iso6"), FourCC::new(b"cmfc"), FourCC::new(b"mp41")],
    };
    let moov = Moov {
        mvhd: Mvhd {
            timescale,
            rate: FixedPoint::new(1, 0),
            volume: FixedPoint::new(1, 0),
            next_track_id: TRACK + 1,
            ..Mvhd::default()
        },
        // No mehd: the length is not known, and the stream grows.
        mvex: Some(Mvex {
            mehd: None,
            trex: vec![Trex { track_id: TRACK, default_sample_description_index: 1, ..Trex::default() }],
        }),
        trak: vec![Trak {
            tkhd: Tkhd { track_id: TRACK, enabled: true, in_movie: true, ..tkhd },
            edts,
            mdia: Mdia {
                mdhd: Mdhd { timescale, language: "und".into(), ..Mdhd::default() },
                hdlr: Hdlr { handler: FourCC::new(&handler), name: String::new() },
                minf: Minf {
                    dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
                    stbl: Stbl { stsd: Stsd { codecs: vec![entry] }, ..Stbl::default() },
                    ..minf
                },
            },
            ..Trak::default()
        }],
        ..Moov::default()
    };
    let mut out = Vec::new();
    ftyp.encode(&mut out).map_err(boxed)?;
    moov.encode(&mut out).map_err(boxed)?;
    Ok(out)
}

/// One coded frame.
#[derive(Debug)]
pub struct Sample {
    /// Presentation time from t0, in the track's timescale.
    pub pts: i64,
    pub sync: bool,
    pub data: Vec<u8>,
}

/// A finished segment.
#[derive(Debug)]
pub struct Segment {
    pub bytes: Vec<u8>,
    /// Smallest presentation time.
    pub start: u64,
    pub duration: u64,
}

/// Writes the samples of one segment, given in decode order. `end` is where the next segment starts. A picture is shown
/// `delay` ticks after its presentation time, which the header's edit list takes back.
///
/// # Errors
/// `Internal` for no samples, a time before t0, or times that don't fit.
pub fn segment(samples: &[Sample], end: i64, delay: i64, sequence: u32) -> Result<Segment, Failure> {
    let outside = || Failure::internal("a time outside of the track");
    let mut times: Vec<i64> = samples.iter().map(|s| s.pts).collect();
    times.sort_unstable();
    let start = *times.first().ok_or_else(|| Failure::internal("a segment without samples"))?;
    let tfdt = u64::try_from(start).map_err(|_| outside())?;
    let end = end.max(times.last().map_or(end, |last| last + 1));
    // The i-th smallest time, unless that is later than its picture is shown (a frame rate that drops for a moment).
    let mut latest = i64::MAX;
    for (time, sample) in times.iter_mut().zip(samples).rev() {
        latest = (latest - 1).min(sample.pts.saturating_add(delay));
        *time = latest.min(*time);
    }
    if times.first() != Some(&start) {
        return Err(outside());
    }
    let mut entries = Vec::with_capacity(samples.len());
    for (i, sample) in samples.iter().enumerate() {
        let dts = times[i];
        let next = times.get(i + 1).copied().unwrap_or(end);
        entries.push(TrunEntry {
            duration: Some(u32::try_from(next - dts).map_err(|_| outside())?),
            size: Some(u32::try_from(sample.data.len()).map_err(|_| outside())?),
            flags: Some(if sample.sync { SYNC } else { NOT_SYNC }),
            cts: Some(i64::from(i32::try_from(sample.pts + delay - dts).map_err(|_| outside())?)),
        });
    }
    let moof = |data_offset| Moof {
        mfhd: Mfhd { sequence_number: sequence },
        traf: vec![Traf {
            tfhd: Tfhd { track_id: TRACK, default_base_is_moof: true, ..Tfhd::default() },
            tfdt: Some(Tfdt { base_media_decode_time: tfdt }),
            trun: vec![Trun { data_offset: Some(data_offset), samples: entries.clone().into() }],
            ..Traf::default()
        }],
    };
    // The offset of the first sample counts from the moof, whose length does not depend on it.
    let mut measured = Vec::new();
    moof(0).encode(&mut measured).map_err(boxed)?;
    let offset = i32::try_from(measured.len() + 8).map_err(|_| outside())?;

    let payload: usize = samples.iter().map(|s| s.data.len()).sum();
    let mut bytes = Vec::with_capacity(payload + measured.len() + 64);
    Styp {
        major_brand: FourCC::new(b"msdh"),
        minor_version: 0,
        compatible_brands: vec![FourCC::new(b"msdh"), FourCC::new(b"msix"), FourCC::new(b"cmfs")],
    }
    .encode(&mut bytes)
    .map_err(boxed)?;
    moof(offset).encode(&mut bytes).map_err(boxed)?;
    let length = u32::try_from(payload + 8).map_err(|_| outside())?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(b"mdat");
    for sample in samples {
        bytes.extend_from_slice(&sample.data);
    }
    Ok(Segment { bytes, start: tfdt, duration: (end - start).unsigned_abs() })
}
