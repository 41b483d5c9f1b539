//! Publishing: playlists from committed rows, then the facts.
//!
//! Guarantee: what a playlist names is committed and in S3. Lists only grow; a writer that was overtaken neither
//! shortens nor changes what another wrote.

use bytes::Bytes;
use reelfleet_catalog::assets::Asset;
use reelfleet_catalog::pictures::Picture;
use reelfleet_catalog::publishing::{Playlist, Rendition};
use reelfleet_catalog::runs::Run;
use reelfleet_domain::AssetState;
use reelfleet_domain::playlist::{AudioRendition, Media, Variant, extends, master};
use reelfleet_domain::policy::Refusal;
use reelfleet_fleet::{Attempt, WorkError, Worked};
use reelfleet_messages::Event;
use reelfleet_messages::event::{AssetPlayable, AssetReady, JobFact, ReasonCode, RenditionCompleted};
use reelfleet_objects::{ObjectError, fetch};
use reelfleet_telemetry::trace::Span;

use crate::prefix::{Proved, contiguous, proved};
use crate::recipe::{Recipe, VideoRecipe};
use crate::{Transcoder, generation_prefix};

const CONTENT_TYPE: &str = "application/vnd.apple.mpegurl";
/// A growing list is asked for about once per segment; a final one may still be replaced by a new generation's.
const GROWING: &str = "public, max-age=1";
const FINAL: &str = "public, max-age=60";
/// No playlist of ours is larger (bytes).
const MAX_PLAYLIST: u64 = 8 << 20;
const AUDIO: &str = "audio";

/// One rendition's contiguous prefix.
struct Prefix {
    name: String,
    codecs: String,
    media: Media,
    frames: i64,
}

/// What is to be published now.
struct Stand {
    renditions: Vec<Prefix>,
    /// A segment of every rendition and of the sound.
    playable: bool,
    complete: bool,
}

impl Transcoder {
    /// Publishes until nothing was committed meanwhile.
    pub(crate) async fn publish(&self, attempt: &Attempt) -> Result<Worked, WorkError> {
        if self.publish_again(attempt).await? {
            return Ok(Worked::Committed);
        }
        loop {
            attempt.heart.beat();
            // Read before the runs: a commit that comes later raises it, and the last step notices.
            let wanted = self.catalog.wanted(&attempt.lease).await?;
            // And the ETags before all else: whoever sleeps from here on is told by If-Match that others know more.
            let written = self.catalog.playlists(&attempt.lease.envelope.job).await?;
            let (asset, job) = self.subject(attempt).await?;
            let recipe = Recipe::read(job.plan.as_deref())?;
            let runs = self.catalog.runs(&job.id).await?;
            let pictures = recipe.video.as_ref().map(|video| proved(video, &runs));
            if let Some(Proved { runs: before, misfit: Some((run, misfit)) }) = &pictures
                && let Some(last) = before.last()
            {
                // A chain can't take over from what was copied: its pictures would have other parameters.
                let whole = |video: &VideoRecipe| video.is_seam(run) || video.copy_delay_us.is_some();
                if recipe.video.as_ref().is_some_and(whole) {
                    self.regenerate(attempt, &asset, &format!("what is published is wrong ({misfit})")).await?;
                    return Ok(Worked::Committed);
                }
                self.fall_back(attempt, &job, &recipe, last, *misfit).await?;
                continue;
            }
            let pictures = pictures.map_or_else(Vec::new, |proved| proved.runs);
            let stand = stand(&recipe, &pictures, &contiguous(&runs, AUDIO), job.remaining == 0)?;
            if stand.playable {
                let lists = self.write_lists(attempt, &asset, &written, &recipe, &stand);
                let count = Span::child("write playlists").within(lists).await?;
                self.catalog.wrote_objects(attempt.step("lists").now, &job.id, count).await?;
                self.say_playable(attempt, &asset).await?;
            }
            if stand.complete {
                return self.finish(attempt, &asset, &recipe, &stand).await;
            }
            if self.catalog.published(&attempt.step(format!("published-{wanted}")), &attempt.lease, wanted).await? {
                return Ok(Worked::Committed);
            }
        }
    }

