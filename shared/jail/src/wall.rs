//! Landlock: every right handled, none granted.
//!
//! Guarantee: what the kernel's Landlock knows of files, TCP ports, device ioctls, abstract sockets and signals to
//! others is refused from here on. Where the kernel knows less, the level says so and seccomp stands alone.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};

use crate::{JailError, Landlock, Level};

/// The rights asked for: those of Linux 6.12. A newer kernel has no right beyond them that seccomp leaves open.
const RIGHTS: ABI = ABI::V6;

/// Closes the wall around the calling thread.
pub(crate) fn landlock() -> Result<Level, JailError> {
    let refused = |e: landlock::RulesetError| JailError::Landlock(e.to_string());
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))
        .map_err(refused)?
        .handle_access(AccessNet::from_all(RIGHTS))
        .map_err(refused)?
        .scope(Scope::from_all(RIGHTS))
        .map_err(refused)?
        .create()
        .map_err(refused)?
        .restrict_self()
        .map_err(refused)?;
    let landlock_abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    let landlock = match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::None,
    };
    Ok(Level { landlock, landlock_abi })
}
