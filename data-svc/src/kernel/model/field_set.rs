//! Which fields of an object somebody may read or write.

/// A set of fields of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldSet {
    /// All of them.
    All,
    /// All but these, sorted.
    AllBut(Vec<String>),
    /// Only these, sorted.
    Only(Vec<String>),
}

impl FieldSet {
    /// Whether the field is in the set.
    #[must_use]
    pub fn contains(&self, field: &str) -> bool {
        let listed = |names: &[String]| {
            names
                .binary_search_by(|name| name.as_str().cmp(field))
                .is_ok()
        };
        match self {
            Self::All => true,
            Self::AllBut(names) => !listed(names),
            Self::Only(names) => listed(names),
        }
    }
}
