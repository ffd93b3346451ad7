//! Aggregation: groups of rows and what is counted and added up in them (docs/reference/objectql.md §7).
//!
//! Invariant: only readable columns are grouped or aggregated, over the rows that the grant reaches.

use std::sync::Arc;

use mesh::{Error, Result};
use serde_json::{Map, Value as Json};

use crate::kernel::{
    access::Access,
    query::{
        Query, filter,
        groups::{Having, Sort},
        order::SortKey,
        predicate, refuse, resolve,
    },
};
use crate::kernel::{
    access::Grant,
    model::{
        plan::{Bucket, Function, Key, Measure},
        predicate::{ColumnRef, Predicate},
        schema::Storage,
    },
    store::aggregate::Groups,
};

/// Group keys and aggregations of one query.
const KEYS_MAX: usize = 10;
const AGGREGATIONS_MAX: usize = 50;
/// Groups a page: by default and at most.
const LIMIT_DEFAULT: u64 = 1_000;
const LIMIT_MAX: u64 = 10_000;

/// A group key as written.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupKey {
    /// The field.
    pub field: String,
    /// How a moment is cut, if it is.
    pub bucket: Option<Bucket>,
    /// Its name in the answer.
    pub alias: String,
}

/// An aggregation as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    /// What is done.
    pub function: Function,
    /// With which field; none only for `count`.
    pub field: Option<String>,
    /// Its name in the answer.
    pub alias: String,
    /// Whether equal values count once.
    pub distinct: bool,
    /// Only rows that this filter fits.
    pub filter: Option<Json>,
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("count", Function::Count),
    ("count_distinct", Function::CountDistinct),
    ("countDistinct", Function::CountDistinct),
    ("sum", Function::Sum),
    ("avg", Function::Avg),
    ("min", Function::Min),
    ("max", Function::Max),
];
const BUCKETS: &[(&str, Bucket)] = &[
    ("year", Bucket::Year),
    ("quarter", Bucket::Quarter),
    ("month", Bucket::Month),
    ("week", Bucket::Week),
    ("day", Bucket::Day),
    ("hour", Bucket::Hour),
];

/// A checked plan of an aggregation.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// The object, and what may be read of it.
    pub grant: Arc<Grant>,
    /// Which rows.
    pub rows: Predicate,
    /// By what they are grouped; without any there is one group.
    pub keys: Vec<Key>,
    /// What is made of each group.
    pub measures: Vec<Measure>,
    /// Which groups are answered.
    pub(super) having: Option<Having>,
    /// In which order, before that of the keys.
    pub(super) order: Vec<Sort>,
    /// Groups a page.
    pub limit: u64,
    /// Groups to skip.
    pub offset: u64,
    /// Whether to count the groups.
    pub count: bool,
}

impl Aggregate {
    /// The groups as the store reads them.
    pub(in crate::kernel) fn groups(&self) -> Groups<'_> {
        Groups {
            schema: &self.grant.schema,
            rows: &self.rows,
            keys: &self.keys,
            measures: &self.measures,
        }
    }
}

/// Reads `groupBy`.
///
/// # Errors
/// `INVALID_QUERY`.
pub(super) fn read_keys(value: &Json) -> Result<Vec<GroupKey>> {
    let items = match value {
        Json::String(_) | Json::Object(_) => std::slice::from_ref(value),
        Json::Array(items) => items,
        Json::Null | Json::Bool(_) | Json::Number(_) => {
            return Err(refuse::query("groupBy", "groupBy takes a list of fields"));
        }
    };
    if items.len() > KEYS_MAX {
        return Err(too_many("groupBy", KEYS_MAX));
    }
    items.iter().map(read_key).collect()
}

