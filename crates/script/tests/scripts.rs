//! What a script sees, and what becomes of what it says.

mod support;

use std::path::Path;

use script::{Call, Capabilities, Capability, Context, Kind, LogLevel, Script, ScriptErrorKind};
use serde_json::{Value, json};
use support::{Desk, action, hook, input, limits, pool, run, thrown, value};

#[tokio::test]
async fn bodies_and_functions_return_values() {
    let pool = pool().await;
    for (source, expected) in [
        ("return 1 + input.n", json!(2)),
        (
            "return { a: [ctx.input.n, null, 'ü'] }",
            json!({"a": [1, null, "ü"]}),
        ),
        (
            "const input = ctx.input; const now = 3; return input.n + now",
            json!(4),
        ),
        ("async (ctx) => ctx.input.n", json!(1)),
        (
            "// doc\nasync function handler(ctx) {\n  return await ctx.input.n;\n}",
            json!(1),
        ),
        ("({ input }) => ({ n: input.n });", json!({"n": 1})),
        ("export default async (ctx) => { return 5 }", json!(5)),
        ("const f = async () => 3; return await f()", json!(3)),
        (
            "return await Promise.all([1, Promise.resolve(2)])",
            json!([1, 2]),
        ),
        ("return new Date(0)", json!("1970-01-01T00:00:00.000Z")),
        (
            "return new Date(2026, 0, 1).toISOString()",
            json!("2026-01-01T00:00:00.000Z"),
        ),
        ("return typeof now() + now().length", json!("string24")),
        ("", json!("nothing")),
        ("return undefined", json!("nothing")),
        ("return null", json!(null)),
        ("return (() => 1)", json!("nothing")),
        (
            "return [typeof fetch, typeof process, typeof require, typeof setTimeout, typeof eval]",
            json!([
                "undefined",
                "undefined",
                "undefined",
                "undefined",
                "undefined"
            ]),
        ),
        (
            "x = 5; return this === undefined || this === globalThis ? x : 0",
            json!(5),
        ),
    ] {
        assert_eq!(value(run(&pool, source).await), expected, "{source}");
    }
}

