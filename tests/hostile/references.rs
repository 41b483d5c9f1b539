//! Files that ask their reader to open another file or address: playlists, manifests and scripts in disguise, and the
//! references that real containers may hold.

use super::Case;
use super::bases::{Base, named};
use super::crafted::{boxed, edit};

/// One of each kind, naming this file and this address.
pub fn all(bases: &[Base], file: &str, url: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, target) in [("file", format!("file://{file}")), ("path", file.to_owned()), ("address", url.to_owned())] {
        for (name, text) in texts(&target) {
            cases.push(Case { name: format!("{name}, {kind}"), bytes: text.into_bytes() });
        }
        for (name, bytes) in containers(bases, &target) {
            cases.push(Case { name: format!("{name}, {kind}"), bytes });
        }
    }
    cases
}

fn hls(target: &str) -> String {
    format!("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\n{target}\n#EXT-X-ENDLIST\n")
}

/// Texts that some demuxer of FFmpeg reads as a list of further things to open.
fn texts(target: &str) -> Vec<(&'static str, String)> {
    let list = hls(target);
    vec![
        ("HLS", list.clone()),
        ("HLS master", format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n")),
        ("HLS key", list.replace("#EXTINF", &format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{target}\"\n#EXTINF"))),
        ("HLS init", list.replace("#EXTINF", &format!("#EXT-X-MAP:URI=\"{target}\"\n#EXTINF"))),
        ("HLS behind white space", format!("\n \t{list}")),
        ("HLS behind a byte order mark", format!("\u{feff}{list}")),
        ("HLS behind a tag", format!("ID3\u{4}\0\0\0\0\0\0{list}")),
        ("HLS by concat:", hls(&format!("concat:{target}|{target}"))),
        ("HLS by crypto:", hls(&format!("crypto+{target}"))),
        ("HLS by subfile", hls(&format!("subfile,,start,0,end,64,,:{target}"))),
        ("HLS by data:", hls("data:video/mp2t;base64,R0AAEAA=")),
        ("ffconcat", format!("ffconcat version 1.0\nfile '{target}'\nduration 1\nfile '{target}'\n")),
        ("ffconcat stream", format!("ffconcat version 1.0\nstream\nexact_stream_id 1\nfile {target}\n")),
        ("DASH", dash(&format!("<BaseURL>{target}</BaseURL>"))),
        ("DASH template", dash(&format!("<SegmentTemplate media=\"{target}\" initialization=\"{target}\" startNumber=\"1\"/>"))),
        ("SMIL", format!("<smil><body><video src=\"{target}\"/></body></smil>")),
        ("Smooth Streaming", format!("<SmoothStreamingMedia><StreamIndex Type=\"video\" Url=\"{target}\"/></SmoothStreamingMedia>")),
        ("XSPF", format!("<playlist xmlns=\"http://xspf.org/ns/0/\"><trackList><track><location>{target}</location></track></trackList></playlist>")),
        ("ASX", format!("<asx version=\"3.0\"><entry><ref href=\"{target}\"/></entry></asx>")),
        ("ASF reference", format!("[Reference]\r\nRef1={target}?MSWMExt=.asf\r\n")),
        ("PLS", format!("[playlist]\nNumberOfEntries=1\nFile1={target}\n")),
        ("SDP", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n".to_owned()),
        ("IMF", format!("<?xml version=\"1.0\"?><CompositionPlaylist xmlns=\"http://www.smpte-ra.org/schemas/2067-3/2016\"><Id>{target}</Id></CompositionPlaylist>")),
        ("RealText", format!("<window><video src={target}></window>")),
        ("WebVTT", format!("WEBVTT\nX-TIMESTAMP-MAP={target}\n\n00:00.000 --> 00:01.000\n<img src={target}>\n")),
        ("SubRip", format!("1\n00:00:00,000 --> 00:00:01,000\n<font face=\"{target}\">x</font>\n")),
        ("ASS", format!("[Script Info]\nScriptType: v4.00+\n[Fonts]\nfontname: {target}\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,,,,,,{target}\n")),
        ("MicroDVD", format!("{{0}}{{25}}{{f:{target}}}x\n")),
        ("ffmetadata", format!(";FFMETADATA1\ntitle={target}\n")),
        ("AviSynth", format!("DirectShowSource(\"{target}\")\n")),
        ("VapourSynth", format!("import vapoursynth as vs\nvs.core.ffms2.Source('{target}').set_output()\n")),
        ("Lua", format!("io.open('{target}')\n")),
        ("image sequence", "/etc/pass%d".to_owned()),
    ]
}

fn dash(inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" mediaPresentationDuration=\"PT8S\">\
         <Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1\">{inside}</Representation>\
         </AdaptationSet></Period></MPD>"
    )
}

