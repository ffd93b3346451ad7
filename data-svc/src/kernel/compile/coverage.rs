//! What a package declares that this runtime does not carry out: loaded, served by `/meta`, and
//! told — never silently dropped.

use metadata::{
    Definition, Diagnostic, Field, FieldType, ItemType, Object, Package, RowLevelPolicy,
};

use crate::kernel::compile::{hooks, summary::Unkept};
use crate::kernel::write;

/// Types whose items are kept but do not run.
const IDLE: &[(ItemType, &str)] = &[
    (ItemType::Workflow, "workflows are not run"),
    (ItemType::Approval, "approval processes are not run"),
    (ItemType::Webhook, "webhooks are not sent"),
    (ItemType::Job, "jobs are not run"),
    (ItemType::Report, "reports are not run"),
    (ItemType::SharingRule, "sharing rules grant nothing"),
    (ItemType::Policy, "policies grant nothing"),
];

/// Warnings about everything in the package that is not carried out.
#[must_use]
pub fn check(package: &Package) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (item_type, what) in IDLE {
        for item in package.items_of(*item_type) {
            found.push(warning(
                format!("{}.{}", item_type.plural(), item.name),
                format!(
                    "{what} by this version; `{}` is served as metadata only",
                    item.name
                ),
            ));
        }
    }
    for item in package.items_of(ItemType::Hook) {
        let Definition::Hook(hook) = &item.definition else {
            continue;
        };
        if let Some(why) = hooks::idle_because(hook) {
            found.push(warning(
                format!("hooks.{}", item.name),
                format!("the hook is not run by this version: {why}"),
            ));
        }
    }
    for object in &package.objects {
        check_object(object, &mut found);
    }
    for set in &package.permission_sets {
        for policy in &set.row_level_security {
            check_policy(&set.name, policy, &mut found);
        }
    }
    found
}

fn check_object(object: &Object, found: &mut Vec<Diagnostic>) {
    let path = |rest: String| format!("objects.{}.{rest}", object.name);
    for field in object.fields.values() {
        let at = path(format!("fields.{}", field.name));
        match field.field_type {
            FieldType::Formula => check_formula(field, &at, found),
            FieldType::Secret => found.push(warning(
                at.clone(),
                "there is no key for secrets; writing the field fails",
            )),
            _ => {}
        }
        if field
            .default_value
            .as_ref()
            .is_some_and(|value| !write::default::is_supported(value))
        {
            found.push(warning(
                at.clone(),
                "the default is an expression that is not evaluated; the field stays empty",
            ));
        }
        for (what, condition) in [
            ("requiredWhen", &field.required_when),
            ("readonlyWhen", &field.readonly_when),
        ] {
            let fault = condition
                .as_ref()
                .and_then(|condition| expr::Program::compile(condition).err());
            if let Some(fault) = fault {
                found.push(warning(
                    at.clone(),
                    format!("{what} is no expression ({fault}); it counts as true"),
                ));
            }
        }
    }
    for rule in &object.validations {
        if rule.active && !write::rules::is_supported(&rule.rule) {
            found.push(warning(
                path(format!("validations.{}", rule.name)),
                format!(
                    "a rule of type {} is not evaluated; it blocks nothing",
                    rule.rule.type_name()
                ),
            ));
        }
    }
}

fn check_formula(field: &Field, at: &str, found: &mut Vec<Diagnostic>) {
    let source = field.expression.as_deref().unwrap_or_default();
    match expr::Program::compile(source) {
        Err(fault) => found.push(warning(
            at.to_owned(),
            format!("the formula is no expression ({fault}); the field is null"),
        )),
        Ok(program) => {
            let paths = &program.references().record_paths;
            if let Some(path) = paths.iter().find(|path| path.len() > 2) {
                found.push(warning(
                    at.to_owned(),
                    format!(
                        "the formula reads `{}`; it sees one level through a reference, and is \
                         null",
                        path.join(".")
                    ),
                ));
            }
        }
    }
}

fn check_policy(set: &str, policy: &RowLevelPolicy, found: &mut Vec<Diagnostic>) {
    for source in [&policy.using, &policy.check].into_iter().flatten() {
        if let Err(fault) = expr::Filter::compile(source) {
            found.push(warning(
                format!("permissions.{set}.rowLevelSecurity.{}", policy.name),
                format!("the condition is not understood ({fault}); the policy matches no row"),
            ));
        }
    }
}

/// The warning about a summary that is not kept, which only all objects together show.
pub(super) fn unkept(summary: &Unkept) -> Diagnostic {
    Diagnostic::warning(
        "SUMMARY_NOT_KEPT",
        format!("objects.{}.fields.{}", summary.object, summary.field),
        format!("the summary stays null: {}", summary.why),
    )
    .with_hint("name a stored number of an object that has a single reference to this one")
}

fn warning(path: String, message: impl Into<String>) -> Diagnostic {
    Diagnostic::warning("NOT_EXECUTABLE", path, message)
        .with_hint("nothing to do: it takes effect in a version that has this part")
}
