//! The AWS Query protocol: a form in, XML out.

use std::collections::BTreeMap;

use http::{HeaderValue, StatusCode, header};

use super::SnsError;
use crate::{
    sqs::{MessageAttribute, MessageAttributes},
    state::{Ids, Response},
};

const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// A form, decoded: bytes that are not UTF-8 are refused, never replaced.
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub fn parse(body: &[u8]) -> Result<Self, SnsError> {
        let bad = || SnsError::InvalidParameter("the form is not UTF-8".into());
        let body = std::str::from_utf8(body).map_err(|_| bad())?;
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_encoding::percent_decode_str(&spaced).decode_utf8().map(String::from).map_err(|_| bad())
        };
        let pairs = body.split('&').filter(|pair| !pair.is_empty());
        let fields = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self(fields.collect::<Result<_, SnsError>>()?))
    }

    /// A field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A field that must be there.
    pub fn need(&self, name: &'static str) -> Result<&str, SnsError> {
        let missing = || SnsError::InvalidParameter(format!("{name} Reason: no value for required parameter"));
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    /// `{list}.1{suffix}`, `{list}.2{suffix}` … as far as they go.
    fn numbered<'a>(&'a self, list: &'a str, suffix: &'a str) -> impl Iterator<Item = (String, &'a str)> {
        (1..).map_while(move |n| {
            let item = format!("{list}.{n}");
            let value = self.get(&format!("{item}{suffix}"))?;
            Some((item, value))
        })
    }

    /// A list of plain values, such as `TagKeys.member.1`.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.numbered(&format!("{name}.member"), "").map(|(_, value)| value.to_owned()).collect()
    }

    /// The items of a list of structures, each by the prefix of its fields; `key` is a field that each one has.
    pub fn items(&self, name: &str, key: &str) -> Vec<String> {
        self.numbered(&format!("{name}.member"), &format!(".{key}")).map(|(item, _)| item).collect()
    }

    /// A map of strings, such as `Attributes.entry.1.key` and `.value`.
    pub fn map(&self, name: &str) -> BTreeMap<String, String> {
        let value = |item: &str| self.get(&format!("{item}.value")).unwrap_or_default().to_owned();
        self.numbered(&format!("{name}.entry"), ".key").map(|(item, key)| (key.to_owned(), value(&item))).collect()
    }

    /// Message attributes below `prefix` (`MessageAttributes`, or that of a batch's entry).
    pub fn attributes(&self, prefix: &str) -> MessageAttributes {
        let read = |item: &str| MessageAttribute {
            data_type: self.get(&format!("{item}.Value.DataType")).unwrap_or_default().to_owned(),
            string_value: self.get(&format!("{item}.Value.StringValue")).map(str::to_owned),
            binary_value: self.get(&format!("{item}.Value.BinaryValue")).map(str::to_owned),
        };
        self.numbered(&format!("{prefix}.entry"), ".Name").map(|(item, name)| (name.to_owned(), read(&item))).collect()
    }
}

/// XML under construction.
#[derive(Default)]
pub struct Xml(String);

impl Xml {
    /// Adds `<name>text</name>`, escaped.
    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.0 += &format!("<{name}>{}</{name}>", escape(text));
        self
    }

    /// Adds an element with content.
    pub fn element(mut self, name: &str, content: Self) -> Self {
        self.0 += &format!("<{name}>{}</{name}>", content.0);
        self
    }

    /// Adds a list, each of its items as `<member>`.
    pub fn list<T>(self, name: &str, items: impl IntoIterator<Item = T>, item: impl Fn(T) -> Self) -> Self {
        let members = items.into_iter().fold(Self::default(), |all, one| all.element("member", item(one)));
        self.element(name, members)
    }

    /// Adds a map as `<entry><key/><value/></entry>`.
    pub fn map<'a>(self, name: &str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let entries = pairs.into_iter().fold(Self::default(), |all, (key, value)| {
            all.element("entry", Self::default().text("key", key).text("value", &value))
        });
        self.element(name, entries)
    }

    /// Adds an element if there is a text for it.
    pub fn maybe(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            c if crate::sqs::is_xml_char(c) => out.push(c),
            _ => out.push('\u{FFFD}'),
        }
    }
    out
}

/// The answer of an action that succeeded.
pub fn success(action: &str, result: Xml, ids: Ids) -> Response {
    let id = ids.uuid();
    let xml = format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{}</{action}Result><ResponseMetadata><RequestId>{id}\
         </RequestId></ResponseMetadata></{action}Response>",
        result.0
    );
    respond(StatusCode::OK, xml, &id)
}

/// The answer of an action that was refused.
pub fn failure(error: &SnsError, ids: Ids) -> Response {
    let (status, code) = error.wire();
    let id = ids.uuid();
    let fault = if status.is_client_error() { "Sender" } else { "Receiver" };
    let xml = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{fault}</Type><Code>{code}</Code><Message>{}</Message>\
         </Error><RequestId>{id}</RequestId></ErrorResponse>",
        escape(&error.to_string())
    );
    respond(status, xml, &id)
}

fn respond(status: StatusCode, xml: String, id: &str) -> Response {
    let mut response = Response::new(axum::body::Body::from(xml));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_with_maps_and_lists() {
        let form = Form::parse(
            b"Action=Publish&Message=a+b%2Bc%26&MessageAttributes.entry.1.Name=k&MessageAttributes.entry.1.Value.DataType=String\
              &MessageAttributes.entry.1.Value.StringValue=v&Attributes.entry.1.key=A&Attributes.entry.1.value=1\
              &TagKeys.member.1=x&TagKeys.member.2=y",
        )
        .unwrap();
        assert_eq!(form.get("Message"), Some("a b+c&"));
        let k = &form.attributes("MessageAttributes")["k"];
        assert_eq!(
            (k.data_type.as_str(), k.string_value.as_deref(), k.binary_value.as_deref()),
            ("String", Some("v"), None)
        );
        assert_eq!(form.map("Attributes")["A"], "1");
        assert_eq!(form.list("TagKeys"), ["x", "y"]);
        assert!(Form::parse(b"a=%FF").is_err());
    }

    #[test]
    fn xml_is_escaped() {
        assert_eq!(Xml::default().text("a", "<&>\u{1}\r").0, "<a>&lt;&amp;&gt;\u{FFFD}&#xD;</a>");
    }
}
