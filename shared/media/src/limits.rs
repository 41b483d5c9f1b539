//! What one decoder may use of the machine, by what it is asked to do.
//!
//! Guarantee: the kernel ends a decoder that outlives its clock even if this process can't: processor time is bounded
//! by the wall clock times the number of processors.

use std::time::Duration;

use reelfleet_wire::Request;

const GIB: u64 = 1 << 30;

/// Limits that go with a fork: address space in bytes, processor seconds.
pub(crate) fn of(request: &Request, wall: Duration) -> (u64, u64) {
    // Address space, not resident memory: some 0.6 GiB are libraries and reserved thread arenas.
    let address_space = match request {
        Request::Probe { .. } | Request::Index { .. } | Request::Audio(_) => 2 * GIB,
        Request::Pictures(_) | Request::Still(_) => 3 * GIB,
        Request::Encode(_) => 6 * GIB,
    };
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    (address_space, wall.as_secs().saturating_mul(processors).saturating_add(5))
}
