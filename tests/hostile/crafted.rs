//! Files made to hurt: bombs of pixels, frames, samples, streams, nesting and fragments, lies of length, polyglots.

use std::path::Path;

use super::Case;
use super::bases::{self, Base, named};

/// All of them.
pub fn all(bases: &[Base], folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| cases.push(Case { name: name.to_owned(), bytes });
    pictures(bases, folder, &mut add);
    films(bases, folder, &mut add);
    tables(bases, &mut add);
    sounds(bases, &mut add);
    streams(bases, &mut add);
    polyglots(bases, &mut add);
    for base in bases {
        add(&format!("a beginning of {}", base.name), base.bytes[..base.bytes.len().min(40)].to_vec());
        add(&format!("half of {}", base.name), base.bytes[..base.bytes.len() / 2].to_vec());
    }
    for (name, byte) in [("zeros", 0u8), ("ones", 0xff), ("sync bytes", 0x47), ("spaces", b' ')] {
        add(name, vec![byte; 1 << 20]);
    }
    add("one byte", vec![0]);
    cases
}

type Add<'a> = &'a mut dyn FnMut(&str, Vec<u8>);

fn pictures(bases: &[Base], folder: &Path, add: Add<'_>) {
    // As many pixels as are taken, all black: a few kilobytes each.
    for name in ["bomb.png", "bomb.jpg", "bomb.gif", "bomb.webp"] {
        let codec = if name == "bomb.webp" { "-c:v libwebp -lossless 1" } else { "" };
        let source = format!("-f lavfi -i color=black:s=8000x4400 -frames:v 1 -update 1 {codec}");
        add(name, bases::made(folder, name, &source));
    }
    for (w, h) in
        [(65_535u32, 65_535u32), (0x7fff_ffff, 1), (1, 35_000_000), (8192, 4352), (0, 5), (0xffff_ffff, 0xffff_ffff)]
    {
        add(&format!("png of {w} × {h}"), png(w, h, &[0x78, 0x9c, 0x63, 0, 0, 0, 1, 0, 1]));
    }
    let endless = [png(16, 16, &[0x78, 0x9c]), chunk(b"zTXt", &[0; 65_000]).repeat(40)].concat();
    add("png of many texts", endless);
    let frame = b"\x21\xf9\x04\0\x01\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
    for (name, w, h, frames) in [
        ("many frames", 1u16, 1u16, 40_000),
        ("a wide screen", 65_535, 65_535, 1),
        ("a large screen", 5_900, 6_000, 300),
    ] {
        let screen = [&w.to_le_bytes()[..], &h.to_le_bytes()].concat();
        let head = [&b"GIF89a"[..], &screen, b"\x80\0\0\0\0\0\xff\xff\xff"].concat();
        add(&format!("gif of {name}"), [head, frame.repeat(frames), b";".to_vec()].concat());
    }
    for (name, size) in
        [("16384 × 16384", [0xff, 0x3f, 0, 0xff, 0x3f, 0]), ("16777216 × 2", [0xff, 0xff, 0xff, 1, 0, 0])]
    {
        let mut webp = named(bases, "moving.webp").to_vec();
        webp[24..30].copy_from_slice(&size);
        add(&format!("webp of {name}"), webp);
    }
    let moving = named(bases, "moving.webp");
    if let Some(at) = find(moving, b"ANMF") {
        add("webp of many frames", [&moving[..at], &moving[at..].repeat(400)].concat());
    }
    let still = named(bases, "still.jpg");
    let comment = [&[0xff, 0xfe, 0xff, 0xff][..], &[b'x'; 65_533]].concat();
    add("jpeg of many markers", [&still[..2], &comment.repeat(70), &still[2..]].concat());
    add("jpeg of fill bytes", [&still[..2], &vec![0xff; 2 << 20], &still[2..]].concat());
    if let Some(at) = find(still, &[0xff, 0xc0]) {
        let mut large = still.to_vec();
        large[at + 5..at + 9].copy_from_slice(&[0xff, 0xff, 0x02, 0x20]);
        add("jpeg of 65535 × 544 with the data of less", large);
    }
}

