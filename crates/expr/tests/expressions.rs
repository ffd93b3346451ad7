//! What expressions mean, told from outside.

use expr::{EvalErrorKind, Program, ResultType, Scope};
use serde_json::{Value, json};
use time::macros::datetime;

fn record() -> Value {
    json!({
        "name": "Acme", "amount": 1050, "price": 19.99, "probability": 33, "empty": null, "blank": "  ",
        "close_date": "2026-12-01", "closed_at": "2026-11-20T09:30:00.000Z", "won": true,
        "tags": ["new", "hot"], "sizes": [3, 1, 2], "account": {"name": "Acme Inc", "owner": null},
        "lookup": "01ACCOUNT", "tiny": 1e-300, "big": 9007199254740993_i64,
    })
}

fn evaluate(source: &str) -> Result<Value, EvalErrorKind> {
    let record = record();
    let previous = json!({"stage": "new", "amount": 10});
    let user = json!({"id": "u1", "roles": ["sales", "support"], "organization_id": "o1"});
    let vars = json!({"ticket": {"priority": "low"}, "count": 3});
    let scope = Scope::new(datetime!(2026-11-25 14:30 UTC))
        .record(&record)
        .previous(&previous)
        .user(&user)
        .vars(&vars);
    let program = Program::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    program.evaluate(&scope).map_err(|error| error.kind)
}

#[track_caller]
fn are(cases: &[(&str, Value)]) {
    for (source, expected) in cases {
        assert_eq!(evaluate(source).as_ref(), Ok(expected), "{source}");
    }
}

#[track_caller]
fn is_type_error(source: &str) {
    let outcome = evaluate(source);
    assert!(
        matches!(outcome, Err(EvalErrorKind::Type { .. })),
        "{source}: {outcome:?}"
    );
}

#[test]
fn numbers_of_the_data_are_exact_and_mix_with_those_of_the_text() {
    are(&[
        ("record.amount * record.probability / 100", json!(346.5)),
        ("record.price * 3", json!(59.97)),
        ("0.1 + 0.2", json!(0.3)),
        ("2 + 1.5", json!(3.5)),
        ("record.amount / 100", json!(10.5)),
        ("record.amount == 1050.0", json!(true)),
        ("record.big + 1", json!(9_007_199_254_740_994_i64)),
        ("record.tiny > 0 && record.tiny < 0.1", json!(true)),
        ("record.tiny * 2 > record.tiny", json!(true)),
        ("7 / 2", json!(3)),
        ("7 % 4 + -1", json!(2)),
        ("double(7) / 2", json!(3.5)),
        ("round(2.5) + round(record.price, 1)", json!(23)),
        ("[floor(1.9), ceil(1.1), abs(-3)]", json!([1, 2, 3])),
        ("min(3, record.probability, 1.5)", json!(1.5)),
        ("max(record.sizes)", json!(3)),
        ("int('12') + int(3.9)", json!(15)),
        ("string(1.50) + string(2) + string(true)", json!("1.52true")),
    ]);
    assert_eq!(
        evaluate("record.amount / 0"),
        Err(EvalErrorKind::DivisionByZero)
    );
    assert_eq!(
        evaluate("9223372036854775807 + 1"),
        Err(EvalErrorKind::Overflow)
    );
}

#[test]
fn what_is_missing_is_null() {
    are(&[
        ("record.nothing == null", json!(true)),
        ("nothing", json!(null)),
        ("record.nothing.further", json!(null)),
        ("record.account.name", json!("Acme Inc")),
        ("record.account.owner.email", json!(null)),
        ("has(record.empty) || has(record.nothing)", json!(false)),
        ("has(record.name)", json!(true)),
        ("previous.stage != 'won'", json!(true)),
        ("coalesce(record.empty, record.nothing, 'x')", json!("x")),
        ("record.nothing in ['a']", json!(false)),
        ("'a' in record.nothing", json!(false)),
        ("record.nothing.exists(x, x > 1)", json!(false)),
        ("!record.nothing", json!(true)),
        ("record.nothing && true", json!(false)),
        (
            "[isBlank(record.blank), isBlank(record.empty), isEmpty(record.blank)]",
            json!([true, true, false]),
        ),
        ("len(record.nothing) + size(record.tags)", json!(2)),
    ]);
    // Null has no order and takes no arithmetic: a rule over it cannot be checked.
    for source in [
        "record.empty > 3",
        "record.empty + 1",
        "null + 'text'",
        "-record.empty",
    ] {
        is_type_error(source);
    }
    // An id is not the record it refers to.
    is_type_error("record.lookup.name");
}

#[test]
fn a_side_that_decides_decides_whatever_the_other_is() {
    are(&[
        ("false && record.empty > 3", json!(false)),
        ("record.empty > 3 && false", json!(false)),
        ("record.empty > 3 || true", json!(true)),
        ("record.tags.exists(t, t > 3 || t == 'hot')", json!(true)),
        ("record.won ? 'yes' : 1 / 0", json!("yes")),
    ]);
    is_type_error("record.empty > 3 && true");
    is_type_error("record.empty > 3 || false");
}

