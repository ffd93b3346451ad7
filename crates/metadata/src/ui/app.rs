//! Applications: navigation and home page (docs/reference/metadata.md, "View, form view, app").

use serde_json::Value;

use crate::diagnostics::Diagnostic;
use crate::reader::{Reader, Sink};

/// Entries in entries at most; what lies deeper is left out.
const DEPTH_MAX: usize = 16;

/// An application, as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// Its entries, those under the older keys behind the others.
    pub navigation: Vec<NavigationEntry>,
    /// System permission keys; who lacks one does not see it.
    pub required_permissions: Vec<String>,
    /// Whether it is the one that opens first.
    pub is_default: bool,
    /// The entry that opens first.
    pub home_page: Option<String>,
    /// The agent that answers where none is named.
    pub default_agent: Option<String>,
}

/// An entry of the navigation.
#[derive(Debug, Clone, PartialEq)]
pub struct NavigationEntry {
    /// Where it stands among its like, as findings name it: `navigation[0]`, `children[1]`.
    pub place: String,
    /// Its id.
    pub id: Option<String>,
    /// Name for people.
    pub label: Option<String>,
    /// What it leads to.
    pub kind: NavigationKind,
    /// The object it shows.
    pub object: Option<String>,
    /// The list view of it.
    pub view: Option<String>,
    /// The dashboard it shows.
    pub dashboard: Option<String>,
    /// The page it shows.
    pub page: Option<String>,
    /// The report it shows.
    pub report: Option<String>,
    /// The address it opens.
    pub url: Option<String>,
    /// The entries below it.
    pub children: Vec<NavigationEntry>,
    /// System permission keys; who lacks one does not see it.
    pub required_permissions: Vec<String>,
}

/// What an entry of the navigation leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NavigationKind {
    /// Records of an object; also where nothing is said.
    Object,
    /// A dashboard.
    Dashboard,
    /// A page.
    Page,
    /// A report.
    Report,
    /// An address.
    Url,
    /// Nothing: it holds other entries.
    Group,
    /// Something that is not known here.
    Other(String),
}

impl App {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("apps.{name}"), &sink);
        let app = reader.map(|reader| Self::read(name, &reader));
        (app, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let keys = ["navigation", "navItems", "tabs"];
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            navigation: keys
                .into_iter()
                .flat_map(|key| entries(reader, key, 0))
                .collect(),
            required_permissions: reader.required_permissions(),
            is_default: reader.flag(&["isDefault"]).unwrap_or(false),
            home_page: reader.string(&["homePageId"]),
            default_agent: reader.string(&["defaultAgent"]),
        }
    }
}

fn entries(reader: &Reader<'_>, key: &str, depth: usize) -> Vec<NavigationEntry> {
    // An old tab may be a mere name.
    let Some(Value::Array(list)) = reader.raw(&[key]) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (number, entry) in list.iter().enumerate() {
        let Value::Object(map) = entry else { continue };
        let place = format!("{key}[{number}]");
        let one = Reader::over(map, reader.at(&place), reader.sink);
        let kind = one.string(&["type"]);
        found.push(NavigationEntry {
            place,
            id: one.string(&["id"]),
            label: one.string(&["label"]),
            kind: match kind.as_deref() {
                None | Some("object") => NavigationKind::Object,
                Some("dashboard") => NavigationKind::Dashboard,
                Some("page") => NavigationKind::Page,
                Some("report") => NavigationKind::Report,
                Some("url") => NavigationKind::Url,
                Some("group") => NavigationKind::Group,
                Some(other) => NavigationKind::Other(other.to_owned()),
            },
            object: one.string(&["objectName", "object"]),
            view: one.string(&["viewName"]),
            dashboard: one.string(&["dashboardName"]),
            page: one.string(&["pageName"]),
            report: one.string(&["reportName"]),
            url: one.string(&["url"]),
            children: match depth < DEPTH_MAX {
                true => entries(&one, "children", depth + 1),
                false => Vec::new(),
            },
            required_permissions: one.required_permissions(),
        });
    }
    found
}
