//! What pictures look like: size, shape, orientation, colour.

use reelfleet_wire::Request;

use crate::files::{self, difference, make, picture, stream_entry};
use crate::parent;

/// Encodes all of a file in one rung of about this height, and joins it.
fn encoded(path: &std::path::Path, height: u32) -> std::path::PathBuf {
    let report = parent::probe(path).unwrap();
    let request = parent::encode(path, &report, &[height]);
    let name = request.rungs[0].name.clone();
    let answer = parent::ask(path, &Request::Encode(request));
    answer.failed().unwrap();
    let to = files::path(&format!("{}.out.mp4", path.file_name().unwrap().display()));
    assert!(parent::write_joined(&[&answer], &name, &to));
    to
}

#[test]
fn rotation_is_applied() {
    let upright = make("upright.mp4", "-f lavfi -i testsrc2=s=320x180:r=24:d=1 -c:v libx264 -preset veryfast -crf 18");
    for degrees in [90, 180, 270] {
        let path = make(
            &format!("turned{degrees}.mp4"),
            &format!("-i {} -c copy -metadata:s:v rotate={degrees}", upright.display()),
        );
        let video = parent::probe(&path).unwrap().video.unwrap();
        let (w, h) = if degrees == 180 { (320, 180) } else { (180, 320) };
        assert_eq!((video.display_width, video.display_height), (w, h));
        let ours = encoded(&path, h);
        assert_eq!(stream_entry(&ours, "width,height"), format!("{w},{h}"));
        // The command line turns by the display matrix as well.
        let apart = difference(&picture(&ours, 5, w, h), &picture(&path, 5, w, h));
        assert!(apart < 8.0, "{degrees}: {apart}");
    }
}

#[test]
fn odd_sizes_and_full_chroma_become_even_and_420() {
    let path =
        make("odd.mp4", "-f lavfi -i testsrc2=s=319x179:r=24:d=1 -pix_fmt yuv444p -c:v libx264 -preset veryfast");
    let ours = encoded(&path, 179);
    assert_eq!(stream_entry(&ours, "width,height,pix_fmt"), "318,178,yuv420p");
}

#[test]
fn pixels_become_square() {
    let path =
        make("sar.mp4", "-f lavfi -i testsrc2=s=360x288:r=25:d=1 -vf setsar=16/11 -c:v libx264 -preset veryfast");
    let video = parent::probe(&path).unwrap().video.unwrap();
    assert_eq!((video.display_width, video.display_height), (524, 288));
    let ours = encoded(&path, 288);
    assert_eq!(stream_entry(&ours, "width,height,sample_aspect_ratio"), "524,288,1:1");
}

#[test]
fn hdr_becomes_bt709() {
    let path = make(
        "hdr.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=24:d=1 -pix_fmt yuv420p10le -color_primaries bt2020 -color_trc smpte2084 \
         -colorspace bt2020nc -c:v libx265 -preset ultrafast -x265-params \
         log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc",
    );
    let video = parent::probe(&path).unwrap().video.unwrap();
    assert!(video.hdr);
    assert_eq!(video.bit_depth, 10);
    let ours = encoded(&path, 180);
    assert_eq!(
        stream_entry(&ours, "pix_fmt,color_range,color_space,color_transfer,color_primaries"),
        "yuv420p,tv,bt709,bt709,bt709"
    );
    let rgb = picture(&ours, 5, 32, 18);
    let mean = rgb.iter().map(|v| f64::from(*v)).sum::<f64>() / rgb.len() as f64;
    assert!((40.0..220.0).contains(&mean), "{mean}");
}

#[test]
fn full_range_becomes_limited_and_looks_the_same() {
    let path = make(
        "full.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=24:d=1 -pix_fmt yuvj420p -color_range pc -c:v libx264 -preset veryfast -crf 18",
    );
    let ours = encoded(&path, 180);
    assert_eq!(stream_entry(&ours, "color_range"), "tv");
    let apart = difference(&picture(&ours, 5, 320, 180), &picture(&path, 5, 320, 180));
    assert!(apart < 6.0, "{apart}");
}

#[test]
fn the_picture_may_change_its_size_in_the_middle() {
    let a = make("size-a.ts", "-f lavfi -i testsrc2=s=320x180:r=24:d=1 -c:v libx264 -preset veryfast");
    let b =
        make("size-b.ts", "-f lavfi -i testsrc2=s=160x90:r=24:d=1 -c:v libx264 -preset veryfast -output_ts_offset 1");
    let path = files::path("sizes.ts");
    let mut bytes = std::fs::read(a).unwrap();
    bytes.extend(std::fs::read(b).unwrap());
    std::fs::write(&path, bytes).unwrap();
    let ours = encoded(&path, 180);
    assert_eq!(files::times(&ours).len(), 48);
}
