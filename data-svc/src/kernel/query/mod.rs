//! Queries: from what a client asked to a checked plan over one object (docs/reference/objectql.md).
//!
//! Two steps, each of which may refuse: reading ([`from_list_request`], [`from_body`]) knows only
//! syntax; planning ([`plan`]) resolves names and types against what the caller may read.
//!
//! Invariant: nothing in a [`Plan`] is user text: columns come from the schema, values are typed,
//! and the grant's row predicate is in it.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod aggregate;
mod comparand;
mod cursor;
mod execute;
mod expand;
mod filter;
pub(in crate::kernel) mod formula;
mod groups;
mod json;
mod order;
mod parse;
mod refuse;
mod resolve;
pub mod suggest;
mod tokens;

use std::sync::Arc;

use mesh::Result;
use metadata::{Field, FieldType};
use serde_json::Value as Json;

pub(in crate::kernel) use self::execute::{
    Lookups, Total, exists, fits, is_reachable, record_json, record_not_found, row, write_formulas,
};
pub use self::{
    cursor::{CursorKey, CursorState},
    execute::{Page, answer, check, get, list, select},
    expand::{ExpandNode, Expansion, with_inputs},
    order::SortKey,
    parse::{for_get, from_body, from_list_request},
};
use crate::kernel::{
    access::{Access, Grant},
    model::{
        cell::Cell,
        formula::Formula,
        plan::Order,
        predicate::{ColumnRef, Predicate},
        schema::{Schema, Storage},
    },
    store,
};

/// Records a page without `limit`.
const LIMIT_DEFAULT: u64 = 50;

/// What was asked, syntactically read; nothing is resolved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// The filter: an object or an array.
    pub filter: Option<Json>,
    /// Equality filters from query parameters: field, values.
    pub implicit: Vec<(String, Vec<String>)>,
    /// Sort keys.
    pub order: Option<Vec<SortKey>>,
    /// Records a page.
    pub limit: Option<u64>,
    /// Records to skip.
    pub offset: Option<u64>,
    /// Where to go on.
    pub cursor: Option<String>,
    /// References to replace by the records they point to.
    pub expand: Vec<ExpandNode>,
    /// Fields to answer; all readable ones when absent.
    pub select: Option<Vec<String>>,
    /// Whether to count all that fits.
    pub count: bool,
    /// Whether rows with equal chosen fields are one.
    pub distinct: bool,
    /// By what rows are grouped.
    pub group_by: Vec<aggregate::GroupKey>,
    /// What is made of each group.
    pub aggregations: Vec<aggregate::Aggregation>,
    /// Which groups are answered: a filter on group keys and aliases.
    pub having: Option<Json>,
}

impl Query {
    /// Whether groups are asked for instead of records.
    #[must_use]
    pub fn is_aggregate(&self) -> bool {
        !self.group_by.is_empty() || !self.aggregations.is_empty() || self.having.is_some()
    }
}

/// A checked, typed plan over one object.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The object, and what may be read of it.
    pub grant: Arc<Grant>,
    /// Which rows: the filter and the grant's own row predicate.
    pub rows: Predicate,
    /// Sort keys; together they are unique. `id` is last, or for `distinct` the chosen columns.
    pub order: Vec<Order>,
    /// Rows a page, at most the object's `maxPageSize`; 0 asks for the total alone.
    pub limit: u64,
    /// Rows to skip.
    pub offset: u64,
    /// Where the page before ended: the values of the order columns.
    pub after: Option<Vec<Cell>>,
    /// What to answer, in that order: `id` first, then the declaration's order. For `distinct` the
    /// chosen columns alone.
    pub columns: Vec<ColumnRef>,
    /// What to compute.
    pub formulas: Vec<Arc<Formula>>,
    /// References to replace.
    pub expand: Vec<Expansion>,
    /// Whether to count all rows that fit.
    pub count: bool,
    /// Whether equal rows are one. Never set when `id` is among the columns, where rows differ.
    pub distinct: bool,
    /// What the next cursor is minted from.
    pub cursor_state: CursorState,
}

