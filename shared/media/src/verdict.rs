//! What the end of a session means for the task that opened it, and how an object becomes a source.

use std::sync::Arc;

use reelfleet_domain::policy::{Refusal, Verdict};
use reelfleet_messages::event::ReasonCode;
use reelfleet_objects::{ObjectError, RangedReader};
use reelfleet_wire::FailCode;

use crate::error::{DecodeError, MediaError};
use crate::source::{Source, SourceError};

impl Source {
    /// Reads an object by range, pinned to its ETag.
    pub fn of_object(reader: RangedReader) -> Self {
        let size = reader.size();
        let reader = Arc::new(reader);
        let read = move |offset: u64, len: u32| {
            let reader = Arc::clone(&reader);
            let answer = async move {
                reader.read_at(offset, len).await.map_err(|error| match error {
                    ObjectError::Changed { .. } => SourceError::Changed,
                    ObjectError::Gone { .. } => SourceError::Gone,
                    other => SourceError::Io(other.to_string()),
                })
            };
            Box::pin(answer) as futures::future::BoxFuture<'static, _>
        };
        Self { size, pixels: 0, read: Arc::new(read) }
    }
}

impl From<MediaError> for Verdict {
    fn from(error: MediaError) -> Self {
        let why = error.to_string();
        match error {
            MediaError::NoRoom { .. } => Self::Later { why },
            _ => Self::Again { why, exit: None },
        }
    }
}

impl From<DecodeError> for Verdict {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Refused { code, detail } => refused(code, detail),
            DecodeError::Source(SourceError::Changed) => replaced(),
            DecodeError::Source(SourceError::Gone) => {
                let why = "the object was removed while it was processed";
                Self::Fail(Refusal::new(ReasonCode::SourceMissing, why))
            }
            DecodeError::Source(SourceError::Io(why)) => Self::Again { why, exit: None },
            crash => Self::Again { why: crash.to_string(), exit: crash.exit() },
        }
    }
}

fn replaced() -> Verdict {
    Verdict::Fail(Refusal::new(ReasonCode::SourceReplaced, "the object was overwritten while it was processed"))
}

fn refused(code: FailCode, detail: String) -> Verdict {
    let reason = match code {
        FailCode::NotMedia => ReasonCode::NotMedia,
        FailCode::Truncated => ReasonCode::Truncated,
        FailCode::Encrypted => ReasonCode::Encrypted,
        FailCode::NoDecodableStream => ReasonCode::NoDecodableStream,
        FailCode::TooLong => ReasonCode::TooLong,
        FailCode::TooManyPixels => ReasonCode::TooManyPixels,
        FailCode::TooManyStreams => ReasonCode::TooManyStreams,
        FailCode::TooManyFramesPerSecond => ReasonCode::TooManyFramesPerSecond,
        FailCode::TypeNotAllowed => ReasonCode::TypeNotAllowed,
        FailCode::Empty => ReasonCode::Empty,
        FailCode::SourceChanged => return replaced(),
        FailCode::SourceRead | FailCode::NotCopyable | FailCode::Internal => {
            return Verdict::Again { why: detail, exit: None };
        }
        // The same bytes give the same error: no other attempt will fare better.
        FailCode::Decode | FailCode::Encode => return Verdict::Fail(Refusal::new(ReasonCode::DecodeFailed, detail)),
    };
    Verdict::Refuse(Refusal::new(reason, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_was_removed_is_missing_and_one_that_was_overwritten_replaced() {
        let verdicts = [SourceError::Gone, SourceError::Changed].map(|error| Verdict::from(DecodeError::Source(error)));
        let [Verdict::Fail(gone), Verdict::Fail(changed)] = verdicts else { panic!("neither is tried again") };
        assert_eq!([gone.code, changed.code], [ReasonCode::SourceMissing, ReasonCode::SourceReplaced]);
        let busy = Verdict::from(DecodeError::Source(SourceError::Io("reset".into())));
        assert!(matches!(busy, Verdict::Again { .. }));
    }
}
