//! Views: the lists and forms of an object (docs/reference/metadata.md, "View"; docs/reference/reports-forms.md).

use indexmap::IndexMap;
use serde_json::Value;

use crate::diagnostics::Diagnostic;
use crate::expression::{Dialect, Expression};
use crate::reader::{Reader, Sink};

/// The lists and forms of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// The object it names itself; [`View::data_object`] is that of its parts.
    pub object: Option<String>,
    /// The list that is shown first.
    pub list: Option<ListView>,
    /// The form that is shown first.
    pub form: Option<FormView>,
    /// Other lists, by name.
    pub list_views: IndexMap<String, ListView>,
    /// Other forms, by name.
    pub form_views: IndexMap<String, FormView>,
    /// Older apps write one list or form as the item itself: what it says as a list.
    pub own_list: ListView,
    /// What it says as a form.
    pub own_form: FormView,
}

/// A list of records.
#[derive(Debug, Clone, PartialEq)]
pub struct ListView {
    /// Name for people.
    pub label: Option<String>,
    /// How it is laid out: grid, kanban, gallery, calendar, …; grid unless written.
    pub layout: String,
    /// The object, where it says so itself.
    pub object: Option<String>,
    /// What is shown of each record.
    pub columns: Vec<Column>,
    /// Which records: triples or a where object, as written.
    pub filter: Option<Value>,
    /// In which order, as written.
    pub sort: Option<Value>,
    /// Records a page.
    pub page_size: Option<u32>,
    /// Fields that its search looks into.
    pub searchable_fields: Vec<String>,
    /// Fields that users may filter by.
    pub filterable_fields: Vec<String>,
    /// Actions on a record.
    pub row_actions: Vec<String>,
    /// Actions on several records.
    pub bulk_actions: Vec<String>,
}

/// A form for a record.
#[derive(Debug, Clone, PartialEq)]
pub struct FormView {
    /// Name for people.
    pub label: Option<String>,
    /// How it is laid out: simple, tabbed, wizard, …; simple unless written.
    pub layout: String,
    /// The object, where it says so itself.
    pub object: Option<String>,
    /// Its parts, those under the old key `groups` behind the others.
    pub sections: Vec<Section>,
    /// Whether and how it is open to the public.
    pub sharing: Option<FormSharing>,
    /// What the client does when it is sent, as written.
    pub submit_behavior: Option<Value>,
}

/// A part of a form.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Where it stands in its form, as findings name it: `sections[0]`.
    pub place: String,
    /// Its name.
    pub name: Option<String>,
    /// Name for people.
    pub label: Option<String>,
    /// Its fields.
    pub fields: Vec<Column>,
    /// Shown when true. For user interfaces only.
    pub visible_on: Option<Expression>,
}

/// A field that is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its number among those written.
    pub place: usize,
    /// The field; a dotted name leads through references.
    pub field: String,
    /// Name for people, in place of the field's.
    pub label: Option<String>,
    /// Whether a form demands it, whatever the field says.
    pub is_required: bool,
    /// Whether a form only shows it.
    pub is_readonly: bool,
    /// Whether a form hides it.
    pub is_hidden: bool,
    /// Whether a public form may list the records it refers to.
    pub public_picker: bool,
    /// What a report makes of it: sum, avg, max, min, count, unique.
    pub aggregate: Option<String>,
}

/// Whether and how a form is open to the public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormSharing {
    /// Switches the rest off when it is false; true unless written. Nonsense counts as false.
    pub is_enabled: bool,
    /// Whether people without an account may use it. Nonsense counts as false.
    pub allows_anonymous: bool,
    /// The end of its address, without `/` and `forms/`.
    pub slug: Option<String>,
    /// Asked before it opens.
    pub password: Option<String>,
    /// Domains of mail addresses that may send it; empty for all.
    pub allowed_domains: Vec<String>,
    /// The moment it closes (ISO 8601).
    pub expires_at: Option<String>,
}

impl View {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("views.{name}"), &sink);
        let view = reader.map(|reader| Self::read(name, &reader));
        (view, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            object: reader.string(&["object"]),
            list: reader.object(&["list"]).map(|list| ListView::read(&list)),
            form: reader.object(&["form"]).map(|form| FormView::read(&form)),
            list_views: named(reader, "listViews", ListView::read),
            form_views: named(reader, "formViews", FormView::read),
            own_list: ListView::read(reader),
            own_form: FormView::read(reader),
        }
    }

    /// The object of its parts: that of the list, of the form, of any named view, or its own `data`.
    pub fn data_object(&self) -> Option<&str> {
        let lists = self.list.iter().map(|list| &list.object);
        let forms = self.form.iter().map(|form| &form.object);
        let named_lists = self.list_views.values().map(|list| &list.object);
        let named_forms = self.form_views.values().map(|form| &form.object);
        let parts = lists.chain(forms).chain(named_lists).chain(named_forms);
        let mut objects = parts.chain([&self.own_list.object]).flatten();
        objects.next().map(String::as_str)
    }
}

