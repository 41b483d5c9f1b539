//! Requests of the service, read and checked before any database is asked.
//!
//! Guarantee: a request that comes out of here names each parameter once, gives each exactly one value, and every value
//! with a type hint has the form the hint promises.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{
    error::{ApiError, Kind},
    sql::{Dialect, Statement},
};

/// Largest request body, in bytes (Data API, "Limitations").
pub(super) const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// A value of a parameter or of a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Long(i64),
    Double(f64),
    Boolean(bool),
    String(String),
    Blob(Vec<u8>),
}

/// What a string value stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Hint {
    Date,
    Time,
    Timestamp,
    Decimal,
    Json,
    Uuid,
}

/// The value of one named parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    pub(super) value: Value,
    pub(super) hint: Option<Hint>,
}

/// One set of parameters by name.
pub(super) type Parameters = HashMap<String, Bound>;

/// What the caller wants of the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) metadata: bool,
    pub(super) json: bool,
    pub(super) decimal_as_number: bool,
    pub(super) long_as_string: bool,
}

/// A statement with its parameter sets (one, unless it is a batch).
#[derive(Debug)]
pub(super) struct Call {
    pub(super) statement: Statement,
    pub(super) sets: Vec<Parameters>,
    pub(super) batch: bool,
    pub(super) want: Want,
    pub(super) transaction: Option<String>,
}

impl Call {
    /// The value for the parameter `name` in `set`.
    pub(super) fn bound<'a>(&self, set: &'a Parameters, name: &str) -> Result<&'a Bound, ApiError> {
        set.get(name).ok_or_else(|| ApiError::bad_request(format!("Cannot find parameter: {name}")))
    }
}

/// The body of every operation; each reads its own part.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    resource_arn: Option<String>,
    secret_arn: Option<String>,
    transaction_id: Option<String>,
    sql: Option<String>,
    parameters: Option<Vec<WireParameter>>,
    parameter_sets: Option<Vec<Vec<WireParameter>>>,
    include_result_metadata: Option<bool>,
    format_records_as: Option<String>,
    result_set_options: Option<WireOptions>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireOptions {
    decimal_return_type: Option<String>,
    long_return_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireParameter {
    name: Option<String>,
    value: Option<WireValue>,
    type_hint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireValue {
    is_null: Option<bool>,
    long_value: Option<i64>,
    double_value: Option<serde_json::Value>,
    boolean_value: Option<bool>,
    string_value: Option<String>,
    blob_value: Option<String>,
    array_value: Option<serde_json::Value>,
}

impl Body {
    /// Reads a body and checks what all operations demand.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        if bytes.len() > MAX_REQUEST {
            return Err(ApiError::bad_request("The request is larger than 4 MiB"));
        }
        let body: Self =
            serde_json::from_slice(bytes).map_err(|e| ApiError::new(Kind::Serialization, e.to_string()))?;
        for (name, value) in [("resourceArn", &body.resource_arn), ("secretArn", &body.secret_arn)] {
            if value.as_deref().unwrap_or_default().is_empty() {
                return Err(ApiError::bad_request(format!("{name} is missing")));
            }
        }
        Ok(body)
    }

    /// The transaction that the call must name.
    pub(super) fn transaction(self) -> Result<String, ApiError> {
        self.transaction_id.filter(|id| !id.is_empty()).ok_or_else(|| ApiError::bad_request("transactionId is missing"))
    }

    /// The statement of `ExecuteStatement` or `BatchExecuteStatement`.
    pub(super) fn call(self, batch: bool, dialect: Dialect) -> Result<Call, ApiError> {
        let statement = Statement::parse(&self.sql.unwrap_or_default(), dialect)?;
        let sets = if batch {
            // A batch without sets runs its statement once.
            self.parameter_sets.filter(|sets| !sets.is_empty()).unwrap_or_else(|| vec![Vec::new()])
        } else {
            vec![self.parameters.unwrap_or_default()]
        };
        let options = self.result_set_options;
        let (decimal, long) = options.map_or((None, None), |o| (o.decimal_return_type, o.long_return_type));
        let want = Want {
            metadata: self.include_result_metadata.unwrap_or(false),
            json: choice(self.format_records_as, "formatRecordsAs", ["NONE", "JSON"])?,
            decimal_as_number: choice(decimal, "decimalReturnType", ["STRING", "DOUBLE_OR_LONG"])?,
            long_as_string: choice(long, "longReturnType", ["LONG", "STRING"])?,
        };
        let sets = sets.into_iter().map(read_set).collect::<Result<Vec<_>, _>>()?;
        let call = Call { statement, sets, batch, want, transaction: self.transaction_id };
        for set in &call.sets {
            for name in &call.statement.names {
                call.bound(set, name)?;
            }
        }
        Ok(call)
    }
}