fn films(bases: &[Base], folder: &Path, add: Add<'_>) {
    let large = "-f lavfi -i color=black:s=8192x4352:r=5 -frames:v 3 -c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    add("8K film", bases::made(folder, "large.mp4", large));
    let thin = "-f lavfi -i color=black:s=8192x16:r=5 -frames:v 3 -c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    add("thin film", bases::made(folder, "thin.mp4", thin));
    let thin = "-f lavfi -i color=black:s=16x16380:r=5 -frames:v 3 -c:v ffv1 -f matroska";
    add("tall film", bases::made(folder, "tall.mkv", thin));
    let odd = "-f lavfi -i testsrc2=s=160x90:r=12 -frames:v 9 -vf setsar=20000/1 -c:v libx264 -preset ultrafast";
    add("pixels 20000 times as wide as high", bases::made(folder, "sar.mkv", odd));
    let still = "-f lavfi -i color=black:s=64x64:r=240:d=20 -c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    add("many small frames", bases::made(folder, "fast-frames.mp4", still));
    let fragments = named(bases, "fragments.mp4");
    if let Some(at) = find(fragments, b"moof").map(|at| at - 4) {
        let tail = &fragments[at..];
        add("endless fragments", [&fragments[..at], &tail.repeat((4 << 20) / tail.len())].concat());
        let empty = boxed(b"moof", &boxed(b"mfhd", &[0; 8]));
        add("endless empty fragments", [&fragments[..at], &empty.repeat(150_000)].concat());
    }
    let last = named(bases, "last.mp4");
    let trak = boxes(&inside(last, b"moov")).into_iter().find(|(kind, _)| kind == b"trak").map(|(_, body)| body);
    let trak = boxed(b"trak", &trak.unwrap());
    for tracks in [33, 900] {
        let more = edit(last, &[b"moov"], &|body| body.extend_from_slice(&trak.repeat(tracks)));
        add(&format!("{tracks} tracks"), more);
    }
    for depth in [100, 10_000, 200_000] {
        let mut nest = Vec::new();
        for level in (1..=depth).rev() {
            nest.extend_from_slice(&(level * 8u32).to_be_bytes());
            nest.extend_from_slice(b"moov");
        }
        add(&format!("{depth} nested atoms"), [&last[..32], &nest].concat());
    }
    let ids = [
        &b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"[..],
        &b"\x1f\x43\xb6\x75\x01\xff\xff\xff\xff\xff\xff\xff".repeat(50_000),
    ]
    .concat();
    add("nested clusters", ids);
    let mkv = named(bases, "clip.mkv");
    if let Some(at) = find(mkv, b"\x1f\x43\xb6\x75") {
        add("endless clusters", [&mkv[..at], &mkv[at..].repeat((4 << 20) / (mkv.len() - at))].concat());
    }
    let ts = named(bases, "clip.ts");
    add("a stream that begins again and again", ts.repeat((4 << 20) / ts.len()));
}

