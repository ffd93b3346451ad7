//! Business objects: fields, rules, capabilities and the default access to their records.

use indexmap::IndexMap;
use serde_json::Value;

use crate::diagnostics::Diagnostic;
use crate::field::{Field, FieldType};
use crate::reader::Sink;
use crate::rule::Validation;

/// A business object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// API name, also its table.
    pub name: String,
    /// Name of one record, for people.
    pub label: String,
    /// Name of many.
    pub plural_label: String,
    /// Longer text for people.
    pub description: Option<String>,
    /// Icon name.
    pub icon: Option<String>,
    /// Declared fields in display order; with the server's own after
    /// [`Object::with_system_fields`].
    pub fields: IndexMap<String, Field>,
    /// `nameField` or `displayNameField` as written; see [`Object::title_field`].
    pub name_field: Option<String>,
    /// Template of a record's title.
    pub title_format: Option<String>,
    /// Indexes over several fields.
    pub indexes: Vec<Index>,
    /// Rules, in the order they are checked.
    pub validations: Vec<Validation>,
    /// Declared default access; see [`Object::owd`].
    pub sharing_model: Option<OwdModel>,
    /// Whether the API serves it at all.
    pub api_enabled: bool,
    /// The operations the API allows; all when absent.
    pub api_methods: Option<Vec<ApiMethod>>,
    /// Deleting marks instead of removing.
    pub soft_delete: bool,
    /// Upper bound of `limit`.
    pub max_page_size: u32,
    /// Which of the server's fields it wants.
    pub system_fields: SystemFields,
    /// Whether an owner was asked for by `ownership`.
    pub ownership: bool,
    /// Records belong to an organisation.
    pub tenancy: bool,
    /// Fields without an entry in a permission set are closed.
    pub field_default_deny: bool,
    /// Part of global search.
    pub searchable: bool,
    /// Fields of `search`, where the object names them.
    pub search_fields: Vec<String>,
    /// Changes go to the record's history.
    pub track_history: bool,
    /// Records may be cloned.
    pub cloneable: bool,
    /// Declared as part of the platform.
    pub is_system: bool,
    /// The package that declares it; empty outside a package.
    pub package_id: String,
}

impl Object {
    /// An object without fields, every default in place.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let label = title_case(&name);
        Self {
            plural_label: plural(&label),
            label,
            name,
            description: None,
            icon: None,
            fields: IndexMap::new(),
            name_field: None,
            title_format: None,
            indexes: Vec::new(),
            validations: Vec::new(),
            sharing_model: None,
            api_enabled: true,
            api_methods: None,
            soft_delete: false,
            max_page_size: 200,
            system_fields: SystemFields::default(),
            ownership: false,
            tenancy: false,
            field_default_deny: false,
            searchable: true,
            search_fields: Vec::new(),
            track_history: false,
            cloneable: true,
            is_system: false,
            package_id: String::new(),
        }
    }

    /// Reads an object, for example from an overlay; `None` when it cannot be used, with the
    /// reason among the findings.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let path = format!("objects.{name}");
        let object = crate::parse::object::object(name, value, path, &sink);
        (object, sink.into_diagnostics())
    }

    /// Adds the fields the server owns. A declared field of the same name keeps its label and
    /// its place; what it holds and who writes it is the server's. Doing it twice changes nothing.
    #[must_use]
    pub fn with_system_fields(self) -> Self {
        crate::system_fields::inject(self)
    }

    /// The default access to its records, after the rule for objects that state none: private
    /// if there is an owner, else open. Without an owner, private has nobody to be private to.
    pub fn owd(&self) -> OwdModel {
        let owned = self.has_owner();
        match self.sharing_model {
            Some(OwdModel::Private) | None if !owned => OwdModel::PublicReadWrite,
            Some(model) => model,
            None => OwdModel::Private,
        }
    }

    /// Whether records have an owner, injected already or not.
    pub fn has_owner(&self) -> bool {
        self.fields.contains_key("owner_id") || self.wants_owner()
    }

    /// Whether the sharing model or `ownership` calls for an `owner_id`.
    pub(crate) fn wants_owner(&self) -> bool {
        let model = matches!(
            self.sharing_model,
            Some(OwdModel::Private | OwdModel::PublicRead)
        );
        self.system_fields.any && self.system_fields.owner && (model || self.ownership)
    }

    /// The field whose value names a record. `titleFormat`, where present, goes before it.
    pub fn title_field(&self) -> Option<&str> {
        const USUAL: [&str; 6] = ["name", "full_name", "title", "subject", "label", "company"];
        let declared = self.name_field.as_deref();
        declared
            .into_iter()
            .chain(USUAL)
            .find_map(|name| self.fields.get_key_value(name))
            .map(|(name, _)| name.as_str())
    }

    /// Whether the API offers the operation on this object.
    pub fn allows(&self, method: ApiMethod) -> bool {
        self.api_enabled
            && self
                .api_methods
                .as_ref()
                .is_none_or(|methods| methods.contains(&method))
    }

    /// The field by which records follow their parent.
    pub fn master_field(&self) -> Option<&Field> {
        self.fields
            .values()
            .find(|field| field.field_type == FieldType::MasterDetail)
    }
}

