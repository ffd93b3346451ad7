//! What fields take from other records: references, formulas and summaries.

use crate::field::{DeleteBehavior, Field, FieldType, Summary, SummaryFunction};
use crate::reader::Reader;

/// False when the field cannot be kept.
pub(super) fn relation(object: &str, reader: &Reader<'_>, field: &mut Field) -> bool {
    field.reference = reader.string(&["reference", "referenceTo", "reference_to"]);
    field.reference_filters = reader.raw(&["referenceFilters", "lookupFilters"]).cloned();
    match field.field_type {
        FieldType::Tree if field.reference.is_none() => field.reference = Some(object.to_owned()),
        FieldType::User if field.reference.is_none() => {
            field.reference = Some("sys_user".to_owned());
        }
        FieldType::MasterDetail if field.reference.is_none() => {
            reader.error(
                "REFERENCE_MISSING",
                reader.path.clone(),
                "a master_detail field needs its master; the field is left out".to_owned(),
                "add `reference` with the name of the master object",
            );
            return false;
        }
        FieldType::Lookup if field.reference.is_none() => reader.warn(
            "REFERENCE_MISSING",
            reader.path.clone(),
            "the lookup names no object, so nothing can be looked up".to_owned(),
            "add `reference` with the name of the target object",
        ),
        _ => {}
    }
    let word = reader.string(&["deleteBehavior", "delete_behavior"]);
    let read = word
        .as_deref()
        .map(|word| (word, DeleteBehavior::parse(word)));
    let written = match read {
        Some((word, None)) => {
            reader.warn(
                "UNKNOWN_DELETE_BEHAVIOR",
                reader.at("deleteBehavior"),
                format!("delete behaviour \"{word}\" is unknown; the default is used"),
                "use set_null, cascade or restrict",
            );
            None
        }
        Some((_, behavior)) => behavior,
        None => None,
    };
    field.delete_behavior = if field.field_type == FieldType::MasterDetail {
        field.required = true;
        // Only `restrict` deviates: artifacts write `set_null` on everything.
        match written {
            Some(DeleteBehavior::Restrict) => DeleteBehavior::Restrict,
            _ => DeleteBehavior::Cascade,
        }
    } else {
        written.unwrap_or_default()
    };
    true
}

/// False when the field cannot be kept.
pub(super) fn computed(reader: &Reader<'_>, field: &mut Field) -> bool {
    field.expression = reader.cel(&["expression", "formula"]);
    field.return_type = reader.string(&["returnType", "return_type"]);
    match field.field_type {
        FieldType::Formula if field.expression.is_none() => reader.warn(
            "EXPRESSION_MISSING",
            reader.path.clone(),
            "the formula has no expression, so its value is always null".to_owned(),
            "add `expression` with a CEL expression",
        ),
        FieldType::Summary => {
            field.summary = summary(reader);
            return field.summary.is_some();
        }
        FieldType::Autonumber => {
            let format = reader.string(&["autonumberFormat", "autonumber_format", "format"]);
            field.autonumber_format = Some(format.unwrap_or_else(|| "{0000}".to_owned()));
            field.start_at = reader.integer(&["startAt", "startingNumber"]).unwrap_or(1);
        }
        _ => {}
    }
    true
}

fn summary(reader: &Reader<'_>) -> Option<Summary> {
    let hint = "add `summaryOperations: {object: child, field: amount, function: sum}`";
    let Some(operations) = reader.object(&["summaryOperations", "summary"]) else {
        reader.error(
            "SUMMARY_INCOMPLETE",
            reader.path.clone(),
            "the summary does not say what to sum up; the field is left out".to_owned(),
            hint,
        );
        return None;
    };
    let object = operations.string(&["object"]);
    let word = operations.string(&["function"]);
    let function = word.as_deref().and_then(SummaryFunction::parse);
    let field = operations.string(&["field"]);
    let complete = field.is_some() || function == Some(SummaryFunction::Count);
    let (Some(object), Some(function), true) = (object, function, complete) else {
        reader.error(
            "SUMMARY_INCOMPLETE",
            operations.path,
            "a summary needs `object`, `function` (count, sum, avg, min, max) and, unless it counts, `field`; the field is left out".to_owned(),
            hint,
        );
        return None;
    };
    Some(Summary {
        object,
        field,
        function,
        relationship_field: operations.string(&["relationshipField", "foreignKey"]),
        filter: operations.raw(&["filter"]).cloned(),
    })
}