    async fn write_lists(
        &self,
        attempt: &Attempt,
        asset: &Asset,
        written: &[Playlist],
        recipe: &Recipe,
        stand: &Stand,
    ) -> Result<u64, WorkError> {
        let mut lists = 0;
        let find = |name: &str| written.iter().find(|list| list.name == name);
        for prefix in &stand.renditions {
            let segments = prefix.media.segments.len() as i64;
            let before = find(&prefix.name);
            if before.is_none_or(|list| list.segments < segments || list.ended != prefix.media.ended) {
                self.write_list(
                    attempt,
                    asset,
                    &prefix.name,
                    prefix.media.render(),
                    segments,
                    prefix.media.ended,
                    before,
                )
                .await?;
                lists += 1;
            }
        }
        let before = find("master");
        if before.is_none_or(|list| list.ended != stand.complete) {
            let text = master_text(recipe, stand);
            self.write_list(attempt, asset, "master", text, stand.renditions.len() as i64, stand.complete, before)
                .await?;
            lists += 1;
        }
        Ok(lists)
    }

    #[allow(clippy::too_many_arguments, reason = "one row and one object, named at the two calls above")]
    async fn write_list(
        &self,
        attempt: &Attempt,
        asset: &Asset,
        name: &str,
        text: String,
        segments: i64,
        ended: bool,
        before: Option<&Playlist>,
    ) -> Result<(), WorkError> {
        debug_assert!(
            before.is_none_or(|list| list.segments <= segments && ended >= list.ended),
            "{name} would shrink"
        );
        let key = format!("{}{name}.m3u8", generation_prefix(asset));
        let cache = Some(if ended { FINAL } else { GROWING });
        let body = Bytes::from(text.clone());
        let put = match before {
            Some(list) => self.outputs.put_if_match(&list.etag, &key, body.clone(), CONTENT_TYPE, cache).await,
            None => self.outputs.put_if_absent(&key, body.clone(), CONTENT_TYPE, cache).await,
        };
        let etag = match put {
            Ok(stored) => stored.etag,
            Err(ObjectError::Precondition { .. }) => self.take_over(name, &key, &text, ended, body, cache).await?,
            Err(error) => return Err(WorkError::again(error)),
        };
        let list = Playlist { name: name.to_owned(), etag, segments, ended };
        Ok(self.catalog.wrote_playlist(&attempt.step(format!("list-{name}")), &attempt.lease, &list).await?)
    }

    /// Another writer, or my own lost answer, was first: go on only from what strictly extends what is there.
    async fn take_over(
        &self,
        name: &str,
        key: &str,
        text: &str,
        ended: bool,
        body: Bytes,
        cache: Option<&str>,
    ) -> Result<String, WorkError> {
        let bucket = self.outputs.bucket();
        let (there, etag) =
            fetch(&self.context.clients.s3, bucket, key, MAX_PLAYLIST).await.map_err(WorkError::again)?;
        let there = String::from_utf8_lossy(&there);
        if there == text {
            return Ok(etag);
        }
        // Masters are two: the first, which is made of the plan alone, and the final one.
        let overtaken = if name == "master" { !ended } else { !extends(&there, text) };
        if overtaken {
            return Err(WorkError::again(format!("{key} holds a list that this one does not extend")));
        }
        let stored =
            self.outputs.put_if_match(&etag, key, body, CONTENT_TYPE, cache).await.map_err(WorkError::again)?;
        Ok(stored.etag)
    }

