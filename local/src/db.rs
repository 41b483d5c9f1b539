//! The database of objects, queues and topics: one writer, many readers.
//!
//! Guarantee: a write that was answered `Ok` is on disk (WAL, `synchronous=FULL`); a write that was answered `Err`
//! left nothing behind; no write sees or undoes half of another. Writes that wait at the same time share one
//! transaction, hence one fsync; each runs in a savepoint of its own, so that a failure or a panic stays its own.
//! A write goes on to its end even when the future that asked for it is dropped.

use std::{
    cell::RefCell,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::state::{QueueWakes, Wake};

/// Writes that may wait for the writer; beyond it `write` waits before it queues.
const QUEUE: usize = 1024;
/// Writes that share one COMMIT at most.
const GROUP: usize = 256;
/// Connections that read beside the writer.
const READERS: usize = 8;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite refused a statement.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The statement worked, the shared COMMIT did not; nothing of the group may be believed to be stored.
    #[error("database: the transaction could not be committed: {0}")]
    Commit(String),
    /// The file system under the data folder has no room left.
    #[error("database: no space left on the device of the data folder")]
    Full,
    /// Another process holds a lock on the file, and has not let go within the time that a write waits.
    #[error("database: locked by another process; nothing was changed")]
    Locked,
    /// The closure panicked; its savepoint was rolled back.
    #[error("database: a request failed unexpectedly and was rolled back")]
    Panicked,
    /// The endpoint is shutting down.
    #[error("database: closed")]
    Closed,
    /// The writer thread could not be started.
    #[error("database: cannot start the writer thread: {0}")]
    Thread(std::io::Error),
}

impl DbError {
    /// Whether the cause is a full disk, so that the answer can say so.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Sqlite(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }

    /// Whether the cause is a lock of another process, which passes.
    pub fn is_locked(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        match self {
            Self::Locked => true,
            Self::Sqlite(error) => matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked)),
            _ => false,
        }
    }

    /// The same error for another write of the group that it befell.
    fn of_group(&self) -> Self {
        match self {
            error if error.is_full() => Self::Full,
            error if error.is_locked() => Self::Locked,
            error => Self::Commit(error.to_string()),
        }
    }
}

/// A request's share of the write transaction. Dereferences to the connection.
///
/// The closure must not begin, commit or roll back itself.
pub struct Tx<'c> {
    conn: &'c Connection,
    wakes: RefCell<Vec<Wake>>,
}

impl Tx<'_> {
    /// Wakes the long polls of a queue once the change is committed; never if it is not.
    pub fn wake(&self, wake: Wake) {
        self.wakes.borrow_mut().push(wake);
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.conn
    }
}

type Finish = Box<dyn FnOnce(Result<(), DbError>) + Send>;
/// A write: it gets its share of a transaction, or is told why there is none.
type Job = Box<dyn FnOnce(Result<&Tx<'_>, DbError>) -> (bool, Finish) + Send>;

/// Handle to the database; cheap to clone.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    path: PathBuf,
}

impl Db {
    /// Opens (or makes) the database file and starts its writer. `migrate` runs in one transaction before anything
    /// else; long polls are woken through `wakes`.
    pub fn open<E>(
        path: &Path,
        wakes: Arc<QueueWakes>,
        migrate: impl FnOnce(&Connection) -> Result<(), E>,
    ) -> Result<Self, E>
    where
        E: From<DbError>,
    {
        let conn = open_writer(path)?;
        conn.execute_batch("BEGIN IMMEDIATE").map_err(DbError::from)?;
        migrate(&conn)?;
        conn.execute_batch("COMMIT").map_err(DbError::from)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("local-writer".into())
            .spawn(move || run_writer(&conn, queue, &wakes))
            .map_err(DbError::Thread)?;
        Ok(Self(Arc::new(Inner {
            jobs: Some(jobs),
            writer: Some(writer),
            readers: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(READERS)),
            path: path.to_owned(),
        })))
    }

    /// Runs `change` in the write transaction and answers after the commit.
    ///
    /// `Err` from the closure undoes all that the closure did. The change is made even if this future is dropped
    /// after it was queued, so whatever must not outlive a change that was not made belongs into the closure.
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let outcome = tx.map_err(E::from).and_then(change);
            let keep = outcome.is_ok();
            let finish: Finish = Box::new(move |committed| {
                let _ = reply.send(match (outcome, committed) {
                    (Ok(value), Ok(())) => Ok(value),
                    (Ok(_), Err(error)) => Err(E::from(error)),
                    (Err(error), _) => Err(error),
                });
            });
            (keep, finish)
        });
        let jobs = self.0.jobs.as_ref().ok_or(DbError::Closed)?;
        jobs.send(job).await.map_err(|_| DbError::Closed)?;
        // The sender is dropped unsent only when the closure panicked.
        answer.await.map_err(|_| DbError::Panicked)?
    }

    /// Runs `query` on a reading connection, over one snapshot; it cannot write.
    pub async fn read<T, E, F>(&self, query: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let permit = Arc::clone(&self.0.permits).acquire_owned().await.map_err(|_| DbError::Closed)?;
        let inner = Arc::clone(&self.0);
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let idle = inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = match idle {
                Some(conn) => conn,
                None => open_reader(&inner.path)?,
            };
            let outcome = {
                let snapshot = conn.unchecked_transaction().map_err(DbError::from)?;
                query(&snapshot)
            };
            inner.readers.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            outcome
        });
        work.await.map_err(|_| DbError::Panicked)?
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

