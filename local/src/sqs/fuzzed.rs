//! What holds of the requests of this service for any bytes at all.

use super::message::{check_attributes, check_body, md5_of_attributes, size};
use super::wire::{
    Batch, CancelMove, CreateQueue, GetAttributes, GetQueueUrl, Handle, ListMoves, ListQueues, ListSources, OfQueue,
    Outgoing, Receive, Send, SetAttributes, Settle, StartMove, Tag, Untag, page_size,
};

pub fn fuzzed(data: &[u8]) {
    macro_rules! read {
        ($($kind:ty),*) => {
            $(let _ = serde_json::from_slice::<$kind>(data);)*
        };
    }
    read!(OfQueue, CreateQueue, GetQueueUrl, ListSources, SetAttributes, GetAttributes, Tag, Untag, Receive, Settle);
    read!(StartMove, CancelMove, ListMoves, Batch<Handle>);
    if let Ok(list) = serde_json::from_slice::<ListQueues>(data)
        && let Ok(page) = page_size(list.max_results, 1000, 1000)
    {
        assert!((1..=1000).contains(&page));
    }
    let one = serde_json::from_slice::<Send>(data).ok().map(|send| send.message);
    let more = serde_json::from_slice::<Batch<Outgoing>>(data).ok().and_then(|batch| batch.entries);
    for message in one.into_iter().chain(more.into_iter().flatten().map(|entry| entry.of)) {
        let body = message.message_body.unwrap_or_default();
        let attributes = message.message_attributes.unwrap_or_default();
        if check_body(&body).is_ok() && check_attributes(&attributes).is_ok() {
            assert!(size(&body, &attributes) >= body.len());
            assert_eq!(md5_of_attributes(&attributes).is_some(), !attributes.is_empty());
        }
    }
}
