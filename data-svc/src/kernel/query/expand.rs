//! Which columns are read, and which references are replaced by the records they point to.
//!
//! Invariant: an expansion grants nothing: the target's own rights decide what of it is shown, and
//! without the right to read it the id stays.

use std::sync::Arc;

use mesh::{Error, Result, error::Reason};
use serde_json::Value as Json;

use crate::kernel::{
    access::Access,
    query::{filter, is_visible, parse, reference_target, refuse, resolve},
};
use crate::kernel::{
    access::Grant,
    model::{
        formula::Formula,
        predicate::{ColumnRef, Predicate},
    },
};

/// Levels below the record itself.
const DEPTH_MAX: usize = 3;
/// Expansions of one query, all levels together.
const COUNT_MAX: usize = 10;

/// One field to expand, as written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpandNode {
    /// Name of the reference field.
    pub field: String,
    /// Fields of the target to answer; all readable ones when absent.
    pub fields: Option<Vec<String>>,
    /// What the target must fit; otherwise the answer is null.
    pub filter: Option<Json>,
    /// Fields of the target to expand.
    pub nested: Vec<ExpandNode>,
}

/// One reference to replace by the record it points to.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// Name of the reference field.
    pub field: String,
    /// Its column, which holds the id, or a JSON array of ids.
    pub column: ColumnRef,
    /// What may be read of the target object; `None`: nothing, and the raw id stays.
    pub target: Option<Arc<Grant>>,
    /// What to read of the target; `id` first. Empty without `target`.
    pub columns: Vec<ColumnRef>,
    /// What to compute of the target.
    pub formulas: Vec<Arc<Formula>>,
    /// A target that may be read and does not fit this is answered as null.
    pub filter: Option<Predicate>,
    /// References of the target to replace.
    pub nested: Vec<Expansion>,
    /// Whether the column holds several ids.
    pub multiple: bool,
}

/// Reads `a,b.c`.
///
/// # Errors
/// `INVALID_QUERY`.
pub(super) fn read_text(text: &str) -> Result<Vec<ExpandNode>> {
    let text = text.trim();
    if text.starts_with(['[', '{']) {
        let value = crate::kernel::query::json::read(text.as_bytes())
            .map_err(|error| refuse::query("expand", format!("expand is not JSON: {error}")))?;
        return read(&value, 0);
    }
    let mut nodes = Vec::new();
    for name in parse::names(text) {
        add(&mut nodes, name);
    }
    Ok(nodes)
}

/// Reads the forms of a body: text, a list of names, or a map of names to what to do below.
///
/// # Errors
/// `INVALID_QUERY`.
pub(super) fn read(value: &Json, depth: usize) -> Result<Vec<ExpandNode>> {
    let shape = || refuse::query("expand", "expand takes names, a list of names or a map");
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    let mut nodes = Vec::new();
    match value {
        Json::Null => {}
        Json::String(text) => return read_text(text),
        Json::Array(items) => {
            for item in items {
                add(&mut nodes, item.as_str().ok_or_else(shape)?.trim());
            }
        }
        Json::Object(map) => {
            for (name, below) in map {
                let node = add(&mut nodes, name.trim());
                match below {
                    Json::Null | Json::Bool(true) => {}
                    Json::Object(options) => options_of(node, options, depth)?,
                    Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                        return Err(shape());
                    }
                }
            }
        }
        Json::Bool(_) | Json::Number(_) => return Err(shape()),
    }
    Ok(nodes)
}

