//! What rights decide beyond the bits of an object.

use std::sync::Arc;

use data_svc::{
    Rooms,
    kernel::{Record, access::Principal, query, write},
};
use mesh::{Result, error::Reason};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, package, somebody, work_of},
    both,
};

fn app() -> Value {
    let all =
        json!({"allowCreate": true, "allowRead": true, "allowEdit": true, "allowDelete": true});
    json!({
        "manifest": {"id": "com.example.rights", "version": "1.0.0", "name": "Rights"},
        "objects": [
            {"name": "person", "sharingModel": "public_read_write", "fields": {
                "name": {"type": "text"},
                "pay": {"type": "number", "requiredPermissions": ["see_pay"]},
                "iban": {"type": "text", "maskingRule": "bank_account"},
            }},
            {"name": "paper", "sharingModel": "public_read", "fields": {"text": {"type": "text"}}},
            {"name": "line", "sharingModel": "controlled_by_parent", "fields": {
                "paper": {"type": "master_detail", "reference": "paper"},
                "text": {"type": "text"},
            }},
        ],
        "permissions": [
            {"name": "staff", "objects": {"person": all, "paper": all, "line": all}},
            {"name": "reader", "objects": {"*": {"allowRead": true, "viewAllRecords": true}}},
            {"name": "auditor", "objects": {"sys_audit_log": {"allowRead": true}}},
            {"name": "payroll", "objects": {"person": all}, "systemPermissions": ["see_pay"]},
            {"name": "helpdesk", "systemPermissions": ["manage_users"], "objects": {
                "sys_user_permission_set": all, "sys_user": {"allowRead": true}, "person": all,
                "paper": all, "line": all}},
        ],
    })
}

async fn replica(bed: &Bed) -> Rooms {
    let rooms = bed.replica().await;
    let installed = rooms.catalog.install(&[package(&app())]).await;
    installed.expect("installs");
    rooms
}

async fn create(rooms: &Rooms, who: (&str, &str), object: &str, body: Value) -> Result<Record> {
    let work = work_of(rooms, &somebody(who.0, &[who.1]));
    write::create(
        &rooms.kernel,
        &work,
        object,
        body.to_string().as_bytes(),
        "",
    )
    .await
}

async fn update(rooms: &Rooms, who: (&str, &str), at: (&str, &str), body: Value) -> Result<Record> {
    let work = work_of(rooms, &somebody(who.0, &[who.1]));
    write::update(
        &rooms.kernel,
        &work,
        at,
        body.to_string().as_bytes(),
        "",
        "",
    )
    .await
}

async fn get(rooms: &Rooms, who: (&str, &str), at: (&str, &str)) -> Value {
    let work = work_of(rooms, &somebody(who.0, &[who.1]));
    let found = query::get(&rooms.kernel, &work, at.0, at.1, "", "").await;
    serde_json::from_slice(&found.expect("readable").json).expect("JSON")
}

fn denied(outcome: Result<Record>) {
    let refused = outcome.expect_err("is refused");
    assert_eq!(refused.reason(), Reason::PermissionDenied, "{refused:?}");
}

both!(
    a_field_that_asks_for_a_permission_is_closed_without_it,
    async |bed: &Bed| {
        let rooms = replica(bed).await;
        let (staff, payroll) = (("ann", "staff"), ("pat", "payroll"));
        let body = json!({"name": "Bo", "pay": 1000});
        denied(create(&rooms, staff, "person", body.clone()).await);
        let made = create(&rooms, payroll, "person", body).await.expect("made");
        let at = ("person", made.id.as_str());
        denied(update(&rooms, staff, at, json!({"pay": 1})).await);
        update(&rooms, staff, at, json!({"iban": "DE02"}))
            .await
            .expect("written");
        let seen = get(&rooms, staff, at).await;
        assert_eq!((&seen["name"], seen.get("pay")), (&json!("Bo"), None));
        assert_eq!(get(&rooms, payroll, at).await["pay"], 1000);
        // Nor is it found by.
        let work = work_of(&rooms, &somebody("ann", &["staff"]));
        let text = query::from_body("person", br#"{"where": {"pay": 1000}}"#).expect("read");
        let listed = query::answer(&rooms.kernel, &work, "person", text).await;
        let refused = listed.map(drop).expect_err("is refused");
        assert_eq!(refused.reason(), Reason::PermissionDenied, "{refused:?}");
        // A mask that is not applied yet shows nothing; administrators see what is stored.
        assert_eq!(get(&rooms, payroll, at).await.get("iban"), None);
        let admin = ("root", "admin_full_access");
        assert_eq!(get(&rooms, admin, at).await["iban"], "DE02");
    }
);

both!(all_objects_are_not_the_audit_log, async |bed: &Bed| {
    let rooms = replica(bed).await;
    for (set, expected) in [
        ("reader", false),
        ("auditor", true),
        ("admin_full_access", true),
    ] {
        let work = work_of(&rooms, &somebody("ann", &[set]));
        let asked = query::from_body("sys_audit_log", b"{}").expect("read");
        let answer = query::answer(&rooms.kernel, &work, "sys_audit_log", asked).await;
        assert_eq!(answer.is_ok(), expected, "{set}");
    }
});

both!(
    a_detail_is_added_by_who_may_change_its_master,
    async |bed: &Bed| {
        let rooms = replica(bed).await;
        let (ann, bob) = (("ann", "staff"), ("bob", "staff"));
        let paper = create(&rooms, ann, "paper", json!({"text": "Ann's"})).await;
        let paper = paper.expect("made");
        let line = json!({"paper": paper.id, "text": "one"});
        assert_eq!(
            get(&rooms, bob, ("paper", &paper.id)).await["text"],
            "Ann's"
        );
        denied(create(&rooms, bob, "line", line.clone()).await);
        let line = create(&rooms, ann, "line", line).await.expect("made");
        denied(update(&rooms, bob, ("line", &line.id), json!({"text": "two"})).await);
    }
);

both!(
    nobody_takes_a_right_that_they_could_not_give,
    async |bed: &Bed| {
        let rooms = replica(bed).await;
        for id in ["root", "ann"] {
            let profile = data_svc::organization::Profile {
                id: id.to_owned(),
                name: id.to_owned(),
                email: format!("{id}@example.com"),
                email_verified: true,
                image: String::new(),
                disabled: false,
            };
            let resolved =
                data_svc::organization::resolve(&rooms.kernel, None, &profile, false, "");
            resolved.await.expect("known");
        }
        let admin = ("root", "admin_full_access");
        let object = "sys_user_permission_set";
        let give = |set: &str| json!({"user_id": "ann", "permission_set": set});
        let strong = create(&rooms, admin, object, give("admin_full_access")).await;
        let weak = create(&rooms, admin, object, give("staff")).await;
        let mut hal = somebody("hal", &["helpdesk"]);
        if let Principal::User(identity) = &mut hal {
            let keys = &mut Arc::make_mut(identity).system_permissions;
            keys.push("manage_users".to_owned());
        }
        let work = work_of(&rooms, &hal);
        let take =
            async |id: String| write::delete(&rooms.kernel, &work, (object, &id), "", "").await;
        let refused = take(strong.expect("given").id).await.map(drop);
        let refused = refused.expect_err("is refused");
        assert_eq!(refused.reason(), Reason::PermissionDenied, "{refused:?}");
        let body = give("payroll").to_string();
        denied(write::create(&rooms.kernel, &work, object, body.as_bytes(), "").await);
        take(weak.expect("given").id).await.expect("taken");
    }
);
