//! Plays the parent against a local file: probes it, plans chunks at its keyframes, encodes everything and writes
//! playable HLS. For looking at what a decoder makes of a file; it is not jailed.
//!
//! `cargo run -p reelfleet-decoder --example run -- film.mp4 /tmp/out [chunk seconds]`

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

#[path = "../tests/media/parent.rs"]
mod parent;

use std::fs;
use std::path::{Path, PathBuf};

use parent::Answer;
use reelfleet_wire::{MediaKind, Request};

fn main() {
    let mut args = std::env::args().skip(1);
    let path = PathBuf::from(args.next().expect("a file"));
    let dir = PathBuf::from(args.next().expect("a folder to write to"));
    let chunk_us = args.next().map_or(12.0, |s| s.parse::<f64>().unwrap()) * 1e6;

    let report = parent::probe(&path).unwrap_or_else(|(code, detail)| {
        eprintln!("refused: {code}: {detail}");
        std::process::exit(1);
    });
    println!("{}", serde_json::to_string_pretty(&report).unwrap());
    if report.kind == MediaKind::Image {
        return;
    }
    let mut answers = Vec::new();
    if report.video.is_some() {
        let index = parent::index(&path);
        println!(
            "index: seekable {}, {} keyframes, packets {:?}, reorder {} us, last {:?} us",
            index.seekable,
            index.keyframes_us.len(),
            index.packets,
            index.reorder_us,
            index.last_us
        );
        let mut borders = vec![0];
        if index.seekable {
            for key in index.keyframes_us {
                if (key - borders[borders.len() - 1]) as f64 >= chunk_us {
                    borders.push(key);
                }
            }
        }
        for (i, start) in borders.iter().enumerate() {
            let mut request = parent::encode(&path, &report, &[720, 480, 240]);
            request.start_us = *start;
            request.end_us = borders.get(i + 1).copied();
            request.sequential = !index.seekable;
            let answer = parent::ask(&path, &Request::Encode(request));
            if let Err((code, detail)) = answer.failed() {
                eprintln!("chunk {i}: {code}: {detail}");
                std::process::exit(1);
            }
            println!("chunk {i} from {start}: {:?}, {} bytes read", answer.done(), answer.fetched);
            for run in answer.runs() {
                println!("  {run:?}");
            }
            answers.push(answer);
        }
    }
    if report.audio.is_some() {
        let answer = parent::ask(&path, &Request::Audio(parent::audio(&path, &report)));
        if let Err((code, detail)) = answer.failed() {
            eprintln!("audio: {code}: {detail}");
            std::process::exit(1);
        }
        println!("audio: {:?}, {} bytes read", answer.done(), answer.fetched);
        answers.push(answer);
    }
    write_hls(&answers.iter().collect::<Vec<_>>(), &dir);
}

/// Writes init, segments and playlist of every rendition into a folder.
fn write_hls(answers: &[&Answer], dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let mut names: Vec<String> = answers.iter().flat_map(|a| a.renditions()).collect();
    names.sort();
    names.dedup();
    let mut master = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let has_audio = names.iter().any(|n| n == "audio");
    if has_audio {
        master.push_str("#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"audio\",DEFAULT=YES,URI=\"audio.m3u8\"\n");
    }
    for name in &names {
        let init = answers.iter().find_map(|a| a.init(name)).unwrap();
        fs::write(dir.join(format!("{name}-init.mp4")), init).unwrap();
        let mut list = String::new();
        let (mut number, mut longest) = (0, 1);
        for (info, body) in answers.iter().flat_map(|a| a.segments(name)) {
            fs::write(dir.join(format!("{name}-{number:04}.m4s")), body).unwrap();
            let seconds = info.duration as f64 / f64::from(info.timescale);
            longest = longest.max(seconds.ceil() as u64);
            list.push_str(&format!("#EXTINF:{seconds:.6},\n{name}-{number:04}.m4s\n"));
            number += 1;
        }
        fs::write(
            dir.join(format!("{name}.m3u8")),
            format!(
                "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{longest}\n#EXT-X-PLAYLIST-TYPE:VOD\n\
                 #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"{name}-init.mp4\"\n{list}#EXT-X-ENDLIST\n"
            ),
        )
        .unwrap();
        if name != "audio" {
            let group = if has_audio { ",AUDIO=\"a\"" } else { "" };
            master.push_str(&format!("#EXT-X-STREAM-INF:BANDWIDTH=2000000{group}\n{name}.m3u8\n"));
        }
    }
    fs::write(dir.join("master.m3u8"), master).unwrap();
}