fn named<T>(
    reader: &Reader<'_>,
    key: &str,
    read: impl Fn(&Reader<'_>) -> T,
) -> IndexMap<String, T> {
    let mut views = IndexMap::new();
    for entry in reader.entries(&[key]) {
        let (Some(name), Value::Object(map)) = (entry.name, entry.value) else {
            continue;
        };
        views.insert(name, read(&Reader::over(map, entry.path, reader.sink)));
    }
    views
}

fn data_object(reader: &Reader<'_>) -> Option<String> {
    match reader.raw(&["data"])? {
        Value::Object(_) => reader.object(&["data"])?.string(&["object"]),
        _ => None,
    }
}

impl ListView {
    fn read(reader: &Reader<'_>) -> Self {
        let names = |key: &str| match reader.raw(&[key]) {
            Some(Value::Array(_)) => reader.strings(&[key]).unwrap_or_default(),
            _ => Vec::new(),
        };
        let pages = reader
            .raw(&["pagination"])
            .filter(|pages| pages.is_object());
        let pages = pages.and_then(|_| reader.object(&["pagination"]));
        Self {
            label: reader.string(&["label"]),
            layout: reader
                .string(&["type"])
                .unwrap_or_else(|| "grid".to_owned()),
            object: data_object(reader),
            columns: Column::read_all(reader, "columns"),
            filter: reader.raw(&["filter"]).cloned(),
            sort: reader.raw(&["sort"]).cloned(),
            page_size: pages.and_then(|pages| pages.natural32(&["pageSize"])),
            searchable_fields: names("searchableFields"),
            filterable_fields: names("filterableFields"),
            row_actions: names("rowActions"),
            bulk_actions: names("bulkActions"),
        }
    }
}

impl FormView {
    fn read(reader: &Reader<'_>) -> Self {
        let mut sections = Vec::new();
        for key in ["sections", "groups"] {
            if !matches!(reader.raw(&[key]), Some(Value::Array(_))) {
                continue;
            }
            for (place, section) in reader.objects(&[key]) {
                sections.push(Section {
                    place: format!("{key}[{place}]"),
                    name: section.string(&["name"]),
                    label: section.string(&["label"]),
                    fields: Column::read_all(&section, "fields"),
                    visible_on: section.expression(&["visibleOn", "visibleWhen"], Dialect::Cel),
                });
            }
        }
        let sharing = reader
            .raw(&["sharing"])
            .filter(|sharing| sharing.is_object());
        let sharing = sharing.and_then(|_| reader.object(&["sharing"]));
        Self {
            label: reader.string(&["label"]),
            layout: reader
                .string(&["type"])
                .unwrap_or_else(|| "simple".to_owned()),
            object: data_object(reader),
            sections,
            sharing: sharing.map(|sharing| FormSharing::read(&sharing)),
            submit_behavior: reader.raw(&["submitBehavior"]).cloned(),
        }
    }
}

impl FormSharing {
    fn read(reader: &Reader<'_>) -> Self {
        let link = reader.string(&["publicLink", "slug"]);
        let slug = link.map(|link| {
            let link = link.trim_start_matches('/');
            link.strip_prefix("forms/").unwrap_or(link).to_owned()
        });
        Self {
            is_enabled: reader.guard(&["enabled"], true, false),
            allows_anonymous: reader.guard(&["allowAnonymous"], false, false),
            slug: slug.filter(|slug| !slug.is_empty()),
            password: reader.string(&["password"]),
            allowed_domains: reader.strings(&["allowedDomains"]).unwrap_or_default(),
            expires_at: reader.string(&["expiresAt"]),
        }
    }

    /// Whether people without an account reach it under that slug, its time and password aside.
    pub fn is_public_at(&self, slug: &str) -> bool {
        self.is_enabled && self.allows_anonymous && self.slug.as_deref() == Some(slug)
    }
}

impl Column {
    /// Reads a list of names and `{field, …}`; what names no field is left out.
    pub(crate) fn read_all(reader: &Reader<'_>, key: &str) -> Vec<Self> {
        // On forms `columns` is a number.
        let Some(Value::Array(list)) = reader.raw(&[key]) else {
            return Vec::new();
        };
        let mut columns = Vec::new();
        for (place, entry) in list.iter().enumerate() {
            let nothing = serde_json::Map::new();
            let at = format!("{}[{place}]", reader.at(key));
            let entry_map = entry.as_object().unwrap_or(&nothing);
            let one = Reader::over(entry_map, at, reader.sink);
            let field = entry.as_str().or_else(|| entry.get("field")?.as_str());
            let Some(field) = field else { continue };
            columns.push(Self {
                place,
                field: field.to_owned(),
                label: one.string(&["label"]),
                is_required: one.flag(&["required"]) == Some(true),
                is_readonly: one.flag(&["readonly", "readOnly"]) == Some(true),
                is_hidden: one.flag(&["hidden"]) == Some(true),
                public_picker: one.guard(&["publicPicker"], false, false),
                aggregate: one.string(&["aggregate"]),
            });
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> View {
        View::from_value("v", &value).0.unwrap()
    }

    #[test]
    fn the_object_of_a_view_is_that_of_its_parts() {
        for view in [
            json!({"list": {"data": {"object": "ticket"}}}),
            json!({"form": {"data": {"object": "ticket"}}}),
            json!({"listViews": {"a": {}, "b": {"data": {"object": "ticket"}}}}),
            json!({"data": {"object": "ticket"}}),
        ] {
            assert_eq!(read(view.clone()).data_object(), Some("ticket"), "{view}");
        }
    }

    #[test]
    fn a_public_form_has_a_slug() {
        let sharing = |value: Value| {
            read(json!({"form": {"sharing": value}}))
                .form
                .unwrap()
                .sharing
                .unwrap()
        };
        let open = sharing(json!({"allowAnonymous": true, "publicLink": "/forms/contact-us"}));
        assert!(open.is_public_at("contact-us") && !open.is_public_at("contact"));
        for closed in [
            json!({"publicLink": "a"}),
            json!({"allowAnonymous": "perhaps", "publicLink": "a"}),
            json!({"allowAnonymous": true, "enabled": false, "publicLink": "a"}),
        ] {
            assert!(!sharing(closed.clone()).is_public_at("a"), "{closed}");
        }
    }
}
