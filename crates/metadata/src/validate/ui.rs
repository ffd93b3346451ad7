//! Views, reports and navigation: the objects and fields they show.

use serde_json::Value;

use super::{Check, path_of, text};
use crate::item_type::ItemType;
use crate::package::Item;

pub(super) fn check(check: &mut Check<'_>) {
    let pkg = check.pkg;
    for item in &pkg.items {
        match item.item_type {
            ItemType::View => view_checks(check, item),
            ItemType::Report => report_checks(check, item),
            ItemType::Dataset | ItemType::Cube | ItemType::Page | ItemType::Mapping => {
                if let Some(object) = &item.object {
                    let path = format!("{}.object", path_of(item));
                    check.unknown_object(item.file.clone(), path, object);
                }
            }
            ItemType::App => {
                let path = path_of(item);
                for key in ["navigation", "navItems", "tabs"] {
                    navigation(check, item, item.value.get(key), &format!("{path}.{key}"));
                }
            }
            _ => {}
        }
    }
}

fn view_checks(check: &mut Check<'_>, item: &Item) {
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
    for key in ["list", "form"] {
        if let Some(part) = item.value.get(key) {
            view_part(check, item, object, part, &format!("{path}.{key}"));
        }
    }
    for key in ["listViews", "formViews"] {
        let Some(Value::Object(parts)) = item.value.get(key) else {
            continue;
        };
        for (name, part) in parts {
            view_part(check, item, object, part, &format!("{path}.{key}.{name}"));
        }
    }
    view_part(check, item, object, &item.value, &path);
}

/// One list or form. Its own `data.object` counts before that of the container.
fn view_part(check: &mut Check<'_>, item: &Item, object: &str, part: &Value, path: &str) {
    let own = part.pointer("/data/object").and_then(Value::as_str);
    let object = own.unwrap_or(object);
    fields(
        check,
        item,
        object,
        part.get("columns"),
        &format!("{path}.columns"),
    );
    for key in ["sections", "groups"] {
        let sections = part.get(key).and_then(Value::as_array);
        for (i, section) in sections.into_iter().flatten().enumerate() {
            let path = format!("{path}.{key}[{i}].fields");
            fields(check, item, object, section.get("fields"), &path);
        }
    }
}

fn fields(check: &mut Check<'_>, item: &Item, object: &str, list: Option<&Value>, path: &str) {
    for (i, entry) in list
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let name = entry.as_str().or_else(|| text(entry, "field"));
        if let Some(name) = name {
            check.unknown_field(item.file.clone(), format!("{path}[{i}]"), object, name);
        }
    }
}

fn report_checks(check: &mut Check<'_>, item: &Item) {
    let path = path_of(item);
    if let Some(dataset) = text(&item.value, "dataset") {
        check.unknown_item(item, format!("{path}.dataset"), ItemType::Dataset, dataset);
    }
    let Some(object) = &item.object else {
        return;
    };
    if !check.knows_object(object) {
        check.unknown_object(item.file.clone(), format!("{path}.objectName"), object);
        return;
    }
    for key in ["columns", "groupingsDown", "groupingsAcross"] {
        let path = format!("{path}.{key}");
        fields(check, item, object, item.value.get(key), &path);
    }
}

fn navigation(check: &mut Check<'_>, item: &Item, list: Option<&Value>, path: &str) {
    for (i, entry) in list
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let path = format!("{path}[{i}]");
        if let Some(object) = text(entry, "objectName").or_else(|| text(entry, "object")) {
            check.unknown_object(item.file.clone(), format!("{path}.objectName"), object);
        }
        for (key, item_type) in [
            ("dashboardName", ItemType::Dashboard),
            ("pageName", ItemType::Page),
            ("reportName", ItemType::Report),
        ] {
            if let Some(name) = text(entry, key) {
                check.unknown_item(item, format!("{path}.{key}"), item_type, name);
            }
        }
        navigation(
            check,
            item,
            entry.get("children"),
            &format!("{path}.children"),
        );
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
