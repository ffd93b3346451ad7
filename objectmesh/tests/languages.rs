//! Labels of metadata in the language that the reader asks for.

use crate::support::TestMesh;
use reqwest::Method;
use serde_json::Value;

const ITEM: &str = "/meta/object/ticket";

databases!(
    labels_follow_the_language_asked_for,
    |mesh: TestMesh| async move {
        let read = |path: &'static str, headers: Vec<(&'static str, String)>| {
            let mesh = &mesh;
            async move {
                let headers: Vec<(&str, &str)> = headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                mesh.call(&mesh.admin, Method::GET, path, None, &headers)
                    .await
            }
        };
        let language = |value: &str| ("accept-language", value.to_owned());
        let tag =
            |answer: &crate::support::Answer| answer.header("etag").expect("an ETag").to_owned();

        let plain = read(ITEM, vec![]).await;
        let german = read(ITEM, vec![language("fr, de-AT;q=0.8, en;q=0.5")]).await;
        assert!(
            german
                .header("vary")
                .expect("Vary")
                .contains("Accept-Language")
        );
        let (plain_tag, german_tag) = (tag(&plain), tag(&german));
        assert_ne!(plain_tag, german_tag);
        let (plain, german) = (plain.ok(200), german.ok(200));
        assert_eq!(plain["item"]["label"], "Ticket");
        assert_eq!(german["item"]["label"], "Vorgang");
        assert_eq!(german["item"]["pluralLabel"], "Vorgänge");
        let fields = &german["item"]["fields"];
        assert_eq!(fields["subject"]["label"], "Betreff");
        assert_eq!(fields["status"]["options"][0]["label"], "Offen");
        assert_eq!(fields["status"]["options"][0]["value"], "open");
        // What is not translated stays as it was declared.
        assert_eq!(fields["status"]["options"][1]["label"], "Pending");
        assert_eq!(fields["priority"], plain["item"]["fields"]["priority"]);

        // Each language has its own tag.
        for (header, tag, status) in [
            ("de", &german_tag, 304),
            ("de", &plain_tag, 200),
            ("en", &plain_tag, 304),
            ("en", &german_tag, 200),
        ] {
            let known = ("if-none-match", tag.clone());
            let answer = read(ITEM, vec![language(header), known]).await;
            assert_eq!(answer.status.as_u16(), status, "{header} {tag}");
        }

        let list = read("/meta/object", vec![language("de")]).await;
        assert!(
            list.header("vary")
                .expect("Vary")
                .contains("Accept-Language")
        );
        let list = list.ok(200);
        let label = |name: &str| -> Value {
            let items = list["items"].as_array().expect("items");
            let item = items.iter().find(|item| item["name"] == name);
            item.expect("an item")["label"].clone()
        };
        assert_eq!(label("ticket"), "Vorgang");
        assert_eq!(label("customer"), "Customer");
    }
);
