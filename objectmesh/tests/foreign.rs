//! Clients that are not ours: another language with no generated code, and the same call through
//! both doors.

use std::{path::Path, process::Command};

use crate::support::{Answer, TestMesh, encode, process::child::run, tools::python, with_token};
use proto::data::v1::{
    CreateRecordRequest, GetRecordRequest, ListRecordsRequest, Record, record::Body,
};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::{Request, Status};

sizes!(
    python_reads_by_reflection_what_rest_reads,
    |mesh: TestMesh| async move {
        let body = json!({"subject": "Grüße aus Python", "priority": 7, "weight": 2.5, "urgent": true,
            "tags": ["a", "b"], "extra": {"list": [1, null, {"deep": "x"}]}, "due_on": "2026-03-07"});
        let created = mesh.post(&mesh.admin, "/data/ticket", body).await.ok(201);
        let id = created["id"].as_str().expect("an id");
        let address = |urls: &[String]| {
            let last = urls.last().expect("an address");
            last.trim_start_matches("http://").to_owned()
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_record.py");
        let mut command = Command::new(python("client", include_str!("python/requirements.txt")));
        command
            .arg(script)
            .args([address(&mesh.at.auth), address(&mesh.at.data)])
            .args(["admin@example.com", "correct horse", "ticket", id]);
        let printed = tokio::task::spawn_blocking(move || run(&mut command));
        let printed = printed.await.expect("the script runs");
        let seen: Value = serde_json::from_str(&printed).expect("JSON");

        let services = seen["services"].as_array().expect("services");
        assert!(
            services.contains(&json!("objectmesh.data.v1.RecordService")),
            "{services:?}"
        );
        assert_eq!(seen["kind"], "google.protobuf.Struct");
        assert_eq!(seen["id"], created["id"]);
        let rest = mesh
            .get(&mesh.admin, &format!("/data/ticket/{id}"))
            .await
            .ok(200);
        assert_eq!(floats(&seen["fields"]), floats(&rest));
    }
);

/// A Struct knows one kind of number.
fn floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(floats).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            Value::Object(
                fields
                    .map(|(name, value)| (name.clone(), floats(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// What a door answers, in the words of both: REST's code, or the record and lists as JSON.
type Outcome = Result<Value, String>;

fn of_rest(answer: &Answer) -> Outcome {
    match answer.body.get("error") {
        None => Ok(answer.body.clone()),
        Some(error) => Err(error["code"].as_str().expect("a code").to_owned()),
    }
}

fn of_grpc(status: &Status) -> String {
    let reason = mesh::Error::from_status(status).reason();
    reason
        .as_str_name()
        .trim_start_matches("ERROR_REASON_")
        .to_owned()
}

fn json_of(record: Option<Record>) -> Value {
    match record.expect("a record").body {
        Some(Body::Json(bytes)) => serde_json::from_slice(&bytes).expect("JSON"),
        other => panic!("JSON was asked for: {other:?}"),
    }
}

fn asking_for_json<T>(message: T, token: &str) -> Request<T> {
    let mut request = with_token(message, token);
    let wanted = "json".parse().expect("a value");
    request.metadata_mut().insert("objectmesh-records", wanted);
    request
}

async fn read(mesh: &TestMesh, token: &str, object: &str, id: &str) -> (Outcome, Outcome) {
    let rest = mesh.get(token, &format!("/data/{object}/{id}")).await;
    let message = GetRecordRequest {
        object: object.to_owned(),
        id: id.to_owned(),
        ..GetRecordRequest::default()
    };
    let mut records = mesh.records();
    let grpc = records.get_record(asking_for_json(message, token));
    let grpc = grpc.await.map(|answer| json_of(answer.into_inner().record));
    (of_rest(&rest), grpc.map_err(|status| of_grpc(&status)))
}

async fn list(mesh: &TestMesh, token: &str, object: &str, filter: &str) -> (Outcome, Outcome) {
    let path = format!("/data/{object}?where={}&orderBy=id", encode(filter));
    let rest = mesh.get(token, &path).await;
    let message = ListRecordsRequest {
        object: object.to_owned(),
        r#where: filter.to_owned(),
        order_by: "id".to_owned(),
        ..ListRecordsRequest::default()
    };
    let mut records = mesh.records();
    let grpc = records.list_records(asking_for_json(message, token));
    let grpc = grpc.await.map(|answer| {
        let page = answer.into_inner();
        let items: Vec<Value> = page
            .items
            .into_iter()
            .map(|item| json_of(Some(item)))
            .collect();
        json!({"items": items, "total": page.total, "nextCursor": page.next_cursor})
    });
    (of_rest(&rest), grpc.map_err(|status| of_grpc(&status)))
}

/// Creates the same body through both doors; what differs by nature is left out.
async fn create(mesh: &TestMesh, token: &str, object: &str, body: &str) -> (Outcome, Outcome) {
    let alike = |mut record: Value| {
        for name in ["id", "number", "created_at", "updated_at"] {
            record.as_object_mut().expect("a record").remove(name);
        }
        record
    };
    let path = format!("/data/{object}");
    let rest = mesh
        .call(token, Method::POST, &path, Some(body.to_owned()), &[])
        .await;
    let message = CreateRecordRequest {
        object: object.to_owned(),
        record: body.to_owned().into(),
        ..CreateRecordRequest::default()
    };
    let mut records = mesh.records();
    let grpc = records.create_record(asking_for_json(message, token));
    let grpc = grpc.await.map(|answer| json_of(answer.into_inner().record));
    (
        of_rest(&rest).map(alike),
        grpc.map(alike).map_err(|status| of_grpc(&status)),
    )
}

sizes!(both_doors_answer_alike, |mesh: TestMesh| async move {
    let (_, viewer) = mesh.user("vera", "viewer").await;
    let (_, agent) = mesh.user("grace", "agent").await;
    let admin = mesh.admin.clone();
    let people = [
        ("admin", &admin),
        ("agent", &agent),
        ("viewer", &viewer),
        ("nobody", &String::new()),
    ];
    let bodies = [
        r#"{"subject":"x","priority":3,"cost":1.5,"tags":["a"]}"#,
        r#"{"subject":"x","secret_cost":5}"#,
        r#"{"subject":" ","priority":99}"#,
        r#"{"nonsense":1}"#,
        "[]",
        "{",
    ];
    let ticket = mesh
        .post(
            &admin,
            "/data/ticket",
            json!({"subject": "y", "secret_cost": 7}),
        )
        .await
        .ok(201);
    let deal_body = json!({"name": "Deal", "customer": null});
    let _refused = mesh.post(&admin, "/data/deal", deal_body).await;
    let id = ticket["id"].as_str().expect("an id");
    let mut told = 0;
    for (who, token) in people {
        let mut check = |what: String, (rest, grpc): (Outcome, Outcome)| {
            assert_eq!(rest, grpc, "{who}: {what}");
            told += usize::from(rest.is_ok());
        };
        for body in bodies {
            check(
                format!("create {body}"),
                create(&mesh, token, "ticket", body).await,
            );
        }
        check(
            "create in vault".to_owned(),
            create(&mesh, token, "vault", r#"{"name":"x"}"#).await,
        );
        for object in ["ticket", "vault", "deal", "sys_user", "nothing"] {
            check(
                format!("read {object}"),
                read(&mesh, token, object, id).await,
            );
            for filter in [
                "",
                r#"{"id":{"$ne":"x"}}"#,
                r#"{"secret_cost":{"$gt":1}}"#,
                "{",
            ] {
                check(
                    format!("list {object} {filter}"),
                    list(&mesh, token, object, filter).await,
                );
            }
        }
    }
    assert!(told > 20, "only {told} were answered with records");
});
