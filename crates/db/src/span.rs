//! The spans of SQL statements: what they do and on which table, never their text or a value.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use tracing::{Span, field};

use crate::{DbError, Dialect};

/// Target of the spans of statements.
pub const TARGET: &str = "objectmesh::sql";

/// Whether anybody wants them.
static RECORDED: AtomicBool = AtomicBool::new(false);

/// Says whether the spans of statements are recorded; until then there are none.
pub fn record(recorded: bool) {
    RECORDED.store(recorded, Ordering::Relaxed);
}

/// A span for a statement that begins now, within the current one. None at all unless the trace is
/// recorded; then nothing here is worked out.
pub(crate) fn statement(service: &'static str, dialect: Dialect, sql: &str) -> Span {
    if !RECORDED.load(Ordering::Relaxed) {
        return Span::none();
    }
    let system = match dialect {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgresql",
    };
    let span = tracing::info_span!(
        target: TARGET, "sql",
        otel.name = display(Summary(sql)), otel.kind = "client", otel.status_code = field::Empty,
        service.name = service, db.system.name = system,
        db.operation.name = display(operation(sql)), db.collection.name = field::Empty,
        "error.type" = field::Empty,
    );
    if !span.is_disabled()
        && let Some(table) = collection(sql)
    {
        span.record("db.collection.name", table);
    }
    span
}

/// Notes how the statement ended.
pub(crate) fn ended(span: &Span, error: Option<&DbError>) {
    if let Some(error) = error
        && !span.is_disabled()
    {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", error.kind());
    }
}

/// `SELECT ticket`; worked out only when it is written down.
struct Summary<'s>(&'s str);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", operation(self.0))?;
        match collection(self.0) {
            Some(table) => write!(f, " {table}"),
            None => Ok(()),
        }
    }
}

/// The first word: `SELECT`.
fn operation(sql: &str) -> &str {
    words(sql).next().unwrap_or("SQL")
}

/// The table that the statement is about: the first that it names.
fn collection(sql: &str) -> Option<&str> {
    let mut words = words(sql);
    let mut word = words.next()?;
    if word.eq_ignore_ascii_case("UPDATE") {
        return words.next().map(unquoted);
    }
    loop {
        let names_one = ["FROM", "INTO", "TABLE"]
            .iter()
            .any(|w| word.eq_ignore_ascii_case(w));
        word = words.next()?;
        // Behind these words may also stand a query in parentheses, or `IF NOT EXISTS`.
        let keyword = ["SELECT", "IF"]
            .iter()
            .any(|w| word.eq_ignore_ascii_case(w));
        if names_one && !keyword {
            return Some(unquoted(word));
        }
    }
}

fn unquoted(word: &str) -> &str {
    word.trim_matches('"')
}

/// The words of a statement: keywords and names, without what is in string literals.
fn words(sql: &str) -> impl Iterator<Item = &str> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            if first == '\'' {
                let literal = rest.get(1..)?;
                rest = literal.get(literal.find('\'')? + 1..)?;
            } else if first == '"' {
                // With its quotes, so that a column named like a keyword is none.
                let end = rest.get(1..)?.find('"')? + 2;
                let (name, after) = rest.split_at(end);
                rest = after;
                return Some(name);
            } else if is_word(first) {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                rest = after;
                return Some(word);
            } else {
                rest = rest.get(first.len_utf8()..)?;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_told_by_what_it_does_and_on_what() {
        for (sql, told) in [
            (
                r#"SELECT "id", "from" FROM "ticket" WHERE "id" = $1"#,
                "SELECT ticket",
            ),
            ("select count(*) from (SELECT 1 FROM lead)", "select lead"),
            (
                "INSERT INTO om_secret (name) VALUES ('from x') ON CONFLICT DO NOTHING",
                "INSERT om_secret",
            ),
            ("UPDATE lead SET a = $1", "UPDATE lead"),
            ("DELETE FROM lead", "DELETE lead"),
            ("SELECT 'it''s FROM x', $1", "SELECT"),
            ("COMMIT", "COMMIT"),
            ("CREATE TABLE IF NOT EXISTS lead (id TEXT)", "CREATE"),
            ("", "SQL"),
        ] {
            assert_eq!(Summary(sql).to_string(), told, "{sql}");
        }
    }
}
