//! The service on SQLite.
//!
//! Guarantee: what was answered is on disk (WAL, `synchronous=FULL`); writes are put in line and never meet
//! `SQLITE_BUSY`; a transaction that only reads holds no lock and no snapshot.
//!
//! AWS's default isolation is READ COMMITTED: each statement sees what was committed before it. So until its first write
//! a transaction runs its reads one by one on the readers' connections, each with a snapshot of its own; with the first
//! write it takes the one writing connection, and keeps it to its end. Nobody else can write then, so it goes on seeing
//! the newest state, and nothing it read is older than what it writes upon.
//! Single writes that wait for that connection at the same time share one transaction, hence one fsync; each runs in a
//! savepoint of its own.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use rusqlite::{
    Connection, OpenFlags, Row, ToSql,
    config::DbConfig,
    types::{ToSqlOutput, ValueRef},
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, oneshot};

use super::{
    CALL_LIMIT,
    answer::{Answer, Column},
    error::{ApiError, Kind},
    request::{Bound, Call, Hint, Parameters, Value},
};

/// Connections that read at the same time.
const READERS: usize = 8;
/// Single writes that share one COMMIT at most.
const GROUP: usize = 256;
/// Prepared statements kept by each connection.
const STATEMENTS: usize = 128;
/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 20_000;

pub(super) struct Sqlite {
    path: PathBuf,
    writer: Arc<AsyncMutex<Connection>>,
    waiting: Mutex<VecDeque<Job>>,
    ids: AtomicU64,
    readers: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

/// A single write that waits for the writing connection.
struct Job {
    id: u64,
    call: Arc<Call>,
    answer: oneshot::Sender<Result<String, ApiError>>,
}

/// What a transaction holds: the writing connection, from its first write on.
#[derive(Default)]
pub(super) struct Session(Option<OwnedMutexGuard<Connection>>);

impl Sqlite {
    /// Opens the database file, or makes it; its folder must exist.
    pub(super) fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let writer = connect(path)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Arc::new(AsyncMutex::new(writer)),
            waiting: Mutex::default(),
            ids: AtomicU64::new(0),
            readers: Mutex::default(),
            permits: Arc::new(Semaphore::new(READERS)),
        })
    }

    /// Runs a call outside any transaction and commits what it changed.
    pub(super) async fn execute(self: &Arc<Self>, call: Arc<Call>) -> Result<String, ApiError> {
        if call.statement.reads_only() {
            return self.read(call).await;
        }
        let (answer, mut answered) = oneshot::channel();
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).push_back(Job { id, call, answer });
        let limit = tokio::time::sleep(CALL_LIMIT);
        tokio::pin!(limit);
        loop {
            tokio::select! {
                biased;
                result = &mut answered => return result.unwrap_or_else(|_| Err(failed())),
                writer = self.writer.clone().lock_owned() => self.run_waiting(writer).await,
                () = &mut limit => {
                    if self.withdraw(id) {
                        return Err(ApiError::timed_out());
                    }
                    // Somebody runs it; its own limit holds there.
                    return answered.await.unwrap_or_else(|_| Err(failed()));
                }
            }
        }
    }

    /// Takes a write back, if nobody runs it yet.
    fn withdraw(&self, id: u64) -> bool {
        let mut waiting = lock(&self.waiting);
        let place = waiting.iter().position(|job| job.id == id);
        place.is_some_and(|place| waiting.remove(place).is_some())
    }

    /// Runs a call inside a transaction.
    pub(super) async fn execute_in(
        self: &Arc<Self>,
        session: &mut Session,
        call: Arc<Call>,
    ) -> Result<String, ApiError> {
        if session.0.is_none() && call.statement.reads_only() {
            return self.read(call).await;
        }
        let (mut writer, begin) = match session.0.take() {
            Some(writer) => (writer, false),
            None => {
                let writer = tokio::time::timeout(CALL_LIMIT, self.writer.clone().lock_owned()).await;
                (writer.map_err(|_| ApiError::timed_out())?, true)
            }
        };
        let (writer, result) = blocking(move || {
            let result = match begin {
                true => begin_write(&writer).and_then(|()| run(&mut writer, &call)),
                false => run(&mut writer, &call),
            };
            (writer, result)
        })
        .await?;
        session.0 = Some(writer);
        result
    }

    /// Ends a transaction.
    pub(super) async fn end(&self, session: Session, commit: bool) -> Result<(), ApiError> {
        let Some(writer) = session.0 else {
            return Ok(());
        };
        blocking(move || {
            let result = if commit { writer.execute_batch("COMMIT") } else { Ok(()) };
            roll_back(&writer);
            result.map_err(ApiError::from)
        })
        .await?
    }

    async fn read(self: &Arc<Self>, call: Arc<Call>) -> Result<String, ApiError> {
        let permit = tokio::time::timeout(CALL_LIMIT, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| ApiError::timed_out())?.map_err(|_| failed())?;
        let this = self.clone();
        blocking(move || {
            let _permit = permit;
            let idle = lock(&this.readers).pop();
            let mut reader = match idle {
                Some(reader) => reader,
                None => connect(&this.path).and_then(|c| c.pragma_update(None, "query_only", true).map(|()| c))?,
            };
            let result = run(&mut reader, &call);
            lock(&this.readers).push(reader);
            result
        })
        .await?
    }

    /// Runs the single writes that wait, with the writing connection in hand.
    async fn run_waiting(&self, mut writer: OwnedMutexGuard<Connection>) {
        let jobs: Vec<Job> = {
            let mut waiting = lock(&self.waiting);
            let count = waiting.len().min(GROUP);
            waiting.drain(..count).collect()
        };
        if jobs.is_empty() {
            return;
        }
        // If it panics the jobs' senders are dropped, and each caller is told.
        let _ = blocking(move || {
            let together = if jobs.len() > 1 { run_together(&mut writer, &jobs) } else { None };
            let results =
                together.unwrap_or_else(|| jobs.iter().map(|job| run_alone(&mut writer, &job.call)).collect());
            drop(writer);
            for (job, result) in jobs.into_iter().zip(results) {
                let _ = job.answer.send(result);
            }
        })
        .await;
    }
}