/// A checked plan of a single read.
#[derive(Debug, Clone)]
pub struct Projection {
    /// The object, and what may be read of it.
    pub grant: Arc<Grant>,
    /// What to answer; `id` first.
    pub columns: Vec<ColumnRef>,
    /// What to compute.
    pub formulas: Vec<Arc<Formula>>,
    /// References to replace.
    pub expand: Vec<Expansion>,
}

/// Resolves a query against what the caller may read.
///
/// # Errors
/// Those of [`Access::read_grant`] for the object; then 400 `INVALID_FILTER`, `INVALID_FIELD`,
/// `INVALID_SORT`, `INVALID_QUERY`, `INVALID_CURSOR` or `CURSOR_MISMATCH`; `PERMISSION_DENIED` for
/// unreadable fields in filter, sort or expansion.
pub fn plan(
    mut query: Query,
    object: &str,
    access: &dyn Access,
    cursor_key: &CursorKey,
) -> Result<Plan> {
    let grant = access.read_grant(object)?;
    let position = match query.cursor.take() {
        Some(text) => Some(cursor::open(&mut query, &text, object, access, cursor_key)?),
        None => None,
    };
    let rows = filter(&query, &grant, access)?;
    let mut columns = expand::columns(&grant, query.select.as_deref(), &query.expand)?;
    let is_distinct = query.distinct && chooses_distinct(&query, &grant, &mut columns)?;
    let formulas = match is_distinct {
        true => Vec::new(),
        false => expand::formulas(&grant, query.select.as_deref()),
    };
    let chosen = is_distinct.then_some(columns.as_slice());
    let requested = order::resolve(query.order.as_deref(), &grant, chosen)?;
    let (order, after) = match position {
        Some(position) => {
            if query.order.is_some() {
                position.agrees(&requested)?;
            }
            let order = order::resolve(Some(position.sort()), &grant, chosen)?;
            let cells = position.cells(&order)?;
            (order, Some(cells))
        }
        None => (requested, None),
    };
    let limit_max = u64::from(grant.schema.object.max_page_size.max(1));
    Ok(Plan {
        rows: rows.and(grant.rows.clone()),
        limit: query.limit.unwrap_or(LIMIT_DEFAULT).min(limit_max),
        offset: offset(&query)?,
        after,
        expand: expand::resolve(&query.expand, &grant, access)?,
        count: query.count,
        distinct: is_distinct,
        cursor_state: CursorState::new(&query, object, &order, access, cursor_key),
        columns,
        formulas,
        order,
        grant,
    })
}

/// Resolves what a single read of a granted object asks for.
///
/// # Errors
/// Those of `select` and `expand`.
pub fn project(
    select: Option<&[String]>,
    expand: &[ExpandNode],
    grant: &Arc<Grant>,
    access: &dyn Access,
) -> Result<Projection> {
    Ok(Projection {
        columns: expand::columns(grant, select, expand)?,
        formulas: expand::formulas(grant, select),
        expand: expand::resolve(expand, grant, access)?,
        grant: Arc::clone(grant),
    })
}

/// The formulas that a caller with that grant may read.
#[must_use]
pub fn readable_formulas(grant: &Grant) -> Vec<Arc<Formula>> {
    expand::formulas(grant, None)
}

/// Resolves one filter on its own, for callers that bring a grant: the grant's row predicate is
/// not in the answer.
///
/// # Errors
/// `INVALID_FILTER`, `INVALID_FIELD`, `PERMISSION_DENIED`.
pub fn predicate(filter: &Json, grant: &Arc<Grant>, access: &dyn Access) -> Result<Predicate> {
    resolve::resolve(&filter::read(filter)?, grant, access)
}

impl Plan {
    /// What an answer is made of: the columns to answer, then the inputs of formulas that are not
    /// among them.
    #[must_use]
    pub fn answer_columns(&self) -> Vec<ColumnRef> {
        with_inputs(&self.grant, &self.columns, &self.formulas)
    }