fn options_of(
    node: &mut ExpandNode,
    options: &serde_json::Map<String, Json>,
    depth: usize,
) -> Result<()> {
    for (key, value) in options {
        match key.as_str() {
            "fields" | "select" => node.fields = parse::name_list("fields", value)?,
            "where" | "filter" | "filters" | "$filter" => {
                node.filter = Some(parse::filter_value(value)?);
            }
            "expand" | "populate" | "$expand" => node.nested.extend(read(value, depth + 1)?),
            // The reference ignores these below an expansion, and so do we (objectql.md §6).
            "limit" | "offset" | "orderBy" | "sort" => {}
            _ => {
                return Err(refuse::query(
                    "expand",
                    format!(
                        "expand of `{}` has no key `{}`",
                        refuse::echo(&node.field),
                        refuse::echo(key)
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Adds a dotted name to a forest and answers its last node.
fn add<'a>(nodes: &'a mut Vec<ExpandNode>, name: &str) -> &'a mut ExpandNode {
    let (first, rest) = name
        .split_once('.')
        .map_or((name, None), |(first, rest)| (first, Some(rest)));
    let index = nodes
        .iter()
        .position(|node| node.field == first)
        .unwrap_or_else(|| {
            nodes.push(ExpandNode {
                field: first.to_owned(),
                ..ExpandNode::default()
            });
            nodes.len() - 1
        });
    let node = &mut nodes[index];
    match rest {
        Some(rest) => add(&mut node.nested, rest),
        None => node,
    }
}

/// The columns to read: those chosen, or all; always `id`, and what is expanded. Fields that the
/// caller may not read are left out.
///
/// # Errors
/// `INVALID_FIELD` for a name that is no field.
pub(super) fn columns(
    grant: &Grant,
    select: Option<&[String]>,
    expand: &[ExpandNode],
) -> Result<Vec<ColumnRef>> {
    for name in select.unwrap_or_default() {
        if grant.schema.field(name).is_none() {
            return Err(
                refuse::unknown_field(grant, name, refuse::FIELD).with("parameter", "select")
            );
        }
    }
    let is_chosen = |name: &str| {
        select.is_none_or(|names| names.iter().any(|one| one == name))
            || expand.iter().any(|node| node.field == name)
    };
    let columns = grant.schema.columns.iter().filter(|column| {
        let name = &column.field.name;
        name == "id" || (is_chosen(name) && is_visible(grant, name))
    });
    Ok(columns.cloned().collect())
}

/// The formulas to answer: those chosen, or all, as far as the caller may read all their inputs: a
/// result tells what it was made of.
pub(super) fn formulas(grant: &Grant, select: Option<&[String]>) -> Vec<Arc<Formula>> {
    let is_chosen = |name: &String| select.is_none_or(|names| names.iter().any(|one| one == name));
    let formulas = grant.schema.formulas.values().filter(|formula| {
        is_chosen(&formula.name)
            && is_visible(grant, &formula.name)
            && formula.inputs.iter().all(|input| is_visible(grant, input))
    });
    formulas.cloned().collect()
}

/// The columns to answer, and behind them those that formulas read beside them.
pub fn with_inputs(
    grant: &Grant,
    columns: &[ColumnRef],
    formulas: &[Arc<Formula>],
) -> Vec<ColumnRef> {
    let mut all = columns.to_vec();
    for input in formulas.iter().flat_map(|formula| &formula.inputs) {
        if let Some(column) = grant.schema.column(input)
            && !all.contains(column)
        {
            all.push(Arc::clone(column));
        }
    }
    all
}

/// Resolves expansions against what may be read.
///
/// # Errors
/// `INVALID_FIELD`: no such field, or no reference; `PERMISSION_DENIED`: an unreadable field;
/// `INVALID_QUERY`: too deep or too many; and those of a nested filter.
pub(super) fn resolve(
    nodes: &[ExpandNode],
    grant: &Arc<Grant>,
    access: &dyn Access,
) -> Result<Vec<Expansion>> {
    if nodes.iter().map(count).sum::<usize>() > COUNT_MAX {
        return Err(
            refuse::query("expand", format!("more than {COUNT_MAX} expansions"))
                .with("limit", COUNT_MAX),
        );
    }
    level(nodes, grant, access, 1)
}

fn count(node: &ExpandNode) -> usize {
    1 + node.nested.iter().map(count).sum::<usize>()
}

fn level(
    nodes: &[ExpandNode],
    grant: &Arc<Grant>,
    access: &dyn Access,
    depth: usize,
) -> Result<Vec<Expansion>> {
    if depth > DEPTH_MAX && !nodes.is_empty() {
        return Err(too_deep());
    }
    nodes
        .iter()
        .map(|node| one(node, grant, access, depth))
        .collect()
}

fn one(
    node: &ExpandNode,
    grant: &Arc<Grant>,
    access: &dyn Access,
    depth: usize,
) -> Result<Expansion> {
    let column = resolve::column(grant, &node.field, refuse::FIELD)?;
    let target = reference_target(&grant.schema, &column.field);
    let Some(target) = target.filter(|_| column.field.is_reference()) else {
        return Err(refuse::field(
            grant,
            &node.field,
            refuse::FIELD,
            "refers to no other object",
        )
        .with("parameter", "expand"));
    };
    let mut expansion = Expansion {
        field: node.field.clone(),
        column: column.clone(),
        target: None,
        columns: Vec::new(),
        formulas: Vec::new(),
        filter: None,
        nested: Vec::new(),
        multiple: column.field.is_multi_value(),
    };
    let target = match access.read_grant(target) {
        Ok(target) => target,
        Err(error)
            if matches!(
                error.reason(),
                Reason::PermissionDenied | Reason::NotFound | Reason::MethodNotAllowed
            ) =>
        {
            return Ok(expansion);
        }
        Err(error) => return Err(error),
    };
    if let Some(filter) = &node.filter {
        expansion.filter = Some(resolve::resolve(&filter::read(filter)?, &target, access)?);
    }
    expansion.columns = columns(&target, node.fields.as_deref(), &node.nested)?;
    expansion.formulas = formulas(&target, node.fields.as_deref());
    expansion.nested = level(&node.nested, &target, access, depth + 1)?;
    expansion.target = Some(target);
    Ok(expansion)
}

fn too_deep() -> Error {
    refuse::query(
        "expand",
        format!("expand is deeper than {DEPTH_MAX} levels"),
    )
    .with("limit", DEPTH_MAX)
}
