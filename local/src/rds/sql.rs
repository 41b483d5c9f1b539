//! Reads as much of a statement as the service must know: where its named parameters stand, whether it is one
//! statement, what kind it is.
//!
//! Guarantee: nothing inside a string, a quoted name, a comment or a dollar-quoted body is ever taken for a parameter or
//! for the end of the statement, and everything that is not a parameter reaches the database unchanged.
//!
//! One reading is ambiguous and settled for the parameter: in PostgreSQL's array slice `a[1:n]` the `:n` is one.

use super::error::ApiError;

/// Which engine's lexical rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// <https://www.sqlite.org/lang.html>
    Sqlite,
    /// PostgreSQL manual, section 4.1.
    Postgres,
}

/// One statement, ready for the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// For SQLite as it came, without what follows it; for PostgreSQL with `$1`, `$2` … in place of the names.
    pub(super) text: String,
    /// Distinct parameter names in the order of their first use; `names[0]` is `$1`.
    pub(super) names: Vec<String>,
    /// The word that says what it does, in upper case: of a `WITH` statement its main verb.
    pub(super) verb: String,
}

impl Statement {
    /// Whether it changes rows, so that their number is of interest.
    pub(super) fn changes_rows(&self) -> bool {
        matches!(self.verb.as_str(), "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "MERGE")
    }

    /// Whether it only reads, by its verb. On SQLite a connection that cannot write runs it.
    pub(super) fn reads_only(&self) -> bool {
        matches!(self.verb.as_str(), "SELECT" | "VALUES" | "EXPLAIN")
    }

    /// Parses `sql`. Refuses more than one statement, parameters by position, and statements that would change the
    /// connection or the transaction behind the service's back.
    pub(super) fn parse(sql: &str, dialect: Dialect) -> Result<Self, ApiError> {
        let mut scan = Scan { sql, bytes: sql.as_bytes(), dialect, at: 0 };
        let mut text = String::with_capacity(sql.len());
        let mut names: Vec<String> = Vec::new();
        let mut words: Vec<String> = Vec::new(); // enough to know the verb
        let mut depth = 0_i32;
        let mut body = false; // may hold `;` of its own
        let mut ended = false;
        while let Some(token) = scan.next() {
            if ended && !matches!(token.kind, Token::Space | Token::Semicolon) {
                return Err(ApiError::bad_request("Multistatements aren't supported"));
            }
            match token.kind {
                Token::Semicolon if !body => {
                    ended = true;
                    continue;
                }
                Token::Positional => {
                    return Err(ApiError::bad_request(format!(
                        "Parameters are named, as in :name; found {}",
                        token.text
                    )));
                }
                Token::Parameter if dialect == Dialect::Postgres => {
                    text.push_str(&format!("${}", place(&mut names, &token.text[1..])));
                    continue;
                }
                Token::Parameter => {
                    place(&mut names, &token.text[1..]);
                }
                Token::Open => depth += 1,
                Token::Close => depth -= 1,
                Token::Word if words.is_empty() || (depth <= 0 && words.len() < 64) => {
                    words.push(token.text.to_ascii_uppercase());
                    body = has_body(&words, dialect);
                }
                _ => {}
            }
            if !ended {
                text.push_str(token.text);
            }
        }
        let verb = verb(&words).ok_or_else(|| ApiError::bad_request("sql is empty"))?;
        if let "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" | "PREPARE"
        | "ATTACH" | "DETACH" | "PRAGMA" | "VACUUM" | "COPY" = verb
        {
            return Err(ApiError::bad_request(format!("{verb} isn't supported in a statement")));
        }
        Ok(Self { verb: verb.to_owned(), text, names })
    }
}

/// The place of a name, counted from 1; a new name gets the next one.
fn place(names: &mut Vec<String>, name: &str) -> usize {
    let found = names.iter().position(|known| known == name);
    found.map_or_else(
        || {
            names.push(name.to_owned());
            names.len()
        },
        |index| index + 1,
    )
}

/// SQLite's triggers and PostgreSQL's `BEGIN ATOMIC` functions hold statements that end in `;`. The engine itself takes
/// one statement only.
fn has_body(words: &[String], dialect: Dialect) -> bool {
    words[0] == "CREATE"
        && match dialect {
            Dialect::Sqlite => words.iter().take(3).any(|word| word == "TRIGGER"),
            Dialect::Postgres => words.iter().take(4).any(|word| word == "FUNCTION" || word == "PROCEDURE"),
        }
}

fn verb(words: &[String]) -> Option<&str> {
    let first = words.first()?;
    let main = |word: &&String| {
        matches!(word.as_str(), "SELECT" | "VALUES" | "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "MERGE")
    };
    match first.as_str() {
        "WITH" => Some(words.iter().find(main).unwrap_or(first)),
        _ => Some(first),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Space, // and comments
    Semicolon,
    Open,
    Close,
    Word,
    Parameter,
    Positional,
    Other,
}

struct Found<'a> {
    kind: Token,
    text: &'a str,
}

struct Scan<'a> {
    sql: &'a str,
    bytes: &'a [u8],
    dialect: Dialect,
    at: usize,
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn in_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl<'a> Scan<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, test: impl Fn(u8) -> bool) {
        while self.at < self.bytes.len() && test(self.bytes[self.at]) {
            self.at += 1;
        }
    }

