//! Single statements and transactions through the RDS Data API.
//!
//! Guarantee: SDK retries are off; a call whose answer was lost is never blindly repeated. A transaction is complete
//! before Begin, opens with a compare-and-set that stores its operation id, and on any doubt that id is read back:
//! mine there means it happened, once. Once begun it is carried through, whether or not anybody still waits for it.
//!
//! Source: "Using the Amazon RDS Data API", DatabaseResumingException (Aurora resumes after auto-pause; HTTP 400, which
//! SDKs don't retry).

use std::time::Duration;

use aws_sdk_rdsdata::Client;
use aws_sdk_rdsdata::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_rdsdata::types::Field;
use reelfleet_domain::retry;
use tracing::Instrument as _;

use crate::error::CatalogError;
use crate::statement::{LIST, Row, Statement};

/// A transaction is tried this often before it counts as unavailable.
const TRIES: u32 = 5;
/// A paused Aurora cluster takes up to about 30 s to come back.
const RESUME_TRIES: u32 = 15;
const PAUSE: Duration = Duration::from_millis(100);
const RESUME_PAUSE: Duration = Duration::from_secs(2);

/// The catalog: every durable fact goes through it.
#[derive(Debug, Clone)]
pub struct Catalog {
    client: Client,
    resource_arn: String,
    secret_arn: String,
    database: Option<String>,
    pub(crate) takeover_grace_ms: i64,
    pub(crate) relay: crate::outbox::Bell,
}

/// What a call came to.
enum Failure {
    /// The database's answer: it was not carried out.
    Refused { sqlstate: Option<String>, message: String },
    /// Aurora is resuming; not carried out.
    Resuming,
    /// Carried out or not: unknown.
    Unknown(String),
}

/// A transaction, whole before it begins.
#[derive(Debug)]
pub struct Atomic {
    /// Named in errors.
    pub what: &'static str,
    /// In order. The first is the compare-and-set that stores the operation id.
    pub statements: Vec<Statement>,
    /// Selects one row if, and only if, this very operation was committed.
    pub settled: Statement,
}

impl Catalog {
    /// A catalog in the given database. The client must have its retries off.
    pub fn new(client: Client, resource_arn: String, secret_arn: String, database: Option<String>) -> Self {
        let relay = crate::outbox::Bell::default();
        Self { client, resource_arn, secret_arn, database, takeover_grace_ms: retry::TAKEOVER_GRACE_MS, relay }
    }

    /// Leases of others are taken over this long after their end (milliseconds).
    #[must_use]
    pub fn with_takeover_grace(self, takeover_grace_ms: i64) -> Self {
        Self { takeover_grace_ms, ..self }
    }

    /// Reads. Repeated until answered.
    pub async fn read(&self, statement: Statement) -> Result<Vec<Row>, CatalogError> {
        let mut tries = Tries::new();
        loop {
            match self.execute(&statement, None).await {
                Ok((rows, _)) => return Ok(rows),
                Err(failure) => tries.again(failure, &statement).await?,
            }
        }
    }

    /// Rows of several ids, some at a time; the statement holds `one_of!()`.
    pub(crate) async fn read_each(
        &self,
        sql: &'static str,
        ids: &[impl std::fmt::Display],
    ) -> Result<Vec<Row>, CatalogError> {
        let mut rows = Vec::new();
        for some in ids.chunks(LIST.len()) {
            let named = LIST.iter().enumerate().fold(Statement::new(sql), |statement, (index, name)| {
                statement.text(name, some.get(index).map(ToString::to_string).unwrap_or_default())
            });
            rows.extend(self.read(named).await?);
        }
        Ok(rows)
    }

    /// Writes by one statement that may safely be repeated: the caller's SQL makes a second run change nothing or
    /// the same.
    pub async fn write(&self, statement: Statement) -> Result<(Vec<Row>, u64), CatalogError> {
        let mut tries = Tries::new();
        loop {
            match self.execute(&statement, None).await {
                Ok(done) => return Ok(done),
                Err(failure) => tries.again(failure, &statement).await?,
            }
        }
    }

    /// Carries out all of it or nothing, once.
    ///
    /// On a task of its own: a caller that is dropped in the middle (at a drain, or with its lease) would leave a
    /// transaction open, which holds its rows, and on SQLite every other writer, until the server gives it up.
    pub async fn atomic(&self, atomic: Atomic) -> Result<(), CatalogError> {
        self.carried(atomic, false).await
    }

