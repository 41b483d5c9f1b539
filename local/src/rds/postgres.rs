//! The service on PostgreSQL.
//!
//! Guarantee: the same calls, values and error shapes as on SQLite, with PostgreSQL's own typing and errors. A connection
//! is given to another call only when nothing of the one before is left in it: after anything but reading and changing
//! rows it is closed instead.
//!
//! Connections are not encrypted: keep the database on this machine or on a network that nobody else listens to. One
//! difference to SQLite: a single `… RETURNING` whose result is beyond the service's limits is refused after it was
//! committed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::TryStreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_postgres::{Client, Config, NoTls, Statement, types::Type};

use super::{
    CALL_LIMIT,
    answer::Answer,
    error::{ApiError, Kind},
    postgres_types::{Decoded, Text, column, parameter_type, returnable},
    request::{Call, Parameters},
};

/// Connections at the same time; calls beyond it wait.
const CONNECTIONS: usize = 16;
/// Prepared statements kept by each connection.
const STATEMENTS: usize = 256;
/// Time to reach the server.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Postgres {
    config: Config,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

struct Connection {
    client: Client,
    statements: HashMap<String, Vec<(Vec<Type>, Statement)>>,
}

/// What a transaction holds, and a single call while it runs: a connection of its own.
pub(super) struct Session {
    connection: Connection,
    /// Whether something else than rows was read or changed, so that nobody else may have the connection.
    altered: bool,
    _permit: OwnedSemaphorePermit,
}

impl Postgres {
    /// Reads the URL and reaches the server once, so that a wrong URL is told at start.
    pub(super) async fn open(url: &str) -> Result<Self, ApiError> {
        let config = url.parse().map_err(|e: tokio_postgres::Error| ApiError::bad_request(e.to_string()))?;
        let pool = Self { config, idle: Mutex::default(), permits: Arc::new(Semaphore::new(CONNECTIONS)) };
        let first = pool.take().await?;
        pool.put_back(first);
        Ok(pool)
    }

    /// Runs a call outside any transaction.
    pub(super) async fn execute(&self, call: &Call) -> Result<String, ApiError> {
        let mut session = self.take().await?;
        let mut result = within(session.connection.execute_alone(call)).await;
        if result.as_ref().is_err_and(is_stale_plan) {
            session.connection.statements.clear();
            result = within(session.connection.execute_alone(call)).await;
        }
        session.altered = alters(call);
        if result.as_ref().is_err_and(|e| e.kind == Kind::InternalServerError) {
            return result; // nobody knows what the connection is doing
        }
        self.put_back(session);
        result
    }

    pub(super) async fn begin(&self) -> Result<Session, ApiError> {
        let session = self.take().await?;
        within(async { Ok(session.connection.client.batch_execute("BEGIN").await?) }).await?;
        Ok(session)
    }

    pub(super) async fn execute_in(&self, session: &mut Session, call: &Call) -> Result<String, ApiError> {
        session.altered |= alters(call);
        let result = within(session.connection.execute(call)).await;
        if result.as_ref().is_err_and(is_stale_plan) {
            session.connection.statements.clear();
        }
        result
    }

    pub(super) async fn end(&self, session: Session, commit: bool) -> Result<(), ApiError> {
        let end = if commit { "COMMIT" } else { "ROLLBACK" };
        let result = within(async { Ok(session.connection.client.batch_execute(end).await?) }).await;
        if !result.as_ref().is_err_and(|e| e.kind == Kind::InternalServerError) {
            self.put_back(session);
        }
        result
    }