    /// What to read: the columns that the answer is made of, then the order columns that are not
    /// among them. Only the first [`Plan::columns`]`.len()` belong into the answer as they are.
    #[must_use]
    pub fn fetch_columns(&self) -> Vec<ColumnRef> {
        let mut columns = self.answer_columns();
        for order in &self.order {
            if !columns.contains(&order.column) {
                columns.push(order.column.clone());
            }
        }
        columns
    }

    /// For each order column its position in [`Plan::fetch_columns`].
    #[must_use]
    pub fn cursor_positions(&self) -> Vec<usize> {
        let columns = self.fetch_columns();
        self.order
            .iter()
            .filter_map(|order| columns.iter().position(|column| *column == order.column))
            .collect()
    }

    /// The page as the store reads it; `columns` are [`Plan::fetch_columns`].
    pub(in crate::kernel) fn page<'p>(
        &'p self,
        columns: &'p [ColumnRef],
    ) -> store::select::Page<'p> {
        store::select::Page {
            schema: &self.grant.schema,
            rows: &self.rows,
            columns,
            order: &self.order,
            after: self.after.as_deref(),
            offset: self.offset,
            limit: self.limit,
            distinct: self.distinct,
        }
    }

    /// The cursor of the page after a row; `last_row` holds its values of the order columns, in
    /// that order (see [`Plan::cursor_positions`]).
    #[must_use]
    pub fn next_cursor(&self, last_row: &[Cell]) -> String {
        debug_assert_eq!(
            last_row.len(),
            self.order.len(),
            "one value for each order column"
        );
        self.cursor_state.mint(last_row)
    }
}

fn filter(query: &Query, grant: &Arc<Grant>, access: &dyn Access) -> Result<Predicate> {
    let mut rows = match &query.filter {
        Some(filter) => predicate(filter, grant, access)?,
        None => Predicate::True,
    };
    for (name, values) in &query.implicit {
        let filter = filter::implicit(name, values);
        rows = rows.and(resolve::resolve(&filter, grant, access)?);
    }
    Ok(rows)
}

fn offset(query: &Query) -> Result<u64> {
    let offset = query.offset.unwrap_or(0);
    if i64::try_from(offset).is_err() {
        return Err(refuse::parameter("offset", "offset is out of range"));
    }
    Ok(offset)
}

/// Whether `distinct` changes anything: it does when `id` is not chosen. Then the columns are
/// those chosen and no others, and each must be readable: leaving one out would answer another
/// question (docs/reference/errors.md §8).
fn chooses_distinct(query: &Query, grant: &Grant, columns: &mut Vec<ColumnRef>) -> Result<bool> {
    let Some(select) = &query.select else {
        return Ok(false);
    };
    if select.iter().any(|name| name == "id") {
        return Ok(false);
    }
    for name in select {
        let column = resolve::column(grant, name, refuse::FIELD)?;
        if column.storage == Storage::Json || is_sealed(&column.field) {
            return Err(refuse::field(
                grant,
                name,
                refuse::QUERY,
                "has no distinct values",
            ));
        }
    }
    columns.retain(|column| column.field.name != "id");
    if columns.iter().any(|column| column.storage == Storage::Json) {
        return Err(refuse::query(
            "distinct",
            "a multi-value field cannot be expanded with distinct",
        ));
    }
    Ok(true)
}

/// Whether a field may stand in an answer, a filter or a sort of this caller.
fn is_visible(grant: &Grant, name: &str) -> bool {
    grant.schema.field(name).is_some_and(|field| {
        !field.internal && !matches!(field.field_type, FieldType::Password | FieldType::Secret)
    }) && (name == "id" || grant.can_read(name))
}

/// Whether the field holds a secret: it is never answered, and only asked whether it is set.
fn is_sealed(field: &Field) -> bool {
    field.field_type == FieldType::Secret && !field.internal
}

/// The object that a reference points to.
fn reference_target<'a>(schema: &'a Schema, field: &'a Field) -> Option<&'a str> {
    if !field.is_reference() {
        return None;
    }
    match (&field.reference, field.field_type) {
        (Some(target), _) => Some(target),
        (None, FieldType::Tree) => Some(schema.name()),
        (None, FieldType::User) => Some("sys_user"),
        (None, _) => None,
    }
}