/// Organisation-wide default: what everybody may do with records that nobody shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwdModel {
    /// The owner and those above.
    Private,
    /// All read, the owner and those above write.
    PublicRead,
    /// All read and write.
    PublicReadWrite,
    /// As the master record.
    ControlledByParent,
}

impl OwdModel {
    /// The word used in metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            OwdModel::Private => "private",
            OwdModel::PublicRead => "public_read",
            OwdModel::PublicReadWrite => "public_read_write",
            OwdModel::ControlledByParent => "controlled_by_parent",
        }
    }

    /// Reads the word used in metadata, in old spellings too.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "private" => Some(OwdModel::Private),
            "public_read" | "read" => Some(OwdModel::PublicRead),
            "public_read_write" | "read_write" | "full" => Some(OwdModel::PublicReadWrite),
            "controlled_by_parent" => Some(OwdModel::ControlledByParent),
            _ => None,
        }
    }
}

/// Which of the server's fields an object wants; `id` always comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemFields {
    /// False for `systemFields: false`: only `id`.
    pub any: bool,
    /// `organization_id`, where records belong to an organisation.
    pub tenant: bool,
    /// `owner_id`, where the sharing model needs one.
    pub owner: bool,
    /// `created_at`, `created_by`, `updated_at`, `updated_by`.
    pub audit: bool,
}

impl Default for SystemFields {
    fn default() -> Self {
        Self {
            any: true,
            tenant: true,
            owner: true,
            audit: true,
        }
    }
}

/// An operation of the record API that an object may allow or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiMethod {
    /// Read one record.
    Get,
    /// Read many.
    List,
    /// Insert.
    Create,
    /// Change.
    Update,
    /// Delete.
    Delete,
    /// Insert or change by key.
    Upsert,
    /// Many writes at once.
    Bulk,
    /// Group and count.
    Aggregate,
    /// Read past versions.
    History,
    /// Full-text search.
    Search,
    /// Bring back a deleted record.
    Restore,
    /// Remove for good.
    Purge,
    /// Load a file.
    Import,
    /// Write a file.
    Export,
}

impl ApiMethod {
    /// Every operation.
    pub const ALL: [ApiMethod; 14] = [
        ApiMethod::Get,
        ApiMethod::List,
        ApiMethod::Create,
        ApiMethod::Update,
        ApiMethod::Delete,
        ApiMethod::Upsert,
        ApiMethod::Bulk,
        ApiMethod::Aggregate,
        ApiMethod::History,
        ApiMethod::Search,
        ApiMethod::Restore,
        ApiMethod::Purge,
        ApiMethod::Import,
        ApiMethod::Export,
    ];

    /// The word used in metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            ApiMethod::Get => "get",
            ApiMethod::List => "list",
            ApiMethod::Create => "create",
            ApiMethod::Update => "update",
            ApiMethod::Delete => "delete",
            ApiMethod::Upsert => "upsert",
            ApiMethod::Bulk => "bulk",
            ApiMethod::Aggregate => "aggregate",
            ApiMethod::History => "history",
            ApiMethod::Search => "search",
            ApiMethod::Restore => "restore",
            ApiMethod::Purge => "purge",
            ApiMethod::Import => "import",
            ApiMethod::Export => "export",
        }
    }

    /// Reads the word used in metadata.
    pub fn parse(word: &str) -> Option<Self> {
        ApiMethod::ALL.into_iter().find(|m| m.as_str() == word)
    }
}

/// An index over one or more fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name, where one is written.
    pub name: Option<String>,
    /// Field names, in order.
    pub fields: Vec<String>,
    /// The access method.
    pub kind: IndexKind,
    /// Two records may not have the same values.
    pub unique: bool,
    /// Condition of a partial index, as written.
    pub partial: Option<String>,
}

