//! Records over REST: the contract's bodies, headers and rules.

use crate::support::{TestMesh, encode};
use reqwest::Method;
use serde_json::json;

sizes!(a_record_lives_its_life, |mesh: TestMesh| async move {
    let admin = mesh.admin.clone();
    let answer = mesh
        .post(
            &admin,
            "/data/ticket",
            json!({"subject": "Printer on fire", "tags": ["a", "b", "a"]}),
        )
        .await;
    assert_eq!(answer.header("etag"), Some("\"1\""));
    let location = answer.header("location").expect("a Location").to_owned();
    let created = answer.ok(201);
    let id = created["id"].as_str().expect("an id").to_owned();
    assert_eq!(location, format!("/api/v1/data/ticket/{id}"));
    assert_eq!(id.len(), 26);
    assert_eq!(created["status"], "open", "the option's default applies");
    assert_eq!(created["version"], 1);
    assert_eq!(created["number"], "T-0001");
    assert_eq!(created["tags"], json!(["a", "b"]), "duplicates are removed");
    assert_eq!(
        created["watchers"],
        json!([]),
        "an empty list reads back as one"
    );
    assert!(
        created["description"].is_null(),
        "absent optional fields are null"
    );
    assert!(created["created_by"].is_string());

    let read = mesh.get(&admin, &format!("/data/ticket/{id}")).await;
    assert_eq!(read.header("etag"), Some("\"1\""));
    assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        read.ok(200),
        created,
        "reading gives what creating answered"
    );

    let patched = mesh
        .call(
            &admin,
            Method::PATCH,
            &format!("/data/ticket/{id}"),
            Some(json!({"status": "closed", "description": "done"}).to_string()),
            &[("if-match", "\"1\"")],
        )
        .await;
    assert_eq!(patched.header("etag"), Some("\"2\""));
    let patched = patched.ok(200);
    assert_eq!(
        (&patched["status"], &patched["version"]),
        (&json!("closed"), &json!(2))
    );
    assert_eq!(
        patched["subject"], "Printer on fire",
        "what was not named stays"
    );
    assert_eq!(
        mesh.get(&admin, &format!("/data/ticket/{id}"))
            .await
            .ok(200),
        patched
    );

    let cleared = mesh
        .patch(
            &admin,
            &format!("/data/ticket/{id}"),
            json!({"description": null}),
        )
        .await
        .ok(200);
    assert!(cleared["description"].is_null());

    // A client may send back what it read: server-managed fields are dropped.
    let sent_back = mesh
        .patch(&admin, &format!("/data/ticket/{id}"), cleared.clone())
        .await
        .ok(200);
    assert_eq!(sent_back["version"], 4);
    assert_eq!(sent_back["created_at"], created["created_at"]);
    let untouched = mesh
        .patch(&admin, &format!("/data/ticket/{id}"), json!({}))
        .await
        .ok(200);
    assert_eq!(untouched["version"], 4, "an empty patch changes nothing");

    let deleted = mesh
        .delete(&admin, &format!("/data/ticket/{id}"))
        .await
        .ok(200);
    assert_eq!(
        deleted,
        json!({"object": "ticket", "id": id, "success": true})
    );
    let gone = mesh
        .get(&admin, &format!("/data/ticket/{id}"))
        .await
        .refused(404, "NOT_FOUND");
    assert_eq!(gone["reason"], "RECORD_NOT_FOUND");
    mesh.delete(&admin, &format!("/data/ticket/{id}"))
        .await
        .refused(404, "NOT_FOUND");
});

databases!(
    values_are_kept_exactly_and_print_canonically,
    |mesh: TestMesh| async move {
        let admin = mesh.admin.clone();
        let body = r#"{"subject":"Ünïcode 😀 \"quoted\" \u0001","priority":7,"weight":2.5,"cost":12345678901234.565,
        "urgent":"true","due_on":"2026-03-07T23:59:59Z","due_at":"2026-03-07T12:00:00.1239+02:00",
        "extra":{"z":1,"a":[1,null,{"b":9007199254740993}]},"contact_email":"  GRACE@Example.COM "}"#;
        let answer = mesh
            .call(
                &admin,
                Method::POST,
                "/data/ticket",
                Some(body.to_owned()),
                &[],
            )
            .await
            .ok(201);
        assert_eq!(answer["subject"], "Ünïcode 😀 \"quoted\" \u{1}");
        assert_eq!(answer["priority"].to_string(), "7");
        assert_eq!(answer["weight"].to_string(), "2.5");
        assert_eq!(answer["urgent"], true);
        assert_eq!(
            answer["due_on"], "2026-03-07",
            "a date is cut, never shifted"
        );
        assert_eq!(answer["due_at"], "2026-03-07T10:00:00.123Z");
        assert_eq!(answer["contact_email"], "grace@example.com");
        assert_eq!(
            answer["extra"],
            json!({"z": 1, "a": [1, null, {"b": 9_007_199_254_740_993_i64}]})
        );
        let id = answer["id"].as_str().expect("an id");
        let read = mesh
            .get(&admin, &format!("/data/ticket/{id}"))
            .await
            .ok(200);
        assert_eq!(read, answer);
        // Rounded half away from zero, to the last digit.
        assert_eq!(read["cost"].to_string(), "12345678901234.57");
    }
);

