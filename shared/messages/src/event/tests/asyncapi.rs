//! The AsyncAPI document: made of the same schemas and samples as `schema/messages`, so that it can't name another
//! message, or fewer.
//!
//! Source: AsyncAPI 3.0.0.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;
use crate::realtime::{MAX_FRAME_BYTES, SUBPROTOCOL, TOPICS};

/// A schema whose definitions are components of the document.
fn schema_of(schema: &schemars::Schema, components: &mut Map<String, Value>) -> Value {
    let text = schema.as_value().to_string().replace("#/$defs/", "#/components/schemas/");
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    let members = schema.as_object_mut().unwrap();
    members.remove("$schema");
    if let Some(Value::Object(defs)) = members.remove("$defs") {
        components.extend(defs);
    }
    schema
}

/// The kinds of a schema that is one of many: (what tells it apart, its schema).
fn kinds_of(schema: &Value, tag: &str) -> Vec<(String, Value)> {
    let kinds = schema["oneOf"].as_array().unwrap().iter();
    kinds.map(|kind| (kind["properties"][tag]["const"].as_str().unwrap().to_owned(), kind.clone())).collect()
}

fn reference(place: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/{place}/{name}") })
}

/// What messages are told of, and how they look.
#[derive(Default)]
struct Document {
    messages: Map<String, Value>,
    schemas: Map<String, Value>,
}

impl Document {
    /// Adds the kinds of a frame; gives their names.
    fn frames(&mut self, who: &str, schema: &schemars::Schema) -> Vec<String> {
        let schema = schema_of(schema, &mut self.schemas);
        let kinds = kinds_of(&schema, "op").into_iter().map(|(op, payload)| {
            let name = format!("{who}.{op}");
            let said = payload["description"].clone();
            self.messages.insert(name.clone(), json!({ "name": op, "summary": said, "payload": payload }));
            name
        });
        kinds.collect()
    }

    /// Adds every event with its golden sample: as a CloudEvent, and as webhooks get what is logged. Gives the names of both.
    fn events(&mut self) -> (Vec<String>, Vec<String>) {
        let whole = schema_of(&schemars::schema_for!(CloudEvent), &mut self.schemas);
        let mut envelope = whole.clone();
        envelope.as_object_mut().unwrap().remove("oneOf");
        self.schemas.insert("CloudEvent".to_owned(), envelope);
        let text = |said: &str| json!({ "type": "string", "description": said });
        let headers = json!({
            "type": "object",
            "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
            "properties": {
                "webhook-id": text("The event's id: the same on every attempt."),
                "webhook-timestamp": text("Of the attempt, in epoch seconds."),
                "webhook-signature": text("`v1,` and an HMAC-SHA256 in base 64, one for each secret that counts."),
            },
        });
        self.schemas.insert("WebhookHeaders".to_owned(), headers);
        let (mut events, mut hooks) = (Vec::new(), Vec::new());
        for (kind, member) in kinds_of(&whole, "type") {
            let sample = samples().into_iter().find(|event| event.type_name() == kind).unwrap();
            let (said, example) = (member["description"].clone(), serde_json::to_value(cloud(sample)).unwrap());
            let schema = json!({ "allOf": [reference("components/schemas", "CloudEvent"), member] });
            self.schemas.insert(kind.clone(), schema);
            let message = json!({
                "name": kind,
                "summary": said,
                "contentType": "application/cloudevents+json",
                "payload": reference("components/schemas", &kind),
                "examples": [{ "payload": example }],
            });
            if Event::LOGGED.contains(&kind.as_str()) {
                let time =
                    json!({ "required": ["timestamp"], "properties": { "timestamp": text("The event's time.") } });
                let mut hook = message.clone();
                hook["contentType"] = json!("application/json");
                hook["headers"] = reference("components/schemas", "WebhookHeaders");
                hook["payload"] = json!({ "allOf": [reference("components/schemas", &kind), time] });
                hook["examples"][0]["payload"]["timestamp"] = example["time"].clone();
                let name = format!("webhook.{kind}");
                self.messages.insert(name.clone(), hook);
                hooks.push(name);
            }
            self.messages.insert(kind.clone(), message);
            events.push(kind);
        }
        (events, hooks)
    }
}

fn channel(address: Value, server: &str, said: &str, names: &[String], bindings: Value) -> Value {
    let messages: Map<String, Value> =
        names.iter().map(|name| (name.clone(), reference("components/messages", name))).collect();
    let mut channel = json!({
        "address": address,
        "description": said,
        "servers": [reference("servers", server)],
        "messages": messages,
    });
    if !bindings.is_null() {
        channel["bindings"] = bindings;
    }
    channel
}

fn operation(action: &str, channel: &str, said: &str, names: &[String]) -> Value {
    let messages: Vec<Value> =
        names.iter().map(|name| reference(&format!("channels/{channel}/messages"), name)).collect();
    json!({ "action": action, "channel": reference("channels", channel), "summary": said, "messages": messages })
}

