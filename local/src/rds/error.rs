//! What a call is answered when it fails.
//!
//! Guarantee: both engines speak one language. A refusal by the database is a `DatabaseErrorException` whose message
//! ends in `; SQLState: xxxxx` (the form the Data API gives with Aurora PostgreSQL), so a client classifies an error the
//! same way on SQLite, on PostgreSQL and on AWS.

use axum::body::Body;
use http::{Response, StatusCode, header};
use rusqlite::ffi;

/// The error shapes of the service, as its API reference names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The request is wrong; the database was not asked, or its answer is larger than the service allows.
    BadRequest,
    /// The database refused.
    DatabaseError,
    /// The statement, or the wait for a lock or a connection, took longer than the service allows.
    StatementTimeout,
    /// The database is being resumed; nothing was executed. The one error that may be retried blindly.
    DatabaseResuming,
    /// The database cannot be reached; nothing was executed.
    DatabaseUnavailable,
    /// A column has a type the service cannot return.
    UnsupportedResult,
    /// Unknown outcome.
    InternalServerError,
    /// The body is not what the protocol says.
    Serialization,
    /// No such path.
    UnknownOperation,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Self::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::DatabaseUnavailable => StatusCode::GATEWAY_TIMEOUT,
            Self::UnknownOperation => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequestException",
            Self::DatabaseError => "DatabaseErrorException",
            Self::StatementTimeout => "StatementTimeoutException",
            Self::DatabaseResuming => "DatabaseResumingException",
            Self::DatabaseUnavailable => "DatabaseUnavailableException",
            Self::UnsupportedResult => "UnsupportedResultException",
            Self::InternalServerError => "InternalServerErrorException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
        }
    }
}

/// A refusal, ready to be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", kind.name())]
pub(super) struct ApiError {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, message)
    }

    /// A refusal by the database, with the SQLSTATE that classifies it.
    pub(super) fn database(message: impl std::fmt::Display, sqlstate: &str) -> Self {
        Self::new(Kind::DatabaseError, format!("ERROR: {message}; SQLState: {sqlstate}"))
    }

    pub(super) fn timed_out() -> Self {
        Self::new(Kind::StatementTimeout, "Request timed out")
    }

    /// What PostgreSQL says about every statement after the first that failed.
    pub(super) fn aborted() -> Self {
        Self::database("current transaction is aborted, commands ignored until end of transaction block", "25P02")
    }

    pub(super) fn transaction_not_found(id: &str) -> Self {
        Self::bad_request(format!("Transaction {id} is not found"))
    }

    /// Whether the transaction in which it happened can only be rolled back. A request refused before the database saw
    /// it leaves the transaction as it was.
    pub(super) fn aborts_transaction(&self) -> bool {
        self.kind != Kind::BadRequest
    }

    /// The answer of the REST JSON protocol: the shape in `x-amzn-errortype`, the message in the body.
    pub(super) fn response(&self) -> Response<Body> {
        let body = serde_json::json!({ "message": self.message }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert("x-amzn-errortype", http::HeaderValue::from_static(self.kind.name()));
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        response
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        let (cause, text) = match &error {
            rusqlite::Error::SqlInputError { error, msg, .. } => (error, msg.clone()),
            rusqlite::Error::SqliteFailure(cause, _) => (cause, error.to_string()),
            // rusqlite's own refusals: the statement has a shape it cannot run.
            other => return Self::database(other, "0A000"),
        };
        use ffi::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, DiskFull, NotADatabase, OperationInterrupted, SystemIoFailure,
        };
        if let CannotOpen | DatabaseBusy | DatabaseCorrupt | DiskFull | NotADatabase | SystemIoFailure = cause.code {
            tracing::error!(error = text, "the application's database does not do what it is asked");
        }
        match cause.code {
            OperationInterrupted => Self::timed_out(),
            _ => Self::database(&text, sqlite_state(cause.extended_code, &text)),
        }
    }
}

