//! Whether a result is exactly its source: the same pictures at the same times, the same sound, nothing else.
//!
//! Guarantee: the judge is the `ffmpeg` command line and our own reader of boxes; nothing of the fleet's own words is
//! believed. Every problem is told, not only the first.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::clients::Clients;
use crate::hls::{self, Master, Track};
use crate::pattern::{self, Shown};
use crate::{ffmpeg, text};

/// Times may differ by this much: clocks of containers are rounded to milliseconds (seconds).
const TIME: f64 = 0.002;
/// Picture and sound may part by this much more than in the source (seconds).
const LIP_SYNC: f64 = 0.020;
/// One AAC frame at 48 kHz (seconds).
const AAC_FRAME: f64 = 1024.0 / 48_000.0;
/// Options of `ffmpeg` that let it read a playlist whose segments end in `.m4s`.
const PLAYLIST: [&str; 3] = ["-copyts", "-allowed_extensions", "ALL"];

/// What a source is to become.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The source.
    pub source: PathBuf,
    /// Size of the largest rendition; `None` for sound alone.
    pub size: Option<(u32, u32)>,
    /// Whether there is sound.
    pub sound: bool,
    /// Whether the source's waveform is to be found again (not for sources that several channels are mixed of).
    pub waveform: bool,
    /// Whether every rendition is read back picture by picture, or the smallest alone (for the longest sources).
    pub every: bool,
}

impl Wanted {
    /// Of pictures with sound.
    pub fn new(source: &Path, size: (u32, u32)) -> Self {
        Self { source: source.to_owned(), size: Some(size), sound: true, waveform: true, every: true }
    }

    /// Without sound.
    pub fn silent(self) -> Self {
        Self { sound: false, ..self }
    }

    /// Without comparing the waveform.
    pub fn mixed(self) -> Self {
        Self { waveform: false, ..self }
    }
}

/// The problems found.
#[derive(Debug, Default)]
struct Problems(Vec<String>);

impl Problems {
    fn unless(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.0.push(problem());
        }
    }
}

/// Compares a ready asset with its source; what is wrong, in words.
pub async fn check(clients: &Clients, detail: &Value, wanted: &Wanted) -> Vec<String> {
    let mut problems = Problems::default();
    let Some(url) = detail["playback"]["url"].as_str() else {
        return vec![format!("no playback: {detail:#}")];
    };
    let master = hls::master(clients, url).await;
    sizes(&master, wanted, &mut problems);
    let mut tracks = Vec::new();
    for variant in master.variants.iter().filter(|variant| variant.resolution.is_some()) {
        tracks.push((variant.url.to_string(), hls::track(clients, &variant.url).await));
    }
    let sound = match (&master.audio, wanted.size) {
        (Some(url), _) => Some(url.clone()),
        (None, None) => master.variants.first().map(|variant| variant.url.clone()),
        _ => None,
    };
    let sound = match sound {
        Some(url) => Some((url.to_string(), hls::track(clients, &url).await)),
        None => None,
    };
    problems
        .unless(sound.is_some() == wanted.sound, || format!("sound: {}, wanted: {}", sound.is_some(), wanted.sound));
    for (url, track) in tracks.iter().chain(&sound) {
        list(url, track, &mut problems);
    }
    aligned(&tracks, &mut problems);
    let wanted = wanted.clone();
    let decoded = tokio::task::spawn_blocking(move || {
        let flash = pictures(&tracks, &wanted, &mut problems);
        if let Some((url, track)) = &sound {
            hear(url, track, &wanted, flash, &mut problems);
        }
        problems.0
    });
    decoded.await.unwrap_or_else(|error| vec![format!("the reader failed: {error}")])
}

fn sizes(master: &Master, wanted: &Wanted, problems: &mut Problems) {
    let sizes: Vec<_> = master.variants.iter().filter_map(|variant| variant.resolution).collect();
    problems
        .unless(sizes.first().copied() == wanted.size, || format!("sizes {sizes:?}, wanted {:?} first", wanted.size));
    problems.unless(sizes.iter().all(|(w, h)| w % 2 == 0 && h % 2 == 0), || format!("odd sizes: {sizes:?}"));
    problems.unless(sizes.windows(2).all(|pair| pair[0].0 > pair[1].0), || format!("sizes do not fall: {sizes:?}"));
    let start = master.text.contains("#EXT-X-START:TIME-OFFSET=0");
    problems.unless(start, || "the master has no EXT-X-START".into());
}

