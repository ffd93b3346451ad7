//! Views, reports and navigation: the objects and fields they show.

use super::{Check, path_of};
use crate::definition::Definition;
use crate::item_type::ItemType;
use crate::package::Item;
use crate::ui::{Column, FormView, ListView, NavigationEntry, Report, View};

pub(super) fn check(check: &mut Check<'_>) {
    let pkg = check.pkg;
    for item in &pkg.items {
        match &item.definition {
            Definition::View(view) => view_checks(check, item, view),
            Definition::Report(report) => report_checks(check, item, report),
            Definition::Dataset(_) | Definition::Mapping(_) => object_checks(check, item),
            Definition::App(app) => navigation(check, item, &app.navigation, &path_of(item)),
            Definition::Untyped => match item.item_type {
                ItemType::Cube | ItemType::Page => object_checks(check, item),
                _ => {}
            },
            Definition::Object(_)
            | Definition::PermissionSet(_)
            | Definition::Position(_)
            | Definition::SharingRule(_)
            | Definition::Hook(_)
            | Definition::Action(_)
            | Definition::Flow(_)
            | Definition::ApprovalProcess(_)
            | Definition::Job(_)
            | Definition::Webhook(_)
            | Definition::Function(_)
            | Definition::EmailTemplate(_)
            | Definition::Agent(_)
            | Definition::Skill(_)
            | Definition::Tool(_) => {}
        }
    }
}

fn object_checks(check: &mut Check<'_>, item: &Item) {
    if let Some(object) = &item.object {
        let path = format!("{}.object", path_of(item));
        check.unknown_object(item.file.clone(), path, object);
    }
}

fn view_checks(check: &mut Check<'_>, item: &Item, view: &View) {
    let path = path_of(item);
    let Some(object) = &item.object else {
        check.warn(
            item.file.clone(),
            "OBJECT_MISSING",
            path,
            "the view does not say which object it shows".to_owned(),
            "add `object`, or `data: {provider: object, object: ...}` to its list or form",
        );
        return;
    };
    if !check.knows_object(object) {
        check.unknown_object(item.file.clone(), path, object);
        return;
    }
    if let Some(list) = &view.list {
        list_checks(check, item, object, list, &format!("{path}.list"));
    }
    if let Some(form) = &view.form {
        form_checks(check, item, object, form, &format!("{path}.form"));
    }
    for (name, list) in &view.list_views {
        list_checks(
            check,
            item,
            object,
            list,
            &format!("{path}.listViews.{name}"),
        );
    }
    for (name, form) in &view.form_views {
        form_checks(
            check,
            item,
            object,
            form,
            &format!("{path}.formViews.{name}"),
        );
    }
    list_checks(check, item, object, &view.own_list, &path);
    form_checks(check, item, object, &view.own_form, &path);
}

/// Its own `data.object` counts before that of the view.
fn list_checks(check: &mut Check<'_>, item: &Item, object: &str, list: &ListView, path: &str) {
    let object = list.object.as_deref().unwrap_or(object);
    fields(
        check,
        item,
        object,
        &list.columns,
        &format!("{path}.columns"),
    );
}

fn form_checks(check: &mut Check<'_>, item: &Item, object: &str, form: &FormView, path: &str) {
    let object = form.object.as_deref().unwrap_or(object);
    for section in &form.sections {
        let path = format!("{path}.{}.fields", section.place);
        fields(check, item, object, &section.fields, &path);
    }
}

fn fields(check: &mut Check<'_>, item: &Item, object: &str, columns: &[Column], path: &str) {
    for column in columns {
        let path = format!("{path}[{}]", column.place);
        check.unknown_field(item.file.clone(), path, object, &column.field);
    }
}

fn report_checks(check: &mut Check<'_>, item: &Item, report: &Report) {
    let path = path_of(item);
    if let Some(dataset) = &report.dataset {
        check.unknown_item(item, format!("{path}.dataset"), ItemType::Dataset, dataset);
    }
    let Some(object) = &item.object else {
        return;
    };
    if !check.knows_object(object) {
        check.unknown_object(item.file.clone(), format!("{path}.objectName"), object);
        return;
    }
    fields(
        check,
        item,
        object,
        &report.columns,
        &format!("{path}.columns"),
    );
    for (key, groupings) in [
        ("groupingsDown", &report.groupings_down),
        ("groupingsAcross", &report.groupings_across),
    ] {
        for grouping in groupings {
            let path = format!("{path}.{key}[{}]", grouping.place);
            check.unknown_field(item.file.clone(), path, object, &grouping.field);
        }
    }
}

fn navigation(check: &mut Check<'_>, item: &Item, entries: &[NavigationEntry], path: &str) {
    for entry in entries {
        let path = format!("{path}.{}", entry.place);
        if let Some(object) = &entry.object {
            check.unknown_object(item.file.clone(), format!("{path}.objectName"), object);
        }
        for (key, item_type, name) in [
            ("dashboardName", ItemType::Dashboard, &entry.dashboard),
            ("pageName", ItemType::Page, &entry.page),
            ("reportName", ItemType::Report, &entry.report),
        ] {
            if let Some(name) = name {
                check.unknown_item(item, format!("{path}.{key}"), item_type, name);
            }
        }
        navigation(check, item, &entry.children, &path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;
    use serde_json::json;

    #[test]
    fn views_reports_and_navigation_show_what_exists() {
        let found = findings(json!({
            "objects": [{"name": "a", "fields": {"x": {"type": "text"}}}],
            "views": [{"name": "v", "object": "a", "formViews": {"d": {"sections": [{"fields": ["x", "y"]}]}}}],
            "reports": [{"name": "r", "objectName": "a", "columns": [{"field": "z"}]}],
            "apps": [{"name": "app", "navigation": [{"type": "group", "children": [
                {"type": "object", "objectName": "gone"}, {"type": "page", "pageName": "lost"}]}]}]
        }));
        assert_eq!(
            found,
            [
                "UNKNOWN_FIELD views.v.formViews.d.sections[0].fields[1]",
                "UNKNOWN_OBJECT apps.app.navigation[0].children[0].objectName",
                "DANGLING_REFERENCE apps.app.navigation[0].children[1].pageName",
                "UNKNOWN_FIELD reports.r.columns[0]",
            ]
        );
    }
}
