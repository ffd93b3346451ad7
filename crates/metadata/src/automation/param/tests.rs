//! What a schema promises is taken.

use super::*;
use crate::reader::Sink;

fn param(value: Value) -> ActionParam {
    let sink = Sink::default();
    let reader = Reader::new(&value, "actions.a.params.p".to_owned(), &sink).unwrap();
    ActionParam::read(Some("p"), &reader).unwrap()
}

/// Values that fit a schema, made of the schema alone.
fn fitting(schema: &Value) -> Vec<Value> {
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        return options.clone();
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        return any.iter().flat_map(fitting).collect();
    }
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    match (text("type"), text("format")) {
        (Some("string"), Some("date")) => vec![json!("2026-12-31")],
        (Some("string"), Some("date-time")) => {
            vec![
                json!("2026-12-31T12:00:00Z"),
                json!("2026-12-31T12:00:00.5+02:00"),
            ]
        }
        (Some("string"), _) => vec![json!(""), json!("words"), json!("12")],
        (Some("number"), _) => vec![json!(0), json!(-1.5), json!(3)],
        (Some("integer"), _) => vec![json!(0), json!(-7), json!(3.0)],
        (Some("boolean"), _) => vec![json!(true), json!(false)],
        (Some("array"), _) => {
            let members = fitting(&schema["items"]);
            vec![json!([]), json!([members[0]]), Value::Array(members)]
        }
        (Some("object"), _) => vec![json!({}), json!({"lat": 1, "lng": 2})],
        (None, _) => vec![json!("x"), json!(1), json!([1, "x"]), json!({"a": null})],
        other => panic!("{other:?}"),
    }
}

fn agree(param: &Param) {
    for value in fitting(&param.schema()) {
        let mut input = Map::from_iter([(param.name.clone(), value.clone())]);
        let found = check_params(std::slice::from_ref(param), &mut input);
        assert_eq!(found, [], "{value} for {param:?}");
    }
}

#[test]
fn what_fits_the_schema_passes_the_check_for_every_type() {
    let words = FieldType::ALL.into_iter().map(FieldType::as_str);
    let others = [
        "integer", "int", "array", "list", "object", "any", "checkbox", "double", "odd",
    ];
    for word in words.chain(others) {
        for multiple in [false, true] {
            for options in [json!(null), json!(["a", {"value": "b"}]), json!([1, 2.5])] {
                let written = json!({"type": word, "multiple": multiple, "options": options});
                agree(&param(written).resolve(None));
            }
        }
        let field = Field::from_value(
            "ticket",
            "p",
            &json!({"type": word, "reference": "x",
            "summaryOperations": {"object": "x", "function": "count"}, "expression": "1",
            "options": ["a"]}),
        );
        if let (Some(field), _) = field {
            agree(&param(json!({"field": "p"})).resolve(Some(&field)));
        }
    }
}

#[test]
fn what_models_could_not_give_has_the_shape_of_its_field() {
    for (word, fits, wrong) in [
        ("rating", json!(4), json!("4")),
        ("slider", json!(2.5), json!("2.5")),
        ("progress", json!(80), json!([80])),
        ("autonumber", json!("T-0001"), json!({})),
        ("location", json!({"lat": 1.0, "lng": 2.0}), json!("1,2")),
        ("file", json!("file-1"), json!(1)),
        ("file", json!({"id": "file-1", "name": "a.pdf"}), json!([])),
    ] {
        let param = param(json!({"type": word})).resolve(None);
        assert_eq!(param.check(&fits), None, "{word}");
        let found = param.check(&wrong).map(|violation| violation.code);
        assert_eq!(found, Some(ViolationCode::InvalidType), "{word}");
    }
}

#[test]
fn a_parameter_is_as_its_field_where_it_says_nothing() {
    let field = json!({"type": "select", "label": "How urgent", "required": true,
        "options": [{"value": "low"}, {"value": "high"}], "defaultValue": "low"});
    let field = Field::from_value("ticket", "urgency", &field).0.unwrap();
    let inherited = param(json!({"field": "urgency", "name": "urgency"})).resolve(Some(&field));
    assert_eq!(
        inherited.schema(),
        json!({"type": "string", "enum": ["low", "high"], "description": "How urgent", "default": "low"})
    );
    assert!(inherited.required && !inherited.is_needed());
    let own = json!({"field": "urgency", "required": false, "options": ["low"], "label": "Now"});
    let own = param(own).resolve(Some(&field));
    assert_eq!((own.required, own.options.len()), (false, 1));
    assert_eq!(own.label.as_deref(), Some("Now"));
    // What is named after nothing but its field describes nothing.
    let plain = Field::new("urgency", FieldType::Text);
    assert_eq!(
        param(json!({"field": "urgency"}))
            .resolve(Some(&plain))
            .label,
        None
    );
}

#[test]
fn only_a_field_that_is_declared_an_integer_asks_for_one() {
    for (field, fits) in [
        (json!({"type": "number", "scale": 0}), true),
        (json!({"type": "integer"}), false),
    ] {
        let field = Field::from_value("ticket", "p", &field).0.unwrap();
        let param = param(json!({"field": "p"})).resolve(Some(&field));
        assert_eq!(param.check(&json!(1.5)).is_none(), fits);
        assert_eq!(param.check(&json!(2)), None);
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let params: Vec<Param> = [
        json!({"name": "note", "required": true}),
        json!({"name": "count", "type": "integer"}),
        json!({"name": "tags", "type": "tags", "options": ["a"]}),
        json!({"name": "channel", "type": "select", "options": ["mail"], "defaultValue": "mail"}),
    ]
    .map(|value| param(value).resolve(None))
    .into();
    let input = json!({"note": null, "count": 1.5, "tags": ["a", "b"], "more": 1});
    let Value::Object(mut input) = input else {
        panic!("no object");
    };
    let found = check_params(&params, &mut input);
    let found: Vec<(&str, &str)> = found.iter().map(|v| (&*v.param, v.code.as_str())).collect();
    assert_eq!(
        found,
        [
            ("note", "required"),
            ("count", "invalid_type"),
            ("tags", "invalid_option"),
            ("more", "unknown_field"),
        ]
    );
    assert_eq!(input["channel"], "mail");
}