/// One write, one transaction.
fn run_alone(conn: &mut Connection, call: &Call) -> Result<String, ApiError> {
    begin_write(conn)?;
    let result =
        run(conn, call).and_then(|answer| conn.execute_batch("COMMIT").map(|()| answer).map_err(ApiError::from));
    roll_back(conn);
    result
}

/// Many writes, one transaction, a savepoint each. None: one of them ended the transaction for all, or the COMMIT
/// failed (a deferred constraint of one); nothing was kept, and each must be run alone.
fn run_together(conn: &mut Connection, jobs: &[Job]) -> Option<Vec<Result<String, ApiError>>> {
    begin_write(conn).ok()?;
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let result = conn.execute_batch("SAVEPOINT one").map_err(ApiError::from).and_then(|()| run(conn, &job.call));
        let close = if result.is_ok() { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" };
        if conn.is_autocommit() || conn.execute_batch(close).is_err() {
            roll_back(conn);
            return None;
        }
        results.push(result);
    }
    let committed = conn.execute_batch("COMMIT");
    roll_back(conn);
    committed.ok().map(|()| results)
}

/// Begins a write transaction. A panic may have left the one before it open.
fn begin_write(conn: &Connection) -> Result<(), ApiError> {
    roll_back(conn);
    Ok(conn.execute_batch("BEGIN IMMEDIATE")?)
}

fn roll_back(conn: &Connection) {
    if !conn.is_autocommit()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a transaction of the application's database could not be rolled back");
    }
}

/// Opens a connection with the rules under which SQLite behaves most like PostgreSQL.
fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.execute_batch(
        "PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
         PRAGMA foreign_keys=ON; PRAGMA case_sensitive_like=ON;",
    )?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Runs the call's statement once for each of its parameter sets.
