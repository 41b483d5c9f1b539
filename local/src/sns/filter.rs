//! Filter policies of subscriptions: which messages a subscriber gets.
//!
//! Guarantee: a policy that is stored is understood whole; an operator that is not known is refused when it is set and
//! never ignored. Source: SNS Developer Guide, "Amazon SNS subscription filter policies". All keys of a policy must
//! match, any of a key's conditions may; `$or` holds alternatives; in the scope `MessageBody` a policy may be nested.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::sqs::MessageAttributes;

/// What a policy looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The message's attributes (the default).
    Attributes,
    /// The message's text, read as a JSON object.
    Body,
}

/// A policy, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterPolicy(Node);

/// All fields and all alternatives must match.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    fields: Vec<(String, Field)>,
    any_of: Vec<Vec<Node>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Leaf(Vec<Condition>),
    Nested(Node),
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Equals(Value),
    EqualsIgnoreCase(String),
    Prefix(String),
    Suffix(String),
    AnythingBut(Vec<Condition>),
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
    Cidr(IpAddr, u8),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl FilterPolicy {
    /// Reads a policy. The error says what is wrong with it, to follow "FilterPolicy: ".
    pub fn parse(text: &str, scope: Scope) -> Result<Self, String> {
        let policy: Value = serde_json::from_str(text).map_err(|_| "failed to parse JSON.".to_owned())?;
        let object = policy.as_object().ok_or("Filter policy must be a JSON object.")?;
        if object.len() > 5 {
            return Err("Filter policy can not have more than 5 keys.".into());
        }
        let node = node(object, scope)?;
        if node.combinations() > 150 {
            return Err("Filter policy is too complex: more than 150 combinations.".into());
        }
        Ok(Self(node))
    }

    /// Whether the subscriber gets a message.
    pub fn matches(&self, scope: Scope, attributes: &MessageAttributes, body: &str) -> bool {
        match scope {
            Scope::Attributes => self.0.matches(&attributes_as_json(attributes)),
            Scope::Body => match serde_json::from_str::<Value>(body) {
                Ok(Value::Object(body)) => self.0.matches(&body),
                _ => false,
            },
        }
    }
}

/// Attributes as the values that conditions compare: numbers as numbers, `String.Array` as its elements.
fn attributes_as_json(attributes: &MessageAttributes) -> Map<String, Value> {
    let value = |attribute: &crate::sqs::MessageAttribute| {
        let text = attribute.string_value.as_deref().unwrap_or_default();
        match attribute.data_type.as_str() {
            "Number" => text.parse::<serde_json::Number>().map_or(Value::Null, Value::Number),
            "String.Array" => serde_json::from_str(text).unwrap_or(Value::Null),
            // A binary can only be asked for by `exists`.
            kind if kind.starts_with("Binary") => Value::Object(Map::new()),
            _ => text.into(),
        }
    };
    attributes.iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
}

fn node(object: &Map<String, Value>, scope: Scope) -> Result<Node, String> {
    let mut out = Node { fields: Vec::new(), any_of: Vec::new() };
    for (key, value) in object {
        match value {
            Value::Array(alternatives)
                if key == "$or" && alternatives.len() >= 2 && alternatives.iter().all(Value::is_object) =>
            {
                let nodes = alternatives.iter().filter_map(Value::as_object).map(|object| node(object, scope));
                out.any_of.push(nodes.collect::<Result<_, _>>()?);
            }
            Value::Array(conditions) if !conditions.is_empty() => {
                let conditions = conditions.iter().map(condition).collect::<Result<_, _>>()?;
                out.fields.push((key.clone(), Field::Leaf(conditions)));
            }
            Value::Array(_) => return Err("Empty arrays are not allowed.".into()),
            Value::Object(nested) if scope == Scope::Body && !nested.is_empty() => {
                out.fields.push((key.clone(), Field::Nested(node(nested, scope)?)));
            }
            Value::Object(_) if scope == Scope::Attributes => {
                return Err("Filter policy scope MessageAttributes does not support nested filter policy.".into());
            }
            _ => return Err(format!("\"{key}\" must be an object or an array.")),
        }
    }
    Ok(out)
}