/// What RFC 8216 and a player ask of one rendition.
fn list(url: &str, track: &Track, problems: &mut Problems) {
    let list = &track.list;
    let name = url.rsplit('/').next().unwrap_or(url);
    problems.unless(list.kind == "VOD" && list.ended, || format!("{name} is {}, ended: {}", list.kind, list.ended));
    problems.unless(list.start == Some(0.0), || format!("{name} starts at {:?}", list.start));
    for ((seconds, segment), fragment) in list.segments.iter().zip(&track.fragments) {
        let told: f64 = seconds.parse().unwrap();
        let long = fragment.duration() as f64 / f64::from(track.timescale);
        problems
            .unless(told.round() as u64 <= list.target, || format!("{segment} lasts {told} s, target {}", list.target));
        problems.unless((told - long).abs() < 0.001, || format!("{segment} lasts {long} s, EXTINF says {told}"));
        problems.unless(fragment.samples.first().is_some_and(|s| s.sync), || format!("{segment} can't be entered"));
    }
    for pair in track.fragments.windows(2) {
        let end = pair[0].base + pair[0].duration();
        problems.unless(end == pair[1].base, || {
            format!("{name}: a segment ends at {end}, the next begins at {}", pair[1].base)
        });
    }
}

/// All renditions cut at the same times.
fn aligned(tracks: &[(String, Track)], problems: &mut Problems) {
    let Some((_, first)) = tracks.first() else { return };
    let seconds = |track: &Track| track.list.segments.iter().map(|(seconds, _)| seconds.clone()).collect::<Vec<_>>();
    for (url, track) in &tracks[1..] {
        problems.unless(seconds(track) == seconds(first), || {
            format!("{url}: EXTINF {:?}, the first has {:?}", seconds(track), seconds(first))
        });
        problems.unless(track.borders() == first.borders(), || {
            format!("{url}: borders {:?}, the first has {:?}", track.borders(), first.borders())
        });
    }
}

/// Compares the pictures; gives the time of the first flash in (source, result).
fn pictures(tracks: &[(String, Track)], wanted: &Wanted, problems: &mut Problems) -> Option<(f64, f64)> {
    wanted.size?;
    let source = pattern::read(&text(&wanted.source), &["-copyts"]);
    let unread = source.iter().filter(|shown| shown.number.is_none()).count();
    problems.unless(unread == 0, || format!("{unread} pictures of the source can't be read: the test is wrong"));
    let mut flash = None;
    for (url, track) in tracks.iter().rev() {
        let name = url.rsplit('/').next().unwrap_or(url);
        let times = track.times();
        same_times(name, &times, &source, problems);
        if wanted.every || flash.is_none() {
            let shown = pattern::read(url, &PLAYLIST);
            let read: Vec<f64> = shown.iter().map(|shown| shown.at).collect();
            same_times(&format!("{name} by ffmpeg"), &read, &source, problems);
            let late = times.first().zip(read.first()).map_or(0.0, |(by_boxes, read)| read - by_boxes);
            problems.unless(late.abs() < TIME, || format!("{name}: ffmpeg shows it {late:.4} s late"));
            same_numbers(name, track, &shown, &source, problems);
            let pair = pattern::flash(&source).zip(pattern::flash(&shown));
            flash = pair;
            format_of(name, url, problems);
        }
    }
    flash
}

fn same_times(name: &str, times: &[f64], source: &[Shown], problems: &mut Problems) {
    problems.unless(times.len() == source.len(), || {
        format!("{name}: {} pictures, {} in the source", times.len(), source.len())
    });
    problems.unless(times.windows(2).all(|pair| pair[1] > pair[0]), || format!("{name}: times do not rise"));
    let (Some(first), Some(zero)) = (times.first(), source.first()) else { return };
    let off = times.iter().zip(source).position(|(at, shown)| ((at - first) - (shown.at - zero.at)).abs() > TIME);
    if let Some(index) = off {
        let (at, was) = (times[index] - first, source[index].at - zero.at);
        problems.0.push(format!("{name}: picture {index} is at {at:.4} s, at {was:.4} s in the source"));
    }
}

