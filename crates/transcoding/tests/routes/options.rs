//! What the options do that no route of the product uses yet.

use bytes::Bytes;
use http::{HeaderMap, Method};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::Value;
use transcoding::{Match, PIECE_MAX, Route, Table, Vars, openapi::Contract};

use crate::{contract, shown};

#[derive(Clone, PartialEq, prost::Message)]
struct WatchResponse {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    position: String,
    #[prost(bytes = "bytes", tag = "3")]
    change: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UploadRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    mode: String,
    #[prost(string, tag = "3")]
    media_type: String,
    #[prost(uint64, tag = "4")]
    size: u64,
    #[prost(bytes = "bytes", tag = "5")]
    content: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Thing {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bytes = "bytes", optional, tag = "3")]
    json: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListThingsResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Thing>,
    #[prost(int64, optional, tag = "2")]
    total: Option<i64>,
    #[prost(string, optional, tag = "3")]
    next_cursor: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetThingResponse {
    #[prost(message, optional, tag = "1")]
    thing: Option<Thing>,
}

fn table() -> Table {
    Table::from_pool(&contract::probe()).unwrap()
}

fn find<'t, 'p>(table: &'t Table, method: Method, path: &'p str) -> (&'t Route, Vars<'p>) {
    match table.find(&method, path) {
        Match::Found(route, vars) => (route, vars),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn the_table_shows_every_option() {
    insta::assert_snapshot!(shown(&table()));
}

#[test]
fn openapi_says_of_what_type_bodies_are() {
    let contract = Contract::from_pool(&contract::probe(), "objectmesh.data.probe.").unwrap();
    let fragment = contract.fragment(|_| true);
    let upload = &fragment.paths["/api/v1/probe/uploads/{name}"]["post"];
    assert_eq!(
        upload["requestBody"],
        serde_json::json!({
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
            "required": true, "description": "The piece.",
        })
    );
    let parameters = upload["parameters"].as_array().unwrap();
    let names: Vec<&str> = parameters
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["name", "mode", "Content-Type", "Content-Length"]);
    let download = &fragment.paths["/api/v1/probe/files/{name}"]["get"];
    let content = download["responses"]["200"]["content"].as_object().unwrap();
    assert_eq!(content.keys().collect::<Vec<_>>(), ["*/*"]);
    let watch = &fragment.paths["/api/v1/probe/changes"]["get"];
    let content = watch["responses"]["200"]["content"].as_object().unwrap();
    assert_eq!(content.keys().collect::<Vec<_>>(), ["text/event-stream"]);
    let resource = &fragment.paths["/.well-known/probe-resource/api/v1/probe"]["get"];
    assert_eq!(resource["tags"], serde_json::json!([".well-known"]));
    // What profiles add is for programs that know it already.
    assert!(!fragment.paths.contains_key("/api/v1/one/{id}"));
}

#[test]
fn events_have_ids_and_names_and_nothing_breaks_their_lines() {
    let table = table();
    let (route, _) = find(&table, Method::GET, "/api/v1/probe/changes");
    let form = route.stream.as_ref().unwrap();
    assert_eq!(form.opening(), "retry: 3000\n\n");
    let check = |kind: &str, position: &str, change: &str, expected: &str| {
        let message = WatchResponse {
            kind: kind.to_owned(),
            position: position.to_owned(),
            change: change.to_owned().into(),
        };
        let piece = form.piece(message.encode_to_vec().into());
        let got = piece.map(|piece| piece.bytes).unwrap_or("broken".into());
        assert_eq!(got, expected, "{kind:?} {position:?} {change:?}");
    };
    let full = "event: change\nid: Ab=\ndata: {\"a\": 1}\n\n";
    check("change", "Ab=", "{\"a\":\n1}", full);
    check("resync", "", "{}", "event: resync\ndata: {}\n\n");
    check("", "Ab=", "{}", "id: Ab=\ndata: {}\n\n");
    // A position alone moves the client, and is no event.
    check("change", "Ab=", "", "id: Ab=\n\n");
    check("", "", "", ": ping\n\n");
    for line in ["a\nid: b", "a\rb", "a\0b"] {
        check(line, "", "{}", "broken");
        check("change", line, "{}", "broken");
    }
}

#[test]
fn a_frame_splices_the_path_and_the_reply() {
    let table = table();
    let sample = table.profile("sample").unwrap();
    let thing = |id: &str, json: Option<&'static str>| Thing {
        id: id.to_owned(),
        name: String::new(),
        json: json.map(Bytes::from),
    };
    let render = |table: &Table, path: &str, wire: &[u8]| {
        let (route, vars) = find(table, Method::GET, path);
        let rendered = route.render(&vars, wire, &mut HeaderMap::new());
        String::from_utf8(rendered.unwrap().1).unwrap()
    };
    let page = ListThingsResponse {
        items: vec![thing("1", Some(r#"{"big":12345678901234567890.50}"#))],
        total: None,
        next_cursor: Some("c".to_owned()),
    };
    let path = "/api/v1/probe/things/a%22%2Fb";
    assert_eq!(
        render(sample, path, &page.encode_to_vec()),
        r#"{"object":"a\"/b","records":[{"big":12345678901234567890.50}],"total":null,"hasMore":true}"#
    );
    assert_eq!(
        render(sample, path, &[]),
        r#"{"object":"a\"/b","records":[],"total":null,"hasMore":false}"#
    );
    // The other profile, and no profile, have the body as it is.
    let other = table.profile("other").unwrap();
    let native = render(&table, path, &page.encode_to_vec());
    assert!(native.starts_with(r#"{"items":[{"big""#), "{native}");
    assert_eq!(render(other, path, &page.encode_to_vec()), native);
    let further = render(other, "/api/v1/everything/x", &page.encode_to_vec());
    assert_eq!(further, native);

    let answer = GetThingResponse {
        thing: Some(thing("r1", Some(r#"{"a":1}"#))),
    };
    let wire = answer.encode_to_vec();
    assert_eq!(
        render(sample, "/api/v1/probe/things/lead/r1", &wire),
        r#"{"object":"lead","id":"r1","record":{"a":1}}"#
    );
    assert_eq!(
        render(sample, "/api/v1/one/r1", &wire),
        r#"{"success":true,"data":{"a":1},"named":false}"#
    );
    assert_eq!(
        render(sample, "/api/v1/one/r1", &[]),
        r#"{"success":true,"data":null,"named":false}"#
    );
    // Further paths are the profile's alone, with the RPC's own parameters.
    assert!(matches!(
        table.find(&Method::GET, "/api/v1/one/r1"),
        Match::NotFound
    ));
    let (route, vars) = find(sample, Method::GET, "/api/v1/one/r1");
    let asked = route
        .encode(&vars, Some("object=lead"), &HeaderMap::new(), b"")
        .unwrap();
    assert_eq!(&asked[..], b"\x12\x02r1\x0a\x04lead");
    let (route, _) = find(sample, Method::POST, "/api/v1/one/lead/r1/read");
    assert!(!route.takes_body());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_a_reply_holds_a_frame_is_json(
        object in "[^\0]*", id in any::<Option<String>>(), name in any::<String>(),
        json in proptest::option::of(prop_oneof![Just(""), Just("null"), Just("[1,{}]")]),
        broken in proptest::collection::vec(any::<u8>(), 0..32),
    ) {
        let table = table();
        let sample = table.profile("sample").unwrap();
        let escaped = percent_encoding::utf8_percent_encode(&object, percent_encoding::NON_ALPHANUMERIC);
        let path = format!("/api/v1/probe/things/x{escaped}/r1");
        let (route, vars) = find(sample, Method::GET, &path);
        let thing = id.map(|id| Thing { id, name, json: json.map(Bytes::from) });
        let wire = GetThingResponse { thing: thing.clone() }.encode_to_vec();
        let (_, body) = route.render(&vars, &wire, &mut HeaderMap::new()).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(&body["object"], &Value::from(format!("x{object}")));
        let id = thing.map(|thing| thing.id);
        prop_assert_eq!(body["id"].as_str(), id.as_deref());
        // A broken reply is refused or written; it ends nothing.
        let _ = route.render(&vars, &broken, &mut HeaderMap::new());
    }

    #[test]
    fn pieces_of_a_body_are_messages_that_the_oracle_reads(
        content in proptest::collection::vec(any::<u8>(), 0..300), full in any::<bool>(),
        name in "[a-z]{1,9}", mode in "[a-z]{0,9}", size in any::<u64>(),
    ) {
        let content = if full { vec![7; PIECE_MAX] } else { content };
        let table = table();
        let path = format!("/api/v1/probe/uploads/{name}");
        let (route, vars) = find(&table, Method::POST, &path);
        let mut headers = HeaderMap::new();
        headers.insert("content-length", size.into());
        headers.insert("content-type", "image/png".parse().unwrap());
        route.check_media_type(&headers).unwrap();
        let query = (!mode.is_empty()).then(|| format!("mode={mode}"));
        let first = route.encode(&vars, query.as_deref(), &headers, b"").unwrap();
        let expected = UploadRequest {
            name, mode, media_type: "image/png".to_owned(), size, content: Bytes::new(),
        };
        prop_assert_eq!(UploadRequest::decode(first).unwrap(), expected);
        let raw_body = route.upload.unwrap();
        let mut piece = raw_body.head(content.len()).to_vec();
        piece.extend_from_slice(&content);
        let read = UploadRequest::decode(piece.as_slice()).unwrap();
        prop_assert_eq!(read, UploadRequest { content: content.into(), ..UploadRequest::default() });
    }
}

#[test]
fn a_raw_body_is_of_any_type_but_not_encoded() {
    let table = table();
    let (route, vars) = find(&table, Method::POST, "/api/v1/probe/uploads/a");
    let mut headers = HeaderMap::new();
    route.check_media_type(&headers).unwrap();
    headers.insert("content-encoding", "gzip".parse().unwrap());
    let refused = route.check_media_type(&headers).unwrap_err();
    assert!(
        refused.to_string().contains("Content-Encoding"),
        "{refused}"
    );
    // The body is no parameter.
    let refused = route.encode(&vars, Some("content=YQ=="), &HeaderMap::new(), b"");
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("`content` is not known")
    );
}
