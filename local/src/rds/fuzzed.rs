//! What holds of the requests of this service for any bytes at all.

use super::request::Body;
use super::sql::{Dialect, Statement};

pub fn fuzzed(data: &[u8]) {
    for (batch, dialect) in [(false, Dialect::Sqlite), (true, Dialect::Postgres)] {
        match Body::read(data).and_then(|body| body.call(batch, dialect)) {
            Ok(call) => {
                for set in &call.sets {
                    for name in &call.statement.names {
                        assert!(call.bound(set, name).is_ok(), "{name} is named and not bound");
                    }
                }
            }
            Err(error) => assert!(!error.message.is_empty()),
        }
    }
    let Ok(sql) = std::str::from_utf8(data) else { return };
    let (sqlite, postgres) = (Statement::parse(sql, Dialect::Sqlite), Statement::parse(sql, Dialect::Postgres));
    if let Ok(statement) = sqlite {
        assert!(sql.starts_with(&statement.text), "the statement was changed");
    }
    for statement in postgres.iter() {
        for (at, name) in statement.names.iter().enumerate() {
            assert!(!name.is_empty() && !statement.names[..at].contains(name), "{name}");
            assert!(statement.text.contains(&format!("${}", at + 1)), "{}", statement.text);
        }
        assert!(!statement.changes_rows() || !statement.reads_only());
    }
}
