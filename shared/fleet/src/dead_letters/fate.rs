//! What became of a letter that was sent back: how a canary is judged.
//!
//! Guarantee: judged by the task's row, which is the truth, and against the token of the letter, so that an end from before it
//! was sent back is never taken for one from after.

use reelfleet_catalog::letters::Standing;
use reelfleet_domain::{AssetState, TaskState};

/// How a task stands whose letter was sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It has not ended yet.
    Waits,
    /// It ended well.
    Well,
    /// It ended otherwise: why, as words after its name.
    Badly(String),
}

impl Fate {
    /// Of a task whose letter with this token was sent back.
    pub fn of(token: Option<i64>, standing: Option<&Standing>) -> Self {
        let Some(standing) = standing else { return Self::Badly("is gone".into()) };
        let asset_is_over = matches!(standing.asset, AssetState::Refused | AssetState::Deleting | AssetState::Deleted);
        match standing.state {
            TaskState::Done => Self::Well,
            TaskState::Pending | TaskState::Leased if !asset_is_over => Self::Waits,
            // Not received yet: it is still as the letter says.
            TaskState::Failed if token == Some(standing.token) && !asset_is_over => Self::Waits,
            TaskState::Failed if !asset_is_over => {
                Self::Badly(format!("failed again: {}", standing.error.as_deref().unwrap_or("without a word")))
            }
            TaskState::Cancelled if !asset_is_over => {
                Self::Badly("was called off: another task of its asset failed again".into())
            }
            _ => Self::Badly(format!("was not revived: its asset is {}", standing.asset.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_judged_by_its_row() {
        let standing = |state, token, asset| Standing { state, token, error: Some("it broke".into()), asset };
        let of = |state, token, asset| Fate::of(Some(4), Some(&standing(state, token, asset)));
        assert_eq!(of(TaskState::Failed, 4, AssetState::Failed), Fate::Waits, "its letter was not received yet");
        assert_eq!(of(TaskState::Pending, 5, AssetState::Processing), Fate::Waits);
        assert_eq!(of(TaskState::Done, 6, AssetState::Ready), Fate::Well);
        assert_eq!(of(TaskState::Failed, 6, AssetState::Failed), Fate::Badly("failed again: it broke".into()));
        assert!(matches!(of(TaskState::Cancelled, 6, AssetState::Failed), Fate::Badly(_)), "by a sibling's end");
        assert!(matches!(of(TaskState::Failed, 4, AssetState::Deleting), Fate::Badly(_)), "it will never come back");
        assert!(matches!(Fate::of(Some(4), None), Fate::Badly(_)));
    }
}