fn open_writer(path: &Path) -> Result<Connection, DbError> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(256);
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "mmap_size", 256_i64 << 20)?;
    Ok(conn)
}

fn open_reader(path: &Path) -> Result<Connection, DbError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(128);
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "mmap_size", 256_i64 << 20)?;
    Ok(conn)
}

fn run_writer(conn: &Connection, mut queue: mpsc::Receiver<Job>, wakes: &QueueWakes) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.blocking_recv_many(&mut group, GROUP) > 0 {
        let mut finished = Vec::with_capacity(group.len());
        let mut to_wake = Vec::new();
        let begun = conn.prepare_cached("BEGIN IMMEDIATE").and_then(|mut s| s.execute([]));
        let mut broken = begun.err().map(DbError::from);
        if broken.is_some() {
            // Those that came while this one waited for a lock have waited too: nobody waits for two locks in a row.
            while let Ok(job) = queue.try_recv() {
                group.push(job);
            }
        }
        for job in group.drain(..) {
            if let Some(error) = &broken {
                // Nothing may run outside of a transaction.
                finished.push(job(Err(error.of_group())).1);
                continue;
            }
            let tx = Tx { conn, wakes: RefCell::default() };
            match in_savepoint(&tx, job) {
                Ok(Some((kept, finish))) => {
                    if kept {
                        to_wake.extend(tx.wakes.into_inner());
                    }
                    finished.push(finish);
                }
                Ok(None) => tracing::error!("a write panicked; it was rolled back"),
                Err((error, finish)) => {
                    broken = Some(error);
                    finished.extend(finish);
                }
            }
        }
        let committed = match broken {
            None => conn.prepare_cached("COMMIT").and_then(|mut s| s.execute([])).map(drop).map_err(DbError::from),
            Some(error) => Err(error),
        };
        if committed.is_err() && !conn.is_autocommit() {
            let _ = conn.execute_batch("ROLLBACK");
        }
        if let Err(error) = &committed {
            tracing::error!(%error, writes = finished.len(), "a group of writes could not be committed");
        } else {
            for wake in to_wake {
                wakes.wake(&wake);
            }
        }
        for finish in finished {
            finish(match &committed {
                Ok(()) => Ok(()),
                Err(error) => Err(error.of_group()),
            });
        }
    }
}

/// The transaction that all jobs share is gone; the answer of the job that met it comes along, unless it panicked.
type Broken = (DbError, Option<Finish>);