databases!(
    a_stale_version_is_refused_with_the_current_record,
    |mesh: TestMesh| async move {
        let admin = mesh.admin.clone();
        let id = create(&mesh, json!({"subject": "one"})).await;
        let path = format!("/data/ticket/{id}");
        let moved = mesh
            .patch(&admin, &path, json!({"subject": "two"}))
            .await
            .ok(200);
        let patch = async |header: &str| {
            let body = json!({"subject": "three"}).to_string();
            mesh.call(
                &admin,
                Method::PATCH,
                &path,
                Some(body),
                &[("if-match", header)],
            )
            .await
        };
        for stale in ["1", "\"1\"", "W/\"1\"", "99", "\"0\""] {
            let details = patch(stale).await.refused(409, "CONCURRENT_UPDATE");
            assert_eq!(details["currentVersion"], "2");
            assert_eq!(details["currentRecord"], moved);
            assert_eq!(
                (&details["object"], &details["id"]),
                (&json!("ticket"), &json!(id))
            );
        }
        for nonsense in ["abc", "-1", "1.5"] {
            patch(nonsense).await.refused(400, "VALIDATION_ERROR");
        }
        // The body's token is stronger than the header's.
        let body = json!({"subject": "three", "expectedVersion": 1}).to_string();
        mesh.call(
            &admin,
            Method::PATCH,
            &path,
            Some(body),
            &[("if-match", "2")],
        )
        .await
        .refused(409, "CONCURRENT_UPDATE");
        let body = json!({"subject": "three", "expectedVersion": "2"}).to_string();
        let third = mesh
            .call(
                &admin,
                Method::PATCH,
                &path,
                Some(body),
                &[("if-match", "1")],
            )
            .await
            .ok(200);
        // `updated_at` is a token too.
        let updated_at = third["updated_at"].as_str().expect("a moment").to_owned();
        mesh.call(
            &admin,
            Method::DELETE,
            &format!(
                "{path}?expectedVersion={}",
                encode("2001-01-01T00:00:00.000Z")
            ),
            None,
            &[],
        )
        .await
        .refused(409, "CONCURRENT_UPDATE");
        mesh.call(
            &admin,
            Method::DELETE,
            &path,
            None,
            &[("if-match", &format!("\"{updated_at}\""))],
        )
        .await
        .ok(200);
        mesh.call(
            &admin,
            Method::PATCH,
            &path,
            Some("{}".to_owned()),
            &[("if-match", "*")],
        )
        .await
        .refused(404, "NOT_FOUND");
    }
);

databases!(
    bad_values_are_all_reported_together,
    |mesh: TestMesh| async move {
        let admin = mesh.admin.clone();
        let body = json!({
            "subject": " ", "status": "wild", "priority": 11, "weight": "heavy", "urgent": "maybe",
            "due_on": "yesterday", "contact_email": "nobody", "customer": "no-such-customer"
        });
        let details = mesh
            .post(&admin, "/data/ticket", body)
            .await
            .refused(400, "VALIDATION_ERROR");
        let mut codes: Vec<(String, String)> = details["fields"]
            .as_array()
            .expect("fields")
            .iter()
            .map(|entry| {
                let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                assert!(
                    entry["message"]
                        .as_str()
                        .is_some_and(|message| !message.is_empty())
                );
                (text("field"), text("code"))
            })
            .collect();
        codes.sort();
        let expected = [
            ("contact_email", "invalid_email"),
            ("customer", "reference_not_found"),
            ("due_on", "invalid_date"),
            ("priority", "max_value"),
            ("status", "invalid_option"),
            ("subject", "required"),
            ("urgent", "invalid_boolean"),
            ("weight", "invalid_number"),
        ];
        let codes: Vec<(&str, &str)> = codes
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        assert_eq!(codes, expected);
        let total = mesh.get(&admin, "/data/ticket").await.ok(200)["total"].clone();
        assert_eq!(total, 0, "nothing was written");
    }
);

