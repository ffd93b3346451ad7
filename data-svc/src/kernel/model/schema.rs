//! An object as the engine sees it: its declaration, and where each field is stored.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use indexmap::IndexMap;
pub use metadata::Storage;
use metadata::{Field, Object};

use super::{cell::Cell, formula::Formula, summary::Feed};

/// An object that can be read and written.
#[derive(Debug)]
pub struct Schema {
    /// The declaration, system fields included.
    pub object: Object,
    /// The stored fields, in the order of the declaration; `id` is always first.
    pub columns: Vec<Arc<Column>>,
    /// The fields computed on read, by name.
    pub formulas: IndexMap<String, Arc<Formula>>,
    by_field: HashMap<String, usize>,
    /// Set once all objects are known.
    feeds: OnceLock<Vec<Feed>>,
}

/// A stored field.
#[derive(Debug)]
pub struct Column {
    /// The field's declaration.
    pub field: Field,
    /// Name of the column.
    pub name: String,
    /// How its values are stored.
    pub storage: Storage,
}

impl Schema {
    /// The schema of an object whose system fields are injected already, with its formulas compiled.
    #[must_use]
    pub fn new(object: Object, formulas: IndexMap<String, Arc<Formula>>) -> Self {
        let mut columns: Vec<Arc<Column>> = object
            .fields
            .values()
            .filter_map(|field| {
                Some(Arc::new(Column {
                    name: field.column.clone(),
                    storage: field.storage()?,
                    field: field.clone(),
                }))
            })
            .collect();
        columns.sort_by_key(|column| column.field.name != "id");
        let by_field = columns
            .iter()
            .enumerate()
            .map(|(index, column)| (column.field.name.clone(), index))
            .collect();
        Self {
            formulas,
            object,
            columns,
            by_field,
            feeds: OnceLock::new(),
        }
    }

    /// Name of the object, and of its table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.object.name
    }

    /// The stored field of that name.
    #[must_use]
    pub fn column(&self, field: &str) -> Option<&Arc<Column>> {
        self.by_field.get(field).map(|index| &self.columns[*index])
    }

    /// Position of a stored field in [`Schema::columns`].
    #[must_use]
    pub fn position(&self, field: &str) -> Option<usize> {
        self.by_field.get(field).copied()
    }

    /// The declared field of that name, stored or not.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.object.fields.get(name)
    }

    /// The summaries of other records that this object's records feed.
    #[must_use]
    pub fn feeds(&self) -> &[Feed] {
        self.feeds.get().map_or(&[], Vec::as_slice)
    }

    /// States, once, which summaries the records feed.
    pub(in crate::kernel) fn feed(&self, feeds: Vec<Feed>) {
        self.feeds.get_or_init(|| feeds);
    }

    /// The version among the cells of a record; 0 when it has none.
    #[must_use]
    pub fn version_of(&self, cells: &[Cell]) -> i64 {
        match self.position("version").map(|position| &cells[position]) {
            Some(Cell::Integer(version)) => *version,
            _ => 0,
        }
    }

    /// The text of a field of a record, where it holds one.
    #[must_use]
    pub fn text_of<'c>(&self, cells: &'c [Cell], field: &str) -> Option<&'c str> {
        cells[self.position(field)?].as_text()
    }

    /// Sets a field of a record, where the object stores it.
    pub(in crate::kernel) fn put(&self, cells: &mut [Cell], field: &str, cell: Cell) {
        if let Some(position) = self.position(field) {
            cells[position] = cell;
        }
    }

    /// Whether records carry a version.
    #[must_use]
    pub fn is_versioned(&self) -> bool {
        self.by_field.contains_key("version")
    }
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.field.name == other.field.name
    }
}