fn condition(value: &Value) -> Result<Condition, String> {
    let operator = match value {
        Value::Object(operator) => operator,
        Value::Array(_) => {
            return Err("Match value must be String, number, true, false, or null.".into());
        }
        _ => return Ok(Condition::Equals(value.clone())),
    };
    let (Some((name, operand)), 1) = (operator.iter().next(), operator.len()) else {
        return Err("Only one key allowed in match expression.".into());
    };
    let text = || operand.as_str().map(str::to_owned).ok_or_else(|| format!("{name} match pattern must be a string."));
    match name.as_str() {
        "prefix" => Ok(Condition::Prefix(text()?)),
        "suffix" => Ok(Condition::Suffix(text()?)),
        "equals-ignore-case" => Ok(Condition::EqualsIgnoreCase(text()?)),
        "exists" => operand
            .as_bool()
            .map(Condition::Exists)
            .ok_or_else(|| "exists match pattern must be either true or false.".into()),
        "numeric" => numeric(operand),
        "cidr" => cidr(&text()?),
        "anything-but" => anything_but(operand),
        other => Err(format!("Unrecognized match type {other}.")),
    }
}

fn anything_but(operand: &Value) -> Result<Condition, String> {
    let none_of = |values: &[Value]| {
        let scalars = values.iter().all(|v| v.is_string() || v.is_number());
        let list = values.iter().cloned().map(Condition::Equals).collect();
        if scalars && !values.is_empty() { Ok(list) } else { Err("anything-but takes strings and numbers.".to_owned()) }
    };
    let list = match operand {
        Value::Array(values) => none_of(values)?,
        Value::Object(operator) => {
            let (Some((name, operand)), 1) = (operator.iter().next(), operator.len()) else {
                return Err("anything-but takes one inner operator.".into());
            };
            if !matches!(name.as_str(), "prefix" | "suffix" | "equals-ignore-case") {
                return Err(format!("Unrecognized match type {name} within anything-but."));
            }
            let operands = operand.as_array().map_or(std::slice::from_ref(operand), Vec::as_slice);
            let inner = operands.iter().map(|o| condition(&serde_json::json!({ name: o })));
            inner.collect::<Result<_, _>>()?
        }
        scalar => none_of(std::slice::from_ref(scalar))?,
    };
    Ok(Condition::AnythingBut(list))
}

fn numeric(operand: &Value) -> Result<Condition, String> {
    let list =
        operand.as_array().filter(|list| matches!(list.len(), 2 | 4)).ok_or("numeric takes one or two comparisons.")?;
    let pair = |pair: &[Value]| {
        let comparison = match pair[0].as_str() {
            Some("=") => Comparison::Equal,
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::LessOrEqual,
            Some(">") => Comparison::Greater,
            Some(">=") => Comparison::GreaterOrEqual,
            _ => return Err(format!("Unrecognized numeric range operator: {}.", pair[0])),
        };
        let bound = pair[1].as_f64().ok_or("Value of a numeric comparison must be a number.")?;
        Ok((comparison, bound))
    };
    let comparisons: Vec<_> = list.chunks_exact(2).map(pair).collect::<Result<_, String>>()?;
    if let [(lower, low), (upper, high)] = comparisons.as_slice() {
        let ordered = matches!(lower, Comparison::Greater | Comparison::GreaterOrEqual)
            && matches!(upper, Comparison::Less | Comparison::LessOrEqual);
        if !ordered || low >= high {
            return Err("Bottom must be less than top of a numeric range.".into());
        }
    }
    Ok(Condition::Numeric(comparisons))
}