sizes!(unique_values_are_unique, |mesh: TestMesh| async move {
    let admin = mesh.admin.clone();
    create(
        &mesh,
        json!({"subject": "a", "contact_email": "x@example.com"}),
    )
    .await;
    create(&mesh, json!({"subject": "no address"})).await;
    create(&mesh, json!({"subject": "nulls never collide"})).await;
    let taken = json!({"subject": "b", "contact_email": "X@example.com"});
    let details = mesh
        .post(&admin, "/data/ticket", taken)
        .await
        .refused(409, "UNIQUE_VIOLATION");
    assert_eq!(
        details,
        json!({"object": "ticket", "field": "contact_email", "value": "x@example.com"})
    );
    // An id that is taken is refused as well.
    mesh.post(
        &admin,
        "/data/ticket",
        json!({"id": "mine", "subject": "c"}),
    )
    .await
    .ok(201);
    mesh.post(
        &admin,
        "/data/ticket",
        json!({"id": "mine", "subject": "d"}),
    )
    .await
    .refused(409, "UNIQUE_VIOLATION");
    // A refused insert gives its number back.
    let next = mesh
        .post(&admin, "/data/ticket", json!({"subject": "e"}))
        .await
        .ok(201);
    assert_eq!(next["number"], "T-0005");
});

