//! Who may do what: the same answers over REST and over gRPC, at every door.

use crate::support::{TestMesh, encode, with_token};
use proto::data::v1::{
    CreateRecordRequest, GetRecordRequest, ListRecordsRequest, UpdateRecordRequest, record::Body,
    record_service_client::RecordServiceClient,
};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Code;

sizes!(
    a_generated_client_reads_what_rest_reads,
    |mesh: TestMesh| async move {
        let created = mesh
            .post(
                &mesh.admin,
                "/data/ticket",
                json!({"subject": "Both doors", "priority": 3, "tags": ["x"]}),
            )
            .await
            .ok(201);
        let id = created["id"].as_str().expect("an id").to_owned();
        let request = || GetRecordRequest {
            object: "ticket".to_owned(),
            id: id.clone(),
            ..GetRecordRequest::default()
        };
        let mut records: RecordServiceClient<mesh::Link> = mesh.records();

        // A foreign client asks for nothing and gets a Struct.
        let answer = records
            .get_record(with_token(request(), &mesh.admin))
            .await
            .expect("a record");
        let record = answer.into_inner().record.expect("a record");
        assert_eq!((record.id.as_str(), record.version), (id.as_str(), 1));
        let Some(Body::Fields(fields)) = record.body else {
            panic!("a Struct was expected")
        };
        let rest = crate::support::fields(&created);
        assert_eq!(fields.fields.len(), rest.len());
        for (name, value) in &fields.fields {
            assert!(
                same(value, &rest[name]),
                "{name}: {value:?} is not {}",
                rest[name]
            );
        }

        // Who asks for JSON gets the very bytes that REST splices.
        let mut json = with_token(request(), &mesh.admin);
        json.metadata_mut()
            .insert("objectmesh-records", "json".parse().expect("a value"));
        let record = records
            .get_record(json)
            .await
            .expect("a record")
            .into_inner()
            .record;
        let Some(Body::Json(bytes)) = record.expect("a record").body else {
            panic!("JSON was expected")
        };
        assert_eq!(
            serde_json::from_slice::<Value>(&bytes).expect("JSON"),
            created
        );

        let nobody = records
            .get_record(tonic::Request::new(request()))
            .await
            .expect_err("refused");
        assert_eq!(nobody.code(), Code::Unauthenticated);
        for bad in ["nonsense", "osk_nonsense", "eyJhbGciOiJub25lIn0.e30."] {
            let refused = records
                .get_record(with_token(request(), bad))
                .await
                .expect_err("refused");
            assert_eq!(refused.code(), Code::Unauthenticated, "{bad}");
        }

        let (_, viewer) = mesh.user("vera", "viewer").await;
        let read = records
            .get_record(with_token(request(), &viewer))
            .await
            .expect("a viewer reads");
        assert_eq!(read.into_inner().record.expect("a record").id, id);
        let write = UpdateRecordRequest {
            object: "ticket".to_owned(),
            id: id.clone(),
            patch: json!({"subject": "changed"}).to_string().into(),
            if_match: String::new(),
            idempotency_key: String::new(),
        };
        let refused = records
            .update_record(with_token(write, &viewer))
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied);
        let error = mesh::Error::from_status(&refused);
        assert_eq!(
            error.details(),
            json!({"operation": "edit", "object": "ticket"})
        );
        let create = CreateRecordRequest {
            object: "ticket".to_owned(),
            record: "{\"subject\":\"mine\"}".into(),
            ..CreateRecordRequest::default()
        };
        let refused = records
            .create_record(with_token(create, &viewer))
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied);
        let unchanged = mesh
            .get(&mesh.admin, &format!("/data/ticket/{id}"))
            .await
            .ok(200);
        assert_eq!(unchanged, created);
    }
);

