//! What an independent decoder, the `ffmpeg` command line, makes of a rendition.
//!
//! Guarantee: where it is not installed nothing is compared, and that is told; what it complains about is an error.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::playback::Track;

/// Of one `ffmpeg`.
const LIMIT: Duration = Duration::from_secs(60);
/// Samples whose differences are taken together.
const BLOCK: usize = 512;
/// Root mean square of a block's differences, of full scale 1: what two encodings of the same sound differ by at most.
const AUDIBLE: f32 = 0.02;

/// MD5 of every frame, with its time.
pub async fn frame_md5(track: &Track) -> anyhow::Result<Option<String>> {
    let Some(output) = ffmpeg(track, &["-f", "framemd5"]).await? else { return Ok(None) };
    let text = String::from_utf8(output)?;
    Ok(Some(text.lines().filter(|line| !line.starts_with("#software")).collect::<Vec<_>>().join("\n")))
}

/// Why two renditions do not sound the same, if they don't.
pub async fn sounds_other(is: &Track, was: &Track) -> anyhow::Result<Option<String>> {
    let args = ["-ac", "1", "-ar", "48000", "-f", "f32le"];
    match (ffmpeg(is, &args).await?, ffmpeg(was, &args).await?) {
        (Some(is), Some(was)) => Ok(other(&floats(&is), &floats(&was))),
        _ => Ok(None),
    }
}

fn other(is: &[f32], was: &[f32]) -> Option<String> {
    if is.len() != was.len() {
        return Some(format!("{} samples of sound, undisturbed {}", is.len(), was.len()));
    }
    let square = |(a, b): (&f32, &f32)| (a - b) * (a - b);
    let blocks = is.chunks(BLOCK).zip(was.chunks(BLOCK));
    let differences = blocks.map(|(a, b)| (a.iter().zip(b).map(square).sum::<f32>() / a.len() as f32).sqrt());
    let (at, worst) = differences.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    (worst > AUDIBLE).then(|| format!("differs by {worst:.3} at {:.3} s", (at * BLOCK) as f64 / 48_000.0))
}

fn floats(raw: &[u8]) -> Vec<f32> {
    raw.chunks_exact(4).filter_map(|bytes| Some(f32::from_le_bytes(bytes.try_into().ok()?))).collect()
}

/// Its output; none where it is not installed.
async fn ffmpeg(track: &Track, args: &[&str]) -> anyhow::Result<Option<Vec<u8>>> {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-i", "pipe:0", "-map", "0"]).args(args).arg("pipe:1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.context("ffmpeg can't be started")?,
    };
    let mut input = child.stdin.take().context("ffmpeg has no input")?;
    let bytes = track.bytes.0.clone();
    let feed = tokio::spawn(async move {
        // It may have seen enough.
        let _ = input.write_all(&bytes).await;
    });
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.context("ffmpeg takes too long")??;
    feed.await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "ffmpeg: {} {said}", output.status);
    Ok(Some(output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_and_a_click_are_heard_and_an_encoding_is_not() {
        let tone: Vec<f32> = (0..48_000).map(|i| (i as f32 * 0.05).sin() * 0.3).collect();
        let noisy: Vec<f32> =
            tone.iter().enumerate().map(|(i, v)| v + if i % 2 == 0 { 0.005 } else { -0.005 }).collect();
        assert_eq!(other(&tone, &noisy), None);
        let mut gap = tone.clone();
        gap[20_000..21_024].fill(0.0);
        assert!(other(&gap, &tone).unwrap().contains("differs by"));
        assert!(other(&tone[1..], &tone).unwrap().contains("47999 samples"));
        let raw: Vec<u8> = tone.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(floats(&raw), tone);
    }
}