/// Runs one job in its savepoint. `Ok(None)`: it panicked and was undone.
fn in_savepoint(tx: &Tx<'_>, job: Job) -> Result<Option<(bool, Finish)>, Broken> {
    let execute = |sql| tx.prepare_cached(sql).and_then(|mut s| s.execute([])).map_err(DbError::from);
    if let Err(error) = execute("SAVEPOINT request") {
        let (_, finish) = job(Err(error.of_group()));
        return Err((error, Some(finish)));
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| job(Ok(tx)))).ok();
    if tx.is_autocommit() {
        // A full disk makes SQLite roll the whole transaction back by itself.
        return Err((DbError::Full, outcome.map(|(_, finish)| finish)));
    }
    let undone = match outcome {
        Some((true, _)) => Ok(0),
        _ => execute("ROLLBACK TO request"),
    };
    match undone.and_then(|_| execute("RELEASE request")) {
        Ok(_) => Ok(outcome),
        Err(error) => Err((error, outcome.map(|(_, finish)| finish))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Db {
        Db::open::<DbError>(&dir.join("t.sqlite"), Arc::default(), |conn| {
            Ok(conn.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)")?)
        })
        .unwrap()
    }

    async fn insert(db: &Db, n: i64) -> Result<(), DbError> {
        db.write(move |tx| {
            tx.execute("INSERT INTO t VALUES (?1)", [n])?;
            Ok(())
        })
        .await
    }

    async fn count(db: &Db) -> i64 {
        db.read(|conn| Ok::<_, DbError>(conn.query_row("SELECT count(*) FROM t", [], |r| r.get(0))?)).await.unwrap()
    }

    #[tokio::test]
    async fn neighbours_of_a_failure_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        let all = futures::future::join_all((0..100).map(|n| insert(&db, n % 50))).await;
        assert_eq!(all.iter().filter(|r| r.is_ok()).count(), 50);
        assert_eq!(count(&db).await, 50);
    }

    #[tokio::test]
    async fn a_panic_is_rolled_back_and_answered() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        let panicked: Result<(), DbError> = db
            .write(|tx| {
                tx.execute("INSERT INTO t VALUES (1)", [])?;
                panic!("on purpose");
            })
            .await;
        assert!(matches!(panicked, Err(DbError::Panicked)));
        assert_eq!(count(&db).await, 0);
        insert(&db, 2).await.unwrap();
    }

    #[tokio::test]
    async fn each_write_of_a_group_that_cannot_begin_is_told_why() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        let other = Connection::open(dir.path().join("t.sqlite")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let all = futures::future::join_all((0..10).map(|n| insert(&db, n))).await;
        assert!(all.iter().all(|result| matches!(result, Err(DbError::Locked))), "{all:?}");
        other.execute_batch("ROLLBACK").unwrap();
        insert(&db, 0).await.unwrap();
        assert_eq!(count(&db).await, 1);
    }

    #[tokio::test]
    async fn each_write_of_a_group_that_finds_no_room_is_told_why() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        // The file may not grow: as on a full disk, SQLite answers SQLITE_FULL.
        let bound = db.write(|tx| {
            let pages: i64 = tx.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            Ok::<_, DbError>(tx.pragma_update(None, "max_page_count", pages)?)
        });
        bound.await.unwrap();
        let large = |n: i64| {
            db.write(move |tx| {
                tx.execute("CREATE TABLE IF NOT EXISTS large (n INTEGER PRIMARY KEY, b BLOB)", [])?;
                tx.execute("INSERT INTO large VALUES (?1, zeroblob(100000))", [n])?;
                Ok::<_, DbError>(())
            })
        };
        let all = futures::future::join_all((0..10).map(large)).await;
        assert!(all.iter().all(|result| result.as_ref().is_err_and(DbError::is_full)), "{all:?}");
        insert(&db, 1).await.unwrap();
        assert_eq!(count(&db).await, 1);
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path());
        let refused: Result<usize, DbError> = db.read(|conn| Ok(conn.execute("INSERT INTO t VALUES (1)", [])?)).await;
        assert!(refused.is_err());
    }

    #[tokio::test]
    async fn a_wake_follows_the_commit_only() {
        let dir = tempfile::tempdir().unwrap();
        let wakes = Arc::new(QueueWakes::default());
        let db = Db::open::<DbError>(&dir.path().join("t.sqlite"), Arc::clone(&wakes), |_| Ok(())).unwrap();
        let notify = wakes.of("q");
        let mut woken = Box::pin(notify.notified());
        woken.as_mut().enable();
        let refused: Result<(), DbError> = db
            .write(|tx| {
                tx.wake(Wake("q".into()));
                Err(DbError::Closed)
            })
            .await;
        assert!(refused.is_err());
        assert!(futures::poll!(&mut woken).is_pending());
        db.write(|tx| {
            tx.wake(Wake("q".into()));
            Ok::<_, DbError>(())
        })
        .await
        .unwrap();
        assert!(futures::poll!(&mut woken).is_ready());
    }
}