#[test]
fn names_are_roots_variables_and_fields_in_this_order() {
    are(&[
        ("name", json!("Acme")),
        ("ticket.priority", json!("low")),
        ("vars.count + count", json!(6)),
        (
            "user.id + current_user.id + os.user.id + ctx.user.id",
            json!("u1u1u1u1"),
        ),
        ("ctx.record.name", json!("Acme")),
        ("'sales' in os.user.roles", json!(true)),
        ("org == null", json!(true)),
        ("record['name']", json!("Acme")),
    ]);
    let strict = Scope::new(datetime!(2026-11-25 14:30 UTC));
    let outcome = Program::compile("amount > 3").unwrap().evaluate(&strict);
    assert_eq!(
        outcome.unwrap_err().kind,
        EvalErrorKind::UnknownName("amount".to_owned())
    );
}

#[test]
fn dates_are_texts_until_they_meet_a_date() {
    are(&[
        ("now()", json!("2026-11-25T14:30:00.000Z")),
        ("today()", json!("2026-11-25")),
        ("daysFromNow(30)", json!("2026-12-25")),
        ("daysAgo(25)", json!("2026-10-31")),
        ("record.close_date > now()", json!(true)),
        ("record.closed_at < today()", json!(true)),
        ("record.close_date == date('2026-12-01')", json!(true)),
        ("daysBetween(today(), record.close_date)", json!(6)),
        ("addDays(record.close_date, 1)", json!("2026-12-02")),
        ("addMonths('2026-01-31', 1)", json!("2026-02-28")),
        (
            "addMonths(record.closed_at, 1)",
            json!("2026-12-20T09:30:00.000Z"),
        ),
        ("now() - duration('P1D')", json!("2026-11-24T14:30:00.000Z")),
        (
            "timestamp(record.closed_at) + duration('720h') > now()",
            json!(true),
        ),
        ("TODAY() + 7", json!("2026-12-02")),
        (
            "now().getFullYear() + getMonth(record.close_date)",
            json!(2037),
        ),
        (
            "(now() - datetime(record.closed_at)).getHours()",
            json!(125),
        ),
        ("record.close_date < '2027'", json!(true)),
        ("now() == now()", json!(true)),
    ]);
    is_type_error("record.name < now()");
    assert!(matches!(
        evaluate("date('soon')"),
        Err(EvalErrorKind::Format { .. })
    ));
    assert_eq!(
        evaluate("daysFromNow(9000000000)"),
        Err(EvalErrorKind::Overflow)
    );
}

#[test]
fn texts_and_lists_have_their_functions() {
    are(&[
        (
            "upper(name) + name.lower() + trim(' a ')",
            json!("ACMEacmea"),
        ),
        (
            "name.startsWith('Ac') && endsWith(name, 'me') && contains(name, 'cm')",
            json!(true),
        ),
        ("name.matches('^A[a-z]+$')", json!(true)),
        ("name.matches('^' + 'A')", json!(true)),
        (
            "joinNonEmpty([name, '', null, record.blank, 'B'], ', ')",
            json!("Acme, B"),
        ),
        ("['a', 'b'].join('-') + 'a,b'.split(',')[1]", json!("a-bb")),
        ("'abc'.substring(1) + 'abc'.substring(0, 1)", json!("bca")),
        ("'aXbX'.replace('X', '--')", json!("a--b--")),
        ("'häß'.indexOf('ß') + size('häß')", json!(5)),
        ("record.sizes.map(s, s * 2)", json!([6, 2, 4])),
        ("record.sizes.filter(s, s > 1)", json!([3, 2])),
        ("record.sizes.map(s, s > 1, string(s))", json!(["3", "2"])),
        (
            "record.sizes.all(s, s > 0) && record.sizes.exists_one(s, s == 2)",
            json!(true),
        ),
        ("record.tags + ['x']", json!(["new", "hot", "x"])),
        ("record.tags[1]", json!("hot")),
        ("{'a': [1], 'b': name}", json!({"a": [1], "b": "Acme"})),
        ("{'a': 1} == {'a': 1.0} && [1, 2] != [2, 1]", json!(true)),
        ("record.tags.contains('hot')", json!(true)),
    ]);
    assert_eq!(
        evaluate("record.tags[9]"),
        Err(EvalErrorKind::NoItem("9".to_owned()))
    );
    assert!(matches!(
        evaluate("'abc'.substring(2, 9)"),
        Err(EvalErrorKind::Format { .. })
    ));
}