fn run(conn: &mut Connection, call: &Call) -> Result<String, ApiError> {
    let deadline = Instant::now() + CALL_LIMIT;
    conn.progress_handler(STEPS, Some(move || Instant::now() > deadline))?;
    let mut statement = conn.prepare_cached(&call.statement.text)?;
    let mut answer = Answer::new(call);
    for set in &call.sets {
        bind(&mut statement, call, set)?;
        let mut booleans = Vec::new();
        let mut seen = false;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if !seen {
                // Only now: a statement prepared before a change of the schema is prepared anew by its first step.
                seen = true;
                booleans = row.as_ref().columns().map(|c| c.decl_type().is_some_and(is_boolean)).collect();
                answer.columns(columns(row)?);
            }
            answer.row(read_row(row, &booleans)?)?;
        }
        drop(rows);
        if !seen {
            let bare = statement.columns().map(|c| column(c.name(), c.decl_type(), ValueRef::Null)).collect();
            answer.columns(bare);
        }
        answer.end(if call.statement.changes_rows() { conn.changes() } else { 0 });
    }
    Ok(answer.body())
}

fn bind(statement: &mut rusqlite::Statement<'_>, call: &Call, set: &Parameters) -> Result<(), ApiError> {
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).and_then(|name| name.strip_prefix(':')).map(str::to_owned);
        let name = name.ok_or_else(|| ApiError::bad_request("Parameters are named, as in :name"))?;
        statement.raw_bind_parameter(index, Bind(call.bound(set, &name)?))?;
    }
    Ok(())
}

struct Bind<'a>(&'a Bound);

impl ToSql for Bind<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match (&self.0.value, self.0.hint) {
            (Value::Null, _) => ValueRef::Null,
            (Value::Long(value), _) => ValueRef::Integer(*value),
            (Value::Double(value), _) => ValueRef::Real(*value),
            (Value::Boolean(value), _) => ValueRef::Integer(i64::from(*value)),
            // SQLite has no decimals: a number compares as one, a text would not.
            (Value::String(text), Some(Hint::Decimal)) => match (text.parse(), text.parse()) {
                (Ok(long), _) => ValueRef::Integer(long),
                (_, Ok(double)) => ValueRef::Real(double),
                _ => ValueRef::Text(text.as_bytes()),
            },
            (Value::String(text), _) => ValueRef::Text(text.as_bytes()),
            (Value::Blob(bytes), _) => ValueRef::Blob(bytes),
        }))
    }
}

/// Only a column is declared; an expression of booleans is not, and stays a number.
fn is_boolean(declared: &str) -> bool {
    declared.eq_ignore_ascii_case("BOOLEAN") || declared.eq_ignore_ascii_case("BOOL")
}

fn columns(row: &Row<'_>) -> Result<Vec<Column>, ApiError> {
    let of = |(index, c): (usize, rusqlite::Column<'_>)| Ok(column(c.name(), c.decl_type(), row.get_ref(index)?));
    row.as_ref().columns().enumerate().map(of).collect()
}

/// The column's type as PostgreSQL would name it: as declared, and else as its first value is.
fn column(label: &str, declared: Option<&str>, first: ValueRef<'_>) -> Column {
    let declared = declared.unwrap_or_default().to_ascii_uppercase();
    let (jdbc, type_name) = match (declared.as_str(), first) {
        (d, _) if is_boolean(d) => (-7, "bool"),
        (d, _) if d.contains("INT") => (-5, "int8"),
        (d, _) if d.contains("DOUB") || d.contains("REAL") || d.contains("FLOA") => (8, "float8"),
        ("BLOB" | "BYTEA", _) | ("", ValueRef::Blob(_)) => (-2, "bytea"),
        ("", ValueRef::Integer(_)) => (-5, "int8"),
        ("", ValueRef::Real(_)) => (8, "float8"),
        _ => (12, "text"),
    };
    Column { label: label.to_owned(), jdbc, type_name: type_name.to_owned() }
}

fn read_row(row: &Row<'_>, booleans: &[bool]) -> Result<Vec<Value>, ApiError> {
    let value = |(index, boolean): (usize, &bool)| {
        Ok(match row.get_ref(index)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(value @ (0 | 1)) if *boolean => Value::Boolean(value == 1),
            ValueRef::Integer(value) => Value::Long(value),
            ValueRef::Real(value) => Value::Double(value),
            ValueRef::Text(text) => Value::String(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        })
    };
    booleans.iter().enumerate().map(value).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| failed())
}

fn failed() -> ApiError {
    ApiError::new(Kind::InternalServerError, "the call failed unexpectedly and was rolled back")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
