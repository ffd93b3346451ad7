//! Summaries: fields that count or sum up the records that point to theirs (spec/field-types.md
//! §2). Here it is worked out, once for a revision, which records feed which field; the store
//! computes it in the transaction of the child's write.

use std::sync::Arc;

use indexmap::IndexMap;
use mesh::{Error, Result};
use metadata::{Summary, SummaryFunction};
use time::OffsetDateTime;

use super::{
    cell::Cell,
    policy::{FieldSet, Grant},
    predicate::{ColumnRef, Predicate},
    query::{self, Access},
    schema::{Schema, Storage},
};

/// What an object's records give to a summary of the record that they point to.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The reference to the parent.
    pub reference: ColumnRef,
    /// The parent's object, which is its table.
    pub parent: String,
    /// The parent's field.
    pub summary: ColumnRef,
    /// What is computed.
    pub function: SummaryFunction,
    /// Of which field; none for a count.
    pub summed: Option<ColumnRef>,
    /// Of which records. A moment in the filter is that of the revision: a stored value does not
    /// follow the clock.
    pub rows: Predicate,
}

impl Feed {
    /// The parent that a row gives to, and what; none where it gives nothing.
    fn given<'c>(&self, schema: &Schema, cells: Option<&'c [Cell]>) -> Option<(&'c str, &'c Cell)> {
        let cells = cells?;
        let cell = |column: &ColumnRef| cells.get(schema.position(&column.field.name)?);
        let parent = cell(&self.reference)?.as_text()?;
        let given = match &self.summed {
            Some(column) => cell(column)?,
            None => &Cell::Null,
        };
        self.rows.matches(schema, cells).then_some((parent, given))
    }

    /// The parents whose summary changes when a row does; a row that comes or goes has no image
    /// before or after.
    pub fn touched<'c>(
        &self,
        schema: &Schema,
        before: Option<&'c [Cell]>,
        after: Option<&'c [Cell]>,
    ) -> impl Iterator<Item = &'c str> {
        let (before, after) = (self.given(schema, before), self.given(schema, after));
        let both = [before, after];
        both.into_iter()
            .filter(move |_| before != after)
            .flatten()
            .map(|(parent, _)| parent)
    }
}

/// A summary that cannot be kept, and why.
#[derive(Debug)]
pub struct Unkept {
    /// The object that has it.
    pub object: String,
    /// The field.
    pub field: String,
    /// Why.
    pub why: String,
}

/// Tells every object which summaries its records feed. Answers the summaries that none feeds.
pub fn connect(schemas: &IndexMap<String, Arc<Schema>>, now: OffsetDateTime) -> Vec<Unkept> {
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
        Ok(Arc::new(Grant {
            schema: Arc::clone(self.child),
            rows: Predicate::True,
            check: Predicate::True,
            readable: FieldSet::All,
            editable: FieldSet::All,
            transfer: false,
        }))
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

/// What the summaries of a new record are: nothing points to it yet.
pub fn begin(schema: &Schema, cells: &mut [Cell]) {
    for (column, cell) in schema.columns.iter().zip(cells) {
        if let Some(summary) = &column.field.summary {
            *cell = match summary.function {
                SummaryFunction::Count | SummaryFunction::Sum => Cell::Double(0.0),
                SummaryFunction::Avg | SummaryFunction::Min | SummaryFunction::Max => Cell::Null,
            };
        }
    }
}