    /// The same for what leaves something in the outbox: its bell rings, unless it is certain that nothing was committed.
    pub(crate) async fn commit(&self, atomic: Atomic) -> Result<(), CatalogError> {
        self.carried(atomic, true).await
    }

    async fn carried(&self, atomic: Atomic, rings: bool) -> Result<(), CatalogError> {
        let catalog = self.clone();
        let carried = tokio::spawn(
            async move {
                let outcome = catalog.carry_out(atomic).await;
                if rings && !matches!(outcome, Err(CatalogError::Conflict { .. })) {
                    catalog.relay.ring();
                }
                outcome
            }
            .in_current_span(),
        );
        match carried.await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(CatalogError::Unavailable(error.to_string())),
            },
        }
    }

    async fn carry_out(&self, atomic: Atomic) -> Result<(), CatalogError> {
        let mut tries = Tries::new();
        let mut doubtful = false;
        loop {
            match self.attempt(&atomic).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    // The state is not the expected one: either somebody else's doing, or my own earlier try.
                    if doubtful && !self.read(atomic.settled.clone()).await?.is_empty() {
                        return Ok(());
                    }
                    return Err(CatalogError::Conflict { what: atomic.what });
                }
                Err((failure, statement)) => {
                    if matches!(failure, Failure::Unknown(_)) {
                        doubtful = true;
                        if !self.read(atomic.settled.clone()).await?.is_empty() {
                            return Ok(());
                        }
                    }
                    tries.again(failure, statement.unwrap_or(&atomic.settled)).await?;
                }
            }
        }
    }

    /// `Ok(false)`: an expectation was not met, and all was rolled back.
    async fn attempt<'a>(&self, atomic: &'a Atomic) -> Result<bool, (Failure, Option<&'a Statement>)> {
        let begun = self
            .client
            .begin_transaction()
            .resource_arn(&self.resource_arn)
            .secret_arn(&self.secret_arn)
            .set_database(self.database.clone())
            .send()
            .await
            .map_err(|e| (failure(e), None))?;
        let id = begun.transaction_id().unwrap_or_default().to_owned();
        for statement in &atomic.statements {
            match self.execute(statement, Some(&id)).await {
                Ok((_, changed)) => {
                    if statement.expect.is_some_and(|wanted| wanted != changed) {
                        self.rollback(&id).await;
                        return Ok(false);
                    }
                }
                Err(failure) => {
                    self.rollback(&id).await;
                    // Inside an open transaction nothing is committed: not in doubt.
                    let failure = match failure {
                        Failure::Unknown(message) => Failure::Refused { sqlstate: Some("40001".into()), message },
                        other => other,
                    };
                    return Err((failure, Some(statement)));
                }
            }
        }
        self.client
            .commit_transaction()
            .resource_arn(&self.resource_arn)
            .secret_arn(&self.secret_arn)
            .transaction_id(&id)
            .send()
            .await
            .map(|_| true)
            .map_err(|e| match failure(e) {
                // "Transaction is not found" after a lost answer: committed, or rolled back for idleness.
                Failure::Refused { message, .. } => (Failure::Unknown(message), None),
                other => (other, None),
            })
    }

    /// Best effort: an idle transaction is rolled back by the server.
    async fn rollback(&self, id: &str) {
        let call = self.client.rollback_transaction().resource_arn(&self.resource_arn).secret_arn(&self.secret_arn);
        if let Err(error) = call.transaction_id(id).send().await {
            tracing::debug!(error = %error.into_service_error(), "rollback was not answered");
        }
    }

    async fn execute(&self, statement: &Statement, transaction: Option<&str>) -> Result<(Vec<Row>, u64), Failure> {
        if statement.sets.len() != 1 {
            return self.execute_batch(statement, transaction).await;
        }
        let output = self
            .client
            .execute_statement()
            .resource_arn(&self.resource_arn)
            .secret_arn(&self.secret_arn)
            .set_database(self.database.clone())
            .set_transaction_id(transaction.map(str::to_owned))
            .sql(statement.sql)
            .set_parameters(statement.sets.first().cloned())
            .send()
            .await
            .map_err(failure)?;
        let changed = u64::try_from(output.number_of_records_updated()).unwrap_or(0);
        let rows: Vec<Row> = output.records.unwrap_or_default().into_iter().map(Row).collect();
        // A statement with RETURNING reports its rows; engines differ in whether they also count them.
        let changed = changed.max(rows.len() as u64);
        Ok((rows, changed))
    }

    async fn execute_batch(
        &self,
        statement: &Statement,
        transaction: Option<&str>,
    ) -> Result<(Vec<Row>, u64), Failure> {
        // A request stays far below 4 MiB.
        for sets in statement.sets.chunks(100) {
            self.client
                .batch_execute_statement()
                .resource_arn(&self.resource_arn)
                .secret_arn(&self.secret_arn)
                .set_database(self.database.clone())
                .set_transaction_id(transaction.map(str::to_owned))
                .sql(statement.sql)
                .set_parameter_sets(Some(sets.to_vec()))
                .send()
                .await
                .map_err(failure)?;
        }
        Ok((Vec::new(), 0))
    }
}

