//! Files that name another file or address: nothing is opened, with no jail around to refuse it.

use std::fs;
use std::net::TcpListener;

use reelfleet_wire::{FailCode, MediaLimits, PictureFormat, PicturesRequest, Request};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

use crate::corpus::{bases, references};
use crate::files::{self, remuxed};
use crate::parent;

#[test]
fn what_a_source_names_is_never_opened() {
    // Something worth reading, so that success would show; and somebody who would answer.
    let victim = remuxed("worth-reading.ts", "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}/x.ts", listener.local_addr().unwrap());
    let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    add_watch(&watch, &victim, WatchFlags::OPEN | WatchFlags::ACCESS).unwrap();

    let bases = bases::make(&files::path("bases"));
    let cases = references::all(&bases, victim.to_str().unwrap(), &address);
    let (mut refused, mut played) = (0, 0);
    for (number, case) in cases.iter().enumerate() {
        // Named as what is taken.
        for ending in ["mp4", "jpg"] {
            let path = files::path(&format!("reference-{number}.{ending}"));
            fs::write(&path, &case.bytes).unwrap();
            match parent::probe(&path) {
                Err((code, detail)) => {
                    refused += 1;
                    assert_ne!(code, FailCode::Internal, "{}: {detail}", case.name);
                }
                Ok(report) => {
                    played += 1;
                    if let Some(video) = &report.video {
                        let _ = parent::ask(&path, &Request::Encode(parent::encode(&path, &report, &[90])));
                        let pictures = PicturesRequest {
                            size: parent::size(&path),
                            limits: MediaLimits::default(),
                            t0_us: report.start_us,
                            video_stream: video.index,
                            rotation: 0,
                            flipped: false,
                            sequential: false,
                            tone_map: false,
                            duration_ms: report.duration_ms,
                            poster_widths: vec![320],
                            formats: vec![PictureFormat::Jpeg],
                            storyboard: None,
                        };
                        let _ = parent::ask(&path, &Request::Pictures(pictures));
                    }
                    if report.audio.is_some() {
                        let _ = parent::ask(&path, &Request::Audio(parent::audio(&path, &report)));
                    }
                }
            }
            let opened = rustix::io::read(&watch, &mut [0u8; 4096]);
            assert_eq!(opened, Err(rustix::io::Errno::AGAIN), "{} opened the file that it names", case.name);
            let called = listener.accept().map(drop).map_err(|e| e.kind());
            assert_eq!(called, Err(std::io::ErrorKind::WouldBlock), "{} called the address that it names", case.name);
        }
    }
    println!("{} files with references: {refused} refused, {played} played without what they name", cases.len());
    assert!(refused > 100 && played > 20, "{refused} refused, {played} played");
    // The watch does see an opening.
    drop(fs::read(&victim).unwrap());
    assert!(rustix::io::read(&watch, &mut [0u8; 4096]).is_ok());
}