#[tokio::test]
async fn the_api_is_one_in_all_its_spellings() {
    let pool = pool().await;
    let find = |query: Value| Call::Find {
        object: "t".to_owned(),
        query,
    };
    let one = |id: Option<&str>, query: Value| Call::FindOne {
        object: "t".to_owned(),
        id: id.map(str::to_owned),
        query,
    };
    let update = |data: Value| Call::Update {
        object: "t".to_owned(),
        id: "t1".to_owned(),
        data,
    };
    let insert = Call::Insert {
        object: "t".to_owned(),
        data: json!({"a": 1}),
    };
    let delete = Call::Delete {
        object: "t".to_owned(),
        id: "t1".to_owned(),
    };
    let count = |filter: Value| Call::Count {
        object: "t".to_owned(),
        filter,
    };
    for (source, expected) in [
        (
            "ctx.api.object('t').find({ where: { a: 1 } })",
            find(json!({"where": {"a": 1}})),
        ),
        ("ctx.api.object('t').find()", find(json!({}))),
        (
            "ctx.data.find('t', { limit: 1 })",
            find(json!({"limit": 1})),
        ),
        ("ctx.engine.find('t')", find(json!({}))),
        ("ctx.ql.object('t').find()", find(json!({}))),
        (
            "ctx.api.object('t').findOne('t1')",
            one(Some("t1"), json!(null)),
        ),
        (
            "ctx.api.object('t').findOne({ where: {} })",
            one(None, json!({"where": {}})),
        ),
        ("ctx.data.get('t', 't1')", one(Some("t1"), json!(null))),
        (
            "ctx.api.object('t').count({ where: { a: 1 } })",
            count(json!({"a": 1})),
        ),
        (
            "ctx.api.object('t').count({ a: 1 })",
            count(json!({"a": 1})),
        ),
        (
            "ctx.api.object('t').aggregate({ groupBy: ['s'] })",
            Call::Aggregate {
                object: "t".to_owned(),
                query: json!({"groupBy": ["s"]}),
            },
        ),
        ("ctx.api.object('t').insert({ a: 1 })", insert.clone()),
        ("ctx.api.object('t').create({ a: 1 })", insert.clone()),
        ("ctx.data.create('t', { a: 1 })", insert.clone()),
        ("ctx.engine.insert('t', { a: 1 })", insert),
        (
            "ctx.api.object('t').update('t1', { a: 1 })",
            update(json!({"a": 1})),
        ),
        (
            "ctx.api.object('t').update({ id: 't1', a: 1 })",
            update(json!({"a": 1})),
        ),
        (
            "ctx.api.object('t').updateById('t1', { a: 1 })",
            update(json!({"a": 1})),
        ),
        (
            "ctx.engine.update('t', { a: 1 }, { where: { id: 't1' } })",
            update(json!({"a": 1})),
        ),
        (
            "ctx.data.update('t', 't1', { a: 1 })",
            update(json!({"a": 1})),
        ),
        (
            "ctx.api.object('t').upsert({ a: 1 })",
            Call::Upsert {
                object: "t".to_owned(),
                data: json!({"a": 1}),
            },
        ),
        ("ctx.api.object('t').delete('t1')", delete.clone()),
        ("ctx.engine.delete('t', { where: { id: 't1' } })", delete),
    ] {
        let host = Desk::default();
        let script = action(&format!("return await {source}"));
        let outcome = pool.run(&script, &input(json!({})), limits(), &host).await;
        assert!(outcome.is_ok(), "{source}: {outcome:?}");
        assert_eq!(host.calls(), [expected], "{source}");
    }
    for mistake in [
        "ctx.api.object('')",
        "ctx.api.object('t').update({ a: 1 })",
        "ctx.api.object('t').insert([1])",
        "ctx.api.object('t').delete()",
        "ctx.data.get('t')",
    ] {
        let told = thrown(run(&pool, &format!("return await {mistake}")).await);
        assert_eq!(told.name, "TypeError", "{mistake}: {told:?}");
    }
}

#[tokio::test]
async fn the_example_action_runs() {
    let pool = pool().await;
    let source = r#"
    const tickets = ctx.api.object("support_ticket");
    const ticket = await tickets.findOne(ctx.recordId);
    if (!ticket) {
      const error = new Error("The ticket does not exist");
      error.code = "TICKET_NOT_FOUND";
      throw error;
    }
    await tickets.update(ctx.recordId, { escalated: true, priority: "urgent" });
    await ctx.api.object("comment").insert({
      ticket: ctx.recordId, author_name: ctx.user.name, body: "Escalated: " + input.reason,
    });
    return { escalated: true, ticket: ctx.recordId, previousPriority: ticket.priority };
    "#;
    let script = Script {
        capabilities: Capabilities::declared(&["api.read", "api.write"], source),
        ..action(source)
    };
    let mut context = Context {
        input: json!({"reason": "late"}),
        user: Some(json!({"id": "u1", "name": "Ada"})),
        record_id: Some("t1".to_owned()),
        ..Context::default()
    };
    let host = Desk::default();
    let outcome = pool.run(&script, &context, limits(), &host).await;
    let expected = json!({"escalated": true, "ticket": "t1", "previousPriority": "low"});
    assert_eq!(value(outcome), expected);
    let body = json!({"ticket": "t1", "author_name": "Ada", "body": "Escalated: late"});
    assert_eq!(
        host.calls()[2],
        Call::Insert {
            object: "comment".to_owned(),
            data: body
        }
    );

    context.record_id = Some("none".to_owned());
    let told = thrown(pool.run(&script, &context, limits(), &host).await);
    assert_eq!(told.code.as_deref(), Some("TICKET_NOT_FOUND"));
    assert_eq!(told.message, "The ticket does not exist");
    assert!(told.stack[0].starts_with("test_script.js:5:"), "{told:?}");
}