/// References inside real containers.
fn containers(bases: &[Base], target: &str) -> Vec<(&'static str, Vec<u8>)> {
    let (mp4, mov, avi) = (named(bases, "last.mp4"), named(bases, "clip.mov"), named(bases, "clip.avi"));
    let mp3 = named(bases, "song.mp3");
    let word = |n: usize| (n as u32).to_be_bytes();
    const DREF: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"dinf"];
    let dref = |entry: &[u8]| boxed(b"dref", &[&[0, 0, 0, 0, 0, 0, 0, 1][..], entry].concat());
    let url = boxed(b"url ", &[&[0; 4][..], target.as_bytes(), &[0]].concat());
    let reference = boxed(b"rdrf", &[&[0; 4][..], b"url ", &word(target.len() + 1), target.as_bytes(), &[0]].concat());
    let alias = boxed(b"alis", &[&[0; 4][..], &alias(target)].concat());
    let movie = boxed(b"moov", &boxed(b"rmra", &boxed(b"rmda", &reference)));
    let list = hls(target);
    let link = |frame: &[u8]| {
        [&b"ID3\x03\0\0\0\0"[..], &[(frame.len() >> 7) as u8, (frame.len() & 127) as u8], frame, mp3].concat()
    };
    let frame = |id: &[u8; 4], body: &[u8]| [&id[..], &word(body.len()), &[0, 0], body].concat();
    let picture = [&b"\0-->\0\x03\0"[..], target.as_bytes()].concat();
    let gab2 = |text: &str| {
        // Windows-1252 names behind GAB2's own header; the text is what the packet's demuxer is guessed from.
        let body =
            [&b"GAB2\0\x02\0\x02\0\0\0x\0\x04\0"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        subtitle_avi(avi, &body)
    };
    let ass =
        format!("[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,,,,,,{target}\n");
    vec![
        ("MP4 with its data elsewhere", edit(mp4, &DREF, &|body| *body = dref(&url))),
        ("MOV with its data elsewhere", edit(mov, &DREF, &|body| *body = dref(&alias))),
        ("MOV with its data at an address", edit(mov, &DREF, &|body| *body = dref(&url))),
        ("MOV that is a reference", [&boxed(b"ftyp", b"qt  \0\0\0\0qt  ")[..], &movie].concat()),
        ("AVI with HLS as subtitles", gab2(&list)),
        ("AVI with ffconcat as subtitles", gab2(&format!("ffconcat version 1.0\nfile '{target}'\n"))),
        ("AVI with SubRip as subtitles", gab2(&format!("1\n00:00:00,000 --> 00:00:01,000\n{target}\n"))),
        ("AVI with ASS as subtitles", gab2(&ass)),
        ("MP3 with a picture elsewhere", link(&frame(b"APIC", &picture))),
        ("MP3 with an address", link(&frame(b"WXXX", &[&b"\0\0"[..], target.as_bytes()].concat()))),
        ("FLAC with a picture elsewhere", flac(named(bases, "song.flac"), target)),
        ("MKV that goes on elsewhere", matroska(named(bases, "clip.mkv"), target)),
        ("HLS behind an MP4 head", [&boxed(b"ftyp", b"isom\0\0\0\0isom")[..], list.as_bytes()].concat()),
    ]
}

