//! Permission sets, positions and sharing rules.

use std::collections::BTreeSet;

use super::{Check, path_of};
use crate::item_type::ItemType;
use crate::package::Item;
use crate::permission::PermissionSet;
use crate::position::Position;
use crate::sharing_rule::SharingBasis;

pub(super) fn check(check: &mut Check<'_>) {
    let pkg = check.pkg;
    for set in &pkg.permission_sets {
        permission_checks(check, set);
    }
    for position in &pkg.positions {
        position_checks(check, position);
    }
    for item in pkg.items_of(ItemType::SharingRule) {
        sharing_checks(check, item);
    }
}

fn permission_checks(check: &mut Check<'_>, set: &PermissionSet) {
    let item_type = match check.pkg.item(ItemType::Permission, &set.name) {
        Some(_) => ItemType::Permission,
        None => ItemType::Profile,
    };
    let file = check.file(item_type, &set.name);
    let path = format!("{}.{}", item_type.artifact_key(), set.name);
    for object in set.objects.keys().filter(|object| *object != "*") {
        check.unknown_object(file.clone(), format!("{path}.objects.{object}"), object);
    }
    for (object, fields) in &set.fields {
        if !check.knows_object(object) {
            check.unknown_object(file.clone(), format!("{path}.fields.{object}"), object);
            continue;
        }
        for field in fields.keys() {
            let path = format!("{path}.fields.{object}.{field}");
            check.unknown_field(file.clone(), path, object, field);
        }
    }
    for policy in set
        .row_level_security
        .iter()
        .filter(|policy| policy.object != "*")
    {
        let path = format!("{path}.rowLevelSecurity.{}", policy.name);
        check.unknown_object(file.clone(), path, &policy.object);
    }
}

fn position_checks(check: &mut Check<'_>, position: &Position) {
    let file = check.file(ItemType::Position, &position.name);
    let path = format!("positions.{}", position.name);
    let above = |name: &str| {
        let found = check.pkg.positions.iter().find(|other| other.name == name);
        found.and_then(|other| other.parent.clone())
    };
    let mut seen = BTreeSet::from([position.name.clone()]);
    let mut next = position.parent.clone();
    let mut circular = false;
    while let Some(name) = next {
        next = above(&name);
        // Each position reports the circle it lies on, once.
        circular = name == position.name;
        if circular || !seen.insert(name) {
            break;
        }
    }
    if circular {
        check.warn(
            file.clone(),
            "POSITION_CYCLE",
            format!("{path}.parent"),
            format!("position \"{}\" is above itself", position.name),
            "remove `parent` from one position of the circle",
        );
    }
    let Some(item) = check.pkg.item(ItemType::Position, &position.name) else {
        return;
    };
    if let Some(parent) = &position.parent {
        check.unknown_item(item, format!("{path}.parent"), ItemType::Position, parent);
    }
    for set in &position.permission_sets {
        if !check
            .pkg
            .permission_sets
            .iter()
            .any(|other| other.name == *set)
        {
            check.unknown_item(
                item,
                format!("{path}.permissionSets"),
                ItemType::Permission,
                set,
            );
        }
    }
}

fn sharing_checks(check: &mut Check<'_>, item: &Item) {
    let path = path_of(item);
    let file = item.file.clone();
    match &item.object {
        Some(object) => check.unknown_object(file.clone(), format!("{path}.object"), object),
        None => check.warn(
            file.clone(),
            "OBJECT_MISSING",
            path.clone(),
            "the sharing rule names no object, so it grants nothing".to_owned(),
            "add `object`",
        ),
    }
    let Some(rule) = item.definition.sharing_rule() else {
        return;
    };
    match &rule.basis {
        SharingBasis::Criteria(None) => check.warn(
            file.clone(),
            "SHARING_WITHOUT_CRITERIA",
            format!("{path}.criteria"),
            "the sharing rule has no criteria, so it grants nothing".to_owned(),
            "say which records are shared, for example `criteria: {status: open}`",
        ),
        SharingBasis::Owner(None) => check.warn(
            file.clone(),
            "SHARING_WITHOUT_CRITERIA",
            format!("{path}.ownedBy"),
            "the sharing rule does not say whose records it shares, so it grants nothing"
                .to_owned(),
            "add `ownedBy` with a position or group",
        ),
        SharingBasis::Criteria(Some(_)) | SharingBasis::Owner(Some(_)) => {}
    }
    if rule.recipients.is_empty() {
        check.warn(
            file,
            "SHARING_WITHOUT_RECIPIENT",
            format!("{path}.sharedWith"),
            "the sharing rule names no recipient, so it grants nothing".to_owned(),
            "add `sharedWith: {type: position, value: ...}`",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;
    use serde_json::json;

    #[test]
    fn rights_on_what_does_not_exist() {
        let found = findings(
            json!({"objects": [{"name": "a", "fields": {"x": {"type": "text"}}}],
            "permissions": [{"name": "p", "objects": {"gone": {}}, "fields": {"a.y": {}},
                "rowLevelSecurity": [{"name": "r", "object": "lost", "using": "1 == 1"}]}]}),
        );
        assert_eq!(
            found,
            [
                "UNKNOWN_OBJECT permissions.p.objects.gone",
                "UNKNOWN_FIELD permissions.p.fields.a.y",
                "UNKNOWN_OBJECT permissions.p.rowLevelSecurity.r",
            ]
        );
    }

    #[test]
    fn sharing_rules_that_grant_nothing() {
        let found = findings(
            json!({"objects": [{"name": "a", "fields": {"x": {"type": "text"}}}],
            "sharingRules": [
                {"name": "empty", "object": "a", "criteria": {}, "sharedWith": {"type": "user", "value": "u"}},
                {"name": "nobody", "object": "a", "condition": "x == 'y'"}
            ]}),
        );
        assert_eq!(
            found,
            [
                "SHARING_WITHOUT_CRITERIA sharingRules.empty.criteria",
                "SHARING_WITHOUT_RECIPIENT sharingRules.nobody.sharedWith",
            ]
        );
    }

    #[test]
    fn positions_in_a_circle() {
        let found = findings(json!({"positions": [
            {"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}, {"name": "c", "parent": "a"},
            {"name": "d", "parent": "nobody"}]}));
        assert_eq!(
            found,
            [
                "POSITION_CYCLE positions.a.parent",
                "POSITION_CYCLE positions.b.parent",
                "DANGLING_REFERENCE positions.d.parent",
            ]
        );
    }
}
