//! Row-level policies: which rows an expression lets through, the same for reads, writes and the
//! check of what is written.

use crate::support::TestMesh;
use serde_json::{Value, json};

async fn inspection(mesh: &TestMesh, fields: Value) -> String {
    let made = mesh.post(&mesh.admin, "/data/inspection", fields).await;
    made.ok(201)["id"].as_str().expect("an id").to_owned()
}

async fn titles(mesh: &TestMesh, token: &str) -> Vec<String> {
    let list = mesh
        .get(token, "/data/inspection?orderBy=title")
        .await
        .ok(200);
    let items = list["items"].as_array().expect("items");
    assert_eq!(list["total"].as_u64(), Some(items.len() as u64));
    let title = |item: &Value| item["title"].as_str().expect("a title").to_owned();
    items.iter().map(title).collect()
}

databases!(
    policies_select_rows_by_expressions,
    |mesh: TestMesh| async move {
        let (ida, inspector) = mesh.user("ida", "inspector").await;
        let (_, onlooker) = mesh.user("otto", "onlooker").await;
        for fields in [
            json!({"title": "a own", "inspector": ida, "region": "closed", "score": 9}),
            json!({"title": "b harmless", "region": "north", "score": 4}),
            json!({"title": "c no region", "score": 0}),
            json!({"title": "d no score", "region": "north"}),
            json!({"title": "e high", "region": "north", "score": 5}),
            json!({"title": "f closed", "region": "closed", "score": 1}),
            json!({"title": "g vip", "region": "north", "score": 1, "tags": ["x", "vip"]}),
        ] {
            inspection(&mesh, fields).await;
        }
        let seen = titles(&mesh, &inspector).await;
        assert_eq!(seen, ["a own", "b harmless", "c no region"]);
        // Nobody has a department: neither a comparison with it nor its opposite holds.
        assert!(titles(&mesh, &onlooker).await.is_empty());
        assert_eq!(titles(&mesh, &mesh.admin).await.len(), 7);
    }
);

databases!(
    policies_hold_for_what_is_written,
    |mesh: TestMesh| async move {
        let (ida, inspector) = mesh.user("ida", "inspector").await;
        let new = |fields: Value| mesh.post(&inspector, "/data/inspection", fields);
        let customer = |city: &'static str| {
            let mesh = &mesh;
            async move {
                let made = mesh
                    .post(
                        &mesh.admin,
                        "/data/customer",
                        json!({"name": city, "city": city}),
                    )
                    .await;
                made.ok(201)["id"].clone()
            }
        };
        let (rome, oslo, atlantis) = (
            customer("Rome").await,
            customer("Oslo").await,
            customer("Atlantis").await,
        );
        // Only for oneself, and the record that it refers to counts, too.
        new(json!({"title": "x"}))
            .await
            .refused(403, "PERMISSION_DENIED");
        new(json!({"title": "x", "inspector": ida, "customer": atlantis}))
            .await
            .refused(403, "PERMISSION_DENIED");
        let own =
            new(json!({"title": "own", "inspector": ida, "region": "north", "customer": oslo}))
                .await
                .ok(201);
        new(json!({"title": "alone", "inspector": ida}))
            .await
            .ok(201);

        let path = format!("/data/inspection/{}", own["id"].as_str().expect("an id"));
        let patch = |fields: Value| mesh.patch(&inspector, &path, fields);
        patch(json!({"score": 10})).await.ok(200);
        for refused in [
            json!({"score": 11}),
            // Without a score there is no order, and no right.
            json!({"score": null}),
            json!({"inspector": null}),
            json!({"title": "Top% floor"}),
        ] {
            patch(refused).await.refused(403, "PERMISSION_DENIED");
        }
        // A `%` is a `%`, and letters differ by case.
        patch(json!({"title": "Topmost"})).await.ok(200);
        patch(json!({"title": "top% floor"})).await.ok(200);

        mesh.delete(&inspector, &path)
            .await
            .refused(403, "PERMISSION_DENIED");
        patch(json!({"customer": rome})).await.ok(200);
        mesh.delete(&inspector, &path).await.ok(200);

        // Readable, but not of the two regions.
        let other = inspection(
            &mesh,
            json!({"title": "west", "inspector": ida, "region": "west", "score": 1}),
        )
        .await;
        let path = format!("/data/inspection/{other}");
        mesh.get(&inspector, &path).await.ok(200);
        mesh.patch(&inspector, &path, json!({"score": 2}))
            .await
            .refused(403, "PERMISSION_DENIED");
    }
);
