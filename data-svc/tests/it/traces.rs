//! What every write leaves behind, whoever makes it.

use data_svc::kernel::{access::SystemReason, write};
use serde_json::json;

use crate::{
    bed::{Bed, audited, somebody, told_of, work_of},
    both,
};

both!(writes_of_the_system_are_audited_too, async |bed: &Bed| {
    let rooms = bed.replica().await;
    let (kernel, work) = (
        &rooms.kernel,
        rooms.kernel.system_work(SystemReason::RunFlow),
    );
    let made = write::create(kernel, &work, "note", br#"{"text": "a"}"#, "").await;
    let id = made.expect("created").id;
    let target = ("note", id.as_str());
    let changed = write::update(kernel, &work, target, br#"{"text": "b"}"#, "", "").await;
    changed.expect("changed");
    let gone = write::delete(kernel, &work, target, "", "").await;
    gone.expect("deleted");
    let entries = audited(&rooms, "note").await;
    let actions: Vec<_> = entries.iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["create", "update", "delete"]);
    for entry in &entries {
        assert_eq!(entry["user_id"], json!(null));
        assert_eq!(entry["metadata"]["actor"], "system");
        assert_eq!(entry["metadata"]["reason"], "run_flow");
        assert_eq!(entry["metadata"]["request_id"], *work.request_id);
    }
    assert_eq!(entries[1]["old_value"]["text"], "a");
    assert_eq!(entries[1]["new_value"]["text"], "b");
    let told = told_of(&rooms, "note").await;
    assert!(
        told.iter().all(|(_, _, who)| who == "system:run_flow"),
        "{told:?}"
    );
    assert_eq!(told.len(), 3);
});

both!(a_users_write_names_the_user, async |bed: &Bed| {
    let rooms = bed.replica().await;
    let ann = somebody("ann", &["member_default"]);
    let work = work_of(&rooms, &ann);
    let made = write::create(&rooms.kernel, &work, "note", br#"{"text": "a"}"#, "").await;
    made.expect("created");
    let entries = audited(&rooms, "note").await;
    assert_eq!(entries[0]["user_id"], "ann");
    assert_eq!(
        entries[0]["metadata"],
        json!({"request_id": *work.request_id})
    );
});
