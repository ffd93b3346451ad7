//! From a predicate to SQL.
//!
//! Invariant: identifiers come from columns of a schema and are quoted by sea-query, values are
//! bound; NULL never makes the answer unknown where a negation would turn it.

use mesh::db::Dialect;
use sea_query::{
    Alias, ColumnRef as SqlColumn, Expr, ExprTrait as _, Func, IntoColumnRef as _, Query,
};

use crate::kernel::model::{
    cell::Cell,
    plan::is_never_null,
    predicate::{ColumnRef, Comparison, Pattern, Predicate, TextMatch},
    schema::Storage,
};
use crate::kernel::store::bind;

/// Marks a character as itself in our LIKE patterns: unlike `\` it means nothing to any dialect's
/// string literals.
const ESCAPE: char = '!';

/// The condition on the rows of `table`, its name or alias in the statement.
#[must_use]
pub(in crate::kernel) fn build(predicate: &Predicate, table: &str, dialect: Dialect) -> Expr {
    Builder {
        table: table.to_owned(),
        depth: 0,
        dialect,
    }
    .expr(predicate, false)
}

struct Builder {
    table: String,
    /// How many tables are open around this one; names the next.
    depth: usize,
    dialect: Dialect,
}

impl Builder {
    /// `negated`: a negation stands above, so that unknown must be made false. Elsewhere unknown
    /// counts as false anyway, and the plain comparison keeps indexes usable.
    fn expr(&self, predicate: &Predicate, negated: bool) -> Expr {
        match predicate {
            Predicate::True => constant(true),
            Predicate::False => constant(false),
            Predicate::And(all) => self.fold(all, negated, true),
            Predicate::Or(any) => self.fold(any, negated, false),
            Predicate::Not(inner) => match &**inner {
                Predicate::IsNull(column) => self.column(column).is_not_null(),
                inner => self.expr(inner, true).not(),
            },
            Predicate::IsNull(column) => self.column(column).is_null(),
            Predicate::Related {
                column,
                table,
                predicate,
            } => self.related(column, table, predicate),
            Predicate::MemberSet(column, members) => self.member_set(column, members),
            Predicate::JsonPath(column, path, Cell::Null) => self.json_null(column, path),
            leaf => {
                let expr = self.leaf(leaf);
                if negated && may_be_unknown(leaf) {
                    Func::coalesce([expr, constant(false)]).into()
                } else {
                    expr
                }
            }
        }
    }

    fn fold(&self, parts: &[Predicate], negated: bool, is_and: bool) -> Expr {
        let mut parts = parts.iter().map(|part| self.expr(part, negated));
        let Some(first) = parts.next() else {
            return constant(is_and);
        };
        parts.fold(first, |folded, part| {
            if is_and {
                folded.and(part)
            } else {
                folded.or(part)
            }
        })
    }

    /// A test that may be unknown when the column is NULL.
    fn leaf(&self, predicate: &Predicate) -> Expr {
        match predicate {
            Predicate::Compare(column, comparison, cell) => {
                compare(self.column(column), *comparison, self.value(column, cell))
            }
            Predicate::CompareColumns(one, comparison, two) => {
                compare(self.column(one), *comparison, self.column(two))
            }
            Predicate::In(column, cells) => self.within(column, cells),
            Predicate::Text(column, how, text) => self.text(column, *how, text),
            Predicate::Member(column, member) => self.member(column, Expr::val(member.as_str())),
            Predicate::JsonPath(column, path, cell) => self.json_path(column, path, cell),
            // Dealt with above.
            Predicate::True
            | Predicate::False
            | Predicate::And(_)
            | Predicate::Or(_)
            | Predicate::Not(_)
            | Predicate::IsNull(_)
            | Predicate::MemberSet(..)
            | Predicate::Related { .. } => self.expr(predicate, false),
        }
    }

