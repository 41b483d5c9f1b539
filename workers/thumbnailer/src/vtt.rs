//! The storyboard's cues as WebVTT: the form that players read, `sprite#xywh=…` (Media Fragments URI 1.0, 4.2.2).

use std::fmt::Write as _;

use reelfleet_media::wire::Cue;

/// The name of a sprite, without its ending.
pub(crate) fn sprite(index: u32) -> String {
    format!("storyboard-{index}")
}

/// The file's text.
pub(crate) fn render(cues: &[Cue]) -> String {
    let mut text = String::from("WEBVTT\n");
    for cue in cues {
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "\n{} --> {}\n{}.webp#xywh={},{},{},{}\n",
            time(cue.start_us),
            time(cue.end_us),
            sprite(cue.sprite),
            cue.x,
            cue.y,
            cue.w,
            cue.h
        );
    }
    text
}

fn time(us: i64) -> String {
    let ms = us.max(0) / 1000;
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_name_their_place_in_the_sprite() {
        let cue = Cue { start_us: 3_723_004_000, end_us: 3_724_000_000, sprite: 0, x: 160, y: 90, w: 160, h: 90 };
        assert_eq!(render(&[cue]), "WEBVTT\n\n01:02:03.004 --> 01:02:04.000\nstoryboard-0.webp#xywh=160,90,160,90\n");
    }
}
