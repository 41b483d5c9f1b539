//! Answers of the service.
//!
//! Guarantee: rows are written as they come and measured as they are written, so that no result beyond the service's
//! limits is ever held in memory; such a call is refused, as on AWS.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    error::ApiError,
    request::{Call, Value, Want},
};

/// Largest result, in bytes (Data API, "Limitations").
const MAX_RESULT: usize = 1024 * 1024;
/// Largest row of a result, in bytes of data.
const MAX_ROW: usize = 64 * 1024;

/// What is known of a result's column. `jdbc` is a constant of `java.sql.Types`, as in the service's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) label: String,
    pub(super) jdbc: i32,
    pub(super) type_name: String,
}

/// `java.sql.Types.NUMERIC`.
pub(super) const NUMERIC: i32 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireColumn<'a> {
    array_base_column_type: i32,
    is_auto_increment: bool,
    is_case_sensitive: bool,
    is_currency: bool,
    is_signed: bool,
    label: &'a str,
    name: &'a str,
    nullable: i32,
    precision: i32,
    scale: i32,
    schema_name: &'a str,
    table_name: &'a str,
    r#type: i32,
    type_name: &'a str,
}

impl Column {
    fn wire(&self) -> WireColumn<'_> {
        WireColumn {
            array_base_column_type: 0,
            is_auto_increment: false,
            is_case_sensitive: self.jdbc == 12,
            is_currency: false,
            is_signed: matches!(self.jdbc, -5..=-4 | NUMERIC..=8),
            label: &self.label,
            name: &self.label,
            nullable: 2, // unknown
            precision: 0,
            scale: 0,
            schema_name: "",
            table_name: "",
            r#type: self.jdbc,
            type_name: &self.type_name,
        }
    }
}

/// A `Field` of the API: an object with one member.
struct Field<'a>(&'a Value);

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self.0 {
            Value::Null => map.serialize_entry("isNull", &true)?,
            Value::Long(value) => map.serialize_entry("longValue", value)?,
            Value::Double(value) if value.is_finite() => map.serialize_entry("doubleValue", value)?,
            Value::Double(value) => map.serialize_entry("doubleValue", no_number(*value))?,
            Value::Boolean(value) => map.serialize_entry("booleanValue", value)?,
            Value::String(value) => map.serialize_entry("stringValue", value)?,
            Value::Blob(value) => map.serialize_entry("blobValue", &STANDARD.encode(value))?,
        }
        map.end()
    }
}

/// A value as plain JSON, for `formatRecordsAs`.
struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_none(),
            Value::Long(value) => serializer.serialize_i64(*value),
            Value::Double(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::Double(value) => serializer.serialize_str(no_number(*value)),
            Value::Boolean(value) => serializer.serialize_bool(*value),
            Value::String(value) => serializer.serialize_str(value),
            Value::Blob(value) => serializer.serialize_str(&STANDARD.encode(value)),
        }
    }
}

fn no_number(value: f64) -> &'static str {
    match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

/// Collects the result of one statement.
pub(super) struct Answer {
    want: Want,
    batch: bool,
    columns: Vec<Column>,
    /// Comma-separated rows, each a JSON array of fields or a JSON object.
    rows: String,
    /// Sets of a batch that were run.
    runs: usize,
    updated: u64,
}

impl Answer {
    pub(super) fn new(call: &Call) -> Self {
        Self { want: call.want, batch: call.batch, columns: Vec::new(), rows: String::new(), runs: 0, updated: 0 }
    }

    /// The columns of the result; before its rows. A statement that returns none never calls it.
    pub(super) fn columns(&mut self, columns: Vec<Column>) {
        self.columns = columns;
    }