/// Whether the second of two words was chosen; none means the first.
fn choice(given: Option<String>, name: &str, words: [&str; 2]) -> Result<bool, ApiError> {
    match given.as_deref() {
        None => Ok(false),
        Some(word) if word == words[0] => Ok(false),
        Some(word) if word == words[1] => Ok(true),
        Some(word) => Err(ApiError::bad_request(format!("{name} is {} or {}, not {word}", words[0], words[1]))),
    }
}

fn read_set(set: Vec<WireParameter>) -> Result<Parameters, ApiError> {
    let mut read = Parameters::with_capacity(set.len());
    for parameter in set {
        let name = parameter.name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| ApiError::bad_request("A parameter has no name"))?;
        let value = parameter.value.ok_or_else(|| ApiError::bad_request(format!("Parameter {name} has no value")))?;
        let value = read_value(&name, value)?;
        let hint = parameter.type_hint.map(|hint| read_hint(&name, &hint, &value)).transpose()?;
        if read.insert(name.clone(), Bound { value, hint }).is_some() {
            return Err(ApiError::bad_request(format!("Parameter {name} is duplicated")));
        }
    }
    Ok(read)
}

fn read_value(name: &str, wire: WireValue) -> Result<Value, ApiError> {
    if wire.array_value.is_some() {
        return Err(ApiError::bad_request("Array parameters are not supported."));
    }
    let wrong = |what: &str| ApiError::bad_request(format!("Parameter {name}: {what}"));
    let double = wire.double_value.map(|value| read_double(&value).ok_or_else(|| wrong("doubleValue is no number")));
    let blob = wire.blob_value.map(|text| STANDARD.decode(text).map_err(|_| wrong("blobValue is not base64")));
    let given = [
        wire.is_null.map(|_| Value::Null),
        wire.long_value.map(Value::Long),
        double.transpose()?.map(Value::Double),
        wire.boolean_value.map(Value::Boolean),
        wire.string_value.map(Value::String),
        blob.transpose()?.map(Value::Blob),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next(), wire.is_null) {
        (Some(value), None, None | Some(true)) => Ok(value),
        _ => Err(wrong("exactly one value must be given")),
    }
}