#[tokio::test]
async fn a_hook_changes_its_input_and_nothing_else() {
    let pool = pool().await;
    let context = Context {
        input: json!({"stage": "won", "note": "x"}),
        previous: Some(json!({"stage": "new"})),
        record: Some(json!({"deep": {"a": 1}})),
        user: Some(json!({"id": "u1"})),
        event: Some("beforeUpdate".to_owned()),
        object: Some("deal".to_owned()),
        record_id: Some("d1".to_owned()),
        ..Context::default()
    };
    let host = Desk::default();
    for (source, expected) in [
        (
            "ctx.input.probability = 100",
            json!({"stage": "won", "note": "x", "probability": 100}),
        ),
        (
            "input.stage = ctx.previous.stage",
            json!({"stage": "new", "note": "x"}),
        ),
        (
            "ctx.input.data.stage = 'lost'; delete ctx.input.data.note",
            json!({"stage": "lost"}),
        ),
        (
            "ctx.input = { other: ctx.input.id + ctx.event + ctx.object }",
            json!({"other": "d1beforeUpdatedeal"}),
        ),
        (
            "ctx.input.data = { note: 'y' }",
            json!({"stage": "won", "note": "y"}),
        ),
        (
            "input.data = 'a field'",
            json!({"stage": "won", "note": "x", "data": "a field"}),
        ),
        (
            "ctx.record.deep.a = 2; ctx.previous.stage = 'z'; ctx.user.id = 'root'; input.seen = [ctx.record.deep.a, ctx.previous.stage, ctx.user.id].join()",
            json!({"stage": "won", "note": "x", "seen": "1,new,u1"}),
        ),
    ] {
        let outcome = pool
            .run(&hook(source), &context, limits(), &host)
            .await
            .unwrap();
        assert_eq!(outcome.input, expected, "{source}");
    }
    let exact = Context {
        input: json!({"big": 9_007_199_254_740_993_i64, "list": [{"f": 1.0}], "n": 1}),
        ..Context::default()
    };
    let carrier = hook("input.n += 1; input.seen = input.big");
    let outcome = pool.run(&carrier, &exact, limits(), &host).await;
    let expected = json!({"big": 9_007_199_254_740_993_i64, "list": [{"f": 1.0}], "n": 2, "seen": 9_007_199_254_740_992_i64});
    assert_eq!(outcome.unwrap().input, expected);
    let veto = hook("throw new Error('Spam tasks are not allowed')");
    let told = thrown(pool.run(&veto, &context, limits(), &host).await);
    assert_eq!(
        (told.name.as_str(), told.message.as_str(), told.code),
        ("Error", "Spam tasks are not allowed", None)
    );
}

#[tokio::test]
async fn what_is_thrown_is_told() {
    let pool = pool().await;
    let told = thrown(run(&pool, "\nconst e = new RangeError('no');\ne.code = 'NOPE'; e.status = 409; e.fields = [{ field: 'a' }];\nthrow e").await);
    assert_eq!(
        (told.name.as_str(), told.message.as_str()),
        ("RangeError", "no")
    );
    assert_eq!(
        (told.code.as_deref(), told.status),
        (Some("NOPE"), Some(409))
    );
    assert_eq!(told.fields, Some(json!([{"field": "a"}])));
    assert!(told.stack[0].starts_with("test_script.js:2:"), "{told:?}");
    for (source, message) in [
        ("throw 'text'", "text"),
        ("throw 42", "42"),
        ("throw null", "null"),
        ("throw undefined", "undefined"),
        ("throw { message: 'plain' }", "plain"),
        ("throw { get message() { throw 1 }, code: 'X' }", ""),
        ("null.x", "cannot read property 'x' of null"),
        ("await Promise.reject(new Error('late'))", "late"),
        (
            "const e = new Error('cyclic'); e.fields = e; throw e",
            "cyclic",
        ),
    ] {
        let told = thrown(run(&pool, source).await);
        assert!(told.message.contains(message), "{source}: {told:?}");
    }
    for (source, line) in [
        ("return (", 2),
        ("\n\nlet a = ;", 3),
        ("import x from 'y'", 1),
        ("}", 2),
    ] {
        let kind = run(&pool, source).await.unwrap_err().kind;
        let ScriptErrorKind::Syntax { line: found, .. } = kind else {
            panic!("{source}: {kind:?}");
        };
        assert!(found >= 1 && found <= line, "{source}: {found}");
    }
}

