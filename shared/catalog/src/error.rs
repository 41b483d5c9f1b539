//! What can go wrong between the catalog and its database.

/// An error of the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The call may or may not have been carried out, and asking again did not settle it.
    #[error("the database did not answer: {0}")]
    Unavailable(String),
    /// The database refused the statement.
    #[error("the database refused {sql:?}: {message}")]
    Refused {
        /// The statement.
        sql: String,
        /// The database's words, with its SQLSTATE.
        message: String,
    },
    /// A compare-and-set found another state: somebody else was first. Nothing was written.
    #[error("{what}: the row is no longer in the state that this step started from")]
    Conflict {
        /// The step.
        what: &'static str,
    },
    /// A column that does not hold what the code expects.
    #[error("column {column}: {wanted} was expected, found {found}")]
    Column {
        /// Number from 0.
        column: usize,
        /// What was expected.
        wanted: &'static str,
        /// What was found.
        found: String,
    },
    /// A stored JSON text that this build can't read.
    #[error("stored {what}: {source}")]
    Stored {
        /// Which.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The schema in the database is not the one of this build.
    #[error("schema: {0}")]
    Schema(String),
}

impl CatalogError {
    /// Whether somebody else was first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}
