//! Counters that a test asks for: bytes served per object, requests per kind. Bounded; they live as long as the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

/// Names counted one by one; what comes later is counted together.
const MAX_NAMES: usize = 20_000;
const OTHERS: &str = "(others)";

#[derive(Default)]
pub(crate) struct Stats(Mutex<Counters>);

#[derive(Default, Serialize)]
struct Counters {
    get_object_bytes: BTreeMap<String, u64>,
    requests: BTreeMap<String, u64>,
}

fn add(map: &mut BTreeMap<String, u64>, name: &str, n: u64) {
    if let Some(count) = map.get_mut(name) {
        *count += n;
        return;
    }
    let name = if map.len() < MAX_NAMES { name } else { OTHERS };
    *map.entry(name.to_owned()).or_default() += n;
}

impl Stats {
    /// Bytes of an object's body that went out.
    pub(crate) fn served(&self, object: &str, bytes: u64) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).get_object_bytes, object, bytes);
    }

    /// A request, by service and method or action.
    pub(crate) fn request(&self, name: &str) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).requests, name, 1);
    }

    /// All counters as JSON.
    pub(crate) fn json(&self) -> String {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_string(&*counters).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        let stats = Stats::default();
        for n in 0..MAX_NAMES + 10 {
            stats.served(&n.to_string(), 1);
        }
        let counters = stats.0.lock().unwrap();
        assert_eq!(counters.get_object_bytes.len(), MAX_NAMES + 1);
        assert_eq!(counters.get_object_bytes[OTHERS], 10);
    }
}