    /// Every branch moves past whole characters: it stops at ASCII bytes or takes runs of non-ASCII ones.
    fn next(&mut self) -> Option<Found<'a>> {
        let start = self.at;
        let first = *self.bytes.get(start)?;
        let postgres = self.dialect == Dialect::Postgres;
        let kind = match first {
            b if b.is_ascii_whitespace() || b == 0x0b => {
                self.skip_while(|b| b.is_ascii_whitespace() || b == 0x0b);
                Token::Space
            }
            b'-' if self.peek(1) == b'-' => {
                self.skip_while(|b| b != b'\n');
                Token::Space
            }
            b'/' if self.peek(1) == b'*' => {
                self.comment(postgres);
                Token::Space
            }
            b'\'' => self.quoted(b'\'', false),
            b'"' => self.quoted(b'"', false),
            b'`' if !postgres => self.quoted(b'`', false),
            b'[' if !postgres => {
                self.skip_while(|b| b != b']');
                self.at = (self.at + 1).min(self.bytes.len());
                Token::Other
            }
            b'$' if postgres => self.dollar(),
            b'?' | b'@' | b'$' if !postgres => {
                self.at += 1;
                self.skip_while(in_name);
                Token::Positional
            }
            b':' if self.peek(1) == b':' || self.peek(1) == b'=' => {
                self.at += 2;
                Token::Other
            }
            b':' if self.peek(1).is_ascii_alphabetic() || self.peek(1) == b'_' => {
                self.at += 1;
                self.skip_while(in_name);
                Token::Parameter
            }
            b if starts_word(b) => {
                self.skip_while(in_word);
                // E'…' is one token, and the only string in which a backslash escapes a quote.
                if postgres && self.at == start + 1 && first.eq_ignore_ascii_case(&b'e') && self.peek(0) == b'\'' {
                    self.quoted(b'\'', true)
                } else {
                    Token::Word
                }
            }
            b if b.is_ascii_digit() => {
                self.skip_while(|b| in_word(b) || b == b'.');
                Token::Other
            }
            other => {
                self.at += 1;
                match other {
                    b';' => Token::Semicolon,
                    b'(' => Token::Open,
                    b')' => Token::Close,
                    _ => Token::Other,
                }
            }
        };
        Some(Found { kind, text: &self.sql[start..self.at] })
    }

    /// From the opening quote to the closing one; a doubled quote stands for itself. Without an end: to the end of the
    /// text, and the engine says so.
    fn quoted(&mut self, quote: u8, backslash: bool) -> Token {
        self.at += 1;
        while self.at < self.bytes.len() {
            match self.bytes[self.at] {
                b'\\' if backslash => self.at += 2,
                b if b == quote && self.peek(1) == quote => self.at += 2,
                b if b == quote => {
                    self.at += 1;
                    return Token::Other;
                }
                _ => self.at += 1,
            }
        }
        self.at = self.bytes.len();
        Token::Other
    }

    fn comment(&mut self, nested: bool) {
        let mut depth = 0_usize;
        while self.at < self.bytes.len() {
            match (self.bytes[self.at], self.peek(1)) {
                (b'/', b'*') if depth == 0 || nested => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.at = self.bytes.len();
    }

    /// `$1`, or `$tag$ … $tag$`. A `$` inside a word is part of the word and never comes here.
    fn dollar(&mut self) -> Token {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            self.skip_while(|b| b.is_ascii_digit());
            return Token::Positional;
        }
        self.skip_while(|b| in_name(b) || b >= 0x80);
        if self.peek(0) != b'$' {
            return Token::Other;
        }
        self.at += 1;
        let tag = &self.sql[start..self.at];
        match self.sql[self.at..].find(tag) {
            Some(offset) => self.at += offset + tag.len(),
            None => self.at = self.bytes.len(),
        }
        Token::Other
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn postgres(sql: &str) -> Statement {
        Statement::parse(sql, Dialect::Postgres).unwrap()
    }

    #[test]
    fn names_become_places() {
        let s = postgres("UPDATE t SET a = :a, b = :b::text WHERE a <> :a AND x = ':no' -- :no\n AND \"q:no\" = 1;");
        assert_eq!(s.names, ["a", "b"]);
        assert_eq!(s.text, "UPDATE t SET a = $1, b = $2::text WHERE a <> $1 AND x = ':no' -- :no\n AND \"q:no\" = 1");
        assert_eq!(s.verb, "UPDATE");
        assert!(s.changes_rows());
    }

    #[test]
    fn quoting_of_each_dialect() {
        let s =
            postgres(r"SELECT E'\':no', $$ :no; $$, $t$ :no $x$ :no $t$, a$1, /* :no /* ; */ :no */ :yes, 'a\' , :two");
        assert_eq!(s.names, ["yes", "two"]);
        let s = Statement::parse("SELECT `:no`, [:no;], /* /* */ :yes, 'it''s :no', :yes", Dialect::Sqlite).unwrap();
        assert_eq!(s.names, ["yes"]);
    }

    #[test]
    fn verbs() {
        for (sql, verb) in [
            ("  -- x\n select 1", "SELECT"),
            ("WITH x AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM x", "INSERT"),
            ("WITH RECURSIVE x(n) AS (VALUES (1) UNION SELECT n+1 FROM x) SELECT * FROM x", "SELECT"),
            ("(SELECT 1) UNION SELECT 2", "SELECT"),
            ("create table t(a BIGINT)", "CREATE"),
        ] {
            assert_eq!(postgres(sql).verb, verb, "{sql}");
        }
    }

    #[test]
    fn one_statement_only() {
        for sql in ["SELECT 1; SELECT 2", "SELECT 1;;x", "", " ;", "-- nothing", "BEGIN", "pragma foreign_keys=off"] {
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                assert!(Statement::parse(sql, dialect).is_err(), "{sql}");
            }
        }
        assert_eq!(postgres("SELECT 1 ; ; -- the end\n").text, "SELECT 1 ");
        let trigger = "CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET n = 1; DELETE FROM u; END";
        assert_eq!(Statement::parse(trigger, Dialect::Sqlite).unwrap().text, trigger);
        assert!(Statement::parse("SELECT $1", Dialect::Postgres).is_err());
        for sql in ["SELECT ?", "SELECT ?1", "SELECT @a", "SELECT $a"] {
            assert!(Statement::parse(sql, Dialect::Sqlite).is_err(), "{sql}");
        }
    }

    #[derive(Debug, Clone)]
    enum Piece {
        Verbatim(String),
        Name(String),
    }

    /// Pieces whose meaning is known because of how they were made.
    fn piece() -> impl Strategy<Value = Piece> {
        let text = "[a-z:;'\"$*/ \\-\u{e9}]{0,12}";
        prop_oneof![
            "[a-z_][a-z0-9_]{0,6}".prop_map(Piece::Name),
            text.prop_map(|s| Piece::Verbatim(format!("'{}'", s.replace('\'', "''")))),
            text.prop_map(|s| Piece::Verbatim(format!("\"{}\"", s.replace('"', "\"\"")))),
            text.prop_map(|s| Piece::Verbatim(format!("E'{}'", s.replace('\\', "\\\\").replace('\'', "\\'")))),
            text.prop_map(|s| Piece::Verbatim(format!("$q$ {} $q$", s.replace('$', "+")))),
            text.prop_map(|s| Piece::Verbatim(format!("/* {} */", s.replace('*', "+")))),
            text.prop_map(|s| Piece::Verbatim(format!("-- {s}\n"))),
            Just(Piece::Verbatim("a::text".into())),
            Just(Piece::Verbatim("12.5e3".into())),
            Just(Piece::Verbatim("x(1)".into())),
        ]
    }

    proptest! {
        #[test]
        fn parameters_are_found_and_all_else_is_kept(pieces in prop::collection::vec(piece(), 0..20)) {
            let (mut sql, mut rewritten, mut names) = ("SELECT ".to_owned(), "SELECT ".to_owned(), Vec::new());
            for piece in pieces {
                match piece {
                    Piece::Verbatim(text) => {
                        sql.push_str(&text);
                        rewritten.push_str(&text);
                    }
                    Piece::Name(name) => {
                        sql.push_str(&format!(":{name}"));
                        rewritten.push_str(&format!("${}", place(&mut names, &name)));
                    }
                }
                sql.push(' ');
                rewritten.push(' ');
            }
            let parsed = Statement::parse(&sql, Dialect::Postgres).unwrap();
            prop_assert_eq!(parsed.names, names);
            prop_assert_eq!(parsed.text, rewritten);
        }

        #[test]
        fn any_text_is_answered(sql in "\\PC{0,60}", postgres in any::<bool>()) {
            let dialect = if postgres { Dialect::Postgres } else { Dialect::Sqlite };
            let _ = Statement::parse(&sql, dialect);
        }
    }
}
