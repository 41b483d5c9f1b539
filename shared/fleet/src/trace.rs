//! The way of a trace through queues: what comes in is gone on with, what goes out says so.
//!
//! Guarantee: a message goes on with the trace that it came with, whether this process sends spans or not; a task that is
//! tried again, redriven or woken by its row carries the same `traceparent` as the first time.

use reelfleet_messages::trace::TraceParent;
use reelfleet_telemetry::trace::{self, Consumed, Span};
use serde::Deserialize;

use crate::queue::Delivery;

/// The attribute of messages, and the member of tasks and events, that holds it.
pub const ATTRIBUTE: &str = "traceparent";

/// What is made now goes on with the span at work, or where this process sends no spans, with what it came with.
pub fn going_on(came_with: Option<&TraceParent>) -> Option<TraceParent> {
    trace::current().and_then(|text| text.try_into().ok()).or_else(|| came_with.cloned())
}

/// The trace that a message came with: its attribute, the copy in its body, or what X-Ray said of its sender.
pub fn of_message(delivery: &Delivery) -> Option<TraceParent> {
    let told = delivery.attributes.get(ATTRIBUTE).and_then(|text| text.clone().try_into().ok());
    let x_ray = || delivery.attributes.get("AWSTraceHeader").and_then(|header| TraceParent::from_x_ray(header));
    told.or_else(|| of_body(&delivery.body)).or_else(x_ray)
}

/// The trace that the body of a task or an event names.
pub fn of_body(body: &str) -> Option<TraceParent> {
    #[derive(Deserialize)]
    struct Body {
        traceparent: Option<TraceParent>,
    }
    serde_json::from_str::<Body>(body).ok()?.traceparent
}

/// The span of the work on a message.
pub(crate) fn consumer(queue: &str, delivery: &Delivery) -> Span {
    if !trace::is_on() {
        return Span::none();
    }
    let came_with = of_message(delivery);
    Span::consumer(&Consumed {
        queue,
        message_id: &delivery.message_id,
        receive_count: delivery.receive_count,
        traceparent: came_with.as_ref().map(TraceParent::as_str),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_attribute_comes_first_then_the_body_then_what_x_ray_says() {
        let parent = |trace| TraceParent::new(trace, 9);
        let of = |body: &str, attributes: &[(&str, &str)]| {
            let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            of_message(&Delivery {
                body: body.to_owned(),
                message_id: String::new(),
                receipt: String::new(),
                receive_count: 1,
                first_received_ms: 0,
                sent_ms: 0,
                attributes: attributes.collect::<BTreeMap<_, _>>(),
                group: None,
            })
        };
        let body = format!(r#"{{"v":1,"traceparent":"{}"}}"#, parent(2).as_str());
        let x_ray = ("AWSTraceHeader", "Root=1-00000000-000000000000000000000003;Parent=0000000000000009;Sampled=1");
        let told = parent(1);
        assert_eq!(of(&body, &[(ATTRIBUTE, told.as_str()), x_ray]), Some(parent(1)));
        assert_eq!(of(&body, &[(ATTRIBUTE, "nonsense"), x_ray]), Some(parent(2)));
        assert_eq!(of(r#"{"Records":[]}"#, &[x_ray]), Some(parent(3)));
        assert_eq!(of("no JSON", &[]), None);
    }
}
