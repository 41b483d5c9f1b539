//! The judge: what must be true after the storm, looked at one promise after the other.
//!
//! Guarantee: it reads what clients read (the API, playlists, objects), and the rows and queues below, with faults off
//! and the fleet quiet; it changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_sqs::types::QueueAttributeName;
use futures::StreamExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use reelfleet_catalog::Catalog;
use reelfleet_catalog::events::OPS_STREAM;
use reelfleet_fleet::Context;
use reelfleet_metadata::audit::{self, AuditContext, AuditOptions};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::decode;
use super::inputs::{Inputs, Way};
use super::listen::{Heard, Listener};
use super::load::{Fate, Sent};
use super::playback::Shown;
use super::verdict::Check;
use crate::upload::client::Api;

/// Assets looked at at once.
const PARALLEL: usize = 6;
/// Assets whose frames are decoded by an independent decoder.
const DECODED: usize = 12;
/// A page of the event log: far below the largest answer of the Data API.
const PAGE: i64 = 200;
/// A listener that hears nothing for so long will not hear the rest.
const CATCH_UP: Duration = Duration::from_secs(60);
const AUDIT_EVERY: Duration = Duration::from_secs(2);

/// What an input becomes when nothing disturbs it.
#[derive(Clone, Debug, Serialize)]
pub struct Baseline {
    /// `ready`, `refused`.
    pub state: String,
    /// Why it was refused.
    pub code: Option<String>,
    /// What a player gets.
    pub shown: Shown,
    /// Frames by `ffmpeg`, by rendition; none where it is not installed.
    #[serde(skip)]
    pub frames: BTreeMap<String, Option<String>>,
}

/// A logged event.
#[derive(Clone, Debug)]
struct Logged {
    position: i64,
    event: Value,
}

/// Everything that is known after the storm.
pub struct Judge<'j> {
    /// The gateway, with everybody's rights.
    pub api: &'j Api,
    /// Queues and configuration.
    pub context: &'j Context,
    /// The rows.
    pub catalog: &'j Catalog,
    /// What was uploaded.
    pub inputs: &'j Inputs,
    /// What each input becomes undisturbed, in the order of the inputs.
    pub baselines: &'j [Baseline],
    /// What clients know.
    pub sent: &'j [Sent],
    /// Draws the sample that is decoded.
    pub seed: u64,
    /// The notifier that lives: its queue is in use.
    pub notifiers: Vec<u32>,
    /// Within this the janitor finds what there is to delete.
    pub janitor: Duration,
}

/// What was seen of an asset.
#[derive(Default)]
struct Look {
    tracks: usize,
    /// Of these, sound that was cut off and goes on with other bits.
    resumed: usize,
    samples: usize,
    pictures: usize,
    wrong: Vec<String>,
}

/// An upload with the asset that it became.
struct Became<'s> {
    sent: &'s Sent,
    detail: Value,
}

impl Baseline {
    /// Of an asset that has ended.
    pub async fn of(api: &Api, detail: &Value) -> anyhow::Result<Self> {
        let shown = Shown::read(api.http(), detail).await?;
        let mut frames = BTreeMap::new();
        for (name, track) in shown.renditions.iter().filter(|(_, track)| !track.is_sound()) {
            frames.insert(name.clone(), decode::frame_md5(track).await.with_context(|| name.clone())?);
        }
        let state = detail["state"].as_str().unwrap_or_default().to_owned();
        Ok(Self { state, code: detail["reason"]["code"].as_str().map(str::to_owned), shown, frames })
    }
}

/// The promise itself, or that it could not be looked at.
fn checked(promise: &'static str, outcome: anyhow::Result<Check>) -> Check {
    outcome.unwrap_or_else(|error| Check::impossible(promise, &error))
}