#[test]
fn a_result_is_brought_to_the_type_asked_for() {
    let record = record();
    let scope = Scope::new(datetime!(2026-11-25 14:30 UTC)).record(&record);
    let result = |source, wanted| {
        Program::compile(source)
            .unwrap()
            .evaluate_as(&scope, wanted)
    };
    for (source, wanted, expected) in [
        ("daysFromNow(1)", ResultType::Date, json!("2026-11-26")),
        ("now()", ResultType::Date, json!("2026-11-25")),
        (
            "daysFromNow(1)",
            ResultType::Moment,
            json!("2026-11-26T00:00:00.000Z"),
        ),
        ("closed_at", ResultType::Date, json!("2026-11-20")),
        ("amount", ResultType::Text, json!("1050")),
        ("won", ResultType::Text, json!("true")),
        ("empty", ResultType::Number, json!(null)),
    ] {
        assert_eq!(result(source, wanted), Ok(expected), "{source}");
    }
    for (source, wanted) in [
        ("name", ResultType::Number),
        ("name", ResultType::Date),
        ("tags", ResultType::Text),
        ("1", ResultType::Boolean),
    ] {
        assert!(result(source, wanted).is_err(), "{source} as {wanted:?}");
    }
    assert_eq!(
        Program::compile("nothing").unwrap().holds(&scope),
        Ok(false)
    );
    assert!(Program::compile("name").unwrap().holds(&scope).is_err());
}

#[test]
fn faults_are_told_with_their_place() {
    for (source, line, column, part) in [
        ("", 1, 1, "empty"),
        ("amount >", 1, 9, "Syntax error"),
        ("a = 1", 1, 3, "Syntax error"),
        ("true &&\n  foo(1)", 2, 6, "no function `foo`"),
        ("dayBetween(a, b)", 1, 11, "no function"),
        ("IsBlank(a)", 1, 8, "did you mean `isBlank`"),
        ("daysAgo()", 1, 8, "takes 1 argument(s), not 0"),
        ("a.now()", 1, 6, "not"),
        ("a.matches('(')", 1, 11, "not a regular expression"),
        (
            "[1].map(x, [2].map(y, [3].map(z, z)))",
            1,
            30,
            "loops nested",
        ),
    ] {
        let error = Program::compile(source).expect_err(source);
        let place = (error.position.line, error.position.column);
        assert_eq!(place, (line, column), "{source}: {error}");
        assert!(error.message.contains(part), "{source}: {error}");
    }
    let error = Program::compile("1 +\n record.x").unwrap();
    let record = json!({"x": "text"});
    let scope = Scope::new(datetime!(2026-11-25 14:30 UTC)).record(&record);
    let error = error.evaluate(&scope).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1, column 3: `+` does not take a number and a text"
    );
}

#[test]
fn what_is_read_is_known_before_the_evaluation() {
    let of = |source: &str| Program::compile(source).unwrap().references().clone();
    let read = of(
        "record.amount > limit && os.user.id == record['owner'].name && tags.exists(t, t == ctx.record.a)",
    );
    assert_eq!(
        read.fields().collect::<Vec<_>>(),
        ["a", "amount", "limit", "owner", "tags"]
    );
    assert!(read.paths.contains("os.user.id") && read.paths.contains("record.owner.name"));
    assert!(
        read.record_paths
            .contains(&vec!["owner".to_owned(), "name".to_owned()])
    );
    assert!(!read.whole_record);
    assert!(of("record[input.field] == 1").whole_record);
    assert!(of("previous.a == vars.b").record_paths.is_empty());
}

#[test]
fn an_expression_ends_within_its_budget_whatever_it_is() {
    // As on a thread of a runtime.
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        let deep = format!("{}1{}", "(".repeat(2000), ")".repeat(2000));
        let chains = [
            deep,
            vec!["1"; 2000].join("+"),
            vec!["a"; 1000].join("&&"),
            vec!["a"; 2000].join("."),
            "!".repeat(4000) + "a",
            "-".repeat(4000) + "a",
            vec!["a?b:"; 800].concat() + "c",
            "[".repeat(4000),
            "a".repeat(5000),
            format!("a.matches('{}')", "(a{50}){50}"),
        ];
        for source in chains {
            // Refused or evaluated, not aborted.
            if let Ok(program) = Program::compile(&source) {
                let _ = program.evaluate(&Scope::new(datetime!(2026-11-25 14:30 UTC)));
            }
        }
        let items: Vec<i32> = (0..5000).collect();
        let record =
            json!({"items": items, "text": "x".repeat(500_000), "row": ["x".repeat(500_000)]});
        let scope = Scope::new(datetime!(2026-11-25 14:30 UTC)).record(&record);
        for source in [
            "items.map(a, items.map(b, a * b))".to_owned(),
            "items.all(a, items.exists(b, b == a))".to_owned(),
            vec!["text"; 100].join("+"),
            "items.map(a, text + 'x')".to_owned(),
            "items.map(a, text)".to_owned(),
            "items.map(a, upper(text))".to_owned(),
            "text.replace('x', text)".to_owned(),
            "[row, row]".to_owned() + &".map(x, [x, x, x, x])".repeat(30),
            "([row, row]".to_owned() + &".map(x, [x, x])".repeat(25) + ") == [1]",
            "items.map(a, text.matches('x' + 'x*y'))".to_owned(),
            "max(items.map(a, text))".to_owned(),
        ] {
            let outcome = Program::compile(&source).unwrap().evaluate(&scope);
            let kind = outcome.expect_err(&source).kind;
            assert!(
                matches!(kind, EvalErrorKind::Budget(_)),
                "{source}: {kind:?}"
            );
        }
    });
    thread.unwrap().join().unwrap();
}
