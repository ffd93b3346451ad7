//! The kinds of metadata item, and the one table that says how each is spelled and treated.

mod table;

use std::fmt;

/// A kind of metadata item, named in URLs by its singular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemType {
    /// A business object and its fields.
    Object,
    /// A field added to an object on its own.
    Field,
    /// A database-side trigger.
    Trigger,
    /// A validation rule on its own.
    Validation,
    /// A script around writes and reads.
    Hook,
    /// Fixture records.
    Seed,
    /// A named import mapping.
    Mapping,
    /// An analytics dataset.
    Dataset,
    /// An analytics cube (the older form of a dataset).
    Cube,
    /// List and form views of an object.
    View,
    /// A page.
    Page,
    /// A dashboard.
    Dashboard,
    /// An application: navigation and home page.
    App,
    /// Something a user or agent may do.
    Action,
    /// A report.
    Report,
    /// Colours and fonts.
    Theme,
    /// A durable automation.
    Flow,
    /// A field-update style automation of the older era.
    Workflow,
    /// An approval process.
    Approval,
    /// Scheduled work.
    Job,
    /// An outgoing call on changes.
    Webhook,
    /// A database connection.
    Datasource,
    /// Texts in other languages.
    Translation,
    /// A custom router.
    Router,
    /// A named callable.
    Function,
    /// A platform service.
    Service,
    /// An e-mail template.
    EmailTemplate,
    /// A connection to an outside system.
    Connector,
    /// A custom API description.
    Api,
    /// A documentation page.
    Doc,
    /// A permission set.
    Permission,
    /// A permission set that marks a kind of user.
    Profile,
    /// A position in the hierarchy (formerly role).
    Position,
    /// A rule that shares records.
    SharingRule,
    /// A security policy.
    Policy,
    /// An AI agent.
    Agent,
    /// A tool an agent may call.
    Tool,
    /// A bundle of tools and instructions.
    Skill,
}

impl ItemType {
    /// Every type, in the order the registry lists them.
    pub const ALL: [ItemType; 38] = [
        ItemType::Object,
        ItemType::Field,
        ItemType::Trigger,
        ItemType::Validation,
        ItemType::Hook,
        ItemType::Seed,
        ItemType::Mapping,
        ItemType::Dataset,
        ItemType::Cube,
        ItemType::View,
        ItemType::Page,
        ItemType::Dashboard,
        ItemType::App,
        ItemType::Action,
        ItemType::Report,
        ItemType::Theme,
        ItemType::Flow,
        ItemType::Workflow,
        ItemType::Approval,
        ItemType::Job,
        ItemType::Webhook,
        ItemType::Datasource,
        ItemType::Translation,
        ItemType::Router,
        ItemType::Function,
        ItemType::Service,
        ItemType::EmailTemplate,
        ItemType::Connector,
        ItemType::Api,
        ItemType::Doc,
        ItemType::Permission,
        ItemType::Profile,
        ItemType::Position,
        ItemType::SharingRule,
        ItemType::Policy,
        ItemType::Agent,
        ItemType::Tool,
        ItemType::Skill,
    ];

    /// The singular used in URLs: `email_template`.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The plural in snake_case, which is also the folder of an app directory.
    pub fn plural(self) -> &'static str {
        self.row().plural
    }

    /// The top-level key of a compiled artifact: `emailTemplates`.
    pub fn artifact_key(self) -> &'static str {
        self.row().artifact_key
    }

    /// The part of the product it belongs to: data, ui, automation, system, security, ai.
    pub fn domain(self) -> &'static str {
        self.row().domain
    }

    /// Its name for people.
    pub fn label(self) -> &'static str {
        self.row().label
    }

    /// One sentence about it.
    pub fn description(self) -> &'static str {
        self.row().description
    }

    /// Reads a type name in any spelling: singular, plural, camelCase, kebab-case, and the
    /// older words (`role`, `profiles`, `analyticsCubes`).
    pub fn from_str_loose(word: &str) -> Option<Self> {
        let word = snake_case(word);
        ItemType::ALL.into_iter().find(|item_type| {
            let row = item_type.row();
            row.name == word
                || row.plural == word
                || snake_case(row.artifact_key) == word
                || row.aliases.contains(&word.as_str())
        })
    }

    /// Reads a top-level key of an artifact or the name of a folder. Only plurals count there:
    /// a singular such as `api` is somebody's setting, not a collection.
    pub fn from_collection_key(key: &str) -> Option<Self> {
        let item_type = ItemType::from_str_loose(key)?;
        let row = item_type.row();
        let plural = key == row.artifact_key || snake_case(key).ends_with('s');
        plural.then_some(item_type)
    }

    /// Whether an organisation may lay its own version over the packaged one.
    pub fn overlay_allowed(self) -> bool {
        !matches!(
            self,
            ItemType::Trigger
                | ItemType::Validation
                | ItemType::Hook
                | ItemType::Datasource
                | ItemType::Router
                | ItemType::Function
                | ItemType::Service
                | ItemType::Seed
                | ItemType::Connector
                | ItemType::Api
        )
    }

    /// Whether items of this type may be created while running, with no package behind them.
    pub fn runtime_create(self) -> bool {
        self.overlay_allowed()
    }
}

impl fmt::Display for ItemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn snake_case(word: &str) -> String {
    let mut out = String::with_capacity(word.len() + 2);
    for c in word.trim().chars() {
        if c.is_ascii_uppercase() && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        out.push(if c == '-' {
            '_'
        } else {
            c.to_ascii_lowercase()
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_leads_to_the_type() {
        for item_type in ItemType::ALL {
            for word in [
                item_type.as_str(),
                item_type.plural(),
                item_type.artifact_key(),
            ] {
                assert_eq!(ItemType::from_str_loose(word), Some(item_type), "{word}");
            }
        }
        assert_eq!(ItemType::from_str_loose("roles"), Some(ItemType::Position));
        assert_eq!(
            ItemType::from_str_loose("sharing-rules"),
            Some(ItemType::SharingRule)
        );
        assert_eq!(
            ItemType::from_str_loose("permissionSet"),
            Some(ItemType::Permission)
        );
        assert_eq!(ItemType::from_str_loose("manifest"), None);
        assert_eq!(ItemType::from_collection_key("data"), Some(ItemType::Seed));
        assert_eq!(ItemType::from_collection_key("api"), None);
    }

    #[test]
    fn code_is_not_overlaid() {
        assert!(!ItemType::Hook.overlay_allowed());
        assert!(!ItemType::Datasource.runtime_create());
        assert!(ItemType::View.overlay_allowed());
    }
}
