//! Prices: what an amount of work costs, by a file that an operator may replace.
//!
//! Guarantee: money is a whole number of millionths of the file's currency, each line is rounded once (half up), nothing
//! costs nothing, and more never costs less; a file that says less than it seems to (a misspelt field, no time that is
//! paid for) is refused with the place of the error.

use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::price_work::Amounts;

/// The file that is used where an operator gives no other.
pub const JSON: &str = include_str!("../../../schema/prices.json");

static DEFAULT: LazyLock<Prices> = LazyLock::new(|| JSON.parse().unwrap_or_default());

const MS_PER_HOUR: u128 = 3_600_000;
const BYTES_PER_GB: u128 = 1_000_000_000;

/// One price.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Millionths of the currency.
    pub micros: u64,
    /// Where it is published.
    pub page: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    vcpu_hour: Price,
    gb_hour: Price,
    storage_gb_month: Price,
    put_per_1000: Price,
    get_per_1000: Price,
    sqs_per_million: Price,
    sns_per_million: Price,
    data_api_per_million: Price,
    egress_gb: Price,
}

/// What stands around the time that a decoder works: memory, and time that is paid for and not worked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Worker {
    gb_per_vcpu: u64,
    busy_percent: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    currency: String,
    region: String,
    as_of: String,
    #[serde(default)]
    #[allow(dead_code, reason = "for whoever reads the file")]
    note: String,
    prices: List,
    worker: Worker,
    storage_months: u64,
}

/// A price file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prices(Arc<File>);

/// Why a text is not a price file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PricesError {
    /// Not JSON, or not of its shape.
    #[error("it is JSON like schema/prices.json: {0}")]
    Shape(String),
    /// A value that can't be meant.
    #[error("{field} {problem}")]
    Value {
        /// Where.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

/// What one kind of thing costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which.
    pub what: What,
    /// Millionths of the currency.
    pub micros: u64,
}

/// What money goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Time of workers.
    Computing,
    /// Source and outputs, for as many months as the file says.
    Storage,
    /// Of S3.
    Requests,
    /// Queues, topics and the database.
    Messages,
    /// To those who watch.
    Delivery,
}

impl Prices {
    /// Of the embedded file.
    pub fn embedded() -> Self {
        DEFAULT.clone()
    }

    /// ISO 4217.
    pub fn currency(&self) -> &str {
        &self.0.currency
    }

    /// Whose prices they are.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// When they were read.
    pub fn as_of(&self) -> &str {
        &self.0.as_of
    }

    /// What it costs, line by line.
    pub fn lines(&self, amounts: &Amounts) -> [Line; 5] {
        let (list, worker) = (&self.0.prices, &self.0.worker);
        let wide = u128::from;
        let worker_hour = wide(list.vcpu_hour.micros) + wide(worker.gb_per_vcpu) * wide(list.gb_hour.micros);
        let busy = wide(worker.busy_percent.clamp(1, 100));
        let stored = wide(amounts.source_bytes).saturating_add(wide(amounts.output_bytes));
        let months = wide(self.0.storage_months);
        let computing = share(wide(amounts.cpu_ms).saturating_mul(100).saturating_mul(worker_hour), MS_PER_HOUR * busy);
        let storage =
            share(stored.saturating_mul(wide(list.storage_gb_month.micros)).saturating_mul(months), BYTES_PER_GB);
        let requests = share(
            wide(amounts.puts) * wide(list.put_per_1000.micros) + wide(amounts.gets) * wide(list.get_per_1000.micros),
            1_000,
        );
        let messages = share(
            wide(amounts.queued()) * wide(list.sqs_per_million.micros)
                + wide(amounts.published()) * wide(list.sns_per_million.micros)
                + wide(amounts.calls()) * wide(list.data_api_per_million.micros),
            1_000_000,
        );
        let delivery = share(wide(amounts.egress_bytes).saturating_mul(wide(list.egress_gb.micros)), BYTES_PER_GB);
        [
            Line { what: What::Computing, micros: computing },
            Line { what: What::Storage, micros: storage },
            Line { what: What::Requests, micros: requests },
            Line { what: What::Messages, micros: messages },
            Line { what: What::Delivery, micros: delivery },
        ]
    }

    /// What it costs in all (millionths of the currency).
    pub fn total(&self, amounts: &Amounts) -> u64 {
        self.lines(amounts).iter().fold(0, |sum, line| sum.saturating_add(line.micros))
    }
}

/// The quotient, rounded half up, and no more than fits into a row.
fn share(dividend: u128, divisor: u128) -> u64 {
    let rounded = dividend.saturating_add(divisor / 2) / divisor.max(1);
    u64::try_from(rounded).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs())
}

/// Money for a person: `0.0123 USD`. What is less than a cent has as many places as it needs to be seen.
pub fn shown(micros: u64, currency: &str) -> String {
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    let mut places = format!("{rest:06}");
    let enough =
        if micros >= 1_000_000 { 2 } else { places.find(|c| c != '0').map_or(2, |first| (first + 2).clamp(2, 6)) };
    places.truncate(enough);
    format!("{whole}.{places} {currency}")
}