/// The first field of the first row as a number: counts and positions.
pub(crate) fn first_int(rows: &[Row]) -> Result<Option<i64>, CatalogError> {
    match rows.first() {
        Some(row) if !matches!(row.0.first(), Some(Field::IsNull(_))) => row.int(0).map(Some),
        _ => Ok(None),
    }
}

fn failure<E, R>(error: SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let (code, message) = match &error {
        SdkError::ServiceError(service) => (
            service.err().code().map(str::to_owned),
            service.err().message().map_or_else(|| format!("{:?}", service.err().code()), str::to_owned),
        ),
        other => (None, format!("{other:?}")),
    };
    match code.as_deref() {
        Some("DatabaseResumingException") => Failure::Resuming,
        Some(
            "BadRequestException"
            | "DatabaseErrorException"
            | "StatementTimeoutException"
            | "UnsupportedResultException",
        ) => Failure::Refused { sqlstate: sqlstate(&message), message },
        Some(
            "AccessDeniedException"
            | "ForbiddenException"
            | "NotFoundException"
            | "InvalidSecretException"
            | "SecretsErrorException"
            | "DatabaseNotFoundException",
        ) => Failure::Refused { sqlstate: None, message },
        _ => Failure::Unknown(message),
    }
}

/// The five characters after the last `SQLState: `, where the database gave them.
fn sqlstate(message: &str) -> Option<String> {
    let (_, after) = message.rsplit_once("SQLState: ")?;
    after.get(..5).map(str::to_owned)
}

/// Counts tries and waits between them.
struct Tries {
    made: u32,
    resuming: u32,
}

impl Tries {
    fn new() -> Self {
        Self { made: 0, resuming: 0 }
    }

    async fn again(&mut self, failure: Failure, statement: &Statement) -> Result<(), CatalogError> {
        match failure {
            Failure::Resuming if self.resuming < RESUME_TRIES => {
                self.resuming += 1;
                tokio::time::sleep(RESUME_PAUSE).await;
                Ok(())
            }
            Failure::Resuming => Err(CatalogError::Unavailable("the database is still resuming".into())),
            Failure::Unknown(_) | Failure::Refused { .. } if !retryable(&failure) => Err(refused(failure, statement)),
            other if self.made < TRIES => {
                self.made += 1;
                tracing::debug!(sql = statement.sql, "repeating a statement: {}", describe(&other));
                tokio::time::sleep(PAUSE * (1 << self.made)).await;
                Ok(())
            }
            other => Err(CatalogError::Unavailable(describe(&other))),
        }
    }
}

fn retryable(failure: &Failure) -> bool {
    match failure {
        Failure::Unknown(_) | Failure::Resuming => true,
        // Serialisation failure, deadlock, lock not available: the transaction is to be repeated as a whole.
        Failure::Refused { sqlstate, .. } => matches!(sqlstate.as_deref(), Some("40001" | "40P01" | "55P03")),
    }
}

fn refused(failure: Failure, statement: &Statement) -> CatalogError {
    match failure {
        Failure::Refused { sqlstate: Some(state), .. } if state == "23505" => {
            CatalogError::Conflict { what: "a unique key" }
        }
        other => CatalogError::Refused { sql: statement.sql.to_owned(), message: describe(&other) },
    }
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Refused { message, .. } | Failure::Unknown(message) => message.clone(),
        Failure::Resuming => "the database is resuming".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sqlstate_is_found_where_it_is() {
        let message = "ERROR: duplicate key value violates unique constraint \"x\"; SQLState: 23505";
        assert_eq!(sqlstate(message).as_deref(), Some("23505"));
        assert_eq!(sqlstate("no state"), None);
        assert_eq!(sqlstate("SQLState: 23"), None);
    }
}
