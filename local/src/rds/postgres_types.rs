//! Values of the service as PostgreSQL's, and back.
//!
//! Guarantee: a parameter has the type its value or hint says, and nothing is converted that PostgreSQL would not
//! convert itself; a result is what the Data API returns for that type, or the type is refused before the statement runs.
//!
//! Parameters go as text, in which PostgreSQL reads them by its own rules and complains in its own words. Results come in
//! the binary form (PostgreSQL's `*send` functions).

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::{
    answer::{Column, NUMERIC},
    request::{Bound, Hint, Value},
};

type Failure = Box<dyn Error + Sync + Send>;

/// The type a parameter is declared with; a null has none, and PostgreSQL infers it.
pub(super) fn parameter_type(bound: &Bound) -> Type {
    match (&bound.value, bound.hint) {
        (Value::Null, None) => Type::UNKNOWN,
        (_, Some(Hint::Date)) => Type::DATE,
        (_, Some(Hint::Time)) => Type::TIME,
        (_, Some(Hint::Timestamp)) => Type::TIMESTAMP,
        (_, Some(Hint::Decimal)) => Type::NUMERIC,
        (_, Some(Hint::Json)) => Type::JSON,
        (_, Some(Hint::Uuid)) => Type::UUID,
        (Value::Long(_), None) => Type::INT8,
        (Value::Double(_), None) => Type::FLOAT8,
        (Value::Boolean(_), None) => Type::BOOL,
        (Value::String(_), None) => Type::TEXT,
        (Value::Blob(_), None) => Type::BYTEA,
    }
}