sizes!(lists_filter_order_and_page, |mesh: TestMesh| async move {
    let admin = mesh.admin.clone();
    for n in 0..25 {
        let status = if n % 5 == 0 { "closed" } else { "open" };
        create(
            &mesh,
            json!({"subject": format!("n{n:02}"), "status": status, "priority": n % 3}),
        )
        .await;
    }
    let filter = encode(r#"{"status":{"$eq":"open"}}"#);
    let path = format!("/data/ticket?where={filter}&orderBy=-created_at&limit=7");
    let page = mesh.get(&admin, &path).await.ok(200);
    let mut keys: Vec<&str> = page
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, ["items", "nextCursor", "total"]);
    assert_eq!(page["total"], 20);
    // Following the cursor, also without repeating filter and order, visits each exactly once.
    let mut seen = Vec::new();
    let mut page = page;
    loop {
        for item in page["items"].as_array().expect("items") {
            seen.push(item["subject"].as_str().expect("a subject").to_owned());
        }
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        let next = format!("/data/ticket?cursor={}&limit=7", encode(cursor));
        page = mesh.get(&admin, &next).await.ok(200);
        assert_eq!(page["total"], 20);
    }
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!((seen.len(), unique.len()), (20, 20), "{seen:?}");
    assert_eq!(seen.first().map(String::as_str), Some("n24"));

    let by_two = mesh
        .get(
            &admin,
            "/data/ticket?orderBy=priority,-subject&limit=3&select=subject,priority",
        )
        .await
        .ok(200);
    let subjects: Vec<_> = by_two["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["subject"].clone())
        .collect();
    assert_eq!(subjects, ["n24", "n21", "n18"]);
    assert_eq!(
        by_two["items"][0].as_object().expect("a record").len(),
        3,
        "id, subject, priority"
    );
    let implicit = mesh
        .get(&admin, "/data/ticket?status=closed&count=false")
        .await
        .ok(200);
    assert_eq!(implicit["items"].as_array().map(Vec::len), Some(5));
    assert!(implicit.get("total").is_none());
    let none = mesh.get(&admin, "/data/ticket?limit=0").await.ok(200);
    assert_eq!(
        (none["items"].as_array().map(Vec::len), &none["total"]),
        (Some(0), &json!(25))
    );
    let query = json!({"where": {"$or": [{"priority": {"$gte": 2}}, {"subject": {"$startsWith": "n0"}}]},
        "orderBy": [{"field": "subject", "order": "asc"}], "limit": 200});
    let answer = mesh.post(&admin, "/data/ticket/query", query).await.ok(200);
    assert_eq!(answer["total"], 15);
    assert!(answer["nextCursor"].is_null());
});

databases!(lookups_expand, |mesh: TestMesh| async move {
    let admin = mesh.admin.clone();
    let customer = mesh
        .post(
            &admin,
            "/data/customer",
            json!({"name": "Acme", "city": "Berlin"}),
        )
        .await
        .ok(201);
    let user = mesh.get(&admin, "/data/sys_user").await.ok(200)["items"][0]["id"].clone();
    let id = create(
        &mesh,
        json!({"subject": "x", "customer": {"id": customer["id"]}, "watchers": [user]}),
    )
    .await;
    let plain = mesh
        .get(&admin, &format!("/data/ticket/{id}"))
        .await
        .ok(200);
    assert_eq!(plain["customer"], customer["id"]);
    let read = mesh
        .get(
            &admin,
            &format!("/data/ticket/{id}?expand=customer,watchers"),
        )
        .await
        .ok(200);
    assert_eq!(read["customer"], customer);
    assert_eq!(read["watchers"][0]["email"], "admin@example.com");
    let list = mesh
        .get(&admin, "/data/ticket?expand=customer&select=subject")
        .await
        .ok(200);
    assert_eq!(list["items"][0]["customer"]["name"], "Acme");
    let query = json!({"expand": {"customer": {"fields": ["city"]}}});
    let list = mesh.post(&admin, "/data/ticket/query", query).await.ok(200);
    assert_eq!(
        list["items"][0]["customer"],
        json!({"id": customer["id"], "city": "Berlin"})
    );
    // Through the relation, and back.
    let filter = encode(r#"{"customer.city":"Berlin"}"#);
    assert_eq!(
        mesh.get(&admin, &format!("/data/ticket?where={filter}"))
            .await
            .ok(200)["total"],
        1
    );
    // The target goes: a plain lookup is set to null, and the version tells.
    mesh.delete(
        &admin,
        &format!("/data/customer/{}", customer["id"].as_str().expect("an id")),
    )
    .await
    .ok(200);
    let after = mesh
        .get(&admin, &format!("/data/ticket/{id}?expand=customer"))
        .await
        .ok(200);
    assert!(after["customer"].is_null());
    assert_eq!(after["version"], 2);
});

databases!(
    details_go_with_their_master_and_required_lookups_hold_on,
    |mesh: TestMesh| async move {
        let admin = mesh.admin.clone();
        let customer = mesh
            .post(&admin, "/data/customer", json!({"name": "Acme"}))
            .await
            .ok(201);
        let deal = mesh
            .post(
                &admin,
                "/data/deal",
                json!({"name": "Big", "amount": "1200.50", "customer": customer["id"]}),
            )
            .await
            .ok(201);
        assert_eq!(deal["amount"].to_string(), "1200.5");
        for n in 0..3 {
            mesh.post(
                &admin,
                "/data/line",
                json!({"deal": deal["id"], "text": format!("line {n}")}),
            )
            .await
            .ok(201);
        }
        let path = format!("/data/customer/{}", customer["id"].as_str().expect("an id"));
        let details = mesh
            .delete(&admin, &path)
            .await
            .refused(409, "DELETE_RESTRICTED");
        assert_eq!(details["dependentObject"], "deal");
        assert_eq!(details["dependentCount"], 1);
        let path = format!("/data/deal/{}", deal["id"].as_str().expect("an id"));
        mesh.delete(&admin, &path).await.ok(200);
        assert_eq!(mesh.get(&admin, "/data/line").await.ok(200)["total"], 0);
        let filter = encode(r#"{"action":"delete","object_name":"line"}"#);
        let audit = mesh
            .get(&admin, &format!("/data/sys_audit_log?where={filter}"))
            .await
            .ok(200);
        assert_eq!(audit["total"], 3, "each of them left an audit entry");
    }
);

sizes!(
    an_idempotency_key_creates_once,
    |mesh: TestMesh| async move {
        let admin = mesh.admin.clone();
        let send = async |subject: &str| {
            let body = json!({"subject": subject}).to_string();
            mesh.call(
                &admin,
                Method::POST,
                "/data/ticket",
                Some(body),
                &[("idempotency-key", "key-1")],
            )
            .await
        };
        let first = send("once").await.ok(201);
        let again = send("once").await.ok(201);
        assert_eq!(first["id"], again["id"]);
        let details = send("twice").await.refused(422, "VALIDATION_ERROR");
        assert_eq!(details["reason"], "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(mesh.get(&admin, "/data/ticket").await.ok(200)["total"], 1);
    }
);

async fn create(mesh: &TestMesh, body: serde_json::Value) -> String {
    let created = mesh.post(&mesh.admin, "/data/ticket", body).await.ok(201);
    created["id"].as_str().expect("an id").to_owned()
}