/// Reads an amount as a person writes it: `12`, `0.5`; at most six places.
pub fn micros(text: &str) -> Option<u64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || places.len() > 6 || !digits(whole) || !digits(places) {
        return None;
    }
    let micros = whole.parse::<u64>().ok()?.checked_mul(1_000_000)?;
    let rest: u64 = format!("{places:0<6}").parse().ok()?;
    micros.checked_add(rest).filter(|sum| i64::try_from(*sum).is_ok())
}

impl FromStr for Prices {
    type Err = PricesError;

    fn from_str(text: &str) -> Result<Self, PricesError> {
        let file: File = serde_json::from_str(text).map_err(|error| PricesError::Shape(error.to_string()))?;
        let wrong = |field, problem| Err(PricesError::Value { field, problem });
        if file.currency.len() != 3 || !file.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return wrong("currency", "is three capital letters (ISO 4217)");
        }
        if !(1..=100).contains(&file.worker.busy_percent) {
            return wrong("worker.busy_percent", "is 1 to 100");
        }
        if file.worker.gb_per_vcpu > 1_000 {
            return wrong("worker.gb_per_vcpu", "is at most 1000");
        }
        if file.storage_months > 1_200 {
            return wrong("storage_months", "is at most 1200");
        }
        let list = &file.prices;
        let dear = [
            &list.vcpu_hour,
            &list.gb_hour,
            &list.storage_gb_month,
            &list.put_per_1000,
            &list.get_per_1000,
            &list.sqs_per_million,
            &list.sns_per_million,
            &list.data_api_per_million,
            &list.egress_gb,
        ];
        // A thousand million of anything is a mistake in the unit, and what keeps every product below within 128 bits.
        if dear.iter().any(|price| price.micros > 1_000_000_000_000_000) {
            return wrong("prices", "are in millionths of the currency");
        }
        Ok(Self(Arc::new(file)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_hour_of_a_worker_and_a_month_of_a_gigabyte() {
        let prices = Prices::embedded();
        assert_eq!((prices.currency(), prices.region()), ("USD", "us-east-1"));
        let hour = Amounts { cpu_ms: 3_600_000, ..Amounts::default() };
        // (0.04048 + 2 × 0.004445) ÷ 80 %
        assert_eq!(prices.total(&hour), 61_713);
        let month = Amounts { source_bytes: 600_000_000, output_bytes: 400_000_000, ..Amounts::default() };
        assert_eq!(prices.total(&month), 23_000);
        let requests = Amounts { puts: 1_000, gets: 1_000, ..Amounts::default() };
        assert_eq!(prices.total(&requests), 5_400);
        assert_eq!(prices.total(&Amounts { egress_bytes: 2_000_000_000, ..Amounts::default() }), 170_000);
    }

    #[test]
    fn a_file_that_can_not_be_meant_is_refused() {
        for (from, to, told) in [
            ("\"USD\"", "\"usd\"", "currency is three capital letters"),
            ("\"busy_percent\": 80", "\"busy_percent\": 0", "worker.busy_percent is 1 to 100"),
            ("\"get_per_1000\"", "\"gets_per_1000\"", "unknown field `gets_per_1000`"),
            ("\"micros\": 40480", "\"micros\": -1", "invalid value"),
            ("\"micros\": 40480", "\"micros\": 0.5", "invalid type"),
        ] {
            let error = JSON.replace(from, to).parse::<Prices>().unwrap_err().to_string();
            assert!(error.contains(told), "{to}: {error}");
        }
    }

    #[test]
    fn money_reads_as_people_write_it() {
        for (micros, text) in
            [(0, "0.00"), (1, "0.000001"), (12_345, "0.012"), (500_000, "0.50"), (12_345_678, "12.34")]
        {
            assert_eq!(shown(micros, "USD"), format!("{text} USD"));
        }
        for (text, wanted) in
            [("12", Some(12_000_000)), ("0.5", Some(500_000)), ("0.000001", Some(1)), ("0", Some(0)), ("", None)]
        {
            assert_eq!(micros(text), wanted, "{text}");
        }
        for text in ["-1", "1,5", ".5", "1.0000001", "1e3", "99999999999999999999"] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    fn amounts() -> impl Strategy<Value = Amounts> {
        let number = || prop_oneof![0..10_000_u64, any::<u64>()];
        (number(), number(), number(), number(), number(), number(), number()).prop_map(
            |(cpu_ms, source_bytes, output_bytes, puts, gets, tasks, egress_bytes)| Amounts {
                cpu_ms,
                source_bytes,
                output_bytes,
                puts,
                gets,
                tasks,
                egress_bytes,
            },
        )
    }

    proptest! {
        #[test]
        fn more_never_costs_less_and_nothing_overflows(a in amounts(), b in amounts()) {
            let prices = Prices::embedded();
            prop_assert!(prices.total(&a.plus(&b)) >= prices.total(&a).max(prices.total(&b)));
            prop_assert_eq!(prices.total(&Amounts::default()), 0);
        }
    }
}
