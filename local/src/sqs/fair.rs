//! Fair queues: whose message is received next.
//!
//! Guarantee: among the groups (`MessageGroupId`, the tenant) that have a message waiting, the one with the fewest in
//! flight is served; of equals, the one whose turn is longest ago. So a tenant with 10,000 messages waiting delays a
//! tenant with one by at most one message per group, however few workers there are. SQS promises as much for a noisy
//! tenant above 30 messages in flight; a single machine has fewer slots than that, so the rule here has no threshold.
//! Messages without a group are one group. Within a group the oldest goes first.

/// One group that may have messages waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `MessageGroupId`, empty for messages without one.
    pub id: String,
    /// Messages of the group that are held by somebody.
    pub in_flight: u64,
    /// When the group was last served, on the queue's own count of turns; 0: never.
    pub turn: u64,
}

/// Takes groups in fair order. The caller says after each pick what came of it.
#[derive(Debug)]
pub struct FairOrder {
    groups: Vec<Group>,
    turn: u64,
    picked: Option<usize>,
}

impl FairOrder {
    /// An order over the groups with messages waiting.
    pub fn new(groups: Vec<Group>) -> Self {
        let turn = groups.iter().map(|group| group.turn).max().unwrap_or(0);
        Self { groups, turn, picked: None }
    }

    /// The group whose oldest message is next; `None` when all are exhausted.
    pub fn pick(&mut self) -> Option<&str> {
        self.picked = (0..self.groups.len()).min_by_key(|&i| (self.groups[i].in_flight, self.groups[i].turn));
        self.picked.map(|i| self.groups[i].id.as_str())
    }

    /// The picked group's message was handed out. Answers the turn to remember for the group.
    pub fn served(&mut self) -> u64 {
        if let Some(i) = self.picked {
            self.turn += 1;
            self.groups[i].turn = self.turn;
            self.groups[i].in_flight += 1;
        }
        self.turn
    }

    /// The picked group has nothing more to hand out.
    pub fn exhausted(&mut self) {
        if let Some(i) = self.picked.take() {
            self.groups.swap_remove(i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: &str, in_flight: u64, turn: u64) -> Group {
        Group { id: id.into(), in_flight, turn }
    }

    fn serve(order: &mut FairOrder, n: usize) -> Vec<String> {
        (0..n)
            .map_while(|_| {
                let id = order.pick()?.to_owned();
                order.served();
                Some(id)
            })
            .collect()
    }

    #[test]
    fn who_dominates_in_flight_yields() {
        let mut order = FairOrder::new(vec![group("noisy", 5, 9), group("quiet", 0, 3)]);
        assert_eq!(serve(&mut order, 5), ["quiet"; 5]);
        assert_eq!(serve(&mut order, 2), ["noisy", "quiet"]);
    }

    #[test]
    fn with_nothing_in_flight_groups_take_turns() {
        // One worker that finishes each message before the next: in flight is always 0.
        let mut groups = vec![group("a", 0, 0), group("b", 0, 0), group("c", 0, 0)];
        let mut seen = Vec::new();
        for _ in 0..6 {
            let mut order = FairOrder::new(groups.clone());
            let id = order.pick().unwrap().to_owned();
            let turn = order.served();
            groups.iter_mut().find(|g| g.id == id).unwrap().turn = turn;
            seen.push(id);
        }
        assert_eq!(seen, ["a", "b", "c", "a", "b", "c"]);
    }

    #[test]
    fn exhausted_groups_leave() {
        let mut order = FairOrder::new(vec![group("a", 0, 0), group("b", 0, 0)]);
        assert_eq!(order.pick(), Some("a"));
        order.exhausted();
        assert_eq!(order.pick(), Some("b"));
        order.exhausted();
        assert_eq!(order.pick(), None);
    }
}
