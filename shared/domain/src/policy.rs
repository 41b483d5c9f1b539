//! What is taken in: limits and kinds, each refusal with a code and a sentence for a person.

use reelfleet_messages::event::ReasonCode;

/// What an installation takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Bytes.
    pub max_bytes: u64,
    /// Milliseconds.
    pub max_duration_ms: u64,
    /// Width × height.
    pub max_pixels: u64,
    /// Kinds taken, of `video`, `audio`, `image`.
    pub kinds: Vec<String>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Stable code.
    pub code: ReasonCode,
    /// For a person.
    pub detail: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl Policy {
    /// Before anything is read.
    pub fn check_size(&self, bytes: u64) -> Result<(), Refusal> {
        if bytes == 0 {
            return Err(Refusal::new(ReasonCode::Empty, "the file is empty"));
        }
        if bytes > self.max_bytes {
            let detail = format!("the file has {bytes} bytes, at most {} are allowed", self.max_bytes);
            return Err(Refusal::new(ReasonCode::TooLarge, detail));
        }
        Ok(())
    }

    /// After the probe.
    pub fn check_media(&self, kind: &str, duration_ms: Option<u64>, pixels: Option<u64>) -> Result<(), Refusal> {
        if !self.kinds.iter().any(|k| k == kind) {
            return Err(Refusal::new(ReasonCode::TypeNotAllowed, format!("{kind} files are not taken here")));
        }
        if let Some(ms) = duration_ms.filter(|ms| *ms > self.max_duration_ms) {
            let detail = format!("it lasts {} s, at most {} s are allowed", ms / 1000, self.max_duration_ms / 1000);
            return Err(Refusal::new(ReasonCode::TooLong, detail));
        }
        if let Some(pixels) = pixels.filter(|pixels| *pixels > self.max_pixels) {
            let detail = format!("a picture has {pixels} pixels, at most {} are allowed", self.max_pixels);
            return Err(Refusal::new(ReasonCode::TooManyPixels, detail));
        }
        Ok(())
    }
}

/// What a failed attempt means for its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The source is not what we take.
    Refuse(Refusal),
    /// No other attempt will fare better.
    Fail(Refusal),
    /// Another attempt may.
    Again {
        /// What went wrong.
        why: String,
        /// How the decoder ended, if it crashed, hung or reached a limit (`signal SIGSEGV`): counted apart.
        exit: Option<String>,
    },
    /// Nothing was tried: there was no room for it.
    Later {
        /// What there was no room for.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_code() {
        let policy = Policy { max_bytes: 10, max_duration_ms: 1000, max_pixels: 100, kinds: vec!["video".into()] };
        assert_eq!(policy.check_size(0).unwrap_err().code, ReasonCode::Empty);
        assert_eq!(policy.check_size(11).unwrap_err().code, ReasonCode::TooLarge);
        assert_eq!(policy.check_media("image", None, None).unwrap_err().code, ReasonCode::TypeNotAllowed);
        assert_eq!(policy.check_media("video", Some(1001), None).unwrap_err().code, ReasonCode::TooLong);
        assert_eq!(policy.check_media("video", Some(1000), Some(101)).unwrap_err().code, ReasonCode::TooManyPixels);
        assert_eq!(policy.check_media("video", Some(1000), Some(100)), Ok(()));
    }
}
