//! What a holder does with a message: delete it, hold it longer, give it back.
//!
//! Guarantee: only the newest receipt handle acts. Deleting by an older one answers success and deletes nothing;
//! holding a message that nobody holds is MessageNotInflight; and no message is held longer than 12 hours from its
//! first receive, which is an error and not a silent clamp.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::{
    Answer, SqsError,
    attributes::MAX_VISIBILITY_S,
    parse,
    queues::Queue,
    send::{Outcome, check_entries, failing},
    wire::{self, Batch, Handle, arn_of_url},
};
use crate::state::{Endpoint, Wake};

/// What a receipt handle says, opaque to its holder.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    pub queue_id: i64,
    pub seq: i64,
    /// Made anew by every receive.
    pub nonce: String,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{}.{}.{}", self.queue_id, self.seq, self.nonce)))
    }
}

impl Receipt {
    fn parse(handle: Option<&str>) -> Result<Self, SqsError> {
        let handle = handle.filter(|h| !h.is_empty()).ok_or(SqsError::MissingParameter("ReceiptHandle"))?;
        let read = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(handle).ok()?).ok()?;
            let mut parts = text.splitn(3, '.');
            let (queue_id, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let nonce = parts.next().filter(|n| n.len() == 32)?.to_owned();
            Some(Self { queue_id, seq, nonce })
        };
        read().ok_or(SqsError::ReceiptHandleIsInvalid)
    }

    /// The handle, if this queue gave it.
    fn of(queue: &Queue, handle: &Handle) -> Result<Self, SqsError> {
        let receipt = Self::parse(handle.receipt_handle.as_deref())?;
        if receipt.queue_id == queue.id { Ok(receipt) } else { Err(SqsError::ReceiptHandleIsInvalid) }
    }
}

fn delete_one(conn: &Connection, queue: &Queue, handle: &Handle) -> Answer {
    let receipt = Receipt::of(queue, handle)?;
    conn.prepare_cached("DELETE FROM sqs_message WHERE seq = ?1 AND queue_id = ?2 AND receipt = ?3")?
        .execute(params![receipt.seq, queue.id, receipt.nonce])?;
    Ok(json!({}))
}

fn change_one(conn: &Connection, queue: &Queue, handle: &Handle, now: i64) -> Answer {
    let receipt = Receipt::of(queue, handle)?;
    let timeout_s = handle.visibility_timeout.ok_or(SqsError::MissingParameter("VisibilityTimeout"))?;
    let refuse = |reason: &str| {
        SqsError::InvalidParameterValue(format!(
            "Value {timeout_s} for parameter VisibilityTimeout is invalid. Reason: {reason}"
        ))
    };
    if !(0..=MAX_VISIBILITY_S).contains(&timeout_s) {
        return Err(refuse(&format!("VisibilityTimeout must be an integer between 0 and {MAX_VISIBILITY_S}.")));
    }
    let held: Option<(i64, i64)> = conn
        .prepare_cached(
            "SELECT visible_ms, first_received_ms FROM sqs_message WHERE seq = ?1 AND queue_id = ?2 AND receipt = ?3",
        )?
        .query_row(params![receipt.seq, queue.id, receipt.nonce], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((visible_ms, first_received_ms)) = held else {
        return Err(SqsError::InvalidParameterValue(
            "Value for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for \
             visibility timeout change."
                .into(),
        ));
    };
    if visible_ms <= now {
        return Err(SqsError::MessageNotInflight);
    }
    let until = now + timeout_s * 1_000;
    if timeout_s > 0 && until > first_received_ms + MAX_VISIBILITY_S * 1_000 {
        return Err(refuse(&format!(
            "Total VisibilityTimeout for the message is beyond the limit [{MAX_VISIBILITY_S} seconds]"
        )));
    }
    conn.prepare_cached("UPDATE sqs_message SET visible_ms = ?2 WHERE seq = ?1")?.execute([receipt.seq, until])?;
    Ok(json!({}))
}

pub async fn delete(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::Settle = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    state.db.write(move |tx| delete_one(tx, &Queue::load(tx, &arn)?, &request.handle)).await
}

pub async fn delete_batch(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: Batch<Handle> = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let entries = check_entries(request.entries, "DeleteMessageBatchRequest")?;
    let failing = failing(state, "DeleteMessageBatch", &arn, entries.len());
    state
        .db
        .write(move |tx| {
            let queue = Queue::load(tx, &arn)?;
            let mut outcome = Outcome::default();
            for (entry, fails) in entries.iter().zip(failing) {
                outcome.add(&entry.id, fails, || delete_one(tx, &queue, &entry.of))?;
            }
            Ok(outcome.into_answer())
        })
        .await
}

pub async fn change(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: wire::Settle = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let now = state.now();
    state
        .db
        .write(move |tx| {
            let answer = change_one(tx, &Queue::load(tx, &arn)?, &request.handle, now)?;
            // It may become visible sooner than the sleeping polls think.
            tx.wake(Wake(arn));
            Ok(answer)
        })
        .await
}

pub async fn change_batch(state: &Arc<Endpoint>, body: &[u8]) -> Answer {
    let request: Batch<Handle> = parse(body)?;
    let arn = arn_of_url(state, request.queue_url.as_deref())?;
    let entries = check_entries(request.entries, "ChangeMessageVisibilityBatchRequest")?;
    let failing = failing(state, "ChangeMessageVisibilityBatch", &arn, entries.len());
    let now = state.now();
    state
        .db
        .write(move |tx| {
            let queue = Queue::load(tx, &arn)?;
            let mut outcome = Outcome::default();
            for (entry, fails) in entries.iter().zip(failing) {
                outcome.add(&entry.id, fails, || change_one(tx, &queue, &entry.of, now))?;
            }
            tx.wake(Wake(arn));
            Ok(outcome.into_answer())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_back_and_others_refused() {
        let receipt = Receipt { queue_id: 3, seq: 77, nonce: "0".repeat(32) };
        assert_eq!(Receipt::parse(Some(&receipt.to_string())).unwrap(), receipt);
        for bad in ["x", "not-a-handle", &URL_SAFE_NO_PAD.encode("1.2.3")] {
            assert!(matches!(Receipt::parse(Some(bad)), Err(SqsError::ReceiptHandleIsInvalid)));
        }
        assert!(matches!(Receipt::parse(None), Err(SqsError::MissingParameter(_))));
    }
}
