//! Statements and rows: SQL with named parameters, and typed reading of what comes back.
//!
//! Guarantee: no value is ever part of the SQL text; a column that does not hold what the code expects is an error
//! that names it, never a default.

use aws_sdk_rdsdata::types::{Field, SqlParameter};

use crate::error::CatalogError;

/// One SQL statement, complete with its values, that can be sent again as it is.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(crate) sql: &'static str,
    pub(crate) sets: Vec<Vec<SqlParameter>>,
    pub(crate) expect: Option<u64>,
}

impl Statement {
    /// A statement in the SQL that SQLite and PostgreSQL share; parameters are `:name`.
    pub fn new(sql: &'static str) -> Self {
        Self { sql, sets: vec![Vec::new()], expect: None }
    }

    /// The same statement for many sets of values, each made by [`Params`].
    pub fn batch(sql: &'static str, sets: impl IntoIterator<Item = Params>) -> Self {
        Self { sql, sets: sets.into_iter().map(|set| set.0).collect(), expect: None }
    }

    /// Demands that it changes this many rows; otherwise the transaction is rolled back with a conflict.
    pub fn expect(mut self, rows: u64) -> Self {
        self.expect = Some(rows);
        self
    }

    /// Adds values.
    pub fn with(mut self, params: Params) -> Self {
        if let Some(set) = self.sets.first_mut() {
            set.extend(params.0);
        }
        self
    }

    /// Adds a text.
    pub fn text(self, name: &str, value: impl AsRef<str>) -> Self {
        self.with(Params::new().text(name, value))
    }

    /// Adds a number.
    pub fn int(self, name: &str, value: i64) -> Self {
        self.with(Params::new().int(name, value))
    }
}

/// A list of ids in a statement that [`crate::Catalog::read_each`] reads: a list has no parameter of its own.
macro_rules! one_of {
    () => {
        "(:a, :b, :c, :d, :e, :f, :g, :h, :i, :j, :k, :l, :m, :n, :o, :p, :q, :r, :s, :t)"
    };
}
pub(crate) use one_of;

/// The parameters of such a list.
pub(crate) const LIST: [&str; 20] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];

/// Named values.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<SqlParameter>);

impl Params {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(mut self, name: &str, value: Field) -> Self {
        self.0.push(SqlParameter::builder().name(name).value(value).build());
        self
    }

    /// Adds a text.
    pub fn text(self, name: &str, value: impl AsRef<str>) -> Self {
        self.push(name, Field::StringValue(value.as_ref().to_owned()))
    }

    /// Adds a text or NULL.
    pub fn opt_text(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.push(name, Field::IsNull(true)),
        }
    }

    /// Adds a number.
    pub fn int(self, name: &str, value: i64) -> Self {
        self.push(name, Field::LongValue(value))
    }

    /// Adds a number or NULL.
    pub fn opt_int(self, name: &str, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.int(name, value),
            None => self.push(name, Field::IsNull(true)),
        }
    }

    /// Adds a floating-point number.
    pub fn float(self, name: &str, value: f64) -> Self {
        self.push(name, Field::DoubleValue(value))
    }

    /// Adds a truth value.
    pub fn bool(self, name: &str, value: bool) -> Self {
        self.push(name, Field::BooleanValue(value))
    }
}

/// A row, read by the order of its columns.
#[derive(Debug, Clone)]
pub struct Row(pub(crate) Vec<Field>);

impl Row {
    fn field(&self, column: usize) -> Result<&Field, CatalogError> {
        self.0.get(column).ok_or(CatalogError::Column { column, wanted: "a column", found: "none".into() })
    }

    fn wrong<T>(column: usize, wanted: &'static str, found: &Field) -> Result<T, CatalogError> {
        Err(CatalogError::Column { column, wanted, found: format!("{found:?}") })
    }

    /// A text that is not NULL.
    pub fn text(&self, column: usize) -> Result<String, CatalogError> {
        match self.field(column)? {
            Field::StringValue(text) => Ok(text.clone()),
            other => Self::wrong(column, "a text", other),
        }
    }

    /// A text or NULL.
    pub fn opt_text(&self, column: usize) -> Result<Option<String>, CatalogError> {
        match self.field(column)? {
            Field::IsNull(_) => Ok(None),
            Field::StringValue(text) => Ok(Some(text.clone())),
            other => Self::wrong(column, "a text or NULL", other),
        }
    }

    /// A text that parses.
    pub fn parsed<T: std::str::FromStr>(&self, column: usize, wanted: &'static str) -> Result<T, CatalogError> {
        let text = self.text(column)?;
        text.parse().map_err(|_| CatalogError::Column { column, wanted, found: text })
    }

    /// A number that is not NULL.
    pub fn int(&self, column: usize) -> Result<i64, CatalogError> {
        match self.field(column)? {
            Field::LongValue(value) => Ok(*value),
            other => Self::wrong(column, "a number", other),
        }
    }

    /// A number or NULL.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, CatalogError> {
        match self.field(column)? {
            Field::IsNull(_) => Ok(None),
            Field::LongValue(value) => Ok(Some(*value)),
            other => Self::wrong(column, "a number or NULL", other),
        }
    }

    /// A floating-point number; an engine may give a whole one as a number.
    pub fn float(&self, column: usize) -> Result<f64, CatalogError> {
        match self.field(column)? {
            Field::DoubleValue(value) => Ok(*value),
            Field::LongValue(value) => Ok(*value as f64),
            other => Self::wrong(column, "a floating-point number", other),
        }
    }

    /// A truth value; SQLite gives expressions of booleans as numbers.
    pub fn bool(&self, column: usize) -> Result<bool, CatalogError> {
        match self.field(column)? {
            Field::BooleanValue(value) => Ok(*value),
            Field::LongValue(value) => Ok(*value != 0),
            other => Self::wrong(column, "a truth value", other),
        }
    }
}
