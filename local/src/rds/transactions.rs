//! Open transactions.
//!
//! Guarantee: a transaction ends once: by commit, by rollback, or because nobody spoke to it for [`IDLE_LIMIT`], and is
//! unknown from then on. After a statement of it failed it can only be rolled back, as on PostgreSQL, and holds nothing
//! any longer. A commit is answered only if everything in it was kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Mutex as AsyncMutex, task::AbortHandle, time::Instant};

use super::{
    engine::{Engine, Session},
    error::ApiError,
    request::Call,
};

/// A transaction nobody speaks to is rolled back after this time. AWS waits 3 minutes; here an open write transaction
/// may hold up every other writer.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(5);
/// A transaction is rolled back at this age (Data API, "Limitations").
const AGE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Default)]
pub(super) struct Transactions(Arc<Mutex<HashMap<String, Open>>>);

#[derive(Clone)]
struct Open {
    transaction: Arc<Transaction>,
    watch: AbortHandle,
}

struct Transaction {
    began: Instant,
    touched: Mutex<Instant>,
    state: AsyncMutex<State>,
}

enum State {
    Open(Session),
    /// A statement failed; what it held was given back.
    Failed,
    Ended,
}

impl Transaction {
    fn expires(&self) -> Instant {
        let touched = *self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        (touched + IDLE_LIMIT).min(self.began + AGE_LIMIT)
    }

    fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Transactions {
    /// Begins a transaction and gives its id.
    pub(super) async fn begin(&self, engine: &Engine) -> Result<String, ApiError> {
        let session = engine.begin().await?;
        let id = crate::state::Ids.uuid();
        let now = Instant::now();
        let transaction =
            Arc::new(Transaction { began: now, touched: now.into(), state: AsyncMutex::new(State::Open(session)) });
        let watch = tokio::spawn(watch(id.clone(), transaction.clone(), Arc::downgrade(&self.0), engine.clone()));
        let open = Open { transaction, watch: watch.abort_handle() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), open);
        Ok(id)
    }

    /// Runs a call in the transaction it names; calls of one transaction run one after the other.
    pub(super) async fn execute(&self, engine: &Engine, id: &str, call: Arc<Call>) -> Result<String, ApiError> {
        let open = self.find(id)?;
        let mut state = open.transaction.state.lock().await;
        let result = match &mut *state {
            State::Open(session) => engine.execute_in(session, call).await,
            State::Failed => Err(ApiError::aborted()),
            State::Ended => return Err(ApiError::transaction_not_found(id)),
        };
        if result.as_ref().is_err_and(ApiError::aborts_transaction)
            && let State::Open(session) = std::mem::replace(&mut *state, State::Failed)
        {
            roll_back(engine, session).await;
        }
        open.transaction.touch();
        result
    }

    /// Ends a transaction.
    pub(super) async fn end(&self, engine: &Engine, id: &str, commit: bool) -> Result<(), ApiError> {
        let open = self.find(id)?;
        let mut state = open.transaction.state.lock().await;
        let last = std::mem::replace(&mut *state, State::Ended);
        if !matches!(last, State::Ended) {
            // Only who ended it may stop the watch: it could be rolling back.
            open.watch.abort();
            forget(&self.0, id);
        }
        match (last, commit) {
            (State::Open(session), _) => engine.end(session, commit).await,
            (State::Failed, false) => Ok(()),
            (State::Failed, true) => Err(ApiError::aborted()),
            (State::Ended, _) => Err(ApiError::transaction_not_found(id)),
        }
    }

    /// Rolls back whatever is open, each when the call that it may be in has ended: at a shutdown nobody can go on with
    /// it, and those who wait for what it holds could not be answered.
    pub(super) async fn end_all(&self, engine: &Engine) {
        let ids: Vec<String> = self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let ends = ids.iter().map(|id| async move {
            // It may have ended meanwhile.
            let _ = self.end(engine, id, false).await;
        });
        futures::future::join_all(ends).await;
    }

    fn find(&self, id: &str) -> Result<Open, ApiError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).cloned().ok_or_else(|| ApiError::transaction_not_found(id))
    }
}

/// Waits until nobody spoke to the transaction for too long, then rolls it back.
async fn watch(id: String, transaction: Arc<Transaction>, all: Weak<Mutex<HashMap<String, Open>>>, engine: Engine) {
    loop {
        tokio::time::sleep_until(transaction.expires()).await;
        // A call that runs holds the state, and says when it ended.
        let mut state = transaction.state.lock().await;
        if matches!(*state, State::Ended) {
            return;
        }
        if transaction.expires() > Instant::now() {
            continue;
        }
        let last = std::mem::replace(&mut *state, State::Ended);
        if let Some(all) = all.upgrade() {
            forget(&all, &id);
        }
        tracing::info!(transaction = %id, "an idle transaction was rolled back");
        if let State::Open(session) = last {
            roll_back(&engine, session).await;
        }
        return;
    }
}

fn forget(all: &Mutex<HashMap<String, Open>>, id: &str) {
    all.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
}

async fn roll_back(engine: &Engine, session: Session) {
    if let Err(error) = engine.end(session, false).await {
        tracing::warn!(%error, "a transaction could not be rolled back; its connection was given up");
    }
}