/// Access method of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IndexKind {
    /// Ordered.
    #[default]
    Btree,
    /// Equality only.
    Hash,
    /// Inverted.
    Gin,
    /// Generalised search tree.
    Gist,
    /// Text search.
    Fulltext,
}

impl IndexKind {
    /// The word used in metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            IndexKind::Btree => "btree",
            IndexKind::Hash => "hash",
            IndexKind::Gin => "gin",
            IndexKind::Gist => "gist",
            IndexKind::Fulltext => "fulltext",
        }
    }

    /// Reads the word used in metadata.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            IndexKind::Btree,
            IndexKind::Hash,
            IndexKind::Gin,
            IndexKind::Gist,
            IndexKind::Fulltext,
        ];
        all.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a package adds to an object of another package.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectExtension {
    /// The object extended.
    pub extend: String,
    /// Replaces the label.
    pub label: Option<String>,
    /// Replaces the plural label.
    pub plural_label: Option<String>,
    /// Replaces the description.
    pub description: Option<String>,
    /// Added fields; one of the same name replaces the original's.
    pub fields: IndexMap<String, Field>,
    /// Added rules.
    pub validations: Vec<Validation>,
    /// Added indexes.
    pub indexes: Vec<Index>,
    /// Lower is applied first, so that the highest has the last word.
    pub priority: i64,
    /// As written.
    pub value: Value,
}

/// `support_ticket` as people read it: `Support Ticket`.
pub fn title_case(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    let mut out = String::with_capacity(name.len());
    for word in words {
        if !out.is_empty() {
            out.push(' ');
        }
        let mut chars = word.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

/// A serviceable English plural for objects that state none.
pub(crate) fn plural(label: &str) -> String {
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| label.ends_with(suffix));
    if ends(&["ay", "ey", "oy", "uy"]) || !ends(&["y", "s", "x", "ch", "sh"]) {
        return format!("{label}s");
    }
    match label.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{label}es"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object::from_value("ticket", &value).0.unwrap()
    }

    #[test]
    fn labels_come_from_the_name() {
        let object = Object::new("support_category");
        assert_eq!(object.label, "Support Category");
        assert_eq!(object.plural_label, "Support Categories");
        assert_eq!(plural("Box"), "Boxes");
        assert_eq!(plural("Day"), "Days");
    }

    #[test]
    fn unset_sharing_model_follows_the_owner() {
        assert_eq!(object(json!({})).owd(), OwdModel::PublicReadWrite);
        let owned = json!({"fields": {"owner_id": {"type": "lookup", "reference": "sys_user"}}});
        assert_eq!(object(owned).owd(), OwdModel::Private);
    }

    #[test]
    fn declared_private_brings_its_owner_unless_opted_out() {
        let private = object(json!({"sharingModel": "private"}));
        assert_eq!(private.owd(), OwdModel::Private);
        let ownerless = json!({"sharingModel": "private", "systemFields": {"owner": false}});
        assert_eq!(object(ownerless).owd(), OwdModel::PublicReadWrite);
    }

    #[test]
    fn owd_is_the_same_before_and_after_injection() {
        for model in [
            "private",
            "public_read",
            "read",
            "full",
            "controlled_by_parent",
        ] {
            let object = object(json!({"sharingModel": model}));
            assert_eq!(
                object.owd(),
                object.clone().with_system_fields().owd(),
                "{model}"
            );
        }
    }

    #[test]
    fn title_field_falls_back_to_the_usual_names() {
        let fields = json!({"subject": {"type": "text"}, "code": {"type": "text"}});
        assert_eq!(
            object(json!({"fields": fields})).title_field(),
            Some("subject")
        );
        let named = json!({"fields": fields, "displayNameField": "code"});
        assert_eq!(object(named).title_field(), Some("code"));
        let dangling = json!({"fields": fields, "nameField": "gone"});
        assert_eq!(object(dangling).title_field(), Some("subject"));
        assert_eq!(object(json!({})).title_field(), None);
    }

    #[test]
    fn api_methods_narrow() {
        let open = object(json!({}));
        assert!(open.allows(ApiMethod::Purge));
        let narrow = object(json!({"enable": {"apiMethods": ["get", "list"]}}));
        assert!(narrow.allows(ApiMethod::List) && !narrow.allows(ApiMethod::Create));
        assert!(!object(json!({"apiEnabled": false})).allows(ApiMethod::Get));
    }
}