/// Tables of MP4 that promise more than there is.
fn tables(bases: &[Base], add: Add<'_>) {
    const STBL: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];
    let last = named(bases, "last.mp4");
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
    let many = [0u32, 1].into_iter().chain([0x00ff_ffff, 0]).collect::<Vec<_>>();
    let lies: [(&str, &[u8; 4], Vec<u8>); 12] = [
        ("samples of no length", b"stts", words(&many)),
        ("2147483647 samples in a row", b"stts", words(&[0, 1, 0x7fff_ffff, 1])),
        ("samples of negative length", b"stts", words(&[0, 2, 5, 0xffff_0000, 5, 0x7fff_ffff])),
        ("one size for 4294967295 samples", b"stsz", words(&[0, 1, 0xffff_ffff])),
        ("one size of nothing for many samples", b"stsz", words(&[0, 0, 0x0fff_ffff])),
        ("samples of 2 GiB", b"stsz", words(&[0, 0x7fff_ffff, 20])),
        ("4294967295 chunks", b"stco", words(&[0, 0xffff_ffff, 40])),
        ("chunks at the end of all things", b"stco", words(&[0, 3, 0xffff_ffff, 0xffff_fff0, 0])),
        ("chunks of 4294967295 samples", b"stsc", words(&[0, 1, 1, 0xffff_ffff, 1])),
        ("chunks that go backwards", b"stsc", words(&[0, 3, 9, 1, 1, 3, 1, 1, 1, 1, 1])),
        ("offsets of 2147483647", b"ctts", words(&[0, 2, 3, 0x7fff_ffff, 9, 0x8000_0000])),
        ("4294967295 key samples", b"stss", words(&[0, 0xffff_ffff, 1])),
    ];
    for (name, table, body) in lies {
        let path: Vec<&[u8; 4]> = STBL.into_iter().chain([table]).collect();
        add(name, edit(last, &path, &|old| old.clone_from(&body)));
    }
    for (name, at, bytes) in [
        ("a media timescale of 0", 12usize, vec![0u8; 4]),
        ("a media timescale of 1", 12, vec![0, 0, 0, 1]),
        ("a media timescale of 2147483647", 12, vec![0x7f, 0xff, 0xff, 0xff]),
        ("a media of 136 years", 16, vec![0xff, 0xff, 0xff, 0xfe]),
    ] {
        let path: [&[u8; 4]; 4] = [b"moov", b"trak", b"mdia", b"mdhd"];
        add(name, edit(last, &path, &|old| old[at..at + bytes.len()].copy_from_slice(&bytes)));
    }
    let edits = [&0u32.to_be_bytes()[..], &50_000u32.to_be_bytes(), &words(&[1, 0, 0x1_0000]).repeat(50_000)].concat();
    add("50000 edits", edit(last, &[b"moov", b"trak", b"edts", b"elst"], &|old| old.clone_from(&edits)));
    let far = words(&[0, 2, 0x7fff_ffff, 0xffff_ffff, 0x1_0000, 5, 0x7fff_fff0, 0]);
    add("edits beyond the media", edit(last, &[b"moov", b"trak", b"edts", b"elst"], &|old| old.clone_from(&far)));
    let fragments = named(bases, "fragments.mp4");
    let run = [&words(&[0x0000_0301, 0x00ff_ffff, 8])[..], &[0; 64]].concat();
    add("a fragment of 16777215 samples", edit(fragments, &[b"moof", b"traf", b"trun"], &|old| old.clone_from(&run)));
    let run = words(&[0, 0xffff_ffff]);
    add(
        "a fragment of samples that take no bytes",
        edit(fragments, &[b"moof", b"traf", b"trun"], &|old| old.clone_from(&run)),
    );
    add(
        "a fragment at the end of time",
        edit(fragments, &[b"moof", b"traf", b"tfdt"], &|old| {
            *old = [&[1, 0, 0, 0][..], &(i64::MAX as u64 - 5).to_be_bytes()].concat();
        }),
    );
}

fn sounds(bases: &[Base], add: Add<'_>) {
    let wav = named(bases, "song.wav");
    for (name, at, bytes) in [
        ("4294967295 bytes", 40usize, &[0xffu8; 4][..]),
        ("65535 channels", 22, &[0xff; 2]),
        ("no channels", 22, &[0; 2]),
        ("4294967295 Hz", 24, &[0xff; 4]),
        ("1 Hz", 24, &[1, 0, 0, 0]),
        ("blocks of nothing", 32, &[0; 2]),
    ] {
        let mut lying = wav.to_vec();
        if let Some(field) = lying.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
        add(&format!("wav of {name}"), lying);
    }
    let mp3 = named(bases, "song.mp3");
    add("mp3 behind a tag of 256 MiB", [&b"ID3\x04\0\0\x7f\x7f\x7f\x7f"[..], mp3].concat());
    add("mp3 of many tags", [&b"ID3\x04\0\0\0\0\0\0".repeat(100_000)[..], mp3].concat());
    let flac = named(bases, "song.flac");
    add("flac of many blocks", [&b"fLaC"[..], &b"\x04\0\0\0".repeat(200_000), &flac[4..]].concat());
    add("flac with a picture of 16 MiB that is not there", [&flac[..42], b"\x06\xff\xff\xff", &flac[42..]].concat());
    let ogg = named(bases, "song.ogg");
    let mut many = Vec::new();
    for serial in 0..800u32 {
        let mut page = ogg[..ogg.len().min(58)].to_vec();
        page[14..18].copy_from_slice(&serial.to_le_bytes());
        many.extend_from_slice(&page);
    }
    add("ogg of many streams", many);
    add("ogg chained many times", ogg.repeat((3 << 20) / ogg.len()));
}

