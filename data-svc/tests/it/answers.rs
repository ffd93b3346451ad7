//! What reads answer.

use data_svc::kernel::{access::SystemReason, query, write};
use serde_json::{Value, json};
use time::macros::datetime;

use crate::{
    bed::{Bed, package, somebody, work_of},
    both,
};

/// A page of JSON ends here (docs/reference/objectql.md §5).
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

fn app() -> Value {
    json!({
        "manifest": {"id": "com.example.answers", "version": "1.0.0", "name": "Answers"},
        "objects": [
            {"name": "book", "sharingModel": "public_read_write", "fields": {
                "text": {"type": "textarea", "maxLength": 4_000_000},
                "loud": {"type": "formula", "expression": "upper(text)", "returnType": "text"},
                "copy_of": {"type": "lookup", "reference": "book"},
                "opens": {"type": "datetime"},
            }},
        ],
        "permissions": [
            {"name": "visitor", "objects": {"book": {"allowRead": true}},
                "rowLevelSecurity": [{"name": "open", "object": "book", "operation": "select",
                    "using": "opens <= now()"}]},
        ],
    })
}

both!(
    a_page_is_bounded_whatever_is_expanded_or_computed,
    async |bed: &Bed| {
        let rooms = bed.replica().await;
        rooms
            .catalog
            .install(&[package(&app())])
            .await
            .expect("installs");
        let (kernel, work) = (&rooms.kernel, rooms.kernel.system_work(SystemReason::Seed));
        let text = "x".repeat(2_500_000);
        let mut last = None;
        for _ in 0..5 {
            let body = json!({"text": text, "copy_of": last}).to_string();
            let made = write::create(kernel, &work, "book", body.as_bytes(), "").await;
            last = Some(made.expect("created").id);
        }
        for asked in [
            json!({"fields": ["id", "text", "loud"]}),
            json!({"fields": ["id", "text"], "expand": ["copy_of"]}),
            json!({"fields": ["id", "text"]}),
        ] {
            let (mut asked, mut seen, mut pages) = (asked, 0, 0);
            asked["limit"] = json!(100);
            loop {
                let read = query::from_body("book", asked.to_string().as_bytes()).expect("read");
                let page = query::answer(kernel, &work, "book", read)
                    .await
                    .expect("a page");
                let size: usize = page.items.iter().map(|item| item.json.len()).sum();
                assert!(
                    size <= PAGE_BYTES_MAX || page.items.len() == 1,
                    "{size} bytes"
                );
                seen += page.items.len();
                pages += 1;
                let Some(cursor) = page.next_cursor else {
                    break;
                };
                asked["cursor"] = json!(cursor);
            }
            assert_eq!(seen, 5, "{asked}");
            assert!(pages > 1, "{asked}");
        }
    }
);

both!(a_policy_has_the_moment_of_its_request, async |bed: &Bed| {
    let rooms = bed.replica().await;
    rooms
        .catalog
        .install(&[package(&app())])
        .await
        .expect("installs");
    let (kernel, system) = (&rooms.kernel, rooms.kernel.system_work(SystemReason::Seed));
    let body = br#"{"text": "a", "opens": "2030-01-01T00:00:00Z"}"#;
    let made = write::create(kernel, &system, "book", body, "")
        .await
        .expect("created");
    let visitor = somebody("vic", &["visitor"]);
    for (now, sees) in [
        (datetime!(2029-12-31 23:59 UTC), false),
        (datetime!(2030-01-01 00:01 UTC), true),
    ] {
        let mut work = work_of(&rooms, &visitor);
        work.now = now;
        let seen = query::get(kernel, &work, "book", &made.id, "id", "").await;
        assert_eq!(seen.is_ok(), sees, "at {now}");
    }
});
