//! What holds of the requests of this service for any bytes at all.

use super::filter::{FilterPolicy, Scope};
use super::wire::{Form, Xml};

pub fn fuzzed(data: &[u8]) {
    let Ok(form) = Form::parse(data) else { return };
    let attributes = form.attributes("MessageAttributes");
    let (map, list) = (form.map("Attributes"), form.list("TagKeys"));
    assert!(attributes.len() + map.len() + list.len() <= data.len());
    for item in form.items("PublishBatchRequestEntries", "Id") {
        let _ = form.attributes(&format!("{item}.MessageAttributes"));
    }
    let text = form.get("Message").unwrap_or_default();
    let _ = Xml::default().text("Message", text);
    let policy = form.get("AttributeValue").or(map.get("FilterPolicy").map(String::as_str)).unwrap_or_default();
    for scope in [Scope::Attributes, Scope::Body] {
        if let Ok(policy) = FilterPolicy::parse(policy, scope) {
            // The same question has the same answer.
            assert_eq!(policy.matches(scope, &attributes, text), policy.matches(scope, &attributes, text));
        }
    }
}
