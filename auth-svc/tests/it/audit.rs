//! The audit log: what entries say, and those that the version before wrote.

use auth_svc::MIGRATIONS;
use mesh::db::{Row, Statement, Value};
use serde_json::json;

use crate::{
    on_each_database,
    world::{World, with_bearer},
};

on_each_database! {
    an_entry_says_who_did_what_to_whom,
    entries_of_the_version_before_are_carried_over_once,
}

/// `user_id`, `object_name`, `record_id` and `metadata` of the only entry of an action.
async fn entry(
    world: &World,
    action: &str,
) -> (
    Option<String>,
    Option<String>,
    Option<String>,
    serde_json::Value,
) {
    let sql =
        "SELECT user_id, object_name, record_id, metadata FROM om_audit_log WHERE action = $1";
    let columns = |row: &Row<'_>| {
        let text = |column| Ok::<_, mesh::db::DbError>(row.text(column)?.map(str::to_owned));
        let metadata = row.req_json(3)?.into_owned();
        Ok((text(0)?, text(1)?, text(2)?, metadata))
    };
    let statement = Statement::new(sql).bind(action);
    let mut rows = world.db().await.query(statement, columns).await.unwrap();
    assert_eq!(rows.len(), 1, "{action}");
    let (user_id, object, record_id, metadata) = rows.remove(0);
    let metadata = serde_json::from_str(&metadata).unwrap();
    (user_id, object, record_id, metadata)
}

async fn an_entry_says_who_did_what_to_whom(world: World) {
    let admin = world.sign_up("admin@example.com").await;
    world.data.grant(&admin.id, &["manage_users"]);
    let request = proto::auth::v1::CreateUserRequest {
        name: "Bob".into(),
        email: "bob@example.com".into(),
        password: crate::world::PASSWORD.into(),
    };
    let request = with_bearer(request, &admin.token);
    let bob = world.admin().create_user(request).await.unwrap();
    let bob = bob.into_inner().user.unwrap().id;
    let id = mesh::id::new();
    let request = proto::auth::v1::BanUserRequest {
        user_id: bob.clone(),
        ..Default::default()
    };
    let mut request = with_bearer(request, &admin.token);
    request
        .metadata_mut()
        .insert(mesh::ctx::REQUEST_ID, id.parse().unwrap());
    world.admin().ban_user(request).await.unwrap();
    let (by, object, record_id, metadata) = entry(&world, "user_banned").await;
    assert_eq!(by.as_deref(), Some(&*admin.id));
    assert_eq!(object.as_deref(), Some("sys_user"));
    assert_eq!(record_id.as_deref(), Some(&*bob));
    assert_eq!(metadata, json!({"request_id": id}));

    world
        .try_sign_in("nobody@example.com", "a wrong password")
        .await
        .unwrap_err();
    let (by, object, record_id, metadata) = entry(&world, "sign_in_failed").await;
    assert_eq!((by, object, record_id), (None, None, None));
    assert_eq!(metadata["actor"], "anonymous");
}

async fn entries_of_the_version_before_are_carried_over_once(world: World) {
    const OLD: &str = "INSERT INTO auth_audit_event (id, at, action, actor, subject, ip_address, request_id, detail) \
                       VALUES ($1, $2, $3, $4, $5, '10.0.0.1', $6, $7)";
    let user = mesh::id::new();
    let rows = [
        ("old.user", user.as_str(), Some(user.as_str()), None),
        ("old.anonymous", "anonymous", None, None),
        (
            "old.service",
            "flow-svc",
            Some(user.as_str()),
            Some(r#"run1 say "hi" \o/"#),
        ),
    ];
    for (action, actor, subject, detail) in rows {
        let args = vec![
            mesh::id::new().into(),
            mesh::clock::now().into(),
            action.into(),
            actor.into(),
            Value::Text(subject.map(str::to_owned)),
            r#"re"quest"#.into(),
            Value::Text(detail.map(str::to_owned)),
        ];
        world.sql(OLD, args).await;
    }
    let count = "SELECT count(*) FROM om_audit_log";
    let before = world.count(count).await;
    // Twice: a migration that was cut short runs again.
    for _ in 0..2 {
        let again = "DELETE FROM om_migration WHERE version = 4";
        world.sql(again, Vec::new()).await;
        world.db().await.migrate(MIGRATIONS).await.unwrap();
        assert_eq!(world.count(count).await, before + 3);
    }
    let of_user = Some("sys_user".to_owned());
    let request = r#"re"quest"#;
    let expected = [
        (
            "old.user",
            (
                Some(user.clone()),
                of_user.clone(),
                Some(user.clone()),
                json!({"request_id": request}),
            ),
        ),
        (
            "old.anonymous",
            (
                None,
                None,
                None,
                json!({"request_id": request, "actor": "anonymous"}),
            ),
        ),
        (
            "old.service",
            (
                None,
                of_user,
                Some(user),
                json!({
                    "request_id": request,
                    "actor": "service",
                    "service": "flow-svc",
                    "detail": r#"run1 say "hi" \o/"#,
                }),
            ),
        ),
    ];
    for (action, columns) in expected {
        assert_eq!(entry(&world, action).await, columns, "{action}");
    }
    let addresses = "SELECT count(*) FROM om_audit_log WHERE ip_address = '10.0.0.1'";
    assert_eq!(world.count(addresses).await, 3);
}
