//! The two engines behind the service, chosen once by configuration.

use std::sync::Arc;

use super::{
    error::ApiError,
    postgres::{self, Postgres},
    request::Call,
    sql::Dialect,
    sqlite::{self, Sqlite},
};

#[derive(Clone)]
pub(super) enum Engine {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

/// What an open transaction holds of its engine.
pub(super) enum Session {
    Sqlite(sqlite::Session),
    Postgres(Box<postgres::Session>),
}

impl Engine {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a call outside any transaction: all of it is kept, or nothing.
    pub(super) async fn execute(&self, call: Arc<Call>) -> Result<String, ApiError> {
        match self {
            Self::Sqlite(engine) => engine.execute(call).await,
            Self::Postgres(engine) => engine.execute(&call).await,
        }
    }

    pub(super) async fn begin(&self) -> Result<Session, ApiError> {
        match self {
            Self::Sqlite(_) => Ok(Session::Sqlite(sqlite::Session::default())),
            Self::Postgres(engine) => engine.begin().await.map(|session| Session::Postgres(Box::new(session))),
        }
    }

    pub(super) async fn execute_in(&self, session: &mut Session, call: Arc<Call>) -> Result<String, ApiError> {
        match (self, session) {
            (Self::Sqlite(engine), Session::Sqlite(session)) => engine.execute_in(session, call).await,
            (Self::Postgres(engine), Session::Postgres(session)) => engine.execute_in(session, &call).await,
            _ => Err(ApiError::aborted()), // no engine hands out another's session
        }
    }

    pub(super) async fn end(&self, session: Session, commit: bool) -> Result<(), ApiError> {
        match (self, session) {
            (Self::Sqlite(engine), Session::Sqlite(session)) => engine.end(session, commit).await,
            (Self::Postgres(engine), Session::Postgres(session)) => engine.end(*session, commit).await,
            _ => Err(ApiError::aborted()),
        }
    }
}