fn same_numbers(name: &str, track: &Track, shown: &[Shown], source: &[Shown], problems: &mut Problems) {
    let differs = shown.iter().zip(source).position(|(a, b)| a.number != b.number || a.flash != b.flash);
    if let Some(index) = differs {
        let around = index.saturating_sub(2)..(index + 4).min(shown.len()).min(source.len());
        let row = |list: &[Shown]| list[around.clone()].iter().map(|s| s.number).collect::<Vec<_>>();
        let (is, was) = (row(shown), row(source));
        let joints: Vec<_> = track.borders();
        problems
            .0
            .push(format!("{name}: picture {index} differs: {is:?}, source {was:?}; segments begin at {joints:?}"));
    }
}

fn format_of(name: &str, url: &str, problems: &mut Problems) {
    let field = |field: &str| ffmpeg::probe(url, "v:0", field);
    let (format, aspect, transfer) = (field("pix_fmt"), field("sample_aspect_ratio"), field("color_transfer"));
    problems.unless(format == "yuv420p", || format!("{name} is {format}"));
    problems.unless(["", "1:1", "N/A", "0:1"].contains(&aspect.as_str()), || format!("{name} has pixels of {aspect}"));
    let usual = ["bt709", "unknown", "smpte170m", "bt470bg", "N/A", ""];
    problems.unless(usual.contains(&transfer.as_str()), || format!("{name} has the transfer {transfer}"));
    let order = field("field_order");
    problems
        .unless(["progressive", "unknown", ""].contains(&order.as_str()), || format!("{name} is interlaced: {order}"));
}

/// Compares the sound.
fn hear(url: &str, track: &Track, wanted: &Wanted, flash: Option<(f64, f64)>, problems: &mut Problems) {
    let source = text(&wanted.source);
    let (channels, rate) = (ffmpeg::probe(url, "a:0", "channels"), ffmpeg::probe(url, "a:0", "sample_rate"));
    problems.unless((channels.as_str(), rate.as_str()) == ("2", "48000"), || {
        format!("the sound has {channels} channels at {rate} Hz")
    });
    let begin = ffmpeg::start_time(&source, "a:0").unwrap_or(0.0);
    let zero =
        ffmpeg::start_time(&source, "v:0").filter(|_| wanted.size.is_some()).map_or(begin, |video| video.min(begin));
    let (was, is) = (pattern::sound_from_zero(&source), ffmpeg::samples(url));
    let first = track.borders().first().copied().unwrap_or(0.0);
    let end = was.len() as f64 / 48_000.0 - zero;
    let ends = first + is.len() as f64 / 48_000.0;
    problems.unless((ends - end).abs() <= AAC_FRAME + TIME, || {
        format!("the sound ends at {ends:.4} s, in the source at {end:.4} s")
    });
    let samples: usize = track.fragments.iter().map(|f| f.samples.len() * 1024).sum();
    problems.unless(samples.abs_diff(is.len()) <= 1024, || format!("{samples} samples by boxes, {} decoded", is.len()));
    let beeps = pattern::beep(&was).zip(pattern::beep(&is));
    if let (Some((flash_was, flash_is)), Some((beep_was, beep_is))) = (flash, beeps) {
        let off = (flash_is - (first + beep_is)) - (flash_was - beep_was);
        problems.unless(off.abs() < LIP_SYNC, || format!("picture and sound are {:.1} ms apart", off * 1000.0));
    } else {
        problems.unless(flash.is_none() || !wanted.waveform, || "no beep is heard".into());
    }
    if let (true, Some((beep, _))) = (wanted.waveform, beeps) {
        same_waveform(&was, &is, ((first + zero) * 48_000.0).round() as i64, beep, problems);
    }
}