fn cidr(text: &str) -> Result<Condition, String> {
    let invalid = || format!("Malformed CIDR: {text}.");
    let (address, bits) = text.split_once('/').ok_or_else(invalid)?;
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(invalid)?;
    Ok(Condition::Cidr(address, bits))
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (a, n, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    bits == 0 || (a ^ n) >> (width - u32::from(bits)) == 0
}

impl Node {
    fn combinations(&self) -> usize {
        let fields = self.fields.iter().map(|(_, field)| match field {
            Field::Leaf(conditions) => conditions.len(),
            Field::Nested(node) => node.combinations(),
        });
        let any_of =
            self.any_of.iter().map(|nodes| nodes.iter().map(Self::combinations).fold(0, usize::saturating_add));
        fields.chain(any_of).fold(1, usize::saturating_mul)
    }

    fn matches(&self, values: &Map<String, Value>) -> bool {
        self.fields.iter().all(|(key, field)| field.matches(values.get(key)))
            && self.any_of.iter().all(|nodes| nodes.iter().any(|node| node.matches(values)))
    }
}

impl Field {
    fn matches(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Leaf(conditions) => conditions.iter().any(|condition| condition.holds(value)),
            Self::Nested(node) => match value {
                Some(Value::Object(object)) => node.matches(object),
                Some(Value::Array(list)) => list.iter().any(|item| self.matches(Some(item))),
                _ => node.matches(&Map::new()),
            },
        }
    }
}

impl Condition {
    fn holds(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Exists(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            // One matching element is enough, for `anything-but` too.
            (_, Some(Value::Array(list))) => list.iter().any(|item| self.fits(item)),
            (_, Some(value)) => self.fits(value),
        }
    }

