//! The contract (docs/rest-api.md), row by row: each is listed by discovery, built or not.

use std::collections::BTreeSet;

use crate::support::TestMesh;
use serde_json::{Value, json};

/// Method and path of every row of the contract's tables; the names of variables do not matter.
fn rows() -> BTreeSet<(String, String)> {
    let mut rows = BTreeSet::new();
    for line in include_str!("../../docs/rest-api.md").lines() {
        let mut cells = line
            .split('|')
            .map(str::trim)
            .filter(|cell| !cell.is_empty());
        let (Some(path), Some(methods)) = (cells.next(), cells.next()) else {
            continue;
        };
        if !path.starts_with('/') {
            continue;
        }
        let path = match path.starts_with("/api/") {
            true => path.to_owned(),
            false => format!("/api/v1{path}"),
        };
        for method in methods.split('/') {
            rows.insert((method.trim().to_owned(), unnamed(&path)));
        }
    }
    rows
}

fn unnamed(path: &str) -> String {
    let parts = path.split('/').map(|part| match part.starts_with(':') {
        true => ":",
        false => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

databases!(
    every_row_of_the_contract_is_listed,
    |mesh: TestMesh| async move {
        let found = mesh.get(&mesh.admin, "").await.ok(200);
        let listed: BTreeSet<(String, String)> = found["endpoints"]
            .as_array()
            .expect("endpoints")
            .iter()
            .map(|one| {
                let text = |key: &str| one[key].as_str().expect("text").to_owned();
                (text("method"), unnamed(&text("path")))
            })
            .collect();
        let rows = rows();
        // A table that is not read would hide what is missing.
        assert_eq!(rows.len(), 58, "{rows:#?}");
        let missing: Vec<_> = rows.difference(&listed).collect();
        assert_eq!(missing, Vec::<&(String, String)>::new());
    }
);

databases!(
    an_item_shows_its_layers_and_who_refers_to_it,
    |mesh: TestMesh| async move {
        let path = "/meta/object/customer?layers=true";
        let layers = mesh.get(&mesh.admin, path).await.ok(200);
        assert_eq!(layers["name"], "customer");
        assert_eq!(layers["base"], Value::Null);
        assert_eq!(layers["overlay"], Value::Null);
        assert_eq!(layers["package"]["label"], "Customer");
        assert_eq!(layers["effective"], layers["package"]);
        assert_eq!(layers["effective"], layers["code"]);
        let path = "/meta/object/sys_user?layers=true";
        let layers = mesh.get(&mesh.admin, path).await.ok(200);
        assert_eq!(layers["package"], Value::Null);
        assert_eq!(layers["base"]["name"], "sys_user");

        let path = "/meta/object/customer/references";
        let found = mesh.get(&mesh.admin, path).await.ok(200);
        let found = found["references"].as_array().expect("references");
        let ticket = json!({"type": "object", "name": "ticket", "label": "Ticket",
        "path": "fields.customer.reference", "kind": "object"});
        assert!(found.contains(&ticket), "{found:#?}");
        let holders = |name: &str| found.iter().any(|one| one["name"] == name);
        assert!(holders("viewer"), "{found:#?}");

        // A viewer is not shown what grants rights, nor what refers to what it may not read.
        let (_, viewer) = mesh.user("vera", "viewer").await;
        let found = mesh.get(&viewer, path).await.ok(200);
        let found = found["references"].as_array().expect("references");
        assert!(found.contains(&ticket), "{found:#?}");
        let mut types = found.iter().map(|one| &one["type"]);
        assert!(types.all(|one| one != "permission"), "{found:#?}");
        mesh.get(&viewer, "/meta/object/vault/references")
            .await
            .refused(404, "NOT_FOUND");
    }
);
