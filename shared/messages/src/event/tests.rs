//! Golden samples and schemas: what is published can't change by accident. `UPDATE_GOLDEN=1` writes them anew.

mod asyncapi;

use super::*;
use crate::realtime::{ClientFrame, ServerFrame};
use crate::task::TaskEnvelope;
use std::path::PathBuf;
use uuid::Uuid;

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schema/messages").join(name);
    let text = format!("{}\n", text.trim_end());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept,
        text,
        "{} differs; a published message may only gain fields (UPDATE_GOLDEN=1 writes it)",
        path.display()
    );
}

fn samples() -> Vec<Event> {
    let asset = AssetId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
    let job = JobId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002));
    let review = ReviewId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0004));
    let fact = |code| JobFact { asset, job, code };
    let stopped = |code, detail: &str| AssetStopped { asset, code, detail: detail.into() };
    vec![
        Event::AssetUploaded(AssetUploaded { asset, name: "holiday.mp4".into(), size: 12_345_678, through_api: true }),
        Event::AssetRefused(stopped(ReasonCode::NotMedia, "this is not a video, a sound or a picture that we know")),
        Event::AssetProbed(AssetProbed {
            asset,
            media: "video".into(),
            duration_ms: Some(30_000),
            width: Some(1920),
            height: Some(1080),
        }),
        Event::AssetPlayable(AssetPlayable { asset, generation: 1, after_ms: 2_500 }),
        Event::AssetReady(AssetReady {
            asset,
            generation: 1,
            after_ms: 31_000,
            renditions: vec!["1080p".into(), "audio".into()],
        }),
        Event::AssetFailed(stopped(ReasonCode::SourceReplaced, "the object was overwritten while it was processed")),
        Event::AssetDeleting(AssetDeleting { asset, purge_at_ms: 1_800_000_000_000 }),
        Event::AssetRestored(AssetRestored { asset, state: "ready".into() }),
        Event::AssetDeleted(AssetOnly { asset }),
        Event::AssetParked(stopped(
            ReasonCode::BudgetReached,
            "the budget is nothing: it starts when an operator raises the budget",
        )),
        Event::ApprovalRequested(ApprovalRequested {
            asset,
            review,
            votes: 2,
            expires_at_ms: 1_800_000_000_000,
            link: format!("https://reel.example/reviews/{review}"),
        }),
        Event::ApprovalGranted(ApprovalFact { asset, review }),
        Event::ApprovalDeclined(ApprovalDeclined { asset, review, reason: "the sound is missing".into() }),
        Event::ApprovalExpired(ApprovalFact { asset, review }),
        Event::JobQueued(fact(None)),
        Event::JobStarted(fact(None)),
        Event::JobProgressed(JobProgressed { asset, job, percent: 42.5, sequence: 17 }),
        Event::JobSucceeded(fact(None)),
        Event::JobFailed(fact(Some(ReasonCode::DecoderCrashed))),
        Event::JobCancelled(fact(Some(ReasonCode::SourceMissing))),
        Event::RenditionCompleted(RenditionCompleted {
            asset,
            job,
            rendition: "720p".into(),
            bytes: 9_876_543,
            frames: 720,
        }),
        Event::ThumbnailReady(ThumbnailReady { asset, generation: 1, pictures: 7 }),
        Event::TaskDeadLettered(TaskDeadLettered {
            asset,
            job,
            kind: "encode_chunk".into(),
            reason: "the decoder crashed three times (SIGSEGV)".into(),
        }),
    ]
}

fn cloud(event: Event) -> CloudEvent {
    let id = EventId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0003));
    CloudEvent::new(id, "default", 1_790_000_000_123, Some(TraceParent::new(1, 2)), event)
}

#[test]
fn every_event_keeps_its_golden_form() {
    for event in samples() {
        let name = event.type_name();
        let cloud = cloud(event);
        golden(&format!("samples/{name}.json"), &serde_json::to_string_pretty(&cloud).unwrap());
        let back: CloudEvent = serde_json::from_str(&cloud.to_json()).unwrap();
        assert_eq!(back, cloud);
        assert_eq!(serde_json::to_value(&cloud).unwrap()["type"], name);
    }
}

#[test]
fn schemas_stand_beside_the_samples() {
    golden("event.schema.json", &serde_json::to_string_pretty(&schemars::schema_for!(CloudEvent)).unwrap());
    golden("task.schema.json", &serde_json::to_string_pretty(&schemars::schema_for!(TaskEnvelope)).unwrap());
    golden("realtime-client.schema.json", &serde_json::to_string_pretty(&schemars::schema_for!(ClientFrame)).unwrap());
    golden("realtime-server.schema.json", &serde_json::to_string_pretty(&schemars::schema_for!(ServerFrame)).unwrap());
}

#[test]
fn codes_read_the_same_in_json_and_in_rows() {
    for code in
        [ReasonCode::Empty, ReasonCode::TooManyFramesPerSecond, ReasonCode::DecoderCrashed, ReasonCode::SourceReplaced]
    {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
}

#[test]
fn the_list_of_types_is_whole() {
    let logged: Vec<&str> =
        samples().iter().map(Event::type_name).filter(|name| *name != "job.progressed.v1").collect();
    let mut logged = logged;
    logged.sort_unstable();
    let mut listed = Event::LOGGED.to_vec();
    listed.sort_unstable();
    assert_eq!(listed, logged);
}
