//! Permission sets: rights on objects, fields and rows. What they add up to for a caller is
//! decided by data-svc's policy compiler.

use indexmap::IndexMap;
use serde_json::Value;

use crate::diagnostics::Diagnostic;
use crate::reader::Sink;

/// A permission set, or a profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PermissionSet {
    /// API name.
    pub name: String,
    /// Name for people.
    pub label: String,
    /// Longer text for people.
    pub description: Option<String>,
    /// Marks a kind of user.
    pub is_profile: bool,
    /// Takes the place of the fallback set.
    pub is_default: bool,
    /// Rights by object name; `*` is every object the set does not name.
    pub objects: IndexMap<String, ObjectPermission>,
    /// Rights by object name, then field name.
    pub fields: IndexMap<String, IndexMap<String, FieldPermission>>,
    /// Capabilities such as `ai:chat`.
    pub system_permissions: Vec<String>,
    /// Which rows.
    pub row_level_security: Vec<RowLevelPolicy>,
    /// Visibility of apps and tabs.
    pub tab_permissions: IndexMap<String, String>,
    /// The package that declares it; empty outside a package.
    pub package_id: String,
}

impl PermissionSet {
    /// Reads a set, for example from an overlay; `None` when it cannot be used.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let path = format!("permissions.{name}");
        let set = crate::parse::permission::permission_set(name, value, path, &sink);
        (set, sink.into_diagnostics())
    }

    /// The rights on an object: its own entry, else that of `*`.
    pub fn object(&self, object: &str) -> Option<&ObjectPermission> {
        self.objects.get(object).or_else(|| self.objects.get("*"))
    }

    /// The entry of a field, if the set has one.
    pub fn field(&self, object: &str, field: &str) -> Option<&FieldPermission> {
        self.fields.get(object)?.get(field)
    }
}

/// Rights on an object. All bits are off unless written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ObjectPermission {
    /// Insert.
    pub allow_create: bool,
    /// Read.
    pub allow_read: bool,
    /// Change.
    pub allow_edit: bool,
    /// Delete.
    pub allow_delete: bool,
    /// Change the owner.
    pub allow_transfer: bool,
    /// Bring back.
    pub allow_restore: bool,
    /// Remove for good.
    pub allow_purge: bool,
    /// Export, where the set says so at all.
    pub allow_export: Option<bool>,
    /// Read whatever the sharing says.
    pub view_all_records: bool,
    /// Write whatever the sharing says.
    pub modify_all_records: bool,
}

impl ObjectPermission {
    /// Every bit on.
    pub fn all() -> Self {
        Self {
            allow_create: true,
            allow_read: true,
            allow_edit: true,
            allow_delete: true,
            allow_transfer: true,
            allow_restore: true,
            allow_purge: true,
            allow_export: Some(true),
            view_all_records: true,
            modify_all_records: true,
        }
    }

    /// May read, by its own bit or one that implies it.
    pub fn can_read(&self) -> bool {
        self.allow_read || self.view_all_records || self.modify_all_records
    }

    /// May change, by its own bit or one that implies it.
    pub fn can_edit(&self) -> bool {
        self.allow_edit || self.modify_all_records
    }

    /// May delete, by its own bit or one that implies it.
    pub fn can_delete(&self) -> bool {
        self.allow_delete || self.modify_all_records
    }

    /// May change the owner, by its own bit or one that implies it.
    pub fn can_transfer(&self) -> bool {
        self.allow_transfer || self.modify_all_records
    }
}

/// Rights on a field that has an entry. Fields without one are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldPermission {
    /// May be read; true unless written.
    pub readable: bool,
    /// May be written; false unless written.
    pub editable: bool,
}