    fn within(&self, column: &ColumnRef, cells: &[Cell]) -> Expr {
        match cells {
            [] => constant(false),
            [cell] => self.column(column).eq(self.value(column, cell)),
            _ if column.storage == Storage::Text => {
                let texts = cells.iter().filter_map(Cell::as_text).map(str::to_owned);
                any_of(self.column(column), texts, self.dialect)
            }
            _ => {
                let values = cells.iter().map(|cell| self.value(column, cell));
                self.column(column).is_in(values)
            }
        }
    }

    fn text(&self, column: &ColumnRef, how: TextMatch, text: &str) -> Expr {
        let value = self.column(column);
        let lower = text.to_ascii_lowercase();
        match (how, self.dialect) {
            (_, _) if text.is_empty() && !matches!(how, TextMatch::Like | TextMatch::Ilike) => {
                value.is_not_null()
            }
            // SQLite's own lower() folds ASCII only, and instr() knows no longest pattern.
            (TextMatch::Contains, Dialect::Sqlite) => custom(
                "instr(lower(?), ?) > 0",
                [value, Expr::val(lower)],
                self.dialect,
            ),
            (TextMatch::Contains, Dialect::Postgres) => like(
                folded(value),
                &format!("%{}%", escaped(&lower)),
                self.dialect,
            ),
            (TextMatch::StartsWith, _) => starts_with(value, text),
            (TextMatch::EndsWith, Dialect::Sqlite) => custom(
                "substr(?, -length(?)) = ?",
                [value, Expr::val(text), Expr::val(text)],
                self.dialect,
            ),
            (TextMatch::EndsWith, Dialect::Postgres) => {
                like(value, &format!("%{}", escaped(text)), self.dialect)
            }
            // SQLite's LIKE ignores the case of ASCII letters; GLOB does not.
            (TextMatch::Like, Dialect::Sqlite) => {
                custom("? GLOB ?", [value, Expr::val(glob(text))], self.dialect)
            }
            (TextMatch::Like, Dialect::Postgres) => like(value, &pattern(text), self.dialect),
            (TextMatch::Ilike, Dialect::Sqlite) => like(value, &pattern(text), self.dialect),
            (TextMatch::Ilike, Dialect::Postgres) => {
                like(folded(value), &pattern(&lower), self.dialect)
            }
        }
    }

    /// Whether a JSON array has a text among its elements.
    fn member(&self, column: &ColumnRef, member: Expr) -> Expr {
        let value = self.column(column);
        let template = match self.dialect {
            Dialect::Sqlite => "EXISTS (SELECT 1 FROM json_each(?) AS m WHERE m.value = ?)",
            Dialect::Postgres => "? @> jsonb_build_array(CAST(? AS text))",
        };
        custom(template, [value, member], self.dialect)
    }

    /// Whether a JSON array has these elements and no others; NULL is the empty list.
    fn member_set(&self, column: &ColumnRef, members: &[String]) -> Expr {
        let text = serde_json::to_string(members).unwrap_or_default();
        let set = || bind::json_expr(Some(text.clone()), self.dialect);
        let value = || self.column(column);
        match self.dialect {
            Dialect::Sqlite => custom(
                "(NOT EXISTS (SELECT 1 FROM json_each(?) AS m WHERE m.value NOT IN (SELECT value FROM json_each(?))) \
                 AND NOT EXISTS (SELECT 1 FROM json_each(?) AS m WHERE m.value NOT IN (SELECT value FROM json_each(?))))",
                [value(), set(), set(), value()],
                self.dialect,
            ),
            Dialect::Postgres => custom(
                "(coalesce(?, '[]') @> ? AND coalesce(?, '[]') <@ ?)",
                [value(), set(), value(), set()],
                self.dialect,
            ),
        }
    }