/// The SQLSTATE PostgreSQL gives for the same refusal (PostgreSQL manual, appendix A).
fn sqlite_state(extended: i32, message: &str) -> &'static str {
    match extended {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => "23505",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "23503",
        ffi::SQLITE_CONSTRAINT_CHECK => "23514",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "23502",
        ffi::SQLITE_CONSTRAINT_DATATYPE | ffi::SQLITE_MISMATCH => "22P02",
        ffi::SQLITE_CONSTRAINT_TRIGGER => "P0001",
        _ => match extended & 0xff {
            ffi::SQLITE_CONSTRAINT => "23000",
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => "40001",
            ffi::SQLITE_FULL => "53100",
            ffi::SQLITE_NOMEM => "53200",
            ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN => "58030",
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => "XX001",
            ffi::SQLITE_READONLY => "25006",
            ffi::SQLITE_TOOBIG => "54000",
            ffi::SQLITE_AUTH => "42501",
            _ => state_from_words(message),
        },
    }
}

/// SQLite has one code for every fault of a statement; only its words tell them apart.
fn state_from_words(message: &str) -> &'static str {
    const WORDS: [(&str, &str); 12] = [
        ("no such table", "42P01"),
        ("no such view", "42P01"),
        ("no such index", "42704"),
        ("no such trigger", "42704"),
        ("ambiguous column name", "42702"),
        ("no such column", "42703"),
        ("has no column named", "42703"),
        ("no such function", "42883"),
        ("duplicate column name", "42701"),
        ("already exists", "42P07"),
        ("already another table or index", "42P07"),
        ("integer overflow", "22003"),
    ];
    match WORDS.iter().find(|(words, _)| message.contains(words)) {
        Some((_, state)) => state,
        None => "42601",
    }
}

impl From<tokio_postgres::Error> for ApiError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(cause) = error.as_db_error() else {
            // The connection broke after the statement may have been sent: nobody knows whether it was executed.
            return Self::new(Kind::InternalServerError, format!("the database connection failed: {error}"));
        };
        if cause.code() == &tokio_postgres::error::SqlState::QUERY_CANCELED {
            return Self::timed_out();
        }
        let mut text = cause.message().to_owned();
        if let Some(detail) = cause.detail() {
            text.push_str("\n  Detail: ");
            text.push_str(detail);
        }
        if let Some(hint) = cause.hint() {
            text.push_str("\n  Hint: ");
            text.push_str(hint);
        }
        if let Some(tokio_postgres::error::ErrorPosition::Original(position)) = cause.position() {
            text.push_str(&format!("\n  Position: {position}"));
        }
        Self::database(text, cause.code().code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_constraints_have_the_states_of_postgresql() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "PRAGMA foreign_keys=ON;
             CREATE TABLE p(id INTEGER PRIMARY KEY);
             CREATE TABLE t(id BIGINT PRIMARY KEY, u TEXT UNIQUE, n TEXT NOT NULL, c BIGINT CHECK (c > 0), p BIGINT REFERENCES p(id));
             INSERT INTO t VALUES (1, 'u', 'n', 1, NULL);",
        )
        .unwrap();
        for (sql, state) in [
            ("INSERT INTO t VALUES (1, 'v', 'n', 1, NULL)", "23505"),
            ("INSERT INTO t VALUES (2, 'u', 'n', 1, NULL)", "23505"),
            ("INSERT INTO t VALUES (2, 'v', NULL, 1, NULL)", "23502"),
            ("INSERT INTO t VALUES (2, 'v', 'n', 0, NULL)", "23514"),
            ("INSERT INTO t VALUES (2, 'v', 'n', 1, 9)", "23503"),
            ("SELECT * FROM nowhere", "42P01"),
            ("SELECT missing FROM t", "42703"),
            ("SELECT missing()", "42883"),
            ("CREATE TABLE t(a BIGINT)", "42P07"),
            ("SELEC 1", "42601"),
        ] {
            let error = ApiError::from(conn.execute_batch(sql).unwrap_err());
            assert_eq!(error.kind, Kind::DatabaseError, "{sql}");
            assert!(error.message.starts_with("ERROR: "), "{sql}: {}", error.message);
            assert!(error.message.ends_with(&format!("; SQLState: {state}")), "{sql}: {}", error.message);
        }
    }
}