fn streams(bases: &[Base], add: Add<'_>) {
    // A program map with streams without end, and packets for none of them.
    let mut ts = Vec::new();
    for pid in 0..8000u16 {
        let mut packet = vec![0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10, 0];
        packet.extend_from_slice(&[0x02, 0xb0, 0xb3, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0]);
        for stream in 0..33u16 {
            let id = 0x100 + (pid % 200 * 33 + stream) % 0x1e00;
            packet.extend_from_slice(&[0x1b, 0xe0 | (id >> 8) as u8, id as u8, 0xf0, 0]);
        }
        packet.resize(188, 0xff);
        ts.extend_from_slice(&packet);
    }
    add("ts of many programs", ts);
    let ps = named(bases, "clip.mpg");
    let stream = |id: u8| [&[0, 0, 1, id, 0, 20, 0x80, 0, 0][..], &[0x55; 17]].concat();
    let all: Vec<u8> = (0xbd..=0xff).flat_map(stream).collect();
    add("ps of all streams", [&ps[..ps.len().min(2048)], &all.repeat(300)].concat());
    let flv = named(bases, "clip.flv");
    add(
        "flv with a script of 16 MiB",
        [&flv[..13], b"\x12\xff\xff\xff\0\0\0\0\0\0\0\x02\0\x0aonMetaData\x08\xff\xff\xff\xff"].concat(),
    );
    let nest =
        [&flv[..13], &b"\x12\x0f\xff\xff\0\0\0\0\0\0\0\x02\0\x0aonMetaData"[..], &b"\x03\0\x01a".repeat(200_000)]
            .concat();
    add("flv of nested objects", nest);
    let avi = named(bases, "clip.avi");
    if let Some(at) = find(avi, b"strl").map(|at| at - 8) {
        let list = &avi[at..(at + 200).min(avi.len())];
        add("avi of many streams", [&avi[..at], &list.repeat(2000), &avi[at..]].concat());
    }
    if let Some(at) = find(avi, b"idx1") {
        let index = b"00dc\x10\0\0\0\xff\xff\xff\x7f\xff\xff\xff\x7f".repeat(100_000);
        add("avi with an index to nowhere", [&avi[..at + 4], &(index.len() as u32).to_le_bytes(), &index].concat());
    }
}

fn polyglots(bases: &[Base], add: Add<'_>) {
    let (jpeg, mp4) = (named(bases, "still.jpg"), named(bases, "last.mp4"));
    let zip = b"PK\x03\x04\x0a\0\0\0\0\0\0\0!\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0aPK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let html = b"<!doctype html><script>alert(document.domain)</script><iframe src=file:///etc/passwd></iframe>";
    add("jpeg and zip", [jpeg, zip].concat());
    add("mp4 and html", [mp4, html].concat());
    add("html and mp4", [html, mp4].concat());
    add("mp4 with html in a free box", [&boxed(b"free", html)[..], mp4].concat());
    add("jpeg and mp4", [jpeg, mp4].concat());
    add("mp4 and jpeg", [mp4, jpeg].concat());
    add("pdf and mp4", [b"%PDF-1.7\n", mp4].concat());
    let script = b"#!/bin/sh\ncat /etc/passwd\n";
    add("script and mp3", [script, named(bases, "song.mp3")].concat());
    add("script and ts", [&script[..], named(bases, "clip.ts")].concat());
    add("svg", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>".to_vec());
    add("ps by name", b"%!PS\n(/etc/passwd) (r) file\n".to_vec());
    add("mvg", b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1:9/x.jpg'\npop graphic-context".to_vec());
}

/// A PNG with this size in its header and this data.
fn png(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", data), &chunk(b"IEND", &[])].concat()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in kind.iter().chain(data) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    [&(data.len() as u32).to_be_bytes()[..], kind, data, &(!crc).to_be_bytes()].concat()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A box of ISO/IEC 14496-12.
pub fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
}

fn boxes(bytes: &[u8]) -> Vec<([u8; 4], Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let [a, b, c, d, k0, k1, k2, k3, ..] = *rest {
        let size = (u32::from_be_bytes([a, b, c, d]) as usize).clamp(8, rest.len());
        found.push(([k0, k1, k2, k3], rest[8..size].to_vec()));
        rest = &rest[size..];
    }
    found
}

fn inside(bytes: &[u8], kind: &[u8; 4]) -> Vec<u8> {
    boxes(bytes).into_iter().find(|(k, _)| k == kind).map(|(_, body)| body).unwrap_or_default()
}

/// The file with the body of the first box on a path changed and all sizes right.
pub fn edit(bytes: &[u8], path: &[&[u8; 4]], change: &dyn Fn(&mut Vec<u8>)) -> Vec<u8> {
    let Some((first, rest)) = path.split_first() else {
        let mut body = bytes.to_vec();
        change(&mut body);
        return body;
    };
    let mut done = false;
    let mut out = Vec::new();
    for (kind, body) in boxes(bytes) {
        let hit = !done && &kind == *first;
        done |= hit;
        out.extend_from_slice(&boxed(&kind, &if hit { edit(&body, rest, change) } else { body }));
    }
    out
}