/// A row policy. Where it names no `using` and no `check` it matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLevelPolicy {
    /// API name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// The object, or `*`.
    pub object: String,
    /// The operations it governs.
    pub operation: PolicyOperation,
    /// Rows it lets through, in either of the two policy languages.
    pub using: Option<String>,
    /// Condition on rows after a write; `using` where absent.
    pub check: Option<String>,
    /// Applies only to holders of these positions; to all when empty.
    pub positions: Vec<String>,
    /// Switched on.
    pub enabled: bool,
    /// Lower comes first.
    pub priority: i64,
}

/// The operations a row policy governs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyOperation {
    /// Reading and counting.
    Select,
    /// Inserting.
    Insert,
    /// Changing.
    Update,
    /// Deleting.
    Delete,
    /// All four.
    All,
}

impl PolicyOperation {
    /// The word used in metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyOperation::Select => "select",
            PolicyOperation::Insert => "insert",
            PolicyOperation::Update => "update",
            PolicyOperation::Delete => "delete",
            PolicyOperation::All => "all",
        }
    }

    /// Reads the word used in metadata.
    pub fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "select" | "read" => Some(PolicyOperation::Select),
            "insert" | "create" => Some(PolicyOperation::Insert),
            "update" | "edit" => Some(PolicyOperation::Update),
            "delete" => Some(PolicyOperation::Delete),
            "all" | "*" => Some(PolicyOperation::All),
            _ => None,
        }
    }

    /// Whether a policy of this kind governs `operation`.
    pub fn covers(self, operation: PolicyOperation) -> bool {
        self == PolicyOperation::All || self == operation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: Value) -> PermissionSet {
        PermissionSet::from_value("support_agent", &value)
            .0
            .unwrap()
    }

    #[test]
    fn reads_the_documented_form() {
        let set = set(json!({
            "objects": {"ticket": {"allowRead": true, "allowEdit": true}, "*": {"allowRead": false}},
            "fields": {"ticket.internal_cost": {"readable": false}},
            "systemPermissions": ["ai:chat"],
            "rowLevelSecurity": [{"name": "own_region", "object": "ticket", "operation": "select",
                "using": "region == current_user.region"}],
            "tabPermissions": {"crm": "visible"}
        }));
        assert!(set.object("ticket").unwrap().can_edit());
        assert!(!set.object("other").unwrap().can_read());
        let cost = set.field("ticket", "internal_cost").unwrap();
        assert!(!cost.readable && !cost.editable);
        assert_eq!(set.row_level_security[0].operation, PolicyOperation::Select);
        assert_eq!(set.tab_permissions["crm"], "visible");
    }

    #[test]
    fn what_cannot_be_read_does_not_open_anything() {
        let value = json!({
            "objects": {"ticket": {"allowRead": "perhaps"}, "odd": "none", "*": {"allowRead": true}},
            "fields": {"ticket.cost": {"readable": "perhaps"}},
            "rowLevelSecurity": [
                {"name": "broken", "object": "ticket", "operation": "sometimes", "using": "1 == 1"},
                {"name": "whose", "object": "ticket", "roles": [7], "using": "1 == 1"},
                {"name": "where", "using": "1 == 1"},
                {"name": "what", "object": "ticket"}]
        });
        let (set, findings) = PermissionSet::from_value("s", &value);
        let set = set.unwrap();
        assert!(!set.object("ticket").unwrap().can_read());
        assert!(!set.field("ticket", "cost").unwrap().readable);
        assert!(!set.object("odd").unwrap().can_read());
        assert_eq!(set.row_level_security.len(), 4);
        for policy in &set.row_level_security {
            assert!(policy.enabled && policy.using.is_none(), "{}", policy.name);
        }
        let codes: Vec<&str> = findings.iter().map(|d| d.code.as_str()).collect();
        for code in [
            "UNKNOWN_OPERATION",
            "POLICY_POSITIONS",
            "POLICY_WITHOUT_OBJECT",
            "POLICY_EMPTY",
        ] {
            assert!(codes.contains(&code), "{code}");
        }
    }
}
