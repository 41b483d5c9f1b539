//! What lies on queues although nothing is left to do, and whether failed tasks have their dead letters.
//!
//! Guarantee: no message is received, so none is hidden or counted as delivered. The numbers are SQS's, approximate.

use std::collections::HashMap;

use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::QueueAttributeName;
use reelfleet_fleet::QueueName;

use super::{AuditContext, AuditError, Code, Finding};

/// Messages of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Depth {
    visible: u64,
    /// In flight, or delayed.
    hidden: u64,
}

/// How many are looked at.
pub(super) fn count() -> u64 {
    2 * QueueName::ALL.len() as u64
}

/// Whether messages lie on a queue of tasks, by its short name; they may be about other tasks.
pub(super) async fn holds_messages(audit: &AuditContext, queue: &str) -> Result<bool, AuditError> {
    let Ok(queue) = queue.parse::<QueueName>() else { return Ok(false) };
    Ok(depth(audit, &audit.context.queues.name(queue)).await? != Depth::default())
}

/// What is wrong at this moment.
pub(super) async fn look(audit: &AuditContext) -> Result<Vec<Finding>, AuditError> {
    let mut depths = Vec::with_capacity(QueueName::ALL.len());
    for queue in QueueName::ALL {
        let queues = &audit.context.queues;
        let (name, dlq) = (queues.name(queue), queues.dlq_name(queue));
        depths.push((queue, depth(audit, &name).await?, depth(audit, &dlq).await?));
    }
    // Read after the depths: what was on its way then is a row now.
    let (tasks, outgoing) = audit.catalog.unfinished().await?;
    let failed: HashMap<String, i64> = audit.catalog.failed_by_queue().await?.into_iter().collect();
    let mut found = Vec::new();
    for (queue, own, letters) in depths {
        let name = audit.context.queues.name(queue);
        if tasks == 0 && outgoing == 0 {
            found.extend(at_rest(&name, own));
        }
        let failed = failed.get(queue.as_str()).copied().unwrap_or(0).unsigned_abs();
        found.extend(compared(&audit.context.queues.dlq_name(queue), letters.visible + letters.hidden, failed));
    }
    Ok(found)
}

/// A queue of a fleet that has nothing to do.
fn at_rest(queue: &str, depth: Depth) -> Vec<Finding> {
    let mut found = Vec::new();
    if depth.visible > 0 {
        let detail = format!("{} messages wait although nothing is unfinished", depth.visible);
        found.push(Finding::new(Code::QueueNotEmpty, queue, detail));
    }
    if depth.hidden > 0 {
        let detail = format!("{} messages are hidden although nothing is unfinished", depth.hidden);
        found.push(Finding::new(Code::MessagesHidden, queue, detail));
    }
    found
}

fn compared(dlq: &str, letters: u64, failed: u64) -> Option<Finding> {
    let code = match letters.cmp(&failed) {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => Code::LettersWithoutTasks,
        std::cmp::Ordering::Less => Code::TasksWithoutLetters,
    };
    Some(Finding::new(code, dlq, format!("it holds {letters} dead letters, {failed} tasks of its queue have failed")))
}

async fn depth(audit: &AuditContext, name: &str) -> Result<Depth, AuditError> {
    let refuse = |detail: String| AuditError::Depth { queue: name.to_owned(), detail };
    let url = audit.context.queues.url_of(name).await?;
    let asked = audit.context.clients.sqs.get_queue_attributes().queue_url(url);
    let asked = asked.attribute_names(QueueAttributeName::All).send().await;
    let all = asked.map_err(|error| refuse(DisplayErrorContext(&error).to_string()))?.attributes.unwrap_or_default();
    let number = |attribute: QueueAttributeName| {
        let text = all.get(&attribute).ok_or_else(|| refuse(format!("{} is missing", attribute.as_str())))?;
        text.parse::<u64>().map_err(|_| refuse(format!("{} is {text:?}", attribute.as_str())))
    };
    Ok(Depth {
        visible: number(QueueAttributeName::ApproximateNumberOfMessages)?,
        hidden: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)?
            + number(QueueAttributeName::ApproximateNumberOfMessagesDelayed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_the_queues_of_an_idle_fleet_is_told() {
        assert!(at_rest("q", Depth::default()).is_empty());
        let found = at_rest("q", Depth { visible: 2, hidden: 1 });
        assert_eq!(found.iter().map(|f| f.code).collect::<Vec<_>>(), [Code::QueueNotEmpty, Code::MessagesHidden]);
    }

    #[test]
    fn letters_and_failed_tasks_are_compared() {
        assert_eq!(compared("q-dlq", 3, 3), None);
        assert_eq!(compared("q-dlq", 3, 2).unwrap().code, Code::LettersWithoutTasks);
        assert_eq!(compared("q-dlq", 0, 2).unwrap().code, Code::TasksWithoutLetters);
    }
}
