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

    /// Of AWS X-Ray's header, as SQS hands it on in `AWSTraceHeader`: `Root=1-{8}-{24};Parent={16};Sampled=1`. A header
    /// without a parent names no span to go on from.
    ///
    /// Source: "Tracing header" in the AWS X-Ray developer guide.
    pub fn from_x_ray(header: &str) -> Option<Self> {
        let field = |name: &str| {
            header.split(';').find_map(|field| field.trim().strip_prefix(name)).and_then(|rest| rest.strip_prefix('='))
        };
        let mut root = field("Root")?.splitn(3, '-');
        let ("1", Some(epoch), Some(random)) = (root.next()?, root.next(), root.next()) else { return None };
        let sampled = if field("Sampled") == Some("1") { "01" } else { "00" };
        Self::try_from(format!("00-{epoch}{random}-{}-{sampled}", field("Parent")?)).ok()
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
    fn the_header_of_x_ray_says_the_same() {
        let of = |header: &str| TraceParent::from_x_ray(header).map(String::from);
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
        let wanted = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8";
        assert_eq!(of(&format!("{root};Parent=53995c3f42cd8ad8;Sampled=1")), Some(format!("{wanted}-01")));
        assert_eq!(of(&format!("Sampled=0;Parent=53995c3f42cd8ad8; {root}")), Some(format!("{wanted}-00")));
        for bad in ["", root, "Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8", "Root=1-x-y;Parent=z"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_well_formed_contexts_pass() {
        let made = TraceParent::new(7, 9);
        assert_eq!(TraceParent::try_from(made.as_str().to_owned()), Ok(made));
        for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-0000000000000009-01", "zz"] {
            assert!(TraceParent::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