/// JSON has no word for the numbers that are none; the protocol writes them as strings.
fn read_double(value: &serde_json::Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

fn read_hint(name: &str, hint: &str, value: &Value) -> Result<Hint, ApiError> {
    let wrong = |what: String| ApiError::bad_request(format!("Parameter {name}: {what}"));
    let quoted = serde_json::Value::String(hint.to_owned());
    let hint: Hint = serde_json::from_value(quoted).map_err(|_| wrong(format!("unknown typeHint {hint}")))?;
    let fits = match value {
        Value::Null => true,
        Value::String(text) => fits(hint, text),
        _ => return Err(wrong("a typeHint goes with a stringValue".into())),
    };
    if fits { Ok(hint) } else { Err(wrong(format!("the value does not have the form of its typeHint {hint:?}"))) }
}

/// Whether `text` has the form that the API reference gives for the hint.
fn fits(hint: Hint, text: &str) -> bool {
    use time::{Date, Time, macros::format_description as form};
    // Fractions are cut off first: the form has any number of digits.
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let fraction_ok = fraction.is_none_or(|f| (1..=9).contains(&f.len()) && f.bytes().all(|b| b.is_ascii_digit()));
    let is_date = |text: &str| Date::parse(text, form!("[year]-[month]-[day]")).is_ok();
    let is_time = |text: &str| Time::parse(text, form!("[hour]:[minute]:[second]")).is_ok();
    match hint {
        Hint::Date => is_date(text),
        Hint::Time => fraction_ok && is_time(whole),
        Hint::Timestamp => {
            fraction_ok && whole.split_once(' ').is_some_and(|(date, time)| is_date(date) && is_time(time))
        }
        Hint::Decimal => {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            digits.as_bytes().first().is_some_and(|b| b.is_ascii_digit() || *b == b'.') && digits.parse::<f64>().is_ok()
        }
        Hint::Json => serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
        Hint::Uuid => uuid::Uuid::try_parse(text).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(parameters: serde_json::Value) -> Result<Call, ApiError> {
        let body =
            serde_json::json!({"resourceArn": "r", "secretArn": "s", "sql": "SELECT :a", "parameters": parameters});
        Body::read(body.to_string().as_bytes())?.call(false, Dialect::Sqlite)
    }

    #[test]
    fn every_kind_of_value() {
        for (wire, value) in [
            (serde_json::json!({"longValue": -7}), Value::Long(-7)),
            (serde_json::json!({"doubleValue": 2}), Value::Double(2.0)),
            (serde_json::json!({"doubleValue": "-Infinity"}), Value::Double(f64::NEG_INFINITY)),
            (serde_json::json!({"booleanValue": true}), Value::Boolean(true)),
            (serde_json::json!({"stringValue": "x"}), Value::String("x".into())),
            (serde_json::json!({"blobValue": "AP8="}), Value::Blob(vec![0, 255])),
            (serde_json::json!({"isNull": true}), Value::Null),
        ] {
            let call = call(serde_json::json!([{"name": "a", "value": wire}])).unwrap();
            assert_eq!(call.sets[0]["a"], Bound { value, hint: None });
        }
    }

    #[test]
    fn wrong_parameters_are_refused() {
        let long = serde_json::json!({"longValue": 1});
        for (parameters, words) in [
            (serde_json::json!([]), "Cannot find parameter: a"),
            (serde_json::json!([{"name": "a", "value": long}, {"name": "a", "value": long}]), "duplicated"),
            (serde_json::json!([{"name": "a"}]), "no value"),
            (serde_json::json!([{"value": long}]), "no name"),
            (serde_json::json!([{"name": "a", "value": {}}]), "exactly one"),
            (serde_json::json!([{"name": "a", "value": {"longValue": 1, "stringValue": "1"}}]), "exactly one"),
            (serde_json::json!([{"name": "a", "value": {"isNull": false}}]), "exactly one"),
            (serde_json::json!([{"name": "a", "value": {"blobValue": "%"}}]), "base64"),
            (serde_json::json!([{"name": "a", "value": {"arrayValue": {}}}]), "Array parameters"),
            (serde_json::json!([{"name": "a", "typeHint": "DATE", "value": long}]), "goes with a stringValue"),
            (
                serde_json::json!([{"name": "a", "typeHint": "COLOUR", "value": {"stringValue": ""}}]),
                "unknown typeHint",
            ),
        ] {
            let error = call(parameters).unwrap_err();
            assert_eq!(error.kind, Kind::BadRequest);
            assert!(error.message.contains(words), "{} lacks {words}", error.message);
        }
    }

    #[test]
    fn who_is_asked_must_be_said() {
        for body in [r#"{"secretArn": "s"}"#, r#"{"resourceArn": "r", "secretArn": ""}"#] {
            assert_eq!(Body::read(body.as_bytes()).unwrap_err().kind, Kind::BadRequest);
        }
        assert_eq!(Body::read(b"{").unwrap_err().kind, Kind::Serialization);
        let huge = vec![b' '; MAX_REQUEST + 1];
        assert!(Body::read(&huge).unwrap_err().message.contains("4 MiB"));
    }

    #[test]
    fn hints_have_their_form() {
        for (hint, good, bad) in [
            (Hint::Date, "2026-02-28", "2026-02-30"),
            (Hint::Time, "23:59:59.123", "24:00:00"),
            (Hint::Timestamp, "2026-01-01 00:00:00.5", "2026-01-01T00:00:00"),
            (Hint::Decimal, "-12.50", "NaN"),
            (Hint::Json, "{\"a\":[1]}", "{a}"),
            (Hint::Uuid, "018f3f6e-1111-7000-8000-000000000000", "018f"),
        ] {
            assert!(fits(hint, good), "{good}");
            assert!(!fits(hint, bad), "{bad}");
        }
    }
}
