//! People and organisations as records, and whose rights a revision changes.

use data_svc::{
    Rooms,
    kernel::{access::SystemReason, model::DEFAULT_ORGANIZATION, write},
    organization::{self, Profile, resolve},
};
use proto::data::v1::{ListChangedPrincipalsRequest, ListChangedPrincipalsResponse};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, audited, package, told_of},
    both,
};

fn profile(id: &str, name: &str) -> Profile {
    Profile {
        id: id.to_owned(),
        name: name.to_owned(),
        email: format!("{}@example.com", id.to_lowercase()),
        email_verified: true,
        image: String::new(),
        disabled: false,
    }
}

both!(
    users_members_and_organisations_leave_traces,
    async |bed: &Bed| {
        let rooms = bed.replica().await;
        let organizations = audited(&rooms, "sys_organization").await;
        assert_eq!(organizations.len(), 1);
        assert_eq!(organizations[0]["record_id"], DEFAULT_ORGANIZATION);
        let kernel = &rooms.kernel;
        let id = mesh::id::new();
        let rights = resolve(kernel, None, &profile(&id, "Ann"), true, "")
            .await
            .expect("resolved");
        assert_eq!(rights.organization_id, DEFAULT_ORGANIZATION);
        assert!(
            rights
                .permission_sets
                .contains(&"admin_full_access".to_owned())
        );
        assert_eq!(rights.positions, ["owner"]);
        // Known already: nothing is written.
        resolve(kernel, None, &profile(&id, "Ann"), true, "")
            .await
            .expect("resolved");
        resolve(kernel, None, &profile(&id, "Anne"), true, "")
            .await
            .expect("resolved");
        organization::remove(kernel, &id).await.expect("removed");
        organization::remove(kernel, "nobody")
            .await
            .expect("nothing to remove");
        let actions = |entries: &[Value]| -> Vec<String> {
            let action = |entry: &Value| entry["action"].as_str().unwrap().to_owned();
            entries.iter().map(action).collect()
        };
        let users = audited(&rooms, "sys_user").await;
        assert_eq!(actions(&users), ["create", "update", "update"]);
        assert_eq!(users[1]["new_value"]["name"], "Anne");
        assert_eq!(users[2]["new_value"]["disabled"], true);
        assert!(
            users
                .iter()
                .all(|entry| entry["metadata"]["reason"] == "resolve_principal")
        );
        for object in ["sys_member", "sys_user_permission_set"] {
            assert_eq!(
                actions(&audited(&rooms, object).await),
                ["create"],
                "{object}"
            );
            assert_eq!(told_of(&rooms, object).await.len(), 1, "{object}");
        }
        assert_eq!(told_of(&rooms, "sys_user").await.len(), 3);
    }
);

both!(
    one_who_signs_in_at_many_doors_at_once_is_kept_once,
    async |bed: &Bed| {
        let rooms = bed.replica().await;
        let id = mesh::id::new();
        let profile = profile(&id, "Ann");
        let calls = (0..8).map(|_| resolve(&rooms.kernel, None, &profile, true, ""));
        for rights in futures::future::join_all(calls).await {
            let rights = rights.expect("resolved");
            assert_eq!(rights.organization_id, DEFAULT_ORGANIZATION);
        }
        assert_eq!(told_of(&rooms, "sys_member").await.len(), 1);
    }
);

/// An app whose set `clerk` states that permission.
fn app(version: &str, permission: &str, label: &str) -> Value {
    json!({
        "manifest": {"id": "com.example.rights", "version": version, "name": "Rights"},
        "objects": [{"name": "paper", "label": label, "fields": {"text": {"type": "text"}}}],
        "permissions": [
            {"name": "clerk", "objects": {"paper": {"allowRead": true}}, "systemPermissions": [permission]},
            {"name": "guest", "objects": {"paper": {"allowRead": true}}},
        ],
    })
}

async fn install(rooms: &Rooms, app: &Value) -> u64 {
    let installed = rooms.catalog.install(&[package(app)]).await;
    installed.expect("installs");
    rooms.catalog.current().revision
}

async fn assign(rooms: &Rooms, user: &str, set: &str) {
    let work = rooms.kernel.system_work(SystemReason::Seed);
    let body = json!({"user_id": user, "permission_set": set}).to_string();
    let object = "sys_user_permission_set";
    let made = write::create(&rooms.kernel, &work, object, body.as_bytes(), "").await;
    made.expect("assigned");
}

async fn changed(rooms: &Rooms, after: u64) -> ListChangedPrincipalsResponse {
    let message = ListChangedPrincipalsRequest {
        after_revision: after,
    };
    let changed = organization::changed_principals(&rooms.kernel, &rooms.catalog, None, message);
    changed.await.expect("told")
}

both!(
    a_revision_concerns_those_whose_tokens_state_something_else,
    async |bed: &Bed| {
        let rooms = bed.replica().await;
        let first = install(&rooms, &app("1.0.0", "ai:chat", "Paper")).await;
        let users: Vec<String> = (0..3).map(|_| mesh::id::new()).collect();
        for (user, name) in users.iter().zip(["Ann", "Bob", "Cid"]) {
            let kept = resolve(&rooms.kernel, None, &profile(user, name), false, "").await;
            kept.expect("resolved");
        }
        assign(&rooms, &users[0], "clerk").await;
        assign(&rooms, &users[1], "guest").await;
        // Nothing that a token states.
        let second = install(&rooms, &app("1.1.0", "ai:chat", "Document")).await;
        let told = changed(&rooms, first).await;
        assert_eq!(
            (told.revision, told.everybody, told.user_ids.len()),
            (second, false, 0)
        );
        // What Ann may do.
        let third = install(&rooms, &app("1.2.0", "email:send", "Document")).await;
        let told = changed(&rooms, second).await;
        assert_eq!(told.revision, third);
        assert_eq!(
            (told.everybody, told.user_ids),
            (false, vec![users[0].clone()])
        );
        // From the beginning the sets came; the history of what was before anybody asks is whole.
        assert!(!changed(&rooms, first).await.everybody);
        // Another fallback: those who were given nothing.
        let mut other = app("1.3.0", "email:send", "Document");
        other["permissions"][1]["isDefault"] = json!(true);
        install(&rooms, &other).await;
        let told = changed(&rooms, third).await;
        assert!(told.user_ids.contains(&users[2]), "{told:?}");
        assert!(!told.user_ids.contains(&users[0]), "{told:?}");
        // A history with a gap names nobody and means everybody.
        let forget = format!("DELETE FROM om_revision WHERE revision = {third}");
        rooms
            .db
            .execute(mesh::db::Statement::new(forget))
            .await
            .expect("forgotten");
        assert!(changed(&rooms, second).await.everybody);
    }
);