    fn json_path(&self, column: &ColumnRef, path: &[String], cell: &Cell) -> Expr {
        let value = || self.column(column);
        if self.dialect == Dialect::Postgres {
            let mut json = Vec::new();
            cell.write_json(&mut json);
            let json = String::from_utf8(json).ok();
            let path = bind::text_array(path.to_vec());
            return custom(
                "? #> ? = ?",
                [value(), path, bind::json_expr(json, self.dialect)],
                self.dialect,
            );
        }
        let path = || Expr::val(sqlite_path(path));
        let template = match cell {
            Cell::Text(_) => "(json_type(?, ?) = 'text' AND json_extract(?, ?) = ?)",
            Cell::Boolean(true) => {
                return custom("json_type(?, ?) = 'true'", [value(), path()], self.dialect);
            }
            Cell::Boolean(false) => {
                return custom("json_type(?, ?) = 'false'", [value(), path()], self.dialect);
            }
            _ => "(json_type(?, ?) IN ('integer', 'real') AND json_extract(?, ?) = ?)",
        };
        let operand = match cell {
            Cell::Text(text) => Expr::val(text.as_str()),
            Cell::Integer(number) => Expr::val(*number),
            Cell::Double(number) => Expr::val(*number),
            // The resolver makes no other comparands here.
            _ => return constant(false),
        };
        custom(
            template,
            [value(), path(), value(), path(), operand],
            self.dialect,
        )
    }

    /// Whether there is nothing at a path, or null.
    fn json_null(&self, column: &ColumnRef, path: &[String]) -> Expr {
        let value = self.column(column);
        match self.dialect {
            Dialect::Sqlite => custom(
                "coalesce(json_type(?, ?), 'null') = 'null'",
                [value, Expr::val(sqlite_path(path))],
                self.dialect,
            ),
            Dialect::Postgres => custom(
                "coalesce(? #> ?, 'null') = 'null'",
                [value, bind::text_array(path.to_vec())],
                self.dialect,
            ),
        }
    }

    fn related(&self, column: &ColumnRef, table: &str, predicate: &Predicate) -> Expr {
        // No object's name begins with an underscore.
        let alias = format!("_r{}", self.depth + 1);
        let inner = Self {
            table: alias.clone(),
            depth: self.depth + 1,
            dialect: self.dialect,
        };
        let id = Expr::col((Alias::new(&alias), Alias::new("id")));
        let is_target = match (column.storage, self.dialect) {
            (Storage::Json, Dialect::Sqlite) => custom(
                "? IN (SELECT value FROM json_each(?))",
                [id, self.column(column)],
                self.dialect,
            ),
            (Storage::Json, Dialect::Postgres) => self.member(column, id),
            _ => id.eq(self.column(column)),
        };
        let mut select = Query::select();
        select
            .expr(Expr::cust("1"))
            .from_as(Alias::new(table), Alias::new(&alias))
            .and_where(is_target);
        if *predicate != Predicate::True {
            select.and_where(inner.expr(predicate, false));
        }
        Expr::exists(select)
    }

    fn column(&self, column: &ColumnRef) -> Expr {
        Expr::col(qualified(&self.table, column))
    }

    fn value(&self, column: &ColumnRef, cell: &Cell) -> Expr {
        bind::cell_expr(cell, column.storage, self.dialect)
    }
}

/// The column, qualified.
pub(super) fn qualified(table: &str, column: &ColumnRef) -> SqlColumn {
    (Alias::new(table), Alias::new(&column.name)).into_column_ref()
}

/// Whether the text column holds one of these.
pub(super) fn any_of(
    column: Expr,
    texts: impl IntoIterator<Item = String>,
    dialect: Dialect,
) -> Expr {
    let texts: Vec<String> = texts.into_iter().collect();
    // PostgreSQL keeps a plan for one value, and makes one for each list anew.
    if let [text] = texts.as_slice() {
        return column.eq(text.as_str());
    }
    let template = match dialect {
        Dialect::Sqlite => "? IN (SELECT value FROM json_each(?))",
        Dialect::Postgres => "? = ANY(?)",
    };
    custom(template, [column, bind::text_array(texts)], dialect)
}