/// A parameter in PostgreSQL's text form.
#[derive(Debug)]
pub(super) struct Text<'a>(pub(super) &'a Bound);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match &self.0.value {
            Value::Null => return Ok(IsNull::Yes),
            Value::Long(value) => out.put_slice(value.to_string().as_bytes()),
            Value::Double(value) => out.put_slice(value.to_string().as_bytes()), // NaN, inf, -inf are words of both
            Value::Boolean(value) => out.put_slice(if *value { b"t" } else { b"f" }),
            Value::String(text) => out.put_slice(text.as_bytes()),
            Value::Blob(bytes) => {
                out.put_slice(b"\\x");
                out.put_slice(hex::encode(bytes).as_bytes());
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Whether the service can return a column of this type.
pub(super) fn returnable(ty: &Type) -> bool {
    jdbc(ty).is_some()
}

/// What the service tells of a column.
pub(super) fn column(label: &str, ty: &Type) -> Column {
    Column { label: label.to_owned(), jdbc: jdbc(ty).unwrap_or(1111), type_name: ty.name().to_owned() }
}

/// The constant of `java.sql.Types` for a type that can be returned.
fn jdbc(ty: &Type) -> Option<i32> {
    Some(match *ty {
        Type::BOOL => -7,
        Type::INT2 => 5,
        Type::INT4 => 4,
        Type::INT8 | Type::OID => -5,
        Type::FLOAT4 => 7,
        Type::FLOAT8 => 8,
        Type::NUMERIC => NUMERIC,
        Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN | Type::XML => 12,
        Type::BPCHAR | Type::CHAR => 1,
        Type::BYTEA => -2,
        Type::DATE => 91,
        Type::TIME => 92,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => 93,
        Type::JSON | Type::JSONB | Type::UUID | Type::VOID => 1111,
        _ => match ty.kind() {
            Kind::Enum(_) => 12,
            Kind::Domain(inner) => jdbc(inner)?,
            _ => return None,
        },
    })
}

/// A value of a result.
pub(super) struct Decoded(pub(super) Value);

impl<'a> FromSql<'a> for Decoded {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        decode(ty, raw).map(Self)
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failure> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &Type) -> bool {
        returnable(ty)
    }
}

fn decode(ty: &Type, raw: &[u8]) -> Result<Value, Failure> {
    if let Kind::Domain(inner) = ty.kind() {
        return decode(inner, raw);
    }
    Ok(match *ty {
        Type::BOOL => Value::Boolean(raw.first() == Some(&1)),
        Type::INT2 => Value::Long(i16::from_be_bytes(raw.try_into()?).into()),
        Type::INT4 => Value::Long(i32::from_be_bytes(raw.try_into()?).into()),
        Type::OID => Value::Long(u32::from_be_bytes(raw.try_into()?).into()),
        Type::INT8 => Value::Long(i64::from_be_bytes(raw.try_into()?)),
        // By way of its decimal form, or 0.1 would come back as 0.10000000149011612.
        Type::FLOAT4 => Value::Double(f32::from_be_bytes(raw.try_into()?).to_string().parse()?),
        Type::FLOAT8 => Value::Double(f64::from_be_bytes(raw.try_into()?)),
        Type::BYTEA => Value::Blob(raw.to_vec()),
        Type::NUMERIC => Value::String(numeric(raw)?),
        Type::DATE => Value::String(date(i32::from_be_bytes(raw.try_into()?))?),
        Type::TIME => Value::String(time(i64::from_be_bytes(raw.try_into()?))),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => Value::String(timestamp(i64::from_be_bytes(raw.try_into()?))?),
        Type::UUID => Value::String(uuid::Uuid::from_slice(raw)?.to_string()),
        // One byte of version, then the text.
        Type::JSONB => Value::String(std::str::from_utf8(raw.get(1..).unwrap_or_default())?.to_owned()),
        _ => Value::String(std::str::from_utf8(raw)?.to_owned()),
    })
}

/// Header of four 16-bit words (count of digits, weight of the first, sign, digits after the point), then digits to the
/// base 10,000.
fn numeric(raw: &[u8]) -> Result<String, Failure> {
    let words: Vec<u16> = raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let [_, weight, sign, scale, digits @ ..] = words.as_slice() else {
        return Err("a numeric without header".into());
    };
    match *sign {
        0xC000 => return Ok("NaN".into()),
        0xD000 => return Ok("Infinity".into()),
        0xF000 => return Ok("-Infinity".into()),
        _ => {}
    }
    let weight = i32::from(weight.cast_signed());
    let digit = |place: i32| usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or(0);
    let mut text: String = (0..=weight).map(|place| format!("{:04}", digit(place))).collect();
    let leading = text.len() - text.trim_start_matches('0').len();
    text.drain(..leading);
    if text.is_empty() {
        text.push('0');
    }
    if *scale > 0 {
        // The first group behind the point has the weight -1; digit 0 has the weight `weight`.
        let scale = usize::from(*scale);
        let groups = i32::try_from(scale.div_ceil(4))?;
        let fraction: String = (1..=groups).map(|group| format!("{:04}", digit(weight + group))).collect();
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    if *sign == 0x4000 {
        text.insert(0, '-');
    }
    Ok(text)
}

/// Days since 2000-01-01, which is the Julian day 2,451,545.
fn date(days: i32) -> Result<String, Failure> {
    match days {
        i32::MAX => Ok("infinity".into()),
        i32::MIN => Ok("-infinity".into()),
        _ => {
            let date = time::Date::from_julian_day(days.checked_add(2_451_545).ok_or("a date out of range")?)?;
            Ok(format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()))
        }
    }
}

/// Microseconds since midnight.
fn time(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    text
}

/// Microseconds since 2000-01-01 00:00 UTC.
fn timestamp(micros: i64) -> Result<String, Failure> {
    const DAY: i64 = 24 * 3600 * 1_000_000;
    match micros {
        i64::MAX => Ok("infinity".into()),
        i64::MIN => Ok("-infinity".into()),
        _ => Ok(format!("{} {}", date(i32::try_from(micros.div_euclid(DAY))?)?, time(micros.rem_euclid(DAY)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn numerics_keep_their_scale() {
        for (raw, text) in [
            (vec![0, 0, 0, 0], "0"),
            (vec![0, 0, 0, 2], "0.00"),
            (vec![2, 0, 0x4000, 2, 12, 5000], "-12.50"),
            (vec![2, 1, 0, 0, 1, 2], "10002"),
            (vec![1, 1, 0, 0, 3], "30000"),
            (vec![1, 0xFFFF, 0, 4, 7], "0.0007"),
            (vec![1, 0xFFFE, 0, 8, 7], "0.00000007"),
            (vec![0, 0, 0xC000, 0], "NaN"),
        ] {
            assert_eq!(numeric(&words(&raw)).unwrap(), text);
        }
    }

    #[test]
    fn times_are_in_utc_and_without_zone() {
        assert_eq!(timestamp(0).unwrap(), "2000-01-01 00:00:00");
        assert_eq!(timestamp(-1_500_000).unwrap(), "1999-12-31 23:59:58.5");
        assert_eq!(date(9_557).unwrap(), "2026-03-02");
        assert_eq!(date(i32::MAX).unwrap(), "infinity");
        assert_eq!(time(86_399_000_001), "23:59:59.000001");
    }
}
