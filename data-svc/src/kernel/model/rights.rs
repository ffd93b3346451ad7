//! What a set of permission sets grants on one object: the part of a decision that does not depend on
//! who asks.

use metadata::RowLevelPolicy;

use crate::kernel::model::field_set::FieldSet;

/// What is done to an object's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Get, list, query, expand, search, export.
    Read,
    /// Create.
    Create,
    /// Update.
    Edit,
    /// Delete.
    Delete,
}

impl Operation {
    /// The word in messages and details.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Edit => "edit",
            Self::Delete => "delete",
        }
    }
}

/// Rights on one object.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the bits of the contract's permission sets"
)]
pub struct Rights {
    /// May create.
    pub create: bool,
    /// May read.
    pub read: bool,
    /// May edit.
    pub edit: bool,
    /// May delete.
    pub delete: bool,
    /// May change the owner.
    pub transfer: bool,
    /// Reads every record.
    pub view_all: bool,
    /// Reads, edits and deletes every record.
    pub modify_all: bool,
    /// Which fields may be read.
    pub readable: FieldSet,
    /// Which fields may be written.
    pub editable: FieldSet,
    /// Row-level policies that apply to the object.
    pub policies: Vec<RowLevelPolicy>,
}

impl Rights {
    /// Whether the operation is granted at all.
    #[must_use]
    pub fn allows(&self, operation: Operation) -> bool {
        match operation {
            Operation::Read => self.read,
            Operation::Create => self.create,
            Operation::Edit => self.edit,
            Operation::Delete => self.delete,
        }
    }
}