/// A Macintosh alias record (version 2) with the absolute path as its tags 2 and 18.
fn alias(path: &str) -> Vec<u8> {
    let mut record = vec![0; 150];
    record[4..6].copy_from_slice(&150u16.to_be_bytes());
    record[7] = 2;
    record[10] = 4;
    record[11..15].copy_from_slice(b"disk");
    record[130..132].copy_from_slice(&1u16.to_be_bytes());
    record[132..134].copy_from_slice(&1u16.to_be_bytes());
    for tag in [2u16, 18] {
        record.extend_from_slice(&tag.to_be_bytes());
        record.extend_from_slice(&(path.len() as u16).to_be_bytes());
        record.extend_from_slice(path.as_bytes());
        record.resize(record.len().next_multiple_of(2), 0);
    }
    record.extend_from_slice(&[0xff, 0xff, 0, 0]);
    record
}

/// The AVI with a text stream whose one packet is `body`: its header behind the others, its data first in `movi`.
fn subtitle_avi(avi: &[u8], body: &[u8]) -> Vec<u8> {
    let at = |name: &[u8]| avi.windows(name.len()).position(|w| w == name).unwrap();
    let mut header = b"txts".to_vec();
    header.resize(56, 0);
    header[20..24].copy_from_slice(&1u32.to_le_bytes());
    header[24..28].copy_from_slice(&1u32.to_le_bytes());
    let stream = riff(b"LIST", &[b"strl", &riff(b"strh", &header)[..], &riff(b"strf", &[])].concat());
    let (hdrl, movi) = (at(b"hdrl") - 8, at(b"movi") - 8);
    let size = |at: usize| u32::from_le_bytes([avi[at + 4], avi[at + 5], avi[at + 6], avi[at + 7]]) as usize;
    let head = [&avi[hdrl + 8..hdrl + 8 + size(hdrl)], &stream].concat();
    let packet = riff(b"02tx", body);
    let data = [b"movi", &packet[..], &avi[movi + 12..movi + 8 + size(movi)]].concat();
    riff(b"RIFF", &[b"AVI ", &riff(b"LIST", &head)[..], &riff(b"LIST", &data)].concat())
}

fn riff(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut all = [&kind[..], &(body.len() as u32).to_le_bytes(), body].concat();
    all.resize(all.len().next_multiple_of(2), 0);
    all
}

/// A PICTURE block whose type says that its data is an address (RFC 9639 section 8.8).
fn flac(flac: &[u8], target: &str) -> Vec<u8> {
    let word = |n: usize| (n as u32).to_be_bytes();
    let mut block = [&word(3)[..], &word(3), b"-->", &word(0), &[0; 16], &word(target.len())].concat();
    block.extend_from_slice(target.as_bytes());
    [&flac[..42], &[6], &word(block.len())[1..], &block, &flac[42..]].concat()
}

/// NextFilename and NextUUID in the segment's info (RFC 9559), as an element of unknown size before the others.
fn matroska(mkv: &[u8], target: &str) -> Vec<u8> {
    let at = mkv.windows(4).position(|w| w == b"\x15\x49\xa9\x66").unwrap();
    let name = [&b"\x3e\x83\xbb"[..], &[0x40, target.len() as u8], target.as_bytes()].concat();
    let next = [&b"\x3e\xb9\x23\x90"[..], &[7; 16], &name].concat();
    let info = [&b"\x15\x49\xa9\x66"[..], &[0x40 | (next.len() >> 8) as u8, next.len() as u8], &next].concat();
    // The segment's size grows: its length field is set to "unknown".
    let mut head = mkv[..at].to_vec();
    if let Some(segment) = head.windows(4).position(|w| w == b"\x18\x53\x80\x67") {
        head[segment + 4..segment + 12].copy_from_slice(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }
    [head, info, mkv[at..].to_vec()].concat()
}
