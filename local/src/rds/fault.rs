//! Faults on demand, for the tests of the service's clients.

use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

/// What happens to the next calls. As JSON: `{"kind":"lose_answer","calls":1,"path":"/CommitTransaction"}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// To how many calls.
    pub calls: u32,
    /// To calls of this path only, for instance `/Execute`; without it, to all.
    #[serde(default)]
    pub path: Option<String>,
}

/// The kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing is executed; the answer is `DatabaseResumingException`, as from Aurora after an automatic pause.
    Resuming,
    /// The call is executed; its answer is lost, and the caller gets `InternalServerErrorException` instead.
    LoseAnswer,
}

#[derive(Default)]
pub(super) struct Faults(Mutex<Option<Fault>>);

impl Faults {
    pub(super) fn set(&self, fault: Fault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// The fault that hits a call of `path` now.
    pub(super) fn next(&self, path: &str) -> Option<FaultKind> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault =
            current.as_mut().filter(|f| f.calls > 0 && f.path.as_deref().is_none_or(|wanted| wanted == path))?;
        fault.calls -= 1;
        Some(fault.kind)
    }
}
