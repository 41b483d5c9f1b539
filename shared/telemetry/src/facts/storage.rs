//! What passes between the fleet and the services it calls.

use metrics::{counter, describe_counter};

/// Bytes read from or written to S3. `op` is read or write.
#[derive(Debug)]
pub struct ObjectBytes {
    pub op: &'static str,
    pub bytes: u64,
}

impl ObjectBytes {
    pub fn emit(&self) {
        counter!("reelfleet_s3_bytes_total", "op" => self.op).increment(self.bytes);
        tracing::trace!(op = self.op, bytes = self.bytes, "object bytes");
    }
}

/// The body of an object broke off or fell silent, and reading goes on by Range from where it stopped.
#[derive(Debug)]
pub struct ObjectReadResumed<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    /// Offset in the object at which reading goes on.
    pub offset: u64,
    pub detail: &'a str,
}

impl ObjectReadResumed<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_s3_reads_resumed_total").increment(1);
        tracing::info!(
            bucket = self.bucket,
            key = self.key,
            offset = self.offset,
            detail = self.detail,
            "object read resumed"
        );
    }
}

/// A batch call did not take every entry. `call` is send, delete, publish or delete_objects.
#[derive(Debug)]
pub struct BatchShortfall<'a> {
    pub call: &'static str,
    pub target: &'a str,
    pub failed: usize,
    /// Entries of which the answer said nothing at all.
    pub unaccounted: usize,
    pub sent: usize,
}

impl BatchShortfall<'_> {
    pub fn emit(&self) {
        counter!("reelfleet_batch_entries_failed_total", "call" => self.call)
            .increment((self.failed + self.unaccounted) as u64);
        tracing::warn!(
            call = self.call,
            target_name = self.target,
            failed = self.failed,
            unaccounted = self.unaccounted,
            sent = self.sent,
            "batch call fell short"
        );
    }
}

pub(super) fn describe() {
    describe_counter!("reelfleet_s3_bytes_total", "Bytes read from and written to S3.");
    describe_counter!("reelfleet_s3_reads_resumed_total", "Object reads that were resumed by Range.");
    describe_counter!("reelfleet_batch_entries_failed_total", "Entries of batch calls that were not taken, by call.");
}