#[tokio::test]
async fn refusals_of_the_host_are_exceptions() {
    let pool = pool().await;
    let told = thrown(
        run(
            &pool,
            "await ctx.api.object('t').count(); await ctx.api.object('secret').find()",
        )
        .await,
    );
    assert_eq!(told.code.as_deref(), Some("PERMISSION_DENIED"));
    assert_eq!(
        told.fields,
        Some(json!([{"field": "a", "code": "forbidden"}]))
    );
    assert_eq!(told.call, Some(1));
    let caught = "try { await ctx.api.object('secret').find() } catch (e) { return [e.name, e.code, e.message, e instanceof Error, Object.keys(e)] }";
    let expected = json!([
        "Error",
        "PERMISSION_DENIED",
        "secret is not yours",
        true,
        ["code", "fields"]
    ]);
    assert_eq!(value(run(&pool, caught).await), expected);
    // A write that nobody awaits is made, and its refusal is not lost.
    let host = Desk::default();
    let forgotten = action("ctx.api.object('t').insert({}); return 1");
    let outcome = pool
        .run(&forgotten, &input(json!({})), limits(), &host)
        .await;
    assert_eq!((value(outcome), host.calls().len()), (json!(1), 1));
    let told = thrown(run(&pool, "ctx.api.object('secret').insert({}); return 1").await);
    assert_eq!(told.code.as_deref(), Some("PERMISSION_DENIED"));
}

#[tokio::test]
async fn capabilities_are_a_list_that_is_kept() {
    let pool = pool().await;
    let cases = [
        ("return await ctx.api.object('t').find()", vec!["api.write"]),
        (
            "return await ctx.api.object('t').insert({})",
            vec!["api.read", "log"],
        ),
        ("return ctx.crypto.randomUUID()", vec!["api.read"]),
        ("console.log('x')", vec!["api.read"]),
        ("return await ctx.api.object('t')['fi' + 'nd']()", vec![]),
        (
            "return await ctx.api.object('t').find()",
            vec!["api.everything"],
        ),
    ];
    for (source, declared) in cases {
        let host = Desk::default();
        let script = Script {
            capabilities: Capabilities::declared(&declared, source),
            ..action(source)
        };
        let outcome = pool.run(&script, &input(json!({})), limits(), &host).await;
        assert_eq!(
            thrown(outcome).code.as_deref(),
            Some("CAPABILITY_DENIED"),
            "{source}"
        );
        assert_eq!(host.calls(), [], "{source}");
    }
    let uuid = value(
        run(
            &pool,
            "return [ctx.crypto.randomUUID(), crypto.randomUUID()]",
        )
        .await,
    );
    let uuids: Vec<&str> = uuid
        .as_array()
        .unwrap()
        .iter()
        .map(|u| u.as_str().unwrap())
        .collect();
    assert!(
        uuids[0] != uuids[1] && uuids[0].len() == 36 && uuids[0].as_bytes()[14] == b'4',
        "{uuids:?}"
    );
    let inferred = Capabilities::inferred("const t = await ctx.api.object('x').find(); t.update()");
    assert!(inferred.allow(Capability::ApiRead) && inferred.allow(Capability::ApiWrite));
    assert!(!Capabilities::inferred("new Map().delete(1)").allow(Capability::ApiWrite));
}

