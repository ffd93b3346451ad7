//! Real artifacts, compiled by the reference system's own command line, load unmodified.
//! They live outside the repository; where they are absent the tests say so and pass.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests: a panic is the report, and findings are worth reading"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use metadata::{
    FieldType, ItemType, Loaded, OwdModel, Package, SeedMode, Severity, load_path, load_value,
    merge_packages, validate,
};
use serde_json::Value;

fn artifact(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = root.join(name);
    if !path.is_file() {
        println!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

/// Loads, insists that nothing is an error, and gives the codes of all findings.
fn load(path: &Path) -> (Package, Vec<String>) {
    let Loaded {
        package,
        mut diagnostics,
    } = load_path(path).unwrap();
    let known = ["sys_user", "sys_organization"];
    let known: BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
    diagnostics.extend(validate(&package, &known));
    for diagnostic in &diagnostics {
        println!("{diagnostic}");
        assert_ne!(diagnostic.severity, Severity::Error, "{diagnostic}");
        assert!(diagnostic.hint.is_some(), "{diagnostic}");
    }
    (package, diagnostics.into_iter().map(|d| d.code).collect())
}

fn names(package: &Package, item_type: ItemType) -> Vec<&str> {
    package
        .items_of(item_type)
        .map(|item| item.name.as_str())
        .collect()
}

/// Every item of a list in the file is there, word for word.
fn assert_verbatim(package: &Package, path: &Path) {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (key, list) in file.as_object().unwrap() {
        let (Some(item_type), Some(list)) = (ItemType::from_str_loose(key), list.as_array()) else {
            continue;
        };
        let items: Vec<&Value> = package
            .items_of(item_type)
            .filter(|item| !item.inline)
            .map(|item| &item.value)
            .collect();
        assert_eq!(items, list.iter().collect::<Vec<_>>(), "{key}");
    }
    assert_eq!(package.manifest, file["manifest"]);
    assert_eq!(package.extra.get("requires"), file.get("requires"));
}

/// What goes into a database comes out as the same package.
fn assert_round_trip(package: &Package) {
    let again = load_value(package.to_artifact(), None).package;
    let key = |package: &Package| -> Vec<(ItemType, String)> {
        package
            .items
            .iter()
            .map(|item| (item.item_type, item.name.clone()))
            .collect()
    };
    assert_eq!(key(&again), key(package));
    assert_eq!(again.objects, package.objects);
    assert_eq!(again.permission_sets, package.permission_sets);
    assert_eq!(again.seeds, package.seeds);
    assert_eq!(again.extra, package.extra);
}

#[test]
fn crm_of_the_seed_era() {
    let Some(path) = artifact("app-crm-v6.objectstack.json") else {
        return;
    };
    let (package, codes) = load(&path);
    assert_eq!(package.id, "com.example.crm");
    assert_eq!(package.version, "4.0.0");
    let objects = ["crm_account", "crm_contact", "crm_opportunity"];
    assert_eq!(names(&package, ItemType::Object), objects);
    // The container carries neither a name nor an object.
    assert_eq!(names(&package, ItemType::View), ["crm_opportunity"]);
    assert_eq!(
        package
            .items_of(ItemType::View)
            .next()
            .unwrap()
            .object
            .as_deref(),
        Some("crm_opportunity")
    );
    assert_eq!(
        names(&package, ItemType::Position),
        ["sales_rep", "sales_manager"]
    );
    // Written both at the top and inside the object.
    assert_eq!(names(&package, ItemType::Action), ["crm_convert_lead"]);
    for (item_type, name) in [
        (ItemType::Flow, "opportunity_won_notification"),
        (ItemType::Workflow, "crm_high_value_deal_alert"),
        (ItemType::Approval, "crm_discount_approval"),
        (ItemType::Agent, "crm_sales_assistant"),
        (ItemType::Skill, "crm_deal_management"),
    ] {
        assert_eq!(names(&package, item_type), [name]);
    }

    let opportunity = package.object("crm_opportunity").unwrap();
    let revenue = &opportunity.fields["expected_revenue"];
    assert_eq!(revenue.field_type, FieldType::Formula);
    assert!(
        revenue
            .expression
            .as_deref()
            .unwrap()
            .starts_with("(amount == null")
    );
    assert_eq!(
        opportunity.fields["stage"].effective_default(),
        Some("prospecting".into())
    );
    assert_eq!(
        opportunity.fields["account"].reference.as_deref(),
        Some("crm_account")
    );
    assert_eq!(opportunity.owd(), OwdModel::PublicReadWrite);
    assert_eq!(opportunity.title_field(), Some("name"));

    let set = &package.permission_sets[0];
    assert_eq!(set.name, "crm_sales_user");
    assert!(set.objects["crm_account"].allow_edit && !set.objects["crm_account"].allow_delete);
    assert_eq!(package.seeds.len(), 3);
    assert_eq!(package.seeds[1].external_id, "email");
    assert_eq!(package.seeds[1].mode, SeedMode::Upsert);
    assert_eq!(
        package.seeds[1].records[0]["account"]["externalId"],
        "Acme Corp"
    );
    assert!(!codes.iter().any(|code| code == "UNKNOWN_OBJECT"));
    assert_verbatim(&package, &path);
    assert_round_trip(&package);
}

#[test]
fn crm_of_the_newest_era() {
    let Some(path) = artifact("app-crm.objectstack.json") else {
        return;
    };
    let (package, _) = load(&path);
    assert_eq!(package.objects.len(), 6);
    let views = ["crm_activity", "crm_lead", "crm_opportunity"];
    assert_eq!(names(&package, ItemType::View), views);
    assert_eq!(
        names(&package, ItemType::Permission),
        ["crm_sales_user", "guest_portal"]
    );
    assert_eq!(names(&package, ItemType::Dataset), ["opportunity_metrics"]);
    assert_eq!(package.positions.len(), 3);
    assert_eq!(package.seeds.len(), 5);
    assert_eq!(names(&package, ItemType::Translation).len(), 1);

    let line = package.object("crm_opportunity_line_item").unwrap();
    assert_eq!(line.owd(), OwdModel::ControlledByParent);
    let master = line.master_field().unwrap();
    assert_eq!(master.reference.as_deref(), Some("crm_opportunity"));
    let total = &package.object("crm_opportunity").unwrap().fields["line_total"];
    assert_eq!(
        total.summary.as_ref().unwrap().object,
        "crm_opportunity_line_item"
    );
    assert_eq!(
        package.object("crm_opportunity").unwrap().validations.len(),
        3
    );
    assert_verbatim(&package, &path);
    assert_round_trip(&package);

    let (objects, diagnostics) = merge_packages(vec![package]);
    assert_eq!(objects.len(), 6);
    assert_eq!(diagnostics, []);
    assert!(objects.iter().all(|object| object.fields["id"].system));
}

#[test]
fn todo_app() {
    let Some(path) = artifact("app-todo.objectstack.json") else {
        return;
    };
    let (package, codes) = load(&path);
    assert_eq!(names(&package, ItemType::Object), ["todo_task"]);
    assert_eq!(names(&package, ItemType::Action).len(), 8);
    assert_eq!(names(&package, ItemType::Flow).len(), 4);
    assert_eq!(names(&package, ItemType::Report).len(), 5);
    assert_eq!(names(&package, ItemType::View), ["todo_task"]);
    assert_eq!(
        names(&package, ItemType::Function),
        ["computeNextTaskDueDate"]
    );
    assert_eq!(
        names(&package, ItemType::Doc),
        ["todo_index", "todo_user_guide"]
    );
    // Its actions name functions of a module that nobody here runs.
    assert!(codes.iter().any(|code| code == "NOT_EXECUTABLE"));

    let task = package.object("todo_task").unwrap();
    assert_eq!(task.title_field(), Some("subject"));
    assert_eq!(task.indexes.len(), 5);
    assert!(task.track_history);
    assert!(task.fields["tags"].is_multi_value());
    assert!(task.fields["completed_date"].readonly);
    assert_verbatim(&package, &path);
    assert_round_trip(&package);
}

#[test]
fn envelope_and_unknown_keys() {
    let Some(path) = artifact("app-todo.objectstack.json") else {
        return;
    };
    let mut stack: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    stack["fromTheFuture"] = serde_json::json!({"a": 1});
    stack["objects"][0]["orbit"] = "low".into();
    stack["objects"][0]["fields"]["subject"]["spin"] = "left".into();
    let envelope = serde_json::json!({
        "schemaVersion": "1", "environmentId": "env", "checksum": {}, "metadata": stack, "functions": []
    });
    let package = load_value(envelope, None).package;
    assert_eq!(package.id, "com.example.todo");
    assert_eq!(package.extra["fromTheFuture"]["a"], 1);
    let object = package.item(ItemType::Object, "todo_task").unwrap();
    assert_eq!(object.value["orbit"], "low");
    assert_eq!(object.value["fields"]["subject"]["spin"], "left");
}