fn same(value: &prost_types::Value, json: &Value) -> bool {
    use prost_types::value::Kind;
    match (value.kind.as_ref(), json) {
        (Some(Kind::NullValue(_)), Value::Null) => true,
        (Some(Kind::BoolValue(a)), Value::Bool(b)) => a == b,
        (Some(Kind::NumberValue(a)), Value::Number(b)) => b.as_f64() == Some(*a),
        (Some(Kind::StringValue(a)), Value::String(b)) => a == b,
        (Some(Kind::ListValue(a)), Value::Array(b)) => {
            a.values.len() == b.len() && a.values.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => false,
    }
}

sizes!(
    without_a_session_nothing_is_told,
    |mesh: TestMesh| async move {
        for path in [
            "/data/ticket",
            "/data/no_such_object",
            "/data/ticket/x",
            "/meta",
            "/meta/object/ticket",
            "",
        ] {
            let answer = mesh.get("", path).await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{path}");
            answer.refused(401, "UNAUTHENTICATED");
            mesh.get("nonsense", path)
                .await
                .refused(401, "UNAUTHENTICATED");
        }
        mesh.post("", "/data/ticket", json!({"subject": "x"}))
            .await
            .refused(401, "UNAUTHENTICATED");
        // An identity token is never taken from a REST client, and forged headers count for nothing.
        let headers = [
            ("x-user-id", "1"),
            ("x-roles", "admin"),
            ("objectmesh-identity", "x"),
            ("authorization", "Bearer eyJhbGciOiJFZERTQSJ9.e30.AAAA"),
        ];
        mesh.call("", Method::GET, "/data/ticket", None, &headers)
            .await
            .refused(401, "UNAUTHENTICATED");
    }
);

databases!(
    object_rights_hold_for_each_role,
    |mesh: TestMesh| async move {
        let ticket = mesh
            .post(&mesh.admin, "/data/ticket", json!({"subject": "x"}))
            .await
            .ok(201);
        let id = ticket["id"].as_str().expect("an id").to_owned();
        let (_, agent) = mesh.user("grace", "agent").await;
        let (_, viewer) = mesh.user("vera", "viewer").await;
        let (_, manager) = mesh.user("max", "manager").await;
        let path = format!("/data/ticket/{id}");
        // role, read, create, edit, delete
        let matrix = [
            (&viewer, 200, 403, 403, 403),
            (&agent, 200, 201, 200, 200),
            (&manager, 200, 201, 200, 404),
        ];
        for (token, read, create, edit, delete) in matrix {
            assert_eq!(mesh.get(token, "/data/ticket").await.status, read);
            assert_eq!(mesh.get(token, "/data/ticket?limit=0").await.status, read);
            let created = mesh
                .post(token, "/data/ticket", json!({"subject": "new"}))
                .await;
            assert_eq!(created.status, create);
            if edit == 200 && delete == 404 {
                // The agent deleted it before.
                assert_eq!(mesh.get(token, &path).await.status, 404);
                continue;
            }
            assert_eq!(mesh.get(token, &path).await.status, read);
            assert_eq!(
                mesh.patch(token, &path, json!({"subject": "y"}))
                    .await
                    .status,
                edit
            );
            assert_eq!(mesh.delete(token, &path).await.status, delete);
        }
        for token in [&agent, &viewer, &manager] {
            let details = mesh
                .get(token, "/data/vault")
                .await
                .refused(403, "PERMISSION_DENIED");
            assert_eq!(details, json!({"operation": "read", "object": "vault"}));
            mesh.post(token, "/data/vault", json!({"name": "x"}))
                .await
                .refused(403, "PERMISSION_DENIED");
            // Right first, body second.
            mesh.post(token, "/data/vault", json!({"nonsense": 1}))
                .await
                .refused(403, "PERMISSION_DENIED");
        }
        // Operations that the object does not offer.
        let note = mesh
            .post(&mesh.admin, "/data/announcement", json!({"title": "x"}))
            .await
            .ok(201);
        let path = format!("/data/announcement/{}", note["id"].as_str().expect("an id"));
        let answer = mesh.patch(&mesh.admin, &path, json!({"title": "y"})).await;
        let details = answer.refused(405, "METHOD_NOT_ALLOWED");
        assert_eq!(details["allowed"], json!(["get", "list", "create"]));
    }
);

databases!(unreadable_fields_are_nowhere, |mesh: TestMesh| async move {
    let (_, agent) = mesh.user("grace", "agent").await;
    let customer = mesh
        .post(
            &mesh.admin,
            "/data/customer",
            json!({"name": "Acme", "hidden_note": "s3cret"}),
        )
        .await
        .ok(201);
    let body = json!({"subject": "x", "secret_cost": 5, "customer": customer["id"]});
    let ticket = mesh.post(&mesh.admin, "/data/ticket", body).await.ok(201);
    assert_eq!(ticket["secret_cost"].to_string(), "5");
    let path = format!("/data/ticket/{}", ticket["id"].as_str().expect("an id"));

    let seen = mesh
        .get(&agent, &format!("{path}?expand=customer"))
        .await
        .ok(200);
    assert!(
        seen.get("secret_cost").is_none() && seen["customer"].get("hidden_note").is_none(),
        "{seen:#}"
    );
    let list = mesh
        .get(
            &agent,
            "/data/ticket?select=subject,secret_cost&expand=customer",
        )
        .await
        .ok(200);
    assert!(!list.to_string().contains("s3cret") && !list.to_string().contains("secret_cost"));
    for query in [
        "where={\"secret_cost\":{\"$gt\":1}}",
        "where={\"$not\":{\"secret_cost\":5}}",
        "where={\"customer.hidden_note\":\"s3cret\"}",
        "where={\"subject\":{\"$eq\":{\"$field\":\"secret_cost\"}}}",
        "secret_cost=5",
        "orderBy=secret_cost",
        "orderBy=-secret_cost",
    ] {
        let (name, value) = query.split_once('=').expect("a parameter");
        let path = format!("/data/ticket?{name}={}", encode(value));
        let answer = mesh.get(&agent, &path).await;
        let text = answer.body.to_string();
        answer.refused(403, "PERMISSION_DENIED");
        assert!(!text.contains("s3cret"), "{text}");
    }
    // Writing one refuses the whole request, alone or among others.
    for body in [
        json!({"secret_cost": 1}),
        json!({"subject": "y", "secret_cost": 1}),
    ] {
        let details = mesh
            .patch(&agent, &path, body.clone())
            .await
            .refused(403, "PERMISSION_DENIED");
        assert_eq!(details["forbiddenFields"], json!(["secret_cost"]));
        let details = mesh
            .post(&agent, "/data/ticket", body)
            .await
            .refused(403, "PERMISSION_DENIED");
        assert_eq!(details["forbiddenFields"], json!(["secret_cost"]));
    }
    let stale = mesh
        .call(
            &agent,
            Method::PATCH,
            &path,
            Some("{\"subject\":\"z\"}".to_owned()),
            &[("if-match", "9")],
        )
        .await;
    let details = stale.refused(409, "CONCURRENT_UPDATE");
    assert!(details["currentRecord"].get("secret_cost").is_none());
    let after = mesh.get(&mesh.admin, &path).await.ok(200);
    assert_eq!(
        (&after["subject"], &after["version"]),
        (&json!("x"), &json!(1))
    );
    let meta = mesh.get(&agent, "/meta/object/ticket").await.ok(200);
    assert!(meta["item"]["fields"].get("secret_cost").is_none());
    assert!(meta["item"]["fields"].get("subject").is_some());
});

databases!(
    private_records_belong_to_their_owner,
    |mesh: TestMesh| async move {
        let (grace, agent) = mesh.user("grace", "agent").await;
        let (other, second) = mesh.user("greta", "agent").await;
        let (_, manager) = mesh.user("max", "manager").await;
        let customer = mesh
            .post(&agent, "/data/customer", json!({"name": "Acme"}))
            .await
            .ok(201);
        let deal = mesh
            .post(
                &agent,
                "/data/deal",
                json!({"name": "Mine", "customer": customer["id"]}),
            )
            .await
            .ok(201);
        assert_eq!(deal["owner_id"], json!(grace));
        let id = deal["id"].as_str().expect("an id").to_owned();
        let path = format!("/data/deal/{id}");
        // A foreign record answers as a random id does.
        let missing = "/data/deal/01ARZ3NDEKTSV4RRFFQ69G5FAV";
        for (method, body) in [
            (Method::GET, None),
            (Method::PATCH, Some("{\"name\":\"Stolen\"}".to_owned())),
            (Method::DELETE, None),
        ] {
            let foreign = mesh
                .call(&second, method.clone(), &path, body.clone(), &[])
                .await;
            let random = mesh.call(&second, method, missing, body, &[]).await;
            assert_eq!(foreign.status, 404);
            assert_eq!(random.status, 404);
            assert_eq!(foreign.body["error"]["code"], random.body["error"]["code"]);
            assert_eq!(
                foreign.body.to_string().replace(&id, "ID"),
                random
                    .body
                    .to_string()
                    .replace("01ARZ3NDEKTSV4RRFFQ69G5FAV", "ID")
            );
        }
        let list = mesh.get(&second, "/data/deal").await.ok(200);
        assert_eq!(
            (
                list["total"].as_i64(),
                list["items"].as_array().map(Vec::len)
            ),
            (Some(0), Some(0))
        );
        // Details follow their master.
        let line = mesh
            .post(&agent, "/data/line", json!({"deal": id, "text": "t"}))
            .await
            .ok(201);
        assert_eq!(mesh.get(&second, "/data/line").await.ok(200)["total"], 0);
        let stolen = mesh
            .post(&second, "/data/line", json!({"deal": id, "text": "t"}))
            .await;
        assert!(
            stolen.status == 400 || stolen.status == 403,
            "{:#}",
            stolen.body
        );
        let line = format!("/data/line/{}", line["id"].as_str().expect("an id"));
        mesh.get(&second, &line).await.refused(404, "NOT_FOUND");
        mesh.patch(&agent, &line, json!({"text": "u"}))
            .await
            .ok(200);
        // viewAllRecords and modifyAllRecords lift the sharing filter.
        assert_eq!(mesh.get(&manager, "/data/deal").await.ok(200)["total"], 1);
        mesh.patch(&manager, &path, json!({"name": "Checked"}))
            .await
            .ok(200);
        // Only who may transfer gives a record away, or creates one for somebody else.
        mesh.patch(&agent, &path, json!({"owner_id": other}))
            .await
            .refused(403, "PERMISSION_DENIED");
        mesh.patch(
            &agent,
            &path,
            json!({"owner_id": grace, "name": "Same owner"}),
        )
        .await
        .ok(200);
        let body = json!({"name": "Gift", "customer": customer["id"], "owner_id": other});
        mesh.post(&agent, "/data/deal", body)
            .await
            .refused(403, "PERMISSION_DENIED");
        mesh.patch(&manager, &path, json!({"owner_id": other}))
            .await
            .ok(200);
        mesh.get(&agent, &path).await.refused(404, "NOT_FOUND");
        mesh.get(&second, &path).await.ok(200);

        // The same over gRPC.
        let request = ListRecordsRequest {
            object: "deal".to_owned(),
            ..ListRecordsRequest::default()
        };
        let list = mesh
            .records()
            .list_records(with_token(request, &agent))
            .await
            .expect("a list");
        assert_eq!(list.into_inner().total, Some(0));
    }
);

sizes!(rights_are_not_for_the_taking, |mesh: TestMesh| async move {
    let (grace, agent) = mesh.user("grace", "agent").await;
    let grant = json!({"user_id": grace, "permission_set": "admin_full_access"});
    mesh.post(&agent, "/data/sys_user_permission_set", grant)
        .await
        .refused(403, "PERMISSION_DENIED");
    mesh.patch(
        &agent,
        &format!("/data/sys_user/{grace}"),
        json!({"department": "x"}),
    )
    .await
    .refused(403, "PERMISSION_DENIED");
    mesh.get(&agent, "/data/sys_audit_log")
        .await
        .refused(403, "PERMISSION_DENIED");
    mesh.get(&agent, "/auth/admin/list-users")
        .await
        .refused(403, "PERMISSION_DENIED");
    // Nobody edits the audit, and the last administrator stays one.
    let audit = mesh
        .get(&mesh.admin, "/data/sys_audit_log?limit=1")
        .await
        .ok(200);
    let entry = format!(
        "/data/sys_audit_log/{}",
        audit["items"][0]["id"].as_str().expect("an id")
    );
    mesh.patch(&mesh.admin, &entry, json!({"action": "x"}))
        .await
        .refused(403, "PERMISSION_DENIED");
    mesh.delete(&mesh.admin, &entry)
        .await
        .refused(403, "PERMISSION_DENIED");
    let filter = encode(r#"{"permission_set":"admin_full_access"}"#);
    let own = mesh
        .get(
            &mesh.admin,
            &format!("/data/sys_user_permission_set?where={filter}"),
        )
        .await
        .ok(200);
    let own = format!(
        "/data/sys_user_permission_set/{}",
        own["items"][0]["id"].as_str().expect("an id")
    );
    let details = mesh
        .delete(&mesh.admin, &own)
        .await
        .refused(409, "INVALID_STATE");
    assert_eq!(details["reason"], "LAST_ADMIN");
});

databases!(
    metadata_shows_what_the_caller_may_see,
    |mesh: TestMesh| async move {
        let (_, viewer) = mesh.user("vera", "viewer").await;
        let types = mesh.get(&viewer, "/meta").await.ok(200);
        assert!(
            types["types"]
                .as_array()
                .expect("types")
                .contains(&json!("object"))
        );
        assert_eq!(
            types["types"].as_array().map(Vec::len),
            types["entries"].as_array().map(Vec::len)
        );
        let names = |list: &Value| -> Vec<String> {
            list["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|item| item["name"].as_str().expect("a name").to_owned())
                .collect()
        };
        let all = names(&mesh.get(&mesh.admin, "/meta/objects").await.ok(200));
        assert!(all.contains(&"vault".to_owned()) && all.contains(&"sys_user".to_owned()));
        let some = mesh.get(&viewer, "/meta/object").await.ok(200);
        assert_eq!(names(&some), ["customer", "ticket"]);
        assert_eq!(
            (&some["total"], &some["nextCursor"]),
            (&json!(2), &Value::Null)
        );
        let declared = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/app/objects");
        let declared = std::fs::read_dir(declared).expect("the app").count();
        let package = mesh
            .get(&mesh.admin, "/meta/object?package=com.example.test&limit=2")
            .await
            .ok(200);
        assert_eq!(
            (package["total"].as_u64(), names(&package).len()),
            (Some(declared as u64), 2)
        );
        let item = mesh.get(&viewer, "/meta/object/ticket").await;
        let etag = item.header("etag").expect("an ETag").to_owned();
        let item = item.ok(200);
        assert_eq!(
            (&item["type"], &item["name"]),
            (&json!("object"), &json!("ticket"))
        );
        assert_eq!(item["item"]["_packageId"], "com.example.test");
        assert_eq!(item["item"]["fields"]["created_at"]["system"], true);
        let bare = mesh
            .get(&viewer, "/meta/object/ticket?bare=true")
            .await
            .ok(200);
        assert_eq!(bare, item["item"]);
        let same = mesh
            .call(
                &viewer,
                Method::GET,
                "/meta/object/ticket",
                None,
                &[("if-none-match", &etag)],
            )
            .await;
        assert_eq!(same.ok(304), Value::Null);
        mesh.get(&viewer, "/meta/object/vault")
            .await
            .refused(404, "NOT_FOUND");
        mesh.get(&viewer, "/meta/object/nothing")
            .await
            .refused(404, "NOT_FOUND");
        let details = mesh
            .get(&viewer, "/meta/nonsense")
            .await
            .refused(404, "NOT_FOUND");
        assert_eq!(details["reason"], "UNKNOWN_TYPE");
    }
);

sizes!(
    a_set_that_is_gone_grants_nothing,
    |mesh: TestMesh| async move {
        // Not even what somebody without any set has.
        let (_, stale) = mesh.user("stale", "no_such_set").await;
        for path in ["/data/ticket", "/data/customer", "/data/sys_user"] {
            mesh.get(&stale, path)
                .await
                .refused(403, "PERMISSION_DENIED");
        }
        let body = json!({"subject": "x"});
        mesh.post(&stale, "/data/ticket", body)
            .await
            .refused(403, "PERMISSION_DENIED");
    }
);
