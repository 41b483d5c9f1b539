//! The RDS Data API (REST JSON), on SQLite or, by configuration, on PostgreSQL.
//!
//! Guarantee: a call that was answered is durable and whole: a single call keeps all it did or nothing, a transaction all
//! of its calls or none. A call goes on to its end even when its caller hangs up, so a lost answer means "perhaps done",
//! never "half done".
//!
//! `ExecuteStatement`, `BatchExecuteStatement`, `BeginTransaction`, `CommitTransaction` and `RollbackTransaction` of
//! <https://docs.aws.amazon.com/rdsdataservice/latest/APIReference/>. `resourceArn` and `secretArn` must be given and are
//! not looked at; there is one database.

mod answer;
mod engine;
mod error;
#[cfg(any(test, fuzzing))]
mod fuzzed;
mod postgres;
mod postgres_types;
mod request;
mod sql;
mod sqlite;
#[cfg(test)]
mod tests;
mod transactions;

#[cfg(any(test, fuzzing))]
pub(crate) use fuzzed::fuzzed;
use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header};

use self::{
    engine::Engine,
    error::{ApiError, Kind},
    postgres::Postgres,
    sqlite::Sqlite,
    transactions::Transactions,
};

/// A call that takes longer is ended (Data API, "Limitations").
const CALL_LIMIT: Duration = Duration::from_secs(45);

/// Where the application's tables live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RdsBackend {
    /// A database file of its own; made if it is not there. Its folder must exist.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A PostgreSQL server, reached without TLS.
    Postgres {
        /// `postgres://user:password@host:port/database`, or with `?host=/folder/of/the/socket`.
        url: String,
    },
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RdsOpenError {
    /// The file cannot be made, is no database, or is used by somebody else.
    #[error("cannot open the application's database {path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The URL is wrong, or no server answers there. The URL is not shown: it may hold a password.
    #[error("cannot use the application's PostgreSQL database: {0}")]
    Postgres(String),
}

/// The service. Dropping it rolls back what is open.
pub struct RdsData {
    engine: Engine,
    transactions: Transactions,
}

impl RdsData {
    /// Opens the database behind the service.
    ///
    /// # Errors
    /// When the file cannot be opened, or the server not be reached.
    pub async fn open(backend: &RdsBackend) -> Result<Arc<Self>, RdsOpenError> {
        let engine = match backend {
            RdsBackend::Sqlite { path } => {
                let opened =
                    Sqlite::open(path).map_err(|source| RdsOpenError::Sqlite { path: path.clone(), source })?;
                Engine::Sqlite(Arc::new(opened))
            }
            RdsBackend::Postgres { url } => {
                let opened = Postgres::open(url).await.map_err(|e| RdsOpenError::Postgres(e.message))?;
                Engine::Postgres(Arc::new(opened))
            }
        };
        Ok(Arc::new(Self { engine, transactions: Transactions::default() }))
    }

    /// No call will come any more: ends what is open.
    pub(crate) async fn close(&self) {
        self.transactions.end_all(&self.engine).await;
    }

    async fn answer(&self, path: &str, body: &[u8]) -> Result<String, ApiError> {
        let batch = path == "/BatchExecute";
        match path {
            "/Execute" | "/BatchExecute" => {
                let call = Arc::new(request::Body::read(body)?.call(batch, self.engine.dialect())?);
                match call.transaction.clone() {
                    Some(id) => self.transactions.execute(&self.engine, &id, call).await,
                    None => self.engine.execute(call).await,
                }
            }
            "/BeginTransaction" => {
                request::Body::read(body)?;
                let id = self.transactions.begin(&self.engine).await?;
                Ok(serde_json::json!({ "transactionId": id }).to_string())
            }
            "/CommitTransaction" | "/RollbackTransaction" => {
                let commit = path == "/CommitTransaction";
                let id = request::Body::read(body)?.transaction()?;
                self.transactions.end(&self.engine, &id, commit).await?;
                let status = if commit { "Transaction Committed" } else { "Rollback Complete" };
                Ok(serde_json::json!({ "transactionStatus": status }).to_string())
            }
            _ => Err(ApiError::new(Kind::UnknownOperation, format!("there is no operation at {path}"))),
        }
    }
}

/// Answers a request whose signature was verified. `path` names the operation.
pub async fn handle(rds: &Arc<RdsData>, path: &str, body: Bytes) -> Response<Body> {
    let (rds, path) = (rds.clone(), path.to_owned());
    // A task of its own: a caller that hangs up must not stop a call half way.
    let answer = tokio::spawn(async move { rds.answer(&path, &body).await }).await;
    let answer = answer.unwrap_or_else(|_| Err(ApiError::new(Kind::InternalServerError, "the call failed")));
    match answer {
        Ok(body) => {
            let mut response = Response::new(Body::from(body));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => error.response(),
    }
}

/// What Aurora answers after an automatic pause; nothing was executed.
pub(crate) fn resuming() -> Response<Body> {
    let words = "The Aurora DB instance is resuming after being auto-paused. Please wait a few seconds and try again.";
    ApiError::new(Kind::DatabaseResuming, words).response()
}
