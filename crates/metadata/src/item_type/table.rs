//! Spelling and wording of every item type.

use super::ItemType;

/// Everything there is to know about one type.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) plural: &'static str,
    pub(super) artifact_key: &'static str,
    pub(super) domain: &'static str,
    pub(super) label: &'static str,
    pub(super) description: &'static str,
    pub(super) aliases: &'static [&'static str],
}

impl ItemType {
    #[rustfmt::skip]
    pub(super) fn row(self) -> Row {
        let row = |name, plural, artifact_key, domain, label, description| Row {
            name,
            plural,
            artifact_key,
            domain,
            label,
            description,
            aliases: &[],
        };
        match self {
            ItemType::Object => row(
                "object",
                "objects",
                "objects",
                "data",
                "Object",
                "A business object with its fields, rules and capabilities",
            ),
            ItemType::Field => row(
                "field",
                "fields",
                "fields",
                "data",
                "Field",
                "A field of an object",
            ),
            ItemType::Trigger => row(
                "trigger",
                "triggers",
                "triggers",
                "data",
                "Trigger",
                "A trigger on the records of an object",
            ),
            ItemType::Validation => row(
                "validation",
                "validations",
                "validations",
                "data",
                "Validation rule",
                "A rule that records of an object must meet",
            ),
            ItemType::Hook => row(
                "hook",
                "hooks",
                "hooks",
                "data",
                "Hook",
                "A script that runs before or after reads and writes",
            ),
            ItemType::Seed => Row {
                aliases: &["seed_data", "fixture", "fixtures"],
                ..row(
                    "seed",
                    "seeds",
                    "data",
                    "data",
                    "Seed data",
                    "Records that are loaded with the package",
                )
            },
            ItemType::Mapping => row(
                "mapping",
                "mappings",
                "mappings",
                "data",
                "Import mapping",
                "How columns of an import become fields",
            ),
            ItemType::Dataset => row(
                "dataset",
                "datasets",
                "datasets",
                "data",
                "Dataset",
                "Dimensions and measures over an object",
            ),
            ItemType::Cube => Row {
                aliases: &["analytics_cube"],
                ..row(
                    "cube",
                    "cubes",
                    "analyticsCubes",
                    "data",
                    "Cube",
                    "Dimensions and measures over an object, in the older form",
                )
            },
            ItemType::View => row(
                "view",
                "views",
                "views",
                "ui",
                "View",
                "List and form views of an object",
            ),
            ItemType::Page => row(
                "page",
                "pages",
                "pages",
                "ui",
                "Page",
                "A page of components",
            ),
            ItemType::Dashboard => row(
                "dashboard",
                "dashboards",
                "dashboards",
                "ui",
                "Dashboard",
                "Widgets over data",
            ),
            ItemType::App => Row {
                aliases: &["application", "applications"],
                ..row(
                    "app",
                    "apps",
                    "apps",
                    "ui",
                    "App",
                    "Navigation and home page of an application",
                )
            },
            ItemType::Action => row(
                "action",
                "actions",
                "actions",
                "ui",
                "Action",
                "Something a user or an agent may do",
            ),
            ItemType::Report => row(
                "report",
                "reports",
                "reports",
                "ui",
                "Report",
                "Grouped and aggregated records",
            ),
            ItemType::Theme => row(
                "theme",
                "themes",
                "themes",
                "ui",
                "Theme",
                "Colours, fonts and spacing",
            ),
            ItemType::Flow => row(
                "flow",
                "flows",
                "flows",
                "automation",
                "Flow",
                "A durable automation made of steps",
            ),
            ItemType::Workflow => Row {
                aliases: &["workflow_rule", "workflow_rules"],
                ..row(
                    "workflow",
                    "workflows",
                    "workflows",
                    "automation",
                    "Workflow",
                    "Actions that follow from a change of a record",
                )
            },
            ItemType::Approval => Row {
                aliases: &["approval_process", "approval_processes"],
                ..row(
                    "approval",
                    "approvals",
                    "approvals",
                    "automation",
                    "Approval process",
                    "Steps in which people approve a record",
                )
            },
            ItemType::Job => row(
                "job",
                "jobs",
                "jobs",
                "automation",
                "Job",
                "Work done on a schedule",
            ),
            ItemType::Webhook => row(
                "webhook",
                "webhooks",
                "webhooks",
                "automation",
                "Webhook",
                "A call to another system when records change",
            ),
            ItemType::Datasource => row(
                "datasource",
                "datasources",
                "datasources",
                "system",
                "Datasource",
                "A database connection",
            ),
            ItemType::Translation => row(
                "translation",
                "translations",
                "translations",
                "system",
                "Translation",
                "Texts in other languages",
            ),
            ItemType::Router => row(
                "router",
                "routers",
                "routers",
                "system",
                "Router",
                "A custom router",
            ),
            ItemType::Function => row(
                "function",
                "functions",
                "functions",
                "system",
                "Function",
                "A named callable",
            ),
            ItemType::Service => row(
                "service",
                "services",
                "services",
                "system",
                "Service",
                "A platform service",
            ),
            ItemType::EmailTemplate => row(
                "email_template",
                "email_templates",
                "emailTemplates",
                "system",
                "E-mail template",
                "Subject and body of an e-mail",
            ),
            ItemType::Connector => row(
                "connector",
                "connectors",
                "connectors",
                "system",
                "Connector",
                "A connection to an outside system",
            ),
            ItemType::Api => row(
                "api",
                "apis",
                "apis",
                "system",
                "API",
                "A custom API description",
            ),
            ItemType::Doc => row(
                "doc",
                "docs",
                "docs",
                "system",
                "Documentation page",
                "A page of the manual that ships with the package",
            ),
            ItemType::Permission => Row {
                aliases: &["permission_set", "permission_sets"],
                ..row(
                    "permission",
                    "permissions",
                    "permissions",
                    "security",
                    "Permission set",
                    "Rights on objects, fields and records",
                )
            },
            ItemType::Profile => row(
                "profile",
                "profiles",
                "profiles",
                "security",
                "Profile",
                "A permission set that marks a kind of user",
            ),
            ItemType::Position => Row {
                aliases: &["role", "roles"],
                ..row(
                    "position",
                    "positions",
                    "positions",
                    "security",
                    "Position",
                    "A place in the hierarchy, formerly called role",
                )
            },
            ItemType::SharingRule => Row {
                aliases: &["sharing"],
                ..row(
                    "sharing_rule",
                    "sharing_rules",
                    "sharingRules",
                    "security",
                    "Sharing rule",
                    "Opens records that meet criteria to more people",
                )
            },
            ItemType::Policy => row(
                "policy",
                "policies",
                "policies",
                "security",
                "Policy",
                "A security policy",
            ),
            ItemType::Agent => row(
                "agent",
                "agents",
                "agents",
                "ai",
                "Agent",
                "An AI agent with its instructions, skills and tools",
            ),
            ItemType::Tool => row(
                "tool",
                "tools",
                "tools",
                "ai",
                "Tool",
                "Something an agent may call",
            ),
            ItemType::Skill => row(
                "skill",
                "skills",
                "skills",
                "ai",
                "Skill",
                "A bundle of tools and instructions for agents",
            ),
        }
    }
}