fn compare(one: Expr, comparison: Comparison, two: Expr) -> Expr {
    match comparison {
        Comparison::Eq => one.eq(two),
        Comparison::Lt => one.lt(two),
        Comparison::Lte => one.lte(two),
        Comparison::Gt => one.gt(two),
        Comparison::Gte => one.gte(two),
    }
}

/// Whether the SQL of a leaf is unknown for some row.
fn may_be_unknown(leaf: &Predicate) -> bool {
    match leaf {
        Predicate::Compare(column, ..) | Predicate::In(column, _) | Predicate::Text(column, ..) => {
            !is_never_null(column)
        }
        Predicate::CompareColumns(one, _, two) => !(is_never_null(one) && is_never_null(two)),
        _ => true,
    }
}

fn constant(value: bool) -> Expr {
    Expr::cust(if value { "TRUE" } else { "FALSE" })
}

/// SQL of ours with an expression for each `?`.
fn custom<const N: usize>(template: &str, exprs: [Expr; N], dialect: Dialect) -> Expr {
    match dialect {
        Dialect::Sqlite => Expr::cust_with_exprs(template.to_owned(), exprs),
        Dialect::Postgres => {
            let mut numbered = String::with_capacity(template.len() + 8);
            let mut number = 0;
            for char in template.chars() {
                if char == '?' {
                    number += 1;
                    numbered.push_str(&format!("${number}"));
                } else {
                    numbered.push(char);
                }
            }
            Expr::cust_with_exprs(numbered, exprs)
        }
    }
}

/// ASCII letters folded: `lower()` does no more than that under the C collation.
fn folded(value: Expr) -> Expr {
    Expr::cust_with_exprs("lower($1 COLLATE \"C\")", [value])
}

fn like(value: Expr, pattern: &str, dialect: Dialect) -> Expr {
    custom("? LIKE ? ESCAPE '!'", [value, Expr::val(pattern)], dialect)
}

/// Text as a LIKE pattern that matches itself.
fn escaped(text: &str) -> String {
    pattern_of(text.chars().map(Pattern::Literal))
}

/// A pattern as written (`\` escapes) with our escape.
fn pattern(text: &str) -> String {
    pattern_of(Pattern::parts(text))
}

fn pattern_of(parts: impl Iterator<Item = Pattern>) -> String {
    let mut sql = String::new();
    for part in parts {
        match part {
            Pattern::Many => sql.push('%'),
            Pattern::One => sql.push('_'),
            Pattern::Literal(char) => {
                if matches!(char, '%' | '_' | ESCAPE) {
                    sql.push(ESCAPE);
                }
                sql.push(char);
            }
        }
    }
    sql
}

/// A pattern as written, in the words of GLOB, where a class of one character escapes it.
fn glob(text: &str) -> String {
    let mut glob = String::new();
    for part in Pattern::parts(text) {
        match part {
            Pattern::Many => glob.push('*'),
            Pattern::One => glob.push('?'),
            Pattern::Literal(char @ ('*' | '?' | '[')) => {
                glob.push('[');
                glob.push(char);
                glob.push(']');
            }
            Pattern::Literal(char) => glob.push(char),
        }
    }
    glob
}

/// Texts that begin so are a range, since both databases compare by bytes; an index serves it.
fn starts_with(value: Expr, prefix: &str) -> Expr {
    let from = value.clone().gte(prefix);
    match after_prefix(prefix) {
        Some(end) => from.and(value.lt(end)),
        None => from,
    }
}

/// The least text that is greater than all that begin so; `None` when there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // `char` ranges step over the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// `$."a"."b"`; the keys hold no quotes (the resolver refuses them).
fn sqlite_path(path: &[String]) -> String {
    let mut sql = String::from("$");
    for key in path {
        sql.push_str(".\"");
        sql.push_str(key);
        sql.push('"');
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_translated() {
        assert_eq!(escaped(r"50%_!\"), r"50!%!_!!\");
        assert_eq!(pattern(r"a\%b%_\\!"), r"a!%b%_\!!");
        assert_eq!(glob(r"a\%b%_*[?"), "a%b*?[*][[][?]");
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
    }
}
