//! A message's attributes and limits, and the digests that every SDK computes again.
//!
//! Guarantee: what passes [`check_body`] and [`check_attributes`] is what SQS would take; the digests are SQS's, byte
//! for byte (SQS Developer Guide, "Calculating the MD5 message digest for message attributes").

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::SqsError;

/// Most attributes that a message carries.
const MAX_ATTRIBUTES: usize = 10;

/// One message attribute, in the shape of the wire and of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, with an optional label after a period.
    #[serde(default)]
    pub data_type: String,
    /// Value of a string or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// Value of a binary, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

impl MessageAttribute {
    fn logical_type(&self) -> &str {
        self.data_type.split('.').next().unwrap_or_default()
    }

    fn binary(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.binary_value.as_deref()?).ok()
    }
}

/// Attributes of a message by name; sorted, as the digest wants them.
pub type MessageAttributes = BTreeMap<String, MessageAttribute>;

/// MD5 in hexadecimal.
pub fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// MD5 over attributes in the order of their names.
pub fn md5_of_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a MessageAttribute)>,
) -> Option<String> {
    let mut md5 = Md5::new();
    let mut any = false;
    let part = |md5: &mut Md5, bytes: &[u8]| {
        md5.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        md5.update(bytes);
    };
    for (name, attribute) in attributes {
        any = true;
        part(&mut md5, name.as_bytes());
        part(&mut md5, attribute.data_type.as_bytes());
        if let Some(text) = &attribute.string_value {
            md5.update([1]);
            part(&mut md5, text.as_bytes());
        } else {
            md5.update([2]);
            part(&mut md5, &attribute.binary().unwrap_or_default());
        }
    }
    any.then(|| hex::encode(md5.finalize()))
}

/// Bytes that a message counts: body, and names, types and values of its attributes.
pub fn size(body: &str, attributes: &MessageAttributes) -> usize {
    let values = attributes.iter().map(|(name, attribute)| {
        let value = match &attribute.string_value {
            Some(text) => text.len(),
            None => attribute.binary().map_or(0, |bytes| bytes.len()),
        };
        name.len() + attribute.data_type.len() + value
    });
    body.len() + values.sum::<usize>()
}

/// Refuses an empty body and characters that XML 1.0 cannot carry.
pub fn check_body(body: &str) -> Result<(), SqsError> {
    if body.is_empty() {
        return Err(SqsError::MissingParameter("MessageBody"));
    }
    if body.chars().all(is_xml_char) { Ok(()) } else { Err(SqsError::InvalidMessageContents) }
}

/// Whether XML 1.0 can carry the character.
pub fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Refuses attributes that SQS would not take. The text says which and why.
pub fn check_attributes(attributes: &MessageAttributes) -> Result<(), SqsError> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(SqsError::InvalidParameterValue(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].",
            attributes.len()
        )));
    }
    attributes
        .iter()
        .try_for_each(|(name, attribute)| check_attribute(name, attribute))
        .map_err(SqsError::InvalidParameterValue)
}

