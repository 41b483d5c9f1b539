//! What one decoder may use of the machine, by what it is asked to do.
//!
//! Guarantee: the kernel ends a decoder that outlives its clock even if this process can't: processor time is bounded
//! by the wall clock times the number of processors.

use std::time::Duration;

use reelfleet_wire::Request;

const GIB: u64 = 1 << 30;

/// Limits that go with a fork.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildLimits {
    /// Bytes.
    pub(crate) address_space: u64,
    /// Over all threads.
    pub(crate) cpu_seconds: u64,
    /// 0 to 19: how far it stands back where processors are short.
    pub(crate) nice: u8,
}

/// What goes on with a stream stands back behind what opens one, and pictures stand between: somebody waits for the
/// opening, nobody for the middle.
fn nice(request: &Request) -> u8 {
    match request {
        Request::Encode(r) if r.start_us > 0 => 10,
        Request::Audio(r) if r.from_frame > 0 => 10,
        Request::Pictures(_) | Request::Still(_) => 5,
        _ => 0,
    }
}

/// What a decoder of this is expected to hold, in MiB; `pixels`: of one picture of the source, 0 where that is not known.
///
/// Fitted to the largest resident size of such decoders (docs/performance.md), and a quarter more: 100 MiB a megapixel of the
/// rungs is x264's lookahead and references, 35 a megapixel of the source the references of a decoder.
pub(crate) fn memory_mib(request: &Request, pixels: u64) -> u64 {
    let of = |pixels: u64, mib: u64| pixels.saturating_mul(mib) / 1_000_000;
    match request {
        Request::Probe { .. } | Request::Index { .. } | Request::Audio(_) => 48,
        Request::Encode(r) => {
            let sizes = r.rungs.iter().map(|rung| u64::from(rung.width) * u64::from(rung.height));
            let largest = sizes.clone().max().unwrap_or(0);
            32 + of(pixels.max(largest), 45) + of(sizes.sum(), 125)
        }
        Request::Pictures(_) => 48 + of(pixels, 25),
        Request::Still(_) => 48 + of(pixels, 12),
    }
}

/// The limits of a request that may take as long as `wall`.
pub(crate) fn of(request: &Request, wall: Duration) -> ChildLimits {
    // Address space, not resident memory: some 0.6 GiB are libraries and reserved thread arenas.
    let address_space = match request {
        Request::Probe { .. } | Request::Index { .. } | Request::Audio(_) => 2 * GIB,
        Request::Pictures(_) | Request::Still(_) => 3 * GIB,
        Request::Encode(_) => 6 * GIB,
    };
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let cpu_seconds = wall.as_secs().saturating_mul(processors).saturating_add(5);
    ChildLimits { address_space, cpu_seconds, nice: nice(request) }
}
