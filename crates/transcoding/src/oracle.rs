//! Tests of encoding and rendering against prost-reflect's JSON, which shares no code with them.

use bytes::Bytes;
use http::{HeaderMap, Method};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions,
    prost_types::{
        DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
        FileDescriptorProto, OneofDescriptorProto,
        field_descriptor_proto::{Label, Type},
    },
};
use proto::data::v1::{GetRecordRequest, ListRecordsRequest, UpdateRecordRequest};
use serde_json::{Map, Value, json};

use crate::{Match, Table, json, render, shape::Shapes, table::Vars};

const SCALARS: [(&str, Type); 15] = [
    ("double", Type::Double),
    ("float", Type::Float),
    ("int64", Type::Int64),
    ("uint64", Type::Uint64),
    ("int32", Type::Int32),
    ("fixed64", Type::Fixed64),
    ("fixed32", Type::Fixed32),
    ("bool", Type::Bool),
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("uint32", Type::Uint32),
    ("sfixed32", Type::Sfixed32),
    ("sfixed64", Type::Sfixed64),
    ("sint32", Type::Sint32),
    ("sint64", Type::Sint64),
];

/// A message with every kind of field: `Everything`, which holds `Inner` in all three ways.
fn everything() -> MessageDescriptor {
    let mut inner = message("Inner");
    let mut outer = message("Everything");
    for (name, kind) in SCALARS {
        for message in [&mut inner, &mut outer] {
            add(message, name, kind, None);
        }
    }
    add(&mut outer, "enum", Type::Enum, Some(".test.Color"));
    let stamp = Some(".google.protobuf.Timestamp");
    add(&mut outer, "timestamp", Type::Message, stamp);
    add(&mut outer, "message", Type::Message, Some(".test.Inner"));
    let values = [
        ("COLOR_UNSPECIFIED", 0),
        ("COLOR_RED", 1),
        ("COLOR_BELOW", -5),
    ];
    let file = FileDescriptorProto {
        name: Some("test.proto".to_owned()),
        package: Some("test".to_owned()),
        syntax: Some("proto3".to_owned()),
        dependency: vec!["google/protobuf/timestamp.proto".to_owned()],
        message_type: vec![inner, outer],
        enum_type: vec![EnumDescriptorProto {
            name: Some("Color".to_owned()),
            value: values
                .map(|(name, number)| EnumValueDescriptorProto {
                    name: Some(name.to_owned()),
                    number: Some(number),
                    options: None,
                })
                .into(),
            ..EnumDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    let mut pool: DescriptorPool = proto::descriptor_pool().clone();
    pool.add_file_descriptor_proto(file).unwrap();
    pool.get_message_by_name("test.Everything").unwrap()
}

fn message(name: &str) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        ..DescriptorProto::default()
    }
}

/// Adds `one_<name>`, `some_<name>` (with presence) and `many_<name>`.
fn add(message: &mut DescriptorProto, name: &str, kind: Type, type_name: Option<&str>) {
    for prefix in ["one", "some", "many"] {
        let mut field = FieldDescriptorProto {
            name: Some(format!("{prefix}_{name}")),
            number: Some(i32::try_from(message.field.len()).unwrap() * 3 + 1),
            r#type: Some(kind.into()),
            type_name: type_name.map(str::to_owned),
            label: Some(Label::Optional.into()),
            ..FieldDescriptorProto::default()
        };
        if prefix == "many" {
            field.label = Some(Label::Repeated.into());
        }
        if prefix == "some" {
            field.proto3_optional = Some(true);
            field.oneof_index = Some(i32::try_from(message.oneof_decl.len()).unwrap());
            message.oneof_decl.push(OneofDescriptorProto {
                name: Some(format!("_some_{name}")),
                options: None,
            });
        }
        message.field.push(field);
    }
}

fn scalar(kind: Type) -> BoxedStrategy<Value> {
    match kind {
        Type::Double => any::<i32>().prop_map(|n| json!(f64::from(n) / 7.0)).boxed(),
        Type::Float => any::<i16>().prop_map(|n| json!(f32::from(n) / 7.0)).boxed(),
        Type::Int64 | Type::Sfixed64 | Type::Sint64 => any::<i64>().prop_map(Value::from).boxed(),
        Type::Uint64 | Type::Fixed64 => any::<u64>().prop_map(Value::from).boxed(),
        Type::Int32 | Type::Sfixed32 | Type::Sint32 => any::<i32>().prop_map(Value::from).boxed(),
        Type::Uint32 | Type::Fixed32 => any::<u32>().prop_map(Value::from).boxed(),
        Type::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Type::String => any::<String>().prop_map(Value::from).boxed(),
        Type::Bytes => {
            prop_oneof![Just(json!("")), Just(json!("AP8=")), Just(json!("c3Vy"))].boxed()
        }
        Type::Enum => {
            let names = ["COLOR_UNSPECIFIED", "COLOR_RED", "COLOR_BELOW"];
            prop::sample::select(names.to_vec())
                .prop_map(Value::from)
                .boxed()
        }
        // Years 1 to 9999, to the millisecond: what both forms can say.
        Type::Message | Type::Group => (-62_135_596_800_000_i64..253_402_300_800_000)
            .prop_map(|ms| {
                let at =
                    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
                let format = time::format_description::well_known::Rfc3339;
                json!(at.unwrap().format(&format).unwrap())
            })
            .boxed(),
    }
}

/// Some fields of a message that has the scalars `kinds`, as JSON.
fn members(kinds: &[(&'static str, Type)]) -> BoxedStrategy<Map<String, Value>> {
    let kinds = kinds.to_vec();
    vec(
        prop::sample::select(kinds).prop_flat_map(|(name, kind)| {
            let upper = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
            prop_oneof![
                scalar(kind).prop_map({
                    let key = format!("one{upper}");
                    move |value| (key.clone(), value)
                }),
                scalar(kind).prop_map({
                    let key = format!("some{upper}");
                    move |value| (key.clone(), value)
                }),
                vec(scalar(kind), 0..4).prop_map({
                    let key = format!("many{upper}");
                    move |values| (key.clone(), Value::Array(values))
                }),
            ]
        }),
        0..12,
    )
    .prop_map(|members| members.into_iter().collect())
    .boxed()
}

/// An `Everything`, as JSON.
fn sample() -> BoxedStrategy<Value> {
    let mut kinds = SCALARS.to_vec();
    kinds.extend([("enum", Type::Enum), ("timestamp", Type::Message)]);
    let inner = || members(&SCALARS).prop_map(Value::Object);
    (
        members(&kinds),
        proptest::option::of(inner()),
        proptest::option::of(inner()),
        vec(inner(), 0..3),
    )
        .prop_map(|(mut members, one, some, many)| {
            if let Some(one) = one {
                members.insert("oneMessage".to_owned(), one);
            }
            if let Some(some) = some {
                members.insert("someMessage".to_owned(), some);
            }
            members.insert("manyMessage".to_owned(), Value::Array(many));
            Value::Object(members)
        })
        .boxed()
}

fn shapes() -> Shapes {
    let option = proto::descriptor_pool()
        .get_extension_by_name("objectmesh.annotations.v1.field")
        .unwrap();
    Shapes::new(option)
}

/// The oracle's JSON, with its timestamps cut to the one form that REST prints.
fn oracle(message: &DynamicMessage) -> Value {
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut out);
    message
        .serialize_with_options(&mut serializer, &options)
        .unwrap();
    let mut value: Value = serde_json::from_slice(&out).unwrap();
    let members = value.as_object_mut().unwrap();
    for key in ["oneTimestamp", "someTimestamp", "manyTimestamp"] {
        match members.get_mut(key) {
            Some(Value::Array(many)) => many.iter_mut().for_each(to_millis),
            Some(one) => to_millis(one),
            None => {}
        }
    }
    value
}

fn to_millis(value: &mut Value) {
    let text = value.as_str().unwrap().trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    *value = json!(format!("{seconds}.{:0<3.3}Z", fraction));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn json_bodies_become_the_message_that_the_oracle_reads(sample in sample()) {
        let descriptor = everything();
        let shape = shapes().of(&descriptor).unwrap();
        let mut wire = Vec::new();
        json::encode(&shape, &[], sample.to_string().as_bytes(), &mut wire).unwrap();
        let ours = DynamicMessage::decode(descriptor.clone(), wire.as_slice()).unwrap();
        let text = sample.to_string();
        let mut text = serde_json::Deserializer::from_str(&text);
        let theirs = DynamicMessage::deserialize(descriptor, &mut text).unwrap();
        prop_assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
    }

    #[test]
    fn messages_print_as_the_oracle_prints_them(first in sample(), second in sample()) {
        let descriptor = everything();
        let shape = shapes().of(&descriptor).unwrap();
        // Two messages in a row are one, merged: fields repeat and stand out of order.
        let mut wire = Vec::new();
        for half in [first, second] {
            let half = DynamicMessage::deserialize(descriptor.clone(), half).unwrap();
            half.encode(&mut wire).unwrap();
        }
        let merged = DynamicMessage::decode(descriptor, wire.as_slice()).unwrap();
        // A field of a newer peer.
        wire.extend_from_slice(&[0xFA, 0xFF, 0x01, 0x01, b'x']);
        let printed = render::message(&shape, &wire).unwrap();
        let printed: Value = serde_json::from_slice(&printed).unwrap();
        prop_assert_eq!(printed, oracle(&merged));
    }

    #[test]
    fn broken_wires_are_refused_or_print_valid_json(wire in vec(any::<u8>(), 0..64)) {
        let shape = shapes().of(&everything()).unwrap();
        if let Ok(printed) = render::message(&shape, &wire) {
            prop_assert!(serde_json::from_slice::<Value>(&printed).is_ok());
        }
    }

    #[test]
    fn no_body_text_panics(text in "\\PC*", prefix in "[\\[{\"a-z:,0-9 ]*") {
        let shape = shapes().of(&everything()).unwrap();
        for text in [text.as_str(), &prefix] {
            let refused = json::encode(&shape, &[], text.as_bytes(), &mut Vec::new());
            let valid = serde_json::from_str::<Map<String, Value>>(text).is_ok_and(|map| map.is_empty());
            prop_assert_eq!(refused.is_ok(), valid);
        }
    }

    #[test]
    fn path_segments_and_queries_are_decoded_once(object in "[^\0]+", id in "[^\0]+", filter in "[^\0]*") {
        let table = Table::from_descriptors().unwrap();
        let escaped = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let path = format!("/api/v1/data/{}/{}", escaped(&object), escaped(&id));
        let wire = encode(&table, Method::GET, &path, "fields=a", b"").unwrap();
        let expected = GetRecordRequest { object: object.clone(), id, select: "a".into(), expand: String::new() };
        prop_assert_eq!(GetRecordRequest::decode(wire).unwrap(), expected);

        let path = format!("/api/v1/data/{}", escaped(&object));
        let query = format!("%24filter={0}&{0}x={0}", escaped(&filter));
        let asked = ListRecordsRequest::decode(encode(&table, Method::GET, &path, &query, b"").unwrap()).unwrap();
        prop_assert_eq!(&asked.r#where, &filter);
        prop_assert_eq!(&asked.filters[0].name, &format!("{filter}x"));
        prop_assert_eq!(&asked.filters[0].value, &filter);
    }
}

fn encode(
    table: &Table,
    method: Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> crate::Result<Bytes> {
    let Match::Found(route, vars) = table.find(&method, path) else {
        panic!("no route for {path}");
    };
    route.encode(&vars, Some(query), &HeaderMap::new(), body)
}

#[test]
fn numbers_are_checked_against_their_range() {
    let shape = shapes().of(&everything()).unwrap();
    let check = |body: &str, code: Option<&str>| {
        let got = json::encode(&shape, &[], body.as_bytes(), &mut Vec::new());
        let got = got.err().map(|error| error.field_violations()[0].code);
        assert_eq!(got, code, "{body}");
    };
    check(r#"{"oneInt32":2147483647}"#, None);
    check(r#"{"oneInt32":2147483648}"#, Some("max_value"));
    check(r#"{"oneInt32":-2147483649}"#, Some("min_value"));
    check(r#"{"oneUint32":-1}"#, Some("min_value"));
    check(r#"{"oneUint32":1.5}"#, Some("invalid_number"));
    check(r#"{"oneUint32":1e3}"#, None);
    check(r#"{"oneUint32":"1"}"#, Some("invalid_number"));
    check(r#"{"oneInt64":9223372036854775807}"#, None);
    check(r#"{"oneInt64":9223372036854775808}"#, Some("max_value"));
    check(r#"{"oneInt64":"-9223372036854775808"}"#, None);
    check(r#"{"oneUint64":18446744073709551615}"#, None);
    check(
        r#"{"oneUint64":18446744073709551616}"#,
        Some("invalid_number"),
    );
    check(r#"{"oneFloat":1e39}"#, Some("max_value"));
    check(r#"{"oneDouble":"NaN"}"#, Some("invalid_number"));
    check(r#"{"oneEnum":"COLOR_BLUE"}"#, Some("invalid_option"));
    check(r#"{"oneBytes":"*"}"#, Some("invalid_format"));
    check(r#"{"oneTimestamp":"yesterday"}"#, Some("invalid_date"));
    check(r#"{"one_int32":1}"#, None);
    check(r#"{"one_int32":1,"oneInt32":1}"#, Some("duplicate"));
    check(r#"{"someString":null,"manyString":null}"#, None);
    check(r#"{"manyString":"a"}"#, Some("invalid_type"));
}

#[test]
fn violations_name_the_path_of_the_field() {
    let shape = shapes().of(&everything()).unwrap();
    let body =
        r#"{"manyMessage":[{},{"oneString":1,"oneStrin":2}],"someMessage":{"manyBool":[true,0]}}"#;
    let error = json::encode(&shape, &[], body.as_bytes(), &mut Vec::new()).unwrap_err();
    let got: Vec<String> = error
        .field_violations()
        .iter()
        .map(|violation| {
            format!(
                "{} {}: {}",
                violation.code, violation.field, violation.message
            )
        })
        .collect();
    insta::assert_snapshot!(got.join("\n"), @r"
    invalid_type manyMessage[1].oneString: manyMessage[1].oneString must be a string
    unknown manyMessage[1].oneStrin: manyMessage[1].oneStrin is not known; did you mean `oneString`?
    invalid_boolean someMessage.manyBool[1]: someMessage.manyBool[1] must be true or false
    ");
}

#[test]
fn a_raw_body_is_not_read_and_headers_fill_their_fields() {
    let table = Table::from_descriptors().unwrap();
    let path = "/api/v1/data/lead/r1";
    let Match::Found(route, vars) = table.find(&Method::PATCH, path) else {
        panic!("no route");
    };
    let mut headers = HeaderMap::new();
    headers.append("if-match", "\"1\"".parse().unwrap());
    headers.append("if-match", "\"2\"".parse().unwrap());
    let wire = route.encode(&vars, None, &headers, b"not json").unwrap();
    let expected = UpdateRecordRequest {
        object: "lead".to_owned(),
        id: "r1".to_owned(),
        patch: "not json".into(),
        if_match: "\"1\", \"2\"".to_owned(),
        idempotency_key: String::new(),
    };
    assert_eq!(UpdateRecordRequest::decode(wire).unwrap(), expected);
    // A field that a header fills is no query parameter.
    let refused = encode(&table, Method::PATCH, path, "ifMatch=1", b"{}").unwrap_err();
    assert_eq!(refused.detail("parameter"), Some(&json!("ifMatch")));
}

#[test]
fn strings_and_gaps_print_as_json() {
    let table = Table::from_descriptors().unwrap();
    let Match::Found(route, _) = table.find(&Method::GET, "/api/v1/meta/object/x") else {
        panic!("no route");
    };
    let answer = proto::data::v1::GetMetadataItemResponse {
        r#type: "a\"\\\n\u{1}\u{1F600}".to_owned(),
        ..Default::default()
    };
    let mut headers = HeaderMap::new();
    let vars = Vars::new(["object", "x"]);
    let (status, body) = route
        .render(&vars, &answer.encode_to_vec(), &mut headers)
        .unwrap();
    assert_eq!(status, 200);
    let text = String::from_utf8(body).unwrap();
    // Raw JSON that is missing must not break the rest.
    assert_eq!(
        text,
        "{\"type\":\"a\\\"\\\\\\n\\u0001\u{1F600}\",\"name\":\"\",\"item\":null}"
    );
    // Headers without a value are left out, fixed ones are there.
    assert!(!headers.contains_key("etag"));
    assert_eq!(headers["cache-control"], "private, no-cache");
}

#[test]
fn what_has_no_form_is_refused_at_start() {
    let mut pool: DescriptorPool = proto::descriptor_pool().clone();
    let mut node = message("Node");
    add(&mut node, "next", Type::Message, Some(".test.Node"));
    let mut any = message("Holder");
    add(
        &mut any,
        "any",
        Type::Message,
        Some(".google.protobuf.ListValue"),
    );
    pool.add_file_descriptor_proto(FileDescriptorProto {
        name: Some("test.proto".to_owned()),
        package: Some("test".to_owned()),
        syntax: Some("proto3".to_owned()),
        dependency: vec!["google/protobuf/struct.proto".to_owned()],
        message_type: vec![node, any],
        ..FileDescriptorProto::default()
    })
    .unwrap();
    let check = |name: &str, problem: &str| {
        let message = pool.get_message_by_name(name).unwrap();
        let error = format!("{:#}", shapes().of(&message).unwrap_err());
        assert!(error.contains(problem), "{error}");
    };
    check("test.Node", "contains itself");
    check(
        "test.Holder",
        "google.protobuf.ListValue has no REST form yet",
    );
    check("google.protobuf.Struct", "maps travel as raw JSON");
}
