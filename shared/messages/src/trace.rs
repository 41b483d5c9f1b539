//! W3C trace context, carried in the body of tasks and events because S3 notifications have none.

use serde::{Deserialize, Serialize};

/// A `traceparent` header value (W3C Trace Context, section 3.2), checked when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent(String);

impl TraceParent {
    /// Makes a sampled trace context from a trace id and a span id that are not zero.
    pub fn new(trace: u128, span: u64) -> Self {
        Self(format!("00-{:032x}-{:016x}-01", trace.max(1), span.max(1)))
    }

    /// The header's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TraceParent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('-').collect();
        let hex = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let fits = parts.len() == 4
            && hex(parts[0], 2)
            && hex(parts[1], 32)
            && hex(parts[2], 16)
            && hex(parts[3], 2)
            && parts[0] != "ff"
            && parts[1].bytes().any(|b| b != b'0')
            && parts[2].bytes().any(|b| b != b'0');
        if fits { Ok(Self(text)) } else { Err(format!("not a W3C traceparent: {text:?}")) }
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> String {
        parent.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_contexts_pass() {
        let made = TraceParent::new(7, 9);
        assert_eq!(TraceParent::try_from(made.as_str().to_owned()), Ok(made));
        for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-0000000000000009-01", "zz"] {
            assert!(TraceParent::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
