//! The doorbells of the notifiers: one queue each on the events topic. What their owners and the janitor agree on.

/// The tag that says when the queue's owner was last alive (epoch seconds).
pub const HEARTBEAT_TAG: &str = "heartbeat";

/// The names of all doorbells begin with it: `reelfleet-notifier-`.
pub fn queue_prefix(prefix: &str) -> String {
    format!("{prefix}-notifier-")
}

/// The name of an instance's doorbell.
pub fn queue_name(prefix: &str, instance: &str) -> String {
    format!("{}{instance}", queue_prefix(prefix))
}