    fn fits(&self, value: &Value) -> bool {
        let text = value.as_str();
        match self {
            Self::Equals(Value::Number(wanted)) => value.is_number() && wanted.as_f64() == value.as_f64(),
            Self::Equals(wanted) => wanted == value,
            Self::EqualsIgnoreCase(wanted) => text.is_some_and(|text| text.to_lowercase() == wanted.to_lowercase()),
            Self::Prefix(prefix) => text.is_some_and(|text| text.starts_with(prefix.as_str())),
            Self::Suffix(suffix) => text.is_some_and(|text| text.ends_with(suffix.as_str())),
            Self::AnythingBut(list) => {
                (text.is_some() || value.is_number()) && !list.iter().any(|condition| condition.fits(value))
            }
            Self::Numeric(comparisons) => value.as_f64().is_some_and(|n| {
                comparisons.iter().all(|(comparison, bound)| match comparison {
                    Comparison::Equal => n == *bound,
                    Comparison::Less => n < *bound,
                    Comparison::LessOrEqual => n <= *bound,
                    Comparison::Greater => n > *bound,
                    Comparison::GreaterOrEqual => n >= *bound,
                })
            }),
            Self::Cidr(network, bits) => {
                text.and_then(|text| text.parse().ok()).is_some_and(|address| in_network(address, *network, *bits))
            }
            Self::Exists(wanted) => *wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqs::MessageAttribute;

    fn attributes(list: &[(&str, &str, &str)]) -> MessageAttributes {
        let one = |(name, kind, text): &(&str, &str, &str)| {
            let value =
                MessageAttribute { data_type: (*kind).into(), string_value: Some((*text).into()), binary_value: None };
            ((*name).to_owned(), value)
        };
        list.iter().map(one).collect()
    }

    fn by_attributes(policy: &str, list: &[(&str, &str, &str)]) -> bool {
        FilterPolicy::parse(policy, Scope::Attributes).unwrap().matches(Scope::Attributes, &attributes(list), "")
    }

    fn by_body(policy: &str, body: &str) -> bool {
        FilterPolicy::parse(policy, Scope::Body).unwrap().matches(Scope::Body, &MessageAttributes::new(), body)
    }

    #[test]
    fn strings() {
        let sport = [("s", "String", "Rugby-7")];
        for (policy, expected) in [
            (r#"{"s":["Rugby-7"]}"#, true),
            (r#"{"s":["rugby-7"]}"#, false),
            (r#"{"s":["x",{"prefix":"Rug"}]}"#, true),
            (r#"{"s":[{"suffix":"-7"}]}"#, true),
            (r#"{"s":[{"equals-ignore-case":"rUGBY-7"}]}"#, true),
            (r#"{"s":[{"anything-but":"Rugby-7"}]}"#, false),
            (r#"{"s":[{"anything-but":["a","b"]}]}"#, true),
            (r#"{"s":[{"anything-but":{"prefix":"Rug"}}]}"#, false),
            (r#"{"s":[{"anything-but":{"prefix":["x","Rug"]}}]}"#, false),
            (r#"{"s":[{"anything-but":{"suffix":"x"}}]}"#, true),
            (r#"{"s":[{"exists":true}]}"#, true),
            (r#"{"s":[{"exists":false}]}"#, false),
            (r#"{"t":[{"exists":false}]}"#, true),
            (r#"{"t":[{"anything-but":"x"}]}"#, false),
            (r#"{"s":["Rugby-7"],"t":["x"]}"#, false),
            ("{}", true),
        ] {
            assert_eq!(by_attributes(policy, &sport), expected, "{policy}");
        }
    }

    #[test]
    fn numbers_and_addresses() {
        for (policy, n, expected) in [
            (r#"{"n":[{"numeric":["=",100]}]}"#, "1e2", true),
            (r#"{"n":[{"numeric":[">",0,"<=",150]}]}"#, "150", true),
            (r#"{"n":[{"numeric":[">",0,"<",150]}]}"#, "150", false),
            (r#"{"n":[100]}"#, "100.0", true),
            (r#"{"n":["100"]}"#, "100", false),
            (r#"{"n":[{"anything-but":[100]}]}"#, "100", false),
        ] {
            assert_eq!(by_attributes(policy, &[("n", "Number", n)]), expected, "{policy} {n}");
        }
        assert!(!by_attributes(r#"{"n":[{"numeric":["=",1]}]}"#, &[("n", "String", "1")]));
        assert!(by_attributes(r#"{"ip":[{"cidr":"10.0.0.0/24"}]}"#, &[("ip", "String", "10.0.0.255")]));
        assert!(!by_attributes(r#"{"ip":[{"cidr":"10.0.0.0/24"}]}"#, &[("ip", "String", "10.0.1.0")]));
    }

    #[test]
    fn arrays_and_or() {
        let list = [("a", "String.Array", r#"["x","y",null,true]"#), ("b", "String", "1")];
        assert!(by_attributes(r#"{"a":["y"]}"#, &list) && by_attributes(r#"{"a":[null]}"#, &list));
        assert!(by_attributes(r#"{"a":[{"anything-but":["x"]}]}"#, &list));
        assert!(!by_attributes(r#"{"a":["z"]}"#, &list));
        assert!(by_attributes(r#"{"$or":[{"a":["z"]},{"b":["1"]}]}"#, &list));
        assert!(!by_attributes(r#"{"b":["1"],"$or":[{"a":["z"]},{"b":["2"]}]}"#, &list));
    }

    #[test]
    fn nested_bodies() {
        let body = r#"{"detail":{"state":"ready","list":[{"n":1},{"n":2}]},"k":null}"#;
        assert!(by_body(r#"{"detail":{"state":["ready"]}}"#, body));
        assert!(by_body(r#"{"detail":{"list":{"n":[2]}}}"#, body));
        assert!(!by_body(r#"{"detail":{"list":{"n":[3]}}}"#, body));
        assert!(by_body(r#"{"k":[null]}"#, body));
        assert!(by_body(r#"{"detail":{"other":[{"exists":false}]}}"#, body));
        assert!(!by_body(r#"{"k":[null]}"#, "no json"));
    }

    #[test]
    fn bad_policies_are_refused() {
        for policy in [
            "[]",
            "x",
            r#"{"a":"x"}"#,
            r#"{"a":[]}"#,
            r#"{"a":[{"wild":"x"}]}"#,
            r#"{"a":[{"prefix":1}]}"#,
            r#"{"a":[{"numeric":[">",5,"<",1]}]}"#,
            r#"{"a":{"b":["x"]}}"#,
            r#"{"a":["1"],"b":["1"],"c":["1"],"d":["1"],"e":["1"],"f":["1"]}"#,
        ] {
            assert!(FilterPolicy::parse(policy, Scope::Attributes).is_err(), "{policy}");
        }
        assert!(FilterPolicy::parse(r#"{"a":{"b":["x"]}}"#, Scope::Body).is_ok());
    }
}