#[tokio::test]
async fn the_log_is_kept_within_bounds_and_in_failure() {
    let pool = pool().await;
    let source = "console.log('a', { b: 1 }, new TypeError('t'), undefined); ctx.log.warn('w'); ctx.logger.error('e'); ctx.ql?.logger?.info?.('q'); ctx.log('direct'); console.debug('d'); throw new Error('x')";
    let failed = run(&pool, source).await.unwrap_err();
    let lines: Vec<_> = failed
        .log
        .iter()
        .map(|line| (line.level, line.text.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (LogLevel::Info, "a {\"b\":1} TypeError: t undefined"),
            (LogLevel::Warn, "w"),
            (LogLevel::Error, "e"),
            (LogLevel::Info, "q"),
            (LogLevel::Info, "direct"),
            (LogLevel::Debug, "d"),
        ]
    );
    let outcome = run(
        &pool,
        "for (let i = 0; i < 5000; i++) console.log('ä'.repeat(10000)); return 1",
    )
    .await
    .unwrap();
    assert_eq!(outcome.log.len(), 200);
    assert_eq!(outcome.log[199].text, "further lines are dropped");
    assert!(outcome.log.iter().all(|line| line.text.len() <= 4096));
}

/// Runs are awaited within requests, which move between threads.
#[tokio::test]
async fn a_run_may_move_between_threads() {
    fn movable<F: Send>(future: F) -> F {
        future
    }
    let pool = pool().await;
    let (script, context, host) = (action("return 1"), input(json!({})), Desk::default());
    let outcome = movable(pool.run(&script, &context, limits(), &host)).await;
    assert_eq!(value(outcome), json!(1));
}

/// The hooks of the real artifacts, run as they are.
#[tokio::test]
async fn the_hooks_of_the_artifacts_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let pool = pool().await;
    for (artifact, given, expected) in [
        (
            "app-crm-v6",
            json!({"stage": "closed_won"}),
            json!({"stage": "closed_won", "probability": 100}),
        ),
        (
            "app-crm",
            json!({"stage": "closed_lost"}),
            json!({"stage": "closed_lost", "probability": 0}),
        ),
        (
            "app-todo",
            json!({"subject": "Tidy"}),
            json!({"subject": "Tidy", "priority": "normal", "status": "not_started"}),
        ),
    ] {
        let path = root.join(format!("{artifact}.objectstack.json"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("skipped: {} is not here", path.display());
            continue;
        };
        let stack: Value = serde_json::from_str(&text).unwrap();
        let source = stack["hooks"][0]["body"]["source"].as_str().unwrap();
        let script = Script {
            name: artifact.to_owned(),
            kind: Kind::Hook,
            source: source.to_owned(),
            capabilities: Capabilities::declared::<&str>(&[], source),
        };
        assert!(
            !script.capabilities.allow(Capability::ApiWrite),
            "{artifact}"
        );
        let context = Context {
            input: given,
            event: Some("beforeInsert".to_owned()),
            ..Context::default()
        };
        let outcome = pool
            .run(&script, &context, limits(), &Desk::default())
            .await
            .unwrap();
        assert_eq!(outcome.input, expected, "{artifact}");
        if artifact == "app-todo" {
            let spam = Context {
                input: json!({"subject": "spam"}),
                ..context.clone()
            };
            let told = thrown(pool.run(&script, &spam, limits(), &Desk::default()).await);
            assert_eq!(told.message, "Spam tasks are not allowed");
            let after = Context {
                input: json!({"status": "completed"}),
                previous: Some(json!({"status": "open"})),
                event: Some("afterUpdate".to_owned()),
                record_id: Some("t1".to_owned()),
                session: Some(json!({"userId": "u1"})),
                ..context
            };
            let outcome = pool
                .run(&script, &after, limits(), &Desk::default())
                .await
                .unwrap();
            assert_eq!(outcome.log[0].text, "Task t1 completed by u1");
        }
    }
}