    /// Adds a row, in the order of the columns.
    pub(super) fn row(&mut self, mut row: Vec<Value>) -> Result<(), ApiError> {
        if self.batch {
            return Ok(()); // a batch returns no rows
        }
        let size: usize = row.iter().map(size).sum();
        if size > MAX_ROW {
            return Err(ApiError::bad_request(
                "Database returned a row that is larger than the allowed limit of 64 KB",
            ));
        }
        for (value, column) in row.iter_mut().zip(&self.columns) {
            self.want.apply(value, column);
        }
        let text = if self.want.json {
            let pair = |(column, value): (&Column, &Value)| Some((text(&column.label)?, text(&Plain(value))?));
            let pairs: Option<Vec<_>> = self.columns.iter().zip(&row).map(pair).collect();
            pairs.map(|pairs| {
                let members: Vec<_> = pairs.into_iter().map(|(label, value)| format!("{label}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            })
        } else {
            text(&row.iter().map(Field).collect::<Vec<_>>())
        };
        let text = text.ok_or_else(|| ApiError::bad_request("The result cannot be written as JSON"))?;
        if !self.rows.is_empty() {
            self.rows.push(',');
        }
        self.rows.push_str(&text);
        if self.rows.len() > MAX_RESULT {
            return Err(ApiError::bad_request("Database returned more than the allowed response size limit of 1 MB"));
        }
        Ok(())
    }

    /// Ends the result of one parameter set that changed `updated` rows.
    pub(super) fn end(&mut self, updated: u64) {
        self.runs += 1;
        self.updated = updated;
    }

    /// The body of the answer.
    pub(super) fn body(self) -> String {
        if self.batch {
            let results = vec![r#"{"generatedFields":[]}"#; self.runs].join(",");
            return format!(r#"{{"updateResults":[{results}]}}"#);
        }
        let mut body = format!(r#"{{"numberOfRecordsUpdated":{},"generatedFields":[]"#, self.updated);
        if !self.columns.is_empty() {
            let rows = format!("[{}]", self.rows);
            if self.want.json {
                let quoted = text(&rows).unwrap_or_default();
                body.push_str(&format!(r#","formattedRecords":{quoted}"#));
            } else {
                if self.want.metadata {
                    let columns = text(&self.columns.iter().map(Column::wire).collect::<Vec<_>>()).unwrap_or_default();
                    body.push_str(&format!(r#","columnMetadata":{columns}"#));
                }
                body.push_str(&format!(r#","records":{rows}"#));
            }
        }
        body.push('}');
        body
    }
}

impl Want {
    /// Obeys `resultSetOptions`.
    fn apply(self, value: &mut Value, column: &Column) {
        let changed = match value {
            Value::Long(long) if self.long_as_string => Value::String(long.to_string()),
            Value::String(text) if self.decimal_as_number && column.jdbc == NUMERIC => {
                let long = text.parse().map(Value::Long).ok();
                match long.or_else(|| text.parse().map(Value::Double).ok()) {
                    Some(number) => number,
                    None => return,
                }
            }
            _ => return,
        };
        *value = changed;
    }
}

fn text<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// Bytes of data, not of JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Boolean(_) => 1,
        Value::Long(_) | Value::Double(_) => 8,
        Value::String(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(want: Want) -> Answer {
        let column = |label: &str, jdbc| Column { label: label.into(), jdbc, type_name: "x".into() };
        let columns = vec![column("b", -5), column("a", NUMERIC)];
        Answer { want, batch: false, columns, rows: String::new(), runs: 0, updated: 0 }
    }

    #[test]
    fn rows_as_fields_and_as_json() {
        let row = || vec![Value::Long(7), Value::String("1.50".into())];
        let mut plain = answer(Want::default());
        plain.row(row()).unwrap();
        plain.row(vec![Value::Null, Value::Double(f64::NAN)]).unwrap();
        plain.end(0);
        assert_eq!(
            plain.body(),
            r#"{"numberOfRecordsUpdated":0,"generatedFields":[],"records":[[{"longValue":7},{"stringValue":"1.50"}],[{"isNull":true},{"doubleValue":"NaN"}]]}"#
        );
        let mut json = answer(Want { json: true, decimal_as_number: true, long_as_string: true, metadata: true });
        json.row(row()).unwrap();
        let body: serde_json::Value = serde_json::from_str(&json.body()).unwrap();
        assert_eq!(body["formattedRecords"], r#"[{"b":"7","a":1.5}]"#);
        assert!(body.get("columnMetadata").is_none());
    }

    #[test]
    fn limits_hold() {
        let mut a = answer(Want::default());
        let row = |n: usize| vec![Value::String("x".repeat(n)), Value::Null];
        a.row(row(MAX_ROW)).unwrap();
        assert!(a.row(row(MAX_ROW + 1)).unwrap_err().message.contains("64 KB"));
        let refused = (0..17).find_map(|_| a.row(row(MAX_ROW)).err()).unwrap();
        assert!(refused.message.contains("1 MB"));
    }
}