fn document() -> Value {
    let mut told = Document::default();
    let client = told.frames("client", &schemars::schema_for!(ClientFrame));
    let server = told.frames("server", &schemars::schema_for!(ServerFrame));
    let (events, hooks) = told.events();
    let both = [client.clone(), server.clone()].concat();
    let pushed: Vec<String> = server.iter().filter(|name| !name.ends_with("ng")).cloned().collect();
    let ticket = json!({ "type": "object", "properties": { "ticket": { "type": "string", "description": "Single use, from `POST /v1/realtime/tickets`." } } });
    let host = json!({ "host": { "default": "localhost:8080", "description": "The installation's public address." } });
    let entry = |protocol: &str, said: &str| {
        let open =
            json!([reference("components/securitySchemes", "ticket"), reference("components/securitySchemes", "key")]);
        json!({ "host": "{host}", "protocol": protocol, "description": said, "variables": host, "security": open })
    };
    let conversation = format!(
        "A conversation: `hello` first, then `welcome`, what was missed, and what happens. Topics: `{}`.",
        TOPICS.join("`, `")
    );
    let mut deliver = operation("send", "webhooks", "What a webhook asked for, signed.", &hooks);
    deliver["bindings"] = json!({ "http": { "method": "POST", "bindingVersion": "0.3.0" } });
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "reelfleet",
            "version": "1.0.0",
            "description": format!("What reelfleet says by itself: frames of the realtime protocol `{SUBPROTOCOL}`, of at most {MAX_FRAME_BYTES} bytes, the same over WebSocket and Server-Sent Events; and events in the structured JSON form of CloudEvents 1.0. Unknown fields are to be ignored. What is asked for is in the OpenAPI document, `/v1/openapi.json`."),
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "websocket": entry("wss", "The gateway, as a WebSocket (`ws` on one machine)."),
            "sse": entry("https", "The gateway, by Server-Sent Events (`http` on one machine)."),
            "sns": {
                "host": "sns.{region}.amazonaws.com",
                "protocol": "sns",
                "description": "Amazon SNS, or the embedded endpoint.",
                "variables": { "region": { "default": "us-east-1" } },
            },
            "receiver": {
                "host": "{receiver}",
                "protocol": "https",
                "description": "Whoever a webhook leads to.",
                "variables": { "receiver": { "default": "example.com" } },
            },
        },
        "channels": {
            "realtime": channel(
                json!("/v1/realtime"),
                "websocket",
                &conversation,
                &both,
                json!({ "ws": { "method": "GET", "query": ticket, "bindingVersion": "0.1.0" } }),
            ),
            "stream": channel(
                json!("/v1/events"),
                "sse",
                "The same frames as `data:` of events whose `id:` resumes them (`Last-Event-ID`); the query's `topics` are separated by commas. Comments keep the connection alive.",
                &pushed,
                Value::Null,
            ),
            "topic": channel(
                json!("reelfleet-events"),
                "sns",
                "An SNS topic. The attributes `type`, `subject` and `tenant` are there to filter by. At least once: `id` tells repetitions.",
                &events,
                Value::Null,
            ),
            "webhooks": channel(
                Value::Null,
                "receiver",
                "The URL that somebody gave to `POST /v1/webhooks`, by Standard Webhooks 1.0. A 2xx takes it; anything else is tried again for days, in order per asset; 410 turns the webhook off.",
                &hooks,
                Value::Null,
            ),
        },
        "operations": {
            "hear": operation("receive", "realtime", "What a client says.", &client),
            "push": operation("send", "realtime", "What a client is told.", &server),
            "stream": operation("send", "stream", "What a client is told.", &pushed),
            "publish": operation("send", "topic", "Every fact, once it is committed.", &events),
            "deliver": deliver,
        },
        "components": {
            "securitySchemes": {
                "ticket": { "type": "httpApiKey", "in": "query", "name": "ticket", "description": "Single use, from `POST /v1/realtime/tickets`." },
                "key": { "type": "http", "scheme": "bearer", "description": "An API key with the scope `realtime`." },
            },
            "messages": told.messages,
            "schemas": told.schemas,
        },
    })
}

#[test]
fn the_document_is_made_of_the_messages() {
    golden("../asyncapi.json", &serde_json::to_string_pretty(&document()).unwrap());
}

/// Every `$ref` leads somewhere, and every message is on a channel and in an operation.
#[test]
fn the_document_is_whole() {
    fn refs<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| refs(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| refs(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    refs(&document, &mut found);
    for target in &found {
        assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
    }
    let said: BTreeSet<&str> = document["operations"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|operation| operation["messages"].as_array().unwrap())
        .map(|message| message["$ref"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    let told: BTreeSet<&str> =
        document["components"]["messages"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(said, told);
    let events: BTreeSet<&str> = samples().iter().map(Event::type_name).collect();
    assert!(events.is_subset(&told), "{events:?}");
}