impl Judge<'_> {
    /// All checks of what clients see.
    pub async fn judge(&self, listeners: &mut [Listener]) -> Vec<Check> {
        let (lost, became) = self.found().await;
        let mut checks = vec![lost, self.ended(&became)];
        checks.push(self.played(&became).await);
        checks.push(checked(DECODED_PROMISE, self.decoded(&became).await));
        match self.log(OPS_STREAM).await {
            Ok(log) => {
                checks.push(once(&log));
                checks.push(checked(OBJECTS, self.objects(&became).await));
                checks.push(self.heard(listeners, &log).await);
            }
            Err(error) => checks.push(Check::impossible(ONCE, &error)),
        }
        checks.push(checked(LEFT_OVER, self.left_over().await));
        checks.push(checked(QUEUES, self.queues().await));
        checks
    }

    /// The asset of every acknowledged upload.
    async fn found(&self) -> (Check, Vec<Became<'_>>) {
        let mut check = Check::new("no acknowledged upload is lost");
        let all: Vec<_> = futures::stream::iter(self.sent)
            .map(|sent| async move { (sent, self.asset_of(sent).await) })
            .buffered(PARALLEL)
            .collect()
            .await;
        let (mut became, mut acknowledged) = (Vec::new(), 0);
        for (sent, found) in all {
            let subject = format!("upload {} ({})", sent.cargo.number, sent.cargo.name);
            match (&sent.fate, found) {
                (Fate::GivenUp { why }, _) => check.violated(subject, format!("never acknowledged: {why}")),
                (Fate::Refused { code }, _) => {
                    let wanted = self.inputs.0.get(sent.cargo.input).and_then(|input| input.refused);
                    check.unless(wanted == Some(code), &subject, || format!("refused at the door: {code}"));
                }
                (Fate::Acknowledged { .. }, Ok(Some(detail))) => {
                    acknowledged += 1;
                    became.push(Became { sent, detail });
                }
                (Fate::Acknowledged { .. }, Ok(None)) => check.violated(subject, "there is no asset of it"),
                (Fate::Acknowledged { .. }, Err(error)) => check.violated(subject, format!("{error:#}")),
            }
        }
        (check.over(format!("{acknowledged} acknowledged of {}", self.sent.len())), became)
    }

    async fn asset_of(&self, sent: &Sent) -> anyhow::Result<Option<Value>> {
        let id = match &sent.fate {
            Fate::Acknowledged { asset: Some(asset) } => Some(asset.clone()),
            Fate::Acknowledged { asset: None } => self.api.asset_of_object(&self.bucket()?, &sent.cargo.name).await?,
            _ => None,
        };
        match id {
            Some(id) => Ok(self.api.asset(&id).await?),
            None => Ok(None),
        }
    }

    fn bucket(&self) -> anyhow::Result<String> {
        Ok(self.context.config.uploads.first().context("no upload bucket")?.bucket.clone())
    }

    fn baseline(&self, sent: &Sent) -> Option<&Baseline> {
        self.baselines.get(sent.cargo.input)
    }

    /// (a) Everything has come to the end that it comes to undisturbed.
    fn ended(&self, became: &[Became<'_>]) -> Check {
        let mut check = Check::new("each ends ready, or refused for its cause");
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for Became { sent, detail } in became {
            let Some(wanted) = self.baseline(sent) else { continue };
            let (state, code) = (detail["state"].as_str().unwrap_or_default(), detail["reason"]["code"].as_str());
            *ends.entry(state.to_owned()).or_default() += 1;
            check.unless(state == wanted.state && code == wanted.code.as_deref(), &subject(detail), || {
                let input = self.inputs.0.get(sent.cargo.input).map_or("", |input| &input.name);
                format!("{input} ended {state} {}, undisturbed {} {:?}", detail["reason"], wanted.state, wanted.code)
            });
        }
        check.over(ends.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", "))
    }

    /// (b) What is played is what is played undisturbed.
    async fn played(&self, became: &[Became<'_>]) -> Check {
        let mut check = Check::new("each plays as undisturbed: samples, times, bytes, sound, pictures");
        let ready = became.iter().filter(|became| became.detail["state"] == "ready");
        let looks = futures::stream::iter(ready).map(|became| async move { (became, self.look(became).await) });
        let mut looks = std::pin::pin!(looks.buffered(PARALLEL));
        let mut all = Look::default();
        while let Some((became, look)) = looks.next().await {
            look.wrong.into_iter().for_each(|what| check.violated(subject(&became.detail), what));
            all.tracks += look.tracks;
            all.resumed += look.resumed;
            all.samples += look.samples;
            all.pictures += look.pictures;
        }
        let Look { tracks, resumed, samples, pictures, .. } = all;
        check.over(format!("{tracks} renditions ({resumed} resumed), {samples} samples, {pictures} pictures"))
    }

    /// Plays one asset, whose bytes are forgotten after that.
    async fn look(&self, became: &Became<'_>) -> Look {
        let mut look = Look::default();
        let shown = match Shown::read(self.api.http(), &became.detail).await {
            Ok(shown) => shown,
            Err(error) => return Look { wrong: vec![format!("can't be played: {error:#}")], ..look },
        };
        let Some(Baseline { shown: wanted, .. }) = self.baseline(became.sent) else {
            return Look { wrong: vec!["of no known input".into()], ..look };
        };
        look.tracks = shown.renditions.len();
        look.pictures = shown.pictures.len();
        look.samples = shown.renditions.values().map(|track| track.samples).sum();
        look.wrong = shown.differences(wanted);
        for (name, track) in shown.renditions.iter().filter(|(_, track)| track.is_sound()) {
            let undisturbed = wanted.renditions.get(name);
            let Some(wanted) = undisturbed.filter(|was| was.sha256 != track.sha256) else { continue };
            look.resumed += 1;
            match decode::sounds_other(track, wanted).await {
                Ok(None) => {}
                Ok(Some(what)) => look.wrong.push(format!("{name} {what}")),
                Err(error) => look.wrong.push(format!("{name} can't be heard: {error:#}")),
            }
        }
        look
    }

    /// (b) The same by an independent decoder, for some.
    async fn decoded(&self, became: &[Became<'_>]) -> anyhow::Result<Check> {
        let mut check = Check::new(DECODED_PROMISE);
        let mut random = StdRng::seed_from_u64(self.seed ^ 0x6465_636f_6465_0000);
        let ready: Vec<_> = became.iter().filter(|became| became.detail["state"] == "ready").collect();
        let mut decoded = 0;
        for became in ready.choose_multiple(&mut random, DECODED) {
            let shown = Shown::read(self.api.http(), &became.detail).await?;
            for (name, track) in shown.renditions.iter().filter(|(_, track)| !track.is_sound()) {
                let frames = decode::frame_md5(track).await;
                let frames = frames.with_context(|| format!("{} {name}", subject(&became.detail)))?;
                let wanted = self.baseline(became.sent).and_then(|baseline| baseline.frames.get(name));
                decoded += usize::from(frames.is_some());
                check.unless(Some(&frames) == wanted, &subject(&became.detail), || format!("frames of {name} differ"));
            }
        }
        let looked_at = if decoded > 0 { format!("{decoded} renditions") } else { "nothing: no ffmpeg".to_owned() };
        Ok(check.over(looked_at))
    }

    /// (c) One asset of each object.
    async fn objects(&self, became: &[Became<'_>]) -> anyhow::Result<Check> {
        let mut check = Check::new(OBJECTS);
        let route = self.context.config.uploads.first().context("no upload bucket")?;
        let mut seen = BTreeSet::new();
        for Became { sent, detail } in became {
            let key = detail["source"]["key"].as_str().unwrap_or_default();
            let assets = self.catalog.assets_of_key(&route.tenant, &route.bucket, key, 10).await?;
            check.unless(assets.len() == 1, key, || format!("{} assets", assets.len()));
            check.unless(seen.insert(key.to_owned()), key, || "two uploads became one asset".into());
            check.unless(sent.cargo.way == Way::Api || key == sent.cargo.name, key, || {
                format!("was dropped as {}", sent.cargo.name)
            });
        }
        Ok(check.over(format!("{} objects", seen.len())))
    }

    /// All of a stream's log, in order.
    async fn log(&self, stream: &str) -> anyhow::Result<Vec<Logged>> {
        let mut log: Vec<Logged> = Vec::new();
        loop {
            let after = log.last().map_or(0, |logged| logged.position);
            let page = self.catalog.events_since(stream, after, PAGE).await?;
            if page.is_empty() {
                return Ok(log);
            }
            for logged in page {
                let event = serde_json::from_str(&logged.body).context("a logged event is no JSON")?;
                log.push(Logged { position: logged.position, event });
            }
        }
    }

    /// (d) Rows, objects, queues and outputs fit together, once the janitor had its time.
    async fn left_over(&self) -> anyhow::Result<Check> {
        let mut check = Check::new(LEFT_OVER);
        let audit = AuditContext::new(self.context, self.catalog.clone());
        let options = AuditOptions { grace: Duration::ZERO, second_look: Duration::from_secs(1), most: 1_000 };
        let (mut fewest, mut since) = (u64::MAX, Instant::now());
        loop {
            let report = audit::run(&audit, &options).await?;
            let count = report.findings.len() as u64 + report.untold;
            if count > 0 && (count < fewest || since.elapsed() < self.janitor) {
                if count < fewest {
                    (fewest, since) = (count, Instant::now());
                }
                // The janitor says nothing; it comes by every few seconds.
                sleep(AUDIT_EVERY).await;
                continue;
            }
            for finding in report.findings {
                check.violated(finding.subject, format!("{}: {}", finding.code.as_str(), finding.detail));
            }
            check.unless(report.untold == 0, "the audit", || format!("{} more findings", report.untold));
            let (sources, assets, outputs, queues) = (report.sources, report.assets, report.outputs, report.queues);
            return Ok(check.over(format!("{sources} sources, {assets} assets, {outputs} outputs, {queues} queues")));
        }
    }

    /// (e) Nothing waits in a queue, and nothing went to a dead-letter queue.
    async fn queues(&self) -> anyhow::Result<Check> {
        let mut check = Check::new(QUEUES);
        let sqs = &self.context.clients.sqs;
        let prefix = format!("{}-", self.context.config.prefix);
        let mut pages = sqs.list_queues().queue_name_prefix(&prefix).max_results(1_000).into_paginator().send();
        let (mut queues, mut orphans) = (0, 0);
        while let Some(page) = pages.next().await {
            for url in page?.queue_urls() {
                let name = url.rsplit('/').next().unwrap_or(url);
                let of_the_living = |pid: &u32| name.contains(&format!("-{pid}-"));
                if name.starts_with(&format!("{prefix}notifier-")) && !self.notifiers.iter().any(of_the_living) {
                    orphans += 1;
                    continue;
                }
                queues += 1;
                let asked = sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
                let answer = asked.send().await?;
                for (attribute, value) in answer.attributes().into_iter().flatten() {
                    if attribute.as_str().starts_with("ApproximateNumberOfMessages") && value != "0" {
                        check.violated(name, format!("{}: {value}", attribute.as_str()));
                    }
                }
            }
        }
        Ok(check.over(format!("{queues} queues, {orphans} of dead notifiers left to the janitor")))
    }

    /// (f) Every client heard the log, whole and in order.
    async fn heard(&self, listeners: &mut [Listener], ops: &[Logged]) -> Check {
        let mut check = Check::new("every WebSocket client heard each event once, in order");
        let mut logs: BTreeMap<String, Vec<String>> = BTreeMap::from([(OPS_STREAM.to_owned(), ids(ops))]);
        let (mut events, mut connections) = (0, 0);
        for listener in listeners {
            let streams: Vec<String> = listener.memory().streams.into_keys().collect();
            for stream in streams {
                if !logs.contains_key(&stream) {
                    match self.log(&stream).await {
                        Ok(log) => logs.insert(stream.clone(), ids(&log)),
                        Err(error) => {
                            check.violated(&stream, format!("its log can't be read: {error:#}"));
                            continue;
                        }
                    };
                }
                let log = logs.get(&stream).map(Vec::as_slice).unwrap_or_default();
                let head = i64::try_from(log.len()).unwrap_or(i64::MAX);
                let position = |heard: &Heard| heard.position() >= head;
                listener.until(CATCH_UP, |memory| memory.streams.get(&stream).is_some_and(position)).await;
                let memory = listener.memory();
                let Some(heard) = memory.streams.get(&stream) else { continue };
                events += heard.events.len();
                let wanted = log.get(usize::try_from(heard.from).unwrap_or(0)..).unwrap_or_default();
                check.unless(heard.events == wanted, &listener.name, || {
                    let at = heard.events.iter().zip(wanted).position(|(is, was)| is != was);
                    let (is, was) = (heard.events.len(), wanted.len());
                    format!("{stream}: {is} events heard, {was} logged since; first difference at {at:?}")
                });
            }
            let memory = listener.memory();
            connections += memory.connections;
            memory.faults.iter().for_each(|fault| check.violated(&listener.name, fault));
        }
        check.over(format!("{events} events over {connections} connections"))
    }
}

const DECODED_PROMISE: &str = "frames decoded by ffmpeg are the undisturbed ones";
const ONCE: &str = "exactly one asset.ready per asset and generation; positions without gaps";
const LEFT_OVER: &str = "nothing is left over: the audit finds nothing after the janitor";
const OBJECTS: &str = "one asset per object";
const QUEUES: &str = "no queue holds a message, nor any dead-letter queue";

fn ids(log: &[Logged]) -> Vec<String> {
    log.iter().map(|logged| logged.event["id"].as_str().unwrap_or_default().to_owned()).collect()
}

fn subject(detail: &Value) -> String {
    let text = |field: &str| detail[field].as_str().unwrap_or_default().to_owned();
    format!("{} ({})", text("id"), text("name"))
}

/// (c) Facts that may be told only once, and the order of the log itself.
fn once(log: &[Logged]) -> Check {
    const ENDS: [&str; 3] = ["asset.ready.v1", "asset.refused.v1", "asset.failed.v1"];
    let mut check = Check::new(ONCE);
    let (mut told, mut ends) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, Vec<String>>::new());
    let (mut seen, mut ready) = (BTreeSet::new(), 0);
    for (index, Logged { position, event }) in log.iter().enumerate() {
        let text = |field: &str| event[field].as_str().unwrap_or_default();
        let (kind, asset) = (text("type"), text("subject"));
        check.unless(usize::try_from(*position) == Ok(index + 1), asset, || {
            format!("position {position} is no. {}", index + 1)
        });
        check.unless(seen.insert(text("id")), asset, || format!("{kind} {} is logged twice", text("id")));
        if ["asset.ready.v1", "asset.playable.v1", "asset.uploaded.v1", "asset.probed.v1", "job.succeeded.v1"]
            .contains(&kind)
        {
            *told.entry(format!("{asset} {kind} g{}", event["data"]["generation"])).or_default() += 1;
        }
        if ENDS.contains(&kind) {
            ends.entry(asset.to_owned()).or_default().push(kind.to_owned());
        }
        ready += usize::from(kind == "asset.ready.v1");
    }
    for (what, count) in told.iter().filter(|(_, count)| **count > 1) {
        check.violated(what, format!("{count} times"));
    }
    for (asset, ends) in ends.iter().filter(|(_, ends)| ends.len() > 1) {
        check.violated(asset, format!("ended more than once: {}", ends.join(", ")));
    }
    check.over(format!("{} events, {ready} asset.ready", log.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn logged(position: i64, id: &str, kind: &str) -> Logged {
        let event = json!({ "id": id, "type": kind, "subject": "ast_1", "data": { "generation": 1 } });
        Logged { position, event }
    }

    #[test]
    fn a_fact_told_twice_and_a_hole_in_the_log_are_found() {
        let good = [logged(1, "a", "asset.uploaded.v1"), logged(2, "b", "asset.ready.v1")];
        assert!(once(&good).violations.is_empty());
        let twice = [&good[..], &[logged(3, "c", "asset.ready.v1")]].concat();
        assert!(once(&twice).violations.iter().any(|v| v.what == "2 times"));
        let hole = [logged(1, "a", "asset.uploaded.v1"), logged(3, "b", "asset.ready.v1")];
        assert_eq!(once(&hole).violations.len(), 1);
        let both = [&good[..], &[logged(3, "c", "asset.failed.v1")]].concat();
        assert!(once(&both).violations.iter().any(|v| v.what.contains("more than once")));
        let again = [&good[..], &[logged(3, "b", "thumbnail.ready.v1")]].concat();
        assert!(once(&again).violations.iter().any(|v| v.what.contains("logged twice")));
    }
}
