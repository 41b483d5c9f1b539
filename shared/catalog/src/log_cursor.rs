//! How far the operators' stream has been told, by whom: one named position for each.
//!
//! Guarantee: what is written for a stretch and the position after it are one transaction, won by whoever moves the
//! position on; so a stretch is told once, however many processes look.

use crate::Step;
use crate::statement::Statement;
use crate::store::Atomic;

/// Reads a position; no row before the first.
pub(crate) fn position(name: &str) -> Statement {
    Statement::new("SELECT position FROM log_cursor WHERE name = :name").text("name", name)
}

/// Moves a position on, with what is written for the stretch between. A conflict: another process did.
pub(crate) fn moved(
    step: &Step,
    what: &'static str,
    name: &str,
    (from, to): (i64, i64),
    told: impl IntoIterator<Item = Statement>,
) -> Atomic {
    let mut statements = vec![
        Statement::new("UPDATE log_cursor SET position = :to, op_id = :op WHERE name = :name AND position = :from")
            .int("to", to)
            .text("op", &step.op)
            .text("name", name)
            .int("from", from)
            .expect(1),
    ];
    statements.extend(told);
    let settled = Statement::new("SELECT name FROM log_cursor WHERE name = :name AND op_id = :op")
        .text("name", name)
        .text("op", &step.op);
    Atomic { what, statements, settled }
}