/// Why an attribute is not one that SQS and SNS take.
pub fn check_attribute(name: &str, attribute: &MessageAttribute) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > 256 {
        return Err(format!("The length of message attribute name '{name}' must be between 1 and 256."));
    }
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return Err(format!(
            "Message attribute name '{name}' must not begin with a reserved prefix (AWS. or Amazon.)."
        ));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if !name.bytes().all(plain) || name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return Err(format!(
            "Message (user) attribute name '{name}' is invalid: it can contain letters, digits, '_', '-' and single \
             periods between them."
        ));
    }
    if attribute.data_type.is_empty() {
        return Err(format!("The message attribute '{name}' must contain a non-empty message attribute type."));
    }
    if attribute.data_type.len() > 256 {
        return Err(format!("The type of message attribute '{name}' is longer than 256 characters."));
    }
    let text = attribute.string_value.as_deref();
    let empty = || {
        format!("The message attribute '{name}' must contain a non-empty value for its type '{}'.", attribute.data_type)
    };
    match attribute.logical_type() {
        "Binary" => {
            let bytes = attribute.binary_value.as_deref().filter(|_| text.is_none()).ok_or_else(empty)?;
            match STANDARD.decode(bytes) {
                Ok(bytes) if !bytes.is_empty() => Ok(()),
                Ok(_) => Err(empty()),
                Err(_) => Err(format!("The value of message attribute '{name}' is not base64.")),
            }
        }
        logical @ ("String" | "Number") => {
            let text = text.filter(|t| !t.is_empty() && attribute.binary_value.is_none()).ok_or_else(empty)?;
            if logical == "Number" && !text.parse::<f64>().is_ok_and(f64::is_finite) {
                return Err(format!("Can't cast the value of message (user) attribute '{name}' to a number."));
            }
            if !text.chars().all(is_xml_char) {
                return Err(format!("The value of message attribute '{name}' holds invalid characters."));
            }
            Ok(())
        }
        _ => Err(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes \
             is Binary, Number, and String."
        )),
    }
}

/// Whether one of the names asked for covers this attribute: `All`, `.*`, `prefix.*`, or the name itself.
pub fn asked_for(asked: &[String], name: &str) -> bool {
    asked
        .iter()
        .any(|a| a == "All" || a == ".*" || a == name || a.strip_suffix(".*").is_some_and(|p| name.starts_with(p)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: &str, text: &str) -> MessageAttribute {
        MessageAttribute { data_type: kind.into(), string_value: Some(text.into()), binary_value: None }
    }

    #[test]
    fn digest_of_the_body() {
        assert_eq!(md5_hex(b"This is a test message"), "fafb00f5732ab283681e124bf8747ed1");
    }

    /// The expected value was computed with the algorithm of the Developer Guide in another language.
    #[test]
    fn digest_of_attributes_of_each_type() {
        let all: MessageAttributes = [
            ("kind".into(), attribute("String", "probe")),
            ("cost.s".into(), attribute("Number.int", "12")),
            (
                "blob".into(),
                MessageAttribute {
                    data_type: "Binary".into(),
                    string_value: None,
                    binary_value: Some("AAEC/w==".into()),
                },
            ),
        ]
        .into();
        assert_eq!(md5_of_attributes(&all).as_deref(), Some("08634fd595abedac32d195121e8864cc"));
        assert_eq!(md5_of_attributes(&MessageAttributes::new()), None);
    }

    #[test]
    fn names_and_types_are_checked() {
        assert!(check_attribute("ok-name_1.x", &attribute("String.custom", "v")).is_ok());
        for name in ["", ".a", "a.", "a..b", "a b", "AWS.x", "amazon.x"] {
            assert!(check_attribute(name, &attribute("String", "v")).is_err(), "{name:?}");
        }
        assert!(check_attribute("n", &attribute("Number", "1e3")).is_ok());
        assert!(check_attribute("n", &attribute("Number", "one")).is_err());
        assert!(check_attribute("n", &attribute("Text", "v")).is_err());
        assert!(check_attribute("n", &attribute("String", "")).is_err());
        assert!(check_attribute("n", &attribute("Binary", "v")).is_err());
    }

    #[test]
    fn control_characters_are_refused() {
        assert!(check_body("tab\tnewline\n\u{1F600}").is_ok());
        assert!(matches!(check_body("\u{0}"), Err(SqsError::InvalidMessageContents)));
        assert!(matches!(check_body("\u{FFFF}"), Err(SqsError::InvalidMessageContents)));
        assert!(matches!(check_body(""), Err(SqsError::MissingParameter(_))));
    }

    #[test]
    fn asked_names() {
        let asked =
            |names: &[&str], name: &str| asked_for(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), name);
        assert!(asked(&["All"], "x") && asked(&[".*"], "x") && asked(&["tr.*"], "trace") && asked(&["x"], "x"));
        assert!(!asked(&["y", "z.*"], "x") && !asked(&[], "x"));
    }
}