    async fn take(&self) -> Result<Session, ApiError> {
        let permit = timeout(CALL_LIMIT, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| ApiError::timed_out())?;
        let permit = permit.map_err(|e| ApiError::new(Kind::InternalServerError, e.to_string()))?;
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|connection| !connection.client.is_closed());
            idle.pop()
        };
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Session { connection, altered: false, _permit: permit })
    }

    fn put_back(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if session.altered {
            idle.clear(); // their prepared statements may know an older schema
        } else if !session.connection.client.is_closed() {
            idle.push(session.connection);
        }
    }

    async fn connect(&self) -> Result<Connection, ApiError> {
        let unavailable = |why: String| ApiError::new(Kind::DatabaseUnavailable, format!("no database: {why}"));
        let (client, connection) = timeout(CONNECT_LIMIT, self.config.connect(NoTls))
            .await
            .map_err(|_| unavailable("it did not answer".into()))?
            .map_err(|e| unavailable(ApiError::from(e).message))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection to the application's database broke");
            }
        });
        // The second limit is for the case that this process is stopped with a transaction open.
        let settings = format!(
            "SET TimeZone = 'UTC'; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = 60000",
            CALL_LIMIT.as_millis()
        );
        client.batch_execute(&settings).await.map_err(|e| unavailable(ApiError::from(e).message))?;
        Ok(Connection { client, statements: HashMap::new() })
    }
}

/// A statement may change the schema, or the state of the connection.
fn alters(call: &Call) -> bool {
    !call.statement.reads_only() && !call.statement.changes_rows()
}

/// PostgreSQL refuses, before it runs anything, a prepared statement whose result has other columns by now.
fn is_stale_plan(error: &ApiError) -> bool {
    error.message.ends_with("SQLState: 0A000") && error.message.contains("cached plan")
}

/// The server ends a statement at the limit; this is for a server that no longer answers.
async fn within<T>(work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let silent = || ApiError::new(Kind::InternalServerError, "the database no longer answers");
    timeout(CALL_LIMIT + CONNECT_LIMIT, work).await.unwrap_or_else(|_| Err(silent()))
}

impl Connection {
    /// One statement is a transaction by itself; several need one around them.
    async fn execute_alone(&mut self, call: &Call) -> Result<String, ApiError> {
        if call.sets.len() == 1 {
            return self.execute(call).await;
        }
        self.client.batch_execute("BEGIN").await?;
        let result = self.execute(call).await;
        let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
        self.client.batch_execute(end).await?;
        result
    }

    async fn execute(&mut self, call: &Call) -> Result<String, ApiError> {
        let mut answer = Answer::new(call);
        for set in &call.sets {
            let statement = self.prepare(call, set).await?;
            if let Some(column) = statement.columns().iter().find(|c| !returnable(c.type_())) {
                let words = format!("The result contains the unsupported data type {}.", column.type_().name());
                return Err(ApiError::new(Kind::UnsupportedResult, words));
            }
            let bound: Result<Vec<_>, _> =
                call.statement.names.iter().map(|name| call.bound(set, name).map(Text)).collect();
            answer.columns(statement.columns().iter().map(|c| column(c.name(), c.type_())).collect());
            let rows = self.client.query_raw(&statement, bound?).await?;
            tokio::pin!(rows);
            while let Some(row) = rows.try_next().await? {
                let values: Result<Vec<_>, _> = (0..row.len()).map(|i| row.try_get(i).map(|Decoded(v)| v)).collect();
                answer.row(values?)?;
            }
            let affected = rows.rows_affected().unwrap_or(0);
            answer.end(if call.statement.changes_rows() { affected } else { 0 });
        }
        Ok(answer.body())
    }

    /// The statement for parameters of these types; PostgreSQL infers the type of those that are null.
    async fn prepare(&mut self, call: &Call, set: &Parameters) -> Result<Statement, ApiError> {
        let types: Result<Vec<_>, _> =
            call.statement.names.iter().map(|name| call.bound(set, name).map(parameter_type)).collect();
        let types = types?;
        let text = &call.statement.text;
        if let Some((_, known)) = self.statements.get(text).and_then(|all| all.iter().find(|(t, _)| *t == types)) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare_typed(text, &types).await?;
        if self.statements.values().map(Vec::len).sum::<usize>() >= STATEMENTS {
            self.statements.clear();
        }
        self.statements.entry(text.clone()).or_default().push((types, statement.clone()));
        Ok(statement)
    }
}