fn read_key(value: &Json) -> Result<GroupKey> {
    let map = match value {
        Json::String(field) => {
            return Ok(GroupKey {
                field: field.clone(),
                bucket: None,
                alias: field.clone(),
            });
        }
        Json::Object(map) => map,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
            return Err(refuse::query("groupBy", "a group is a field or an object"));
        }
    };
    only("groupBy", map, &["field", "dateGranularity", "alias"])?;
    let field =
        text(map, "field").ok_or_else(|| refuse::query("groupBy", "a group names a field"))?;
    let bucket = match map.get("dateGranularity").filter(|value| !value.is_null()) {
        None => None,
        Some(word) => {
            let known = BUCKETS.iter().find(|(name, _)| word == name);
            let known = known.ok_or_else(|| {
                let names: Vec<&str> = BUCKETS.iter().map(|(name, _)| *name).collect();
                let message = "dateGranularity is none that there is";
                refuse::query("dateGranularity", message).with("hint", names.join(", "))
            })?;
            Some(known.1)
        }
    };
    let alias = text(map, "alias").unwrap_or(field).to_owned();
    Ok(GroupKey {
        field: field.to_owned(),
        bucket,
        alias,
    })
}

/// Reads `aggregations`.
///
/// # Errors
/// `INVALID_QUERY`.
pub(super) fn read_aggregations(value: &Json) -> Result<Vec<Aggregation>> {
    let Json::Array(items) = value else {
        return Err(refuse::query("aggregations", "aggregations takes a list"));
    };
    if items.len() > AGGREGATIONS_MAX {
        return Err(too_many("aggregations", AGGREGATIONS_MAX));
    }
    items.iter().map(read_aggregation).collect()
}

fn read_aggregation(value: &Json) -> Result<Aggregation> {
    let wrong = |message: &str| refuse::query("aggregations", message);
    let map = value
        .as_object()
        .ok_or_else(|| wrong("an aggregation is an object"))?;
    let keys = ["function", "field", "alias", "distinct", "filter"];
    only("aggregations", map, &keys)?;
    let word = text(map, "function").ok_or_else(|| wrong("an aggregation names its function"))?;
    let known = FUNCTIONS.iter().find(|(name, _)| *name == word);
    let function = known.ok_or_else(|| {
        let names: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
        let message = format!("there is no function `{}`", refuse::echo(word));
        wrong(&message).with("hint", names.join(", "))
    })?;
    let alias = text(map, "alias").ok_or_else(|| {
        wrong("an aggregation has an `alias`").with("hint", "the name of its value in the answer")
    })?;
    let field = text(map, "field").filter(|field| *field != "*");
    if field.is_none() && function.1 != Function::Count {
        return Err(wrong(&format!("`{word}` needs a field")));
    }
    let distinct = match map.get("distinct") {
        None | Some(Json::Null) => false,
        Some(Json::Bool(flag)) => *flag,
        Some(_) => return Err(wrong("`distinct` must be true or false")),
    };
    let filter = map.get("filter").filter(|filter| !filter.is_null());
    Ok(Aggregation {
        function: function.1,
        field: field.map(str::to_owned),
        alias: alias.to_owned(),
        distinct,
        filter: filter
            .map(crate::kernel::query::parse::filter_value)
            .transpose()?,
    })
}

fn text<'m>(map: &'m Map<String, Json>, key: &str) -> Option<&'m str> {
    let text = map.get(key).and_then(Json::as_str);
    text.filter(|text| !text.is_empty())
}

fn only(parameter: &str, map: &Map<String, Json>, keys: &[&str]) -> Result<()> {
    match map.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let message = format!("`{parameter}` has no key `{}`", refuse::echo(key));
            Err(refuse::query(parameter, message).with("hint", keys.join(", ")))
        }
    }
}

fn too_many(parameter: &str, limit: usize) -> Error {
    refuse::query(
        parameter,
        format!("`{parameter}` has more than {limit} entries"),
    )
    .with("limit", limit)
}

