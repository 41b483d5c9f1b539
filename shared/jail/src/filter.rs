//! From the list of calls to filters in the kernel.
//!
//! Guarantee: three filters are set, or none is relied upon. A seccompiler filter has one action for what it lists and
//! one for the rest, so they are stacked: EPERM for what libraries try and live without, ENOSYS for what must look
//! absent, and the allow-list, which kills the process for anything else. The kernel takes the strictest answer, so
//! what the first two name stands on the allow-list as well.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::JailError;
use crate::calls::{ALLOWED, Call, MISSING, Only, REFUSED};

/// The architecture for which the filters are built: the one that this program runs on.
pub(crate) fn architecture() -> Result<TargetArch, JailError> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(TargetArch::x86_64),
        "aarch64" => Ok(TargetArch::aarch64),
        other => Err(JailError::Architecture(other)),
    }
}

/// Builds and sets the three filters. The last one no longer allows to set filters.
pub(crate) fn install() -> Result<(), JailError> {
    let refused = |e: seccompiler::Error| JailError::Seccomp(e.to_string());
    let programs = build(u64::from(std::process::id()))?;
    for program in &programs {
        seccompiler::apply_filter(program).map_err(refused)?;
    }
    Ok(())
}

fn build(me: u64) -> Result<[BpfProgram; 3], JailError> {
    let soft: BTreeMap<_, _> = REFUSED.iter().map(|call| (call.number, Vec::new())).collect();
    let missing: BTreeMap<_, _> = MISSING.iter().map(|call| (call.number, Vec::new())).collect();
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = soft.clone();
    allowed.extend(missing.clone());
    for call in ALLOWED {
        allowed.insert(call.number, rules(call, me)?);
    }
    Ok([
        program(soft, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))?,
        program(missing, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?,
        program(allowed, SeccompAction::KillProcess, SeccompAction::Allow)?,
    ])
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, JailError> {
    let filter = SeccompFilter::new(rules, otherwise, listed, architecture()?).map_err(invalid)?;
    BpfProgram::try_from(filter).map_err(invalid)
}

/// The argument rules of one call: any of them lets it through, none means that the number alone decides.
fn rules(call: &Call, me: u64) -> Result<Vec<SeccompRule>, JailError> {
    let condition = |argument: u8, compare: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, compare, value).map_err(invalid)
    };
    let one = |argument: u8, compare: SeccompCmpOp, value: u64| {
        SeccompRule::new(vec![condition(argument, compare, value)?]).map_err(invalid)
    };
    match call.only {
        Only::Any => Ok(Vec::new()),
        Only::Clear { argument, bits } => Ok(vec![one(argument, SeccompCmpOp::MaskedEq(bits), 0)?]),
        Only::Set { argument, bits } => Ok(vec![one(argument, SeccompCmpOp::MaskedEq(bits), bits)?]),
        Only::OneOf { argument, values } => {
            values.iter().map(|value| one(argument, SeccompCmpOp::Eq, *value)).collect()
        }
        Only::ZeroAndAtMost { zero, argument, most } => {
            let bound = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Le, most.into());
            let zero = zero.iter().map(|argument| condition(*argument, SeccompCmpOp::Eq, 0));
            let all: Result<_, _> = zero.chain([bound.map_err(invalid)]).collect();
            Ok(vec![SeccompRule::new(all?).map_err(invalid)?])
        }
        Only::Myself { argument } => Ok(vec![one(argument, SeccompCmpOp::Eq, me)?]),
    }
}

fn invalid(e: seccompiler::BackendError) -> JailError {
    JailError::Seccomp(format!("the filter is not valid: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile() {
        for program in build(1).unwrap() {
            assert!(!program.is_empty());
        }
    }

    #[test]
    fn every_call_stands_once_and_has_a_reason() {
        let mut seen = std::collections::BTreeSet::new();
        for call in ALLOWED.iter().chain(REFUSED).chain(MISSING) {
            assert!(seen.insert(call.number), "{} is listed twice", call.name);
            assert!(call.why.len() > 10, "{} has no reason", call.name);
        }
    }

    #[test]
    fn refused_and_missing_calls_take_no_argument_rule() {
        // They would be ignored: those filters look at the number alone.
        assert!(REFUSED.iter().chain(MISSING).all(|call| call.only == Only::Any));
    }
}
