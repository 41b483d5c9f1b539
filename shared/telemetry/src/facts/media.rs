//! What becomes of tasks, jobs and the decoder.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// An attempt of a task began and is counted.
#[derive(Debug)]
pub struct TaskStarted<'a> {
    pub kind: &'static str,
    pub task: &'a str,
    pub job: &'a str,
    /// 1 on the first attempt.
    pub attempt: u32,
}

impl TaskStarted<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_tasks_started_total", "kind" => self.kind).increment(1);
        tracing::info!(kind = self.kind, task = self.task, job = self.job, attempt = self.attempt, "task started");
    }
}

/// An attempt of a task ended; `outcome` is done, retry, release, reject or lost.
#[derive(Debug)]
pub struct TaskFinished<'a> {
    pub kind: &'static str,
    pub task: &'a str,
    pub job: &'a str,
    pub outcome: &'static str,
    pub seconds: f64,
    /// Empty unless there is something to explain.
    pub why: &'a str,
}

impl TaskFinished<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_tasks_finished_total", "kind" => self.kind, "outcome" => self.outcome).increment(1);
        histogram!("reelfleet_task_duration_seconds", "kind" => self.kind, "outcome" => self.outcome)
            .record(self.seconds);
        tracing::info!(
            kind = self.kind,
            task = self.task,
            job = self.job,
            outcome = self.outcome,
            seconds = self.seconds,
            why = self.why,
            "task finished"
        );
    }
}

/// A job reached its end; `state` is succeeded, failed or cancelled.
#[derive(Debug)]
pub struct JobFinished<'a> {
    pub job: &'a str,
    pub asset: &'a str,
    pub state: &'static str,
    /// From the job's creation to its end.
    pub seconds: f64,
}

impl JobFinished<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_jobs_finished_total", "state" => self.state).increment(1);
        histogram!("reelfleet_job_duration_seconds", "state" => self.state).record(self.seconds);
        tracing::info!(job = self.job, asset = self.asset, state = self.state, seconds = self.seconds, "job finished");
    }
}

/// Bytes of a segment were stored. `rendition` is a name of the ladder (`1080p` … `audio`).
#[derive(Debug)]
pub struct SegmentBytes<'a> {
    pub rendition: &'a str,
    pub bytes: u64,
}

impl SegmentBytes<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_segments_total", "rendition" => self.rendition.to_owned()).increment(1);
        counter!("reelfleet_segment_bytes_total", "rendition" => self.rendition.to_owned()).increment(self.bytes);
        tracing::trace!(rendition = self.rendition, bytes = self.bytes, "segment stored");
    }
}

/// A decoder run delivered what it was asked for.
#[derive(Debug)]
pub struct EncodeFinished<'a> {
    pub task: &'a str,
    pub frames: u64,
    /// Seconds of media made.
    pub media_seconds: f64,
    /// Seconds it took.
    pub wall_seconds: f64,
}

impl EncodeFinished<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_encoded_frames_total").increment(self.frames);
        let ratio = if self.wall_seconds > 0.0 { self.media_seconds / self.wall_seconds } else { 0.0 };
        histogram!("reelfleet_encode_realtime_ratio").record(ratio);
        tracing::debug!(
            task = self.task,
            frames = self.frames,
            media_seconds = self.media_seconds,
            wall_seconds = self.wall_seconds,
            ratio,
            "encoded"
        );
    }
}

/// A trial child has closed the jail, so decoders may run; `landlock` is full, partial or none. seccomp stands always.
#[derive(Debug)]
pub struct JailClosed<'a> {
    pub program: &'a str,
    /// How strong it is, in words.
    pub jail: &'a str,
    pub landlock: &'static str,
    pub landlock_abi: u32,
}

impl JailClosed<'_> {
    pub fn emit(&self) {
        gauge!("reelfleet_jail_level", "seccomp" => "full", "landlock" => self.landlock).set(1.0);
        gauge!("reelfleet_jail_landlock_abi").set(f64::from(self.landlock_abi));
        tracing::info!(
            program = self.program,
            jail = self.jail,
            landlock = self.landlock,
            landlock_abi = self.landlock_abi,
            "decoder ready, its jail closes"
        );
    }
}

/// A jailed decoder died or was killed; `cause` is signal, exit, stalled, timed_out, output_limit or protocol.
#[derive(Debug)]
pub struct DecoderCrashed<'a> {
    pub op: &'static str,
    pub cause: &'static str,
    pub detail: &'a str,
}

impl DecoderCrashed<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_decoder_crashes_total", "op" => self.op, "cause" => self.cause).increment(1);
        tracing::warn!(op = self.op, cause = self.cause, detail = self.detail, "decoder crashed");
    }
}

/// A decoder waited for memory that others had; `given`: it got it.
#[derive(Debug)]
pub struct MemoryAwaited {
    pub mib: u64,
    pub seconds: f64,
    pub given: bool,
}

impl MemoryAwaited {
    pub fn emit(&self) {
        let outcome = if self.given { "given" } else { "given_up" };
        histogram!("reelfleet_decoder_memory_wait_seconds", "outcome" => outcome).record(self.seconds);
        tracing::info!(mib = self.mib, seconds = self.seconds, outcome, "a decoder waited for memory");
    }
}

pub(super) fn describe() {
    describe_counter!("reelfleet_tasks_started_total", "Attempts of tasks begun, by kind.");
    describe_counter!("reelfleet_tasks_finished_total", "Attempts of tasks ended, by kind and outcome.");
    describe_histogram!("reelfleet_task_duration_seconds", "Duration of an attempt of a task.");
    describe_counter!("reelfleet_jobs_finished_total", "Jobs that reached their end, by state.");
    describe_histogram!("reelfleet_job_duration_seconds", "Time between the creation of a job and its end.");
    describe_counter!("reelfleet_segments_total", "Segments stored, by rendition name.");
    describe_counter!("reelfleet_segment_bytes_total", "Bytes of segments stored, by rendition name.");
    describe_counter!("reelfleet_encoded_frames_total", "Video frames encoded.");
    describe_histogram!("reelfleet_encode_realtime_ratio", "Seconds of media encoded per second of work.");
    describe_gauge!("reelfleet_jail_level", "1 for the level of the decoders' jail, by what holds how far.");
    describe_gauge!("reelfleet_jail_landlock_abi", "Version of the kernel's Landlock interface, 0 without Landlock.");
    describe_histogram!("reelfleet_decoder_memory_wait_seconds", "Time for which a decoder waited for memory.");
    describe_counter!("reelfleet_decoder_crashes_total", "Jailed decoders that died, by operation and cause.");
}