/// Resolves an aggregation against what the caller may read.
///
/// # Errors
/// `INVALID_QUERY`, `INVALID_FIELD`, `INVALID_FILTER`, `INVALID_SORT`; `PERMISSION_DENIED` for fields
/// that the caller may not read.
pub fn plan(query: &Query, grant: &Arc<Grant>, access: &dyn Access) -> Result<Aggregate> {
    for (key, given) in [
        ("fields", query.select.is_some()),
        ("expand", !query.expand.is_empty()),
        ("cursor", query.cursor.is_some()),
        ("distinct", query.distinct),
    ] {
        if given {
            let message = format!("`{key}` does not go with groups and aggregations");
            return Err(refuse::query(key, message));
        }
    }
    let rows = crate::kernel::query::filter(query, grant, access)?;
    let keys = query.group_by.iter().map(|key| resolve_key(grant, key));
    let keys: Vec<Key> = keys.collect::<Result<_>>()?;
    let measures = query.aggregations.iter();
    let measures = measures.map(|one| resolve_measure(grant, one, access));
    let measures: Vec<Measure> = measures.collect::<Result<_>>()?;
    let names: Vec<&str> = keys
        .iter()
        .map(|key| key.alias.as_str())
        .chain(measures.iter().map(|measure| measure.alias.as_str()))
        .collect();
    check_names(&names)?;
    let having = query.having.as_ref().map(filter::read).transpose()?;
    let having = having.map(|read| Having::new(read, &names)).transpose()?;
    let order = query.order.as_deref().unwrap_or_default();
    let order = order.iter().map(|key| sort(key, &names));
    Ok(Aggregate {
        order: order.collect::<Result<_>>()?,
        having,
        rows: rows.and(grant.rows.clone()),
        limit: query.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX),
        offset: crate::kernel::query::offset(query)?,
        count: query.count,
        grant: Arc::clone(grant),
        keys,
        measures,
    })
}

fn resolve_key(grant: &Grant, key: &GroupKey) -> Result<Key> {
    let column = groupable(grant, &key.field)?;
    let is_moment = matches!(column.storage, Storage::Date | Storage::DateTime);
    let hours_of_a_day = key.bucket == Some(Bucket::Hour) && column.storage == Storage::Date;
    if key.bucket.is_some() && (!is_moment || hours_of_a_day) {
        let why = "has no such dateGranularity";
        return Err(refuse::field(grant, &key.field, refuse::QUERY, why));
    }
    Ok(Key {
        column: Arc::clone(column),
        bucket: key.bucket,
        alias: key.alias.clone(),
    })
}

fn resolve_measure(grant: &Arc<Grant>, one: &Aggregation, access: &dyn Access) -> Result<Measure> {
    let filter = one.filter.as_ref();
    let filter = filter.map(|filter| predicate(filter, grant, access));
    let column = match &one.field {
        None => None,
        Some(name) => {
            let column = groupable(grant, name)?;
            let numeric = matches!(
                column.storage,
                Storage::Integer | Storage::Double | Storage::Decimal(_)
            );
            let fits = match one.function {
                Function::Sum | Function::Avg => numeric,
                Function::Min | Function::Max => column.storage != Storage::Boolean,
                Function::Count | Function::CountDistinct => true,
            };
            if !fits {
                let why = "cannot be aggregated by that function";
                return Err(refuse::field(grant, name, refuse::QUERY, why));
            }
            Some(Arc::clone(column))
        }
    };
    Ok(Measure {
        function: one.function,
        column,
        distinct: one.distinct,
        filter: filter.transpose()?,
        alias: one.alias.clone(),
    })
}

/// A column whose values can be told apart.
fn groupable<'g>(grant: &'g Grant, name: &str) -> Result<&'g ColumnRef> {
    let column = resolve::column(grant, name, refuse::FIELD)?;
    if column.storage == Storage::Json || crate::kernel::query::is_sealed(&column.field) {
        let why = "has no single value to group or aggregate by";
        return Err(refuse::field(grant, name, refuse::QUERY, why));
    }
    Ok(column)
}

fn check_names(names: &[&str]) -> Result<()> {
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            let message = format!("`{}` names two columns of the answer", refuse::echo(name));
            return Err(refuse::query("alias", message));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            let message = format!("`{}` cannot be an alias", refuse::echo(name));
            let hint = "letters, digits and _, at most 64";
            return Err(refuse::query("alias", message).with("hint", hint));
        }
    }
    if names.is_empty() {
        return Err(refuse::query("aggregations", "nothing is asked for"));
    }
    Ok(())
}

fn sort(key: &SortKey, names: &[&str]) -> Result<Sort> {
    let position = names.iter().position(|name| *name == key.field);
    let position = position.ok_or_else(|| {
        let message = format!("`{}` is no group key or alias", refuse::echo(&key.field));
        Error::validation(refuse::SORT, message)
            .with("field", refuse::echo(&key.field))
            .with("hint", names.join(", "))
    })?;
    Ok(Sort {
        position,
        descending: key.descending,
    })
}