/// Block by block, the result is the source's waveform at one and the same lag: no gap, no click, no drift.
fn same_waveform(was: &[f32], is: &[f32], offset: i64, beep: f64, problems: &mut Problems) {
    const BLOCK: usize = 512;
    const SEARCH: i64 = 54;
    // Where AAC may differ audibly from any source: at the ends, and around the beeps' edges.
    const EDGE: usize = 4096;
    let sample = |index: i64| usize::try_from(index).ok().and_then(|index| was.get(index)).copied().unwrap_or(0.0);
    let against = |at: usize, length: usize, lag: i64, gain: f32| -> f32 {
        let square = |i: usize| (is[i] - gain * sample(i as i64 + offset + lag)).powi(2);
        ((at..at + length).map(square).sum::<f32>() / length as f32).sqrt()
    };
    if is.len() < 3 * EDGE {
        return;
    }
    let probe = is.len() / 2;
    let probe = if beeping(probe as i64 + offset, beep) { probe + 24_000 } else { probe };
    let probe = probe.min(is.len() - EDGE);
    let best =
        (-SEARCH..=SEARCH).min_by(|a, b| against(probe, 2048, *a, 1.0).total_cmp(&against(probe, 2048, *b, 1.0)));
    let lag = best.unwrap_or(0);
    let mut worst = (0.0, 0);
    let mut bad = Vec::new();
    for at in (EDGE..is.len() - EDGE).step_by(BLOCK) {
        if beeping(at as i64 + offset, beep) {
            continue;
        }
        let rest = against(at, BLOCK, lag, 1.0);
        if rest > worst.0 {
            worst = (rest, at);
        }
        if rest > 0.02 {
            bad.push(format!("{:.3}", at as f64 / 48_000.0));
        }
    }
    problems.unless(bad.is_empty(), || {
        let (rest, at) = worst;
        bad.truncate(12);
        let at = at as f64 / 48_000.0;
        format!("the sound differs (lag {lag} samples) by up to {rest:.3} at {at:.3} s; at {} s", bad.join(", "))
    });
}

/// Whether a beep of the source is near this sample of its clock; `first` is when one of them begins.
fn beeping(index: i64, first: f64) -> bool {
    let phase = (index as f64 / 48_000.0 - first).rem_euclid(pattern::BEAT);
    !(0.25..=pattern::BEAT - 0.1).contains(&phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(seconds: usize) -> Vec<f32> {
        (0..seconds * 48_000).map(|i| (i as f32 / 48_000.0 * 440.0 * std::f32::consts::TAU).sin() * 0.2).collect()
    }

    fn heard(was: &[f32], is: &[f32]) -> Vec<String> {
        let mut problems = Problems::default();
        // The beat is somewhere else: only the tone is compared.
        same_waveform(was, is, 0, 0.0, &mut problems);
        problems.0
    }

    #[test]
    fn a_gap_a_click_and_a_drift_are_heard() {
        let was = tone(8);
        assert_eq!(heard(&was, &was), Vec::<String>::new());
        let delayed: Vec<f32> = was.iter().skip(7).copied().collect();
        assert_eq!(heard(&was, &delayed), Vec::<String>::new(), "one and the same lag is no fault");
        let gap = [&was[..100_000], &was[101_024..]].concat();
        assert!(!heard(&was, &gap).is_empty());
        let mut click = was.clone();
        click[120_000] = 0.9;
        assert!(!heard(&was, &click).is_empty());
        let drift: Vec<f32> = (0..was.len() - 40).map(|i| was[i + i / 10_000]).collect();
        assert!(!heard(&was, &drift).is_empty());
    }

    #[test]
    fn a_missing_a_doubled_and_a_late_picture_are_seen() {
        let source: Vec<Shown> = (0..100)
            .map(|i| Shown { at: f64::from(i) / 25.0, number: usize::try_from(i).ok(), flash: false })
            .collect();
        let times = |shown: &[Shown]| shown.iter().map(|s| s.at).collect::<Vec<_>>();
        let seen = |shown: &[Shown]| {
            let mut problems = Problems::default();
            same_times("x", &times(shown), &source, &mut problems);
            problems.0.len()
        };
        assert_eq!(seen(&source), 0);
        assert!(seen(&[&source[..50], &source[51..]].concat()) > 0);
        assert!(seen(&[&source[..50], &source[49..]].concat()) > 0);
        let late: Vec<Shown> =
            source.iter().map(|s| Shown { at: s.at + if s.at > 2.0 { 0.003 } else { 0.0 }, ..*s }).collect();
        assert_eq!(seen(&late), 1);
    }
}
