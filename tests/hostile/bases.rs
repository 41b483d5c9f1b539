//! Small real files, one or more of each container that is taken, made once by the `ffmpeg` command line.

use std::path::Path;
use std::process::Command;

/// A file that is what it says.
pub struct Base {
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

const PICTURES: &str = "-f lavfi -i testsrc2=s=160x90:r=12:d=1.5";
const SOUND: &str = "-f lavfi -i sine=d=1.5";
const X264: &str = "-c:v libx264 -preset ultrafast -g 6 -pix_fmt yuv420p";

/// (Name, sources, encoders and muxer options). `P` and `S` stand for pictures and sound, `X` for x264.
const RECIPES: &[(&str, &str)] = &[
    ("last.mp4", "P S X -bf 2 -c:a aac -b:a 48k"),
    ("first.mp4", "P S X -c:a aac -b:a 48k -movflags +faststart"),
    ("fragments.mp4", "P S X -c:a aac -b:a 48k -movflags +frag_keyframe+empty_moov+default_base_moof"),
    ("hevc.mp4", "P -c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p"),
    ("clip.mov", "P S X -c:a pcm_s16le -f mov"),
    ("prores.mov", "P -c:v prores_ks -f mov"),
    ("song.m4a", "S -c:a alac"),
    ("clip.mkv", "P S X -c:a libvorbis -strict -2"),
    ("ffv1.mkv", "P S -c:v ffv1 -c:a flac"),
    ("clip.webm", "P S -c:v libvpx -b:v 200k -deadline realtime -c:a libopus"),
    ("vp9.webm", "P -c:v libvpx-vp9 -b:v 200k -deadline realtime -cpu-used 8"),
    ("clip.ts", "P S X -c:a aac"),
    ("mpeg2.ts", "P S -r 25 -c:v mpeg2video -c:a mp2"),
    ("clip.mpg", "P S -r 25 -c:v mpeg2video -c:a mp2 -f mpeg"),
    ("clip.avi", "P S -c:v mpeg4 -bf 2 -c:a libmp3lame"),
    ("mjpeg.avi", "P S -c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le"),
    ("clip.flv", "P S -ar 44100 -c:v flv -c:a libmp3lame"),
    ("clip.asf", "P S -c:v wmv2 -c:a wmav2"),
    ("clip.ogv", "P S -c:v libtheora -c:a libvorbis"),
    ("song.ogg", "S -c:a libvorbis"),
    ("song.opus", "S -c:a libopus"),
    ("song.mp3", "S -c:a libmp3lame -metadata title=song"),
    ("song.flac", "S -c:a flac"),
    ("song.wav", "S -c:a pcm_s16le"),
    ("adpcm.wav", "S -c:a adpcm_ms"),
    ("song.aac", "S -c:a aac"),
    ("still.jpg", "P -frames:v 1 -f image2 -c:v mjpeg -pix_fmt yuvj420p"),
    ("still.png", "P -frames:v 1 -f image2 -c:v png"),
    ("sixteen.png", "P -frames:v 1 -f image2 -c:v png -pix_fmt rgba64be"),
    ("still.gif", "P -t 0.5"),
    ("still.webp", "P -frames:v 1 -c:v libwebp"),
    ("exact.webp", "P -frames:v 1 -c:v libwebp -lossless 1"),
    ("moving.webp", "P -t 0.5 -c:v libwebp_anim"),
    (
        "locked.mp4",
        "P X -encryption_scheme cenc-aes-ctr -encryption_key 00112233445566778899aabbccddeeff \
         -encryption_kid 00112233445566778899aabbccddeeff",
    ),
];

/// Makes what is missing and reads them all.
pub fn make(folder: &Path) -> Vec<Base> {
    std::fs::create_dir_all(folder).unwrap();
    RECIPES.iter().map(|(name, recipe)| Base { name, bytes: made(folder, name, recipe) }).collect()
}

/// The bytes of one file, made by a recipe unless it is there.
pub fn made(folder: &Path, name: &str, recipe: &str) -> Vec<u8> {
    let path = folder.join(name);
    if !path.exists() {
        write(&path, recipe);
    }
    std::fs::read(path).unwrap()
}

/// By way of another name, so that a test beside this one never reads half a file.
fn write(path: &Path, recipe: &str) {
    let part = path.with_file_name(format!("{}.{}", std::process::id(), path.file_name().unwrap().to_string_lossy()));
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
    for word in recipe.split_whitespace() {
        let words = match word {
            "P" => PICTURES,
            "S" => SOUND,
            "X" => X264,
            other => other,
        };
        command.args(words.split(' '));
    }
    let made = command.arg(&part).output().unwrap();
    assert!(made.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&made.stderr));
    std::fs::rename(part, path).unwrap();
}

/// The base of this name.
pub fn named<'b>(bases: &'b [Base], name: &str) -> &'b [u8] {
    &bases.iter().find(|base| base.name == name).unwrap_or_else(|| panic!("no base {name}")).bytes
}
