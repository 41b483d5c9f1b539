//! Findings: a stable code, a subject, a sentence.
//!
//! Guarantee: codes are stable, programs branch on them; a code is never given another meaning.

use reelfleet_catalog::invariants::Rule;
use serde::Serialize;

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $text:literal),* $(,)?) => {
        /// What is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$doc])* $code),* }
        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code),*];
            /// As in JSON, in logs and as a metric's label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text),* }
            }
        }
    };
}

codes! {
    /// An object in an upload bucket that no asset knows: its notification was lost. Healed by the metadata worker.
    LostNotification = "lost_notification",
    /// A completed upload that became no asset.
    UploadNotLanded = "upload_not_landed",
    /// An unfinished asset whose source is gone or replaced.
    SourceMissing = "source_missing",
    /// An unfinished asset that nothing will move.
    AssetStuck = "asset_stuck",
    /// A job with nothing remaining that has not ended.
    JobUnfinished = "job_unfinished",
    /// A job that goes on although its asset has ended.
    JobOutlived = "job_outlived",
    /// A task that goes on although its asset came to nothing.
    TaskOutlived = "task_outlived",
    /// A task that is due and that nobody takes or wakes.
    TaskStranded = "task_stranded",
    /// A job that counts its remaining chunks wrong.
    RemainingWrong = "remaining_wrong",
    /// A ready asset whose playlists are not complete and ended.
    ReadyIncomplete = "ready_incomplete",
    /// `metadata.json` is behind its row.
    Undescribed = "undescribed",
    /// A message that does not leave.
    OutboxStuck = "outbox_stuck",
    /// A gap in the positions of a stream.
    EventGap = "event_gap",
    /// An event that a stream holds twice.
    EventRepeated = "event_repeated",
    /// More than one `asset.ready` of an asset and generation.
    ReadyTwice = "ready_twice",
    /// A ready asset without an `asset.ready`.
    ReadyUnsaid = "ready_unsaid",
    /// An output object that no row names. Removed by the janitor after its grace.
    OrphanOutput = "orphan_output",
    /// An object that a row names and that is not there.
    OutputMissing = "output_missing",
    /// A playlist that is not the one its row tells of.
    PlaylistDiffers = "playlist_differs",
    /// A queue with messages although nothing is unfinished.
    QueueNotEmpty = "queue_not_empty",
    /// Note: an object of an attempt that lost; the janitor sweeps it when it is old enough.
    LoserOutput = "loser_output",
    /// Note: messages that are hidden although nothing is unfinished; they are seen again when their time is over.
    MessagesHidden = "messages_hidden",
    /// Note: more dead letters than failed tasks: some are no tasks, or were redriven twice.
    LettersWithoutTasks = "letters_without_tasks",
    /// Note: more failed tasks than dead letters: some were discarded, or have expired.
    TasksWithoutLetters = "tasks_without_letters",
}

impl Code {
    /// For information: nothing is off.
    pub fn is_note(self) -> bool {
        matches!(self, Self::LoserOutput | Self::MessagesHidden | Self::LettersWithoutTasks | Self::TasksWithoutLetters)
    }

    /// The code of a broken rule.
    pub(crate) fn of(rule: Rule) -> Self {
        match rule {
            Rule::LiveAssetHasWork => Self::AssetStuck,
            Rule::FinishedJobEnds => Self::JobUnfinished,
            Rule::JobEndsWithAsset => Self::JobOutlived,
            Rule::TaskEndsWithAsset => Self::TaskOutlived,
            Rule::DueTaskIsTaken => Self::TaskStranded,
            Rule::RemainingCounts => Self::RemainingWrong,
            Rule::ReadyIsWhole => Self::ReadyIncomplete,
            Rule::DescriptionFollows => Self::Undescribed,
            Rule::OutboxEmpties => Self::OutboxStuck,
            Rule::CompletedUploadLands => Self::UploadNotLanded,
            Rule::PositionsAreWhole => Self::EventGap,
            Rule::EventsAreUnique => Self::EventRepeated,
            Rule::ReadyIsSaid => Self::ReadyUnsaid,
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub code: Code,
    /// Where: an id, an object's URI, a queue, a stream.
    pub subject: String,
    /// A sentence for a person.
    pub detail: String,
}

impl Finding {
    pub(crate) fn new(code: Code, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code, subject: subject.into(), detail: detail.into() }
    }

    /// What makes it the same finding at a second look.
    pub(crate) fn identity(&self) -> (&str, &str) {
        (self.code.as_str(), &self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_the_same_everywhere() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn operators_find_every_code_in_the_manual() {
        let manual = include_str!("../../../../docs/verify.md");
        let (off, notes) = manual.split_once("For information").unwrap();
        for code in Code::ALL {
            let part = if code.is_note() { notes } else { off };
            assert!(part.contains(&format!("`{}`", code.as_str())), "{} is not told", code.as_str());
        }
    }
}
