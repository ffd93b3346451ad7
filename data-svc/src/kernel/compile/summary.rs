//! Summaries (docs/reference/field-types.md §2): which records feed which field.

use std::sync::Arc;

use indexmap::IndexMap;
use mesh::{Error, Result};
use metadata::{Summary, SummaryFunction};
use time::OffsetDateTime;

use crate::kernel::{
    access::{self, Access, Grant},
    model::{
        predicate::{ColumnRef, Predicate},
        schema::{Schema, Storage},
        summary::Feed,
    },
    query,
};

/// A summary that cannot be kept, and why.
#[derive(Debug)]
pub(super) struct Unkept {
    /// The object that has it.
    pub(super) object: String,
    /// The field.
    pub(super) field: String,
    /// Why.
    pub(super) why: String,
}

/// Tells every object which summaries its records feed. Answers the summaries that none feeds.
pub(super) fn connect(schemas: &IndexMap<String, Arc<Schema>>, now: OffsetDateTime) -> Vec<Unkept> {
    let mut feeds: IndexMap<&str, Vec<Feed>> = IndexMap::new();
    let mut unkept = Vec::new();
    for parent in schemas.values() {
        for column in &parent.columns {
            let Some(summary) = &column.field.summary else {
                continue;
            };
            match feed(schemas, parent, column, summary, now) {
                Ok(feed) => feeds.entry(&summary.object).or_default().push(feed),
                Err(why) => unkept.push(Unkept {
                    object: parent.name().to_owned(),
                    field: column.field.name.clone(),
                    why,
                }),
            }
        }
    }
    for (object, feeds) in feeds {
        if let Some(schema) = schemas.get(object) {
            schema.feed(feeds);
        }
    }
    unkept
}

fn feed(
    schemas: &IndexMap<String, Arc<Schema>>,
    parent: &Schema,
    column: &ColumnRef,
    summary: &Summary,
    now: OffsetDateTime,
) -> Result<Feed, String> {
    let child = schemas
        .get(&summary.object)
        .ok_or_else(|| format!("there is no object `{}`", summary.object))?;
    let points_here = |column: &&ColumnRef| {
        column.storage == Storage::Text
            && column.field.reference.as_deref() == Some(parent.name())
            && column.field.is_reference()
    };
    let named = summary.relationship_field.as_deref();
    let reference = child
        .columns
        .iter()
        .filter(points_here)
        .find(|column| named.is_none_or(|name| column.field.name == name))
        .ok_or_else(|| format!("no reference of `{}` points here", child.name()))?;
    let summed = match (summary.function, &summary.field) {
        (SummaryFunction::Count, _) | (_, None) => None,
        (_, Some(name)) => Some(
            child
                .column(name)
                .filter(|column| column.field.summary.is_none() && is_number(column.storage))
                .ok_or_else(|| format!("`{}.{name}` is no stored number", child.name()))?,
        ),
    };
    let mut rows = Predicate::True;
    if let Some(filter) = &summary.filter {
        let own = Own { child, now };
        let filtered = own
            .read_grant(child.name())
            .and_then(|grant| query::predicate(filter, &grant, &own));
        rows = filtered.map_err(|error| error.message().to_owned())?;
        if !rows.related().is_empty() {
            return Err("its filter asks for other records than the one it counts".to_owned());
        }
    }
    if child.object.soft_delete
        && let Some(deleted_at) = child.column("deleted_at")
    {
        rows = rows.and(Predicate::IsNull(Arc::clone(deleted_at)));
    }
    Ok(Feed {
        reference: Arc::clone(reference),
        parent: parent.name().to_owned(),
        summary: Arc::clone(column),
        function: summary.function,
        summed: summed.cloned(),
        rows,
    })
}

fn is_number(storage: Storage) -> bool {
    matches!(
        storage,
        Storage::Integer | Storage::Double | Storage::Decimal(_)
    )
}

/// What a summary's filter may ask: all of the child, and nothing else.
struct Own<'a> {
    child: &'a Arc<Schema>,
    now: OffsetDateTime,
}

impl Access for Own<'_> {
    fn read_grant(&self, object: &str) -> Result<Arc<Grant>> {
        if object != self.child.name() {
            return Err(Error::denied("the filter asks for another object"));
        }
        Ok(Arc::new(access::everything(self.child)))
    }

    fn now(&self) -> OffsetDateTime {
        self.now
    }

    fn user_id(&self) -> Option<&str> {
        None
    }

    fn organization_id(&self) -> Option<&str> {
        None
    }
}