    async fn say_playable(&self, attempt: &Attempt, asset: &Asset) -> Result<(), WorkError> {
        if asset.state != AssetState::Processing {
            return Ok(());
        }
        let step = attempt.step("playable");
        let fact = AssetPlayable {
            asset: asset.id,
            generation: generation(asset),
            after_ms: step.now.saturating_sub(asset.landed_at).unsigned_abs(),
        };
        let emissions = [attempt.emission(&asset.owner, Event::AssetPlayable(fact))];
        match self.catalog.playable(&step, &asset.id, asset.generation, &emissions).await {
            Err(error) if !error.is_conflict() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn finish(
        &self,
        attempt: &Attempt,
        asset: &Asset,
        recipe: &Recipe,
        stand: &Stand,
    ) -> Result<Worked, WorkError> {
        if !stand.playable {
            let why = Refusal::new(ReasonCode::NoDecodableStream, "nothing in it could be decoded");
            return Err(WorkError::Failed(why));
        }
        let job = attempt.lease.envelope.job;
        let rows: Vec<Rendition> = stand.renditions.iter().map(|prefix| row(recipe, prefix)).collect();
        let step = attempt.step("ready");
        let mut facts: Vec<Event> = rows
            .iter()
            .map(|row| {
                Event::RenditionCompleted(RenditionCompleted {
                    asset: asset.id,
                    job,
                    rendition: row.name.clone(),
                    bytes: row.bytes.unsigned_abs(),
                    frames: row.frames.unsigned_abs(),
                })
            })
            .collect();
        facts.push(Event::JobSucceeded(JobFact { asset: asset.id, job, code: None }));
        facts.push(Event::AssetReady(AssetReady {
            asset: asset.id,
            generation: generation(asset),
            after_ms: step.now.saturating_sub(asset.landed_at).unsigned_abs(),
            renditions: rows.iter().map(|row| row.name.clone()).collect(),
        }));
        let emissions: Vec<_> = facts.into_iter().map(|fact| attempt.emission(&asset.owner, fact)).collect();
        if asset.state == AssetState::Ready {
            let pictures = self.copy_pictures(attempt, asset).await?;
            self.catalog.remade(&step, &attempt.lease, asset.generation, &rows, &pictures, &emissions).await?;
        } else {
            self.catalog.ready(&step, &attempt.lease, &rows, &emissions).await?;
            attempt.job_ended(asset, "succeeded");
        }
        tracing::info!(renditions = rows.len(), "ready");
        Ok(Worked::Committed)
    }
}

impl Transcoder {
    /// What is ready and to be published again gets its lists as they were, whatever lies there now.
    async fn publish_again(&self, attempt: &Attempt) -> Result<bool, WorkError> {
        let envelope = &attempt.lease.envelope;
        let present = |a: &Asset| a.state == AssetState::Ready && a.generation == i64::from(envelope.work.generation());
        let Some(asset) = self.catalog.asset(&envelope.work.asset()).await?.filter(present) else { return Ok(false) };
        let job = self.catalog.job(&envelope.job).await?;
        let job = job.ok_or_else(|| WorkError::again("its job is not there"))?;
        let recipe = Recipe::read(job.plan.as_deref())?;
        let (wanted, runs) = (self.catalog.wanted(&attempt.lease).await?, self.catalog.runs(&job.id).await?);
        let pictures = recipe.video.as_ref().map_or_else(Vec::new, |video| proved(video, &runs).runs);
        let stand = stand(&recipe, &pictures, &contiguous(&runs, AUDIO), true)?;
        let media = stand.renditions.iter().map(|p| (p.name.as_str(), p.media.render(), p.media.segments.len()));
        let master = ("master", master_text(&recipe, &stand), stand.renditions.len());
        for (name, text, segments) in media.chain([master]) {
            let key = format!("{}{name}.m3u8", generation_prefix(&asset));
            let body = Bytes::from(text);
            let stored = self.outputs.put(&key, body, CONTENT_TYPE, Some(FINAL)).await.map_err(WorkError::again)?;
            let list = Playlist { name: name.to_owned(), etag: stored.etag, segments: segments as i64, ended: true };
            self.catalog.wrote_playlist(&attempt.step(format!("again-{name}")), &attempt.lease, &list).await?;
        }
        self.catalog.published(&attempt.step("again"), &attempt.lease, wanted).await?;
        Ok(true)
    }

    /// Pictures are not made anew with the renditions: those of the present generation go with it.
    async fn copy_pictures(&self, attempt: &Attempt, asset: &Asset) -> Result<Vec<Picture>, WorkError> {
        let (s3, bucket) = (&self.context.clients.s3, &self.context.config.outputs_bucket);
        let Some(present) = self.catalog.asset(&asset.id).await? else { return Ok(Vec::new()) };
        let pictures = self.catalog.pictures(&asset.id, present.generation).await?;
        for picture in &pictures {
            attempt.heart.beat();
            let from = format!("{bucket}/{}{}", generation_prefix(&present), picture.name);
            let copy = s3.copy_object().bucket(bucket).key(format!("{}{}", generation_prefix(asset), picture.name));
            copy.copy_source(from).send().await.map_err(|error| WorkError::again(error.into_service_error()))?;
        }
        Ok(pictures)
    }
}

fn generation(asset: &Asset) -> u32 {
    u32::try_from(asset.generation).unwrap_or(1)
}

/// The contiguous prefix of every rendition. All video renditions have the same one, since a run holds them all.
fn stand(recipe: &Recipe, pictures: &[&Run], sound: &[&Run], complete: bool) -> Result<Stand, WorkError> {
    let mut renditions = Vec::new();
    if let Some(video) = &recipe.video {
        for rung in &video.rungs {
            renditions.push(rendition(&rung.name, pictures, complete)?);
        }
    }
    if recipe.audio.is_some() {
        renditions.push(rendition(AUDIO, sound, complete)?);
    }
    // A file may announce a sound (or a picture) of which nothing can be decoded: once all is done it is left out.
    if complete {
        renditions.retain(|prefix| !prefix.media.segments.is_empty());
    }
    let playable = !renditions.is_empty() && renditions.iter().all(|prefix| !prefix.media.segments.is_empty());
    Ok(Stand { renditions, playable, complete })
}

fn rendition(name: &str, runs: &[&Run], ended: bool) -> Result<Prefix, WorkError> {
    let parts: Vec<_> = runs.iter().flat_map(|run| run.renditions.iter().filter(|r| r.name == name)).collect();
    let mut with_media = parts.iter().filter(|part| !part.segments.is_empty());
    let (codecs, init) = with_media.next().map(|first| (first.codecs.clone(), first.init.clone())).unwrap_or_default();
    // The key of an init segment is made of its bytes.
    if with_media.any(|part| part.init != init) {
        let why = Refusal::new(ReasonCode::DecodeFailed, format!("the init segments of {name} differ between chunks"));
        return Err(WorkError::Failed(why));
    }
    let segments = parts.iter().flat_map(|part| part.segments.iter().cloned()).collect();
    let frames = runs.iter().filter(|run| run.renditions.iter().any(|r| r.name == name)).map(|run| run.frames).sum();
    Ok(Prefix { name: name.to_owned(), codecs, media: Media { init, segments, ended }, frames })
}

/// Before the end the master declares the encoder's caps; at the end, what was measured.
fn master_text(recipe: &Recipe, stand: &Stand) -> String {
    let uri = |name: &str| format!("{name}.m3u8");
    let audio = stand.renditions.iter().find(|prefix| prefix.name == AUDIO);
    let audio_rate = match (audio, &recipe.audio) {
        (Some(prefix), _) if stand.complete => prefix.media.bandwidth().0,
        (Some(_), Some(recipe)) => u64::from(recipe.bitrate) * 11 / 10,
        _ => 0,
    };
    let audio_mean = audio.map_or(0, |prefix| prefix.media.bandwidth().1);
    let rungs = recipe.video.iter().flat_map(|video| video.rungs.iter().map(move |rung| (rung, video.fps)));
    let variants: Vec<Variant> = rungs
        .filter_map(|(rung, fps)| {
            let prefix = stand.renditions.iter().find(|prefix| prefix.name == rung.name)?;
            let (peak, mean) = prefix.media.bandwidth();
            Some(Variant {
                uri: uri(&rung.name),
                codecs: prefix.codecs.clone(),
                width: rung.width,
                height: rung.height,
                bandwidth: audio_rate + if stand.complete { peak } else { rung.maxrate },
                average: stand.complete.then_some(mean + audio_mean),
                fps,
            })
        })
        .collect();
    let audio =
        audio.map(|prefix| AudioRendition { uri: uri(AUDIO), codecs: prefix.codecs.clone(), bandwidth: audio_rate });
    master(&variants, audio.as_ref())
}

fn row(recipe: &Recipe, prefix: &Prefix) -> Rendition {
    let rung = recipe.video.iter().flat_map(|video| &video.rungs).find(|rung| rung.name == prefix.name);
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Rendition {
        name: prefix.name.clone(),
        codecs: prefix.codecs.clone(),
        size: rung.map(|rung| (i64::from(rung.width), i64::from(rung.height))),
        bandwidth: number(prefix.media.bandwidth().0),
        frames: prefix.frames,
        bytes: number(prefix.media.segments.iter().map(|segment| segment.bytes).sum()),
    }
}
