//! Whatever a script does, it ends by its limits, and the next run is clean.
#![expect(clippy::unwrap_used, reason = "a panic is the report")]

mod support;

use std::{path::PathBuf, time::Duration};

use script::{Call, Config, Host, HostError, Limits, NoHost, Pool, ScriptErrorKind, TimeLimit};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use support::{Desk, action, config, hook, input, limits, pool, run, thrown, value};

/// A run that ends badly within its limits; a run after it is as if there had been none.
async fn ends(pool: &Pool, source: &str) -> ScriptErrorKind {
    let limits = Limits {
        cpu: Duration::from_millis(300),
        ..limits()
    };
    let outcome = pool
        .run(&action(source), &input(json!({})), limits, &Desk::default())
        .await;
    let kind = outcome.expect_err(source).kind;
    let clean = "return [Object.keys(globalThis).includes('leak'), ({}).leak, [].leak, typeof JSON.stringify, 1 + 1]";
    assert_eq!(
        value(run(pool, clean).await),
        json!([false, null, null, "function", 2]),
        "after {source}"
    );
    kind
}

fn is_thrown(kind: &ScriptErrorKind, part: &str) -> bool {
    matches!(kind, ScriptErrorKind::Thrown(thrown) if thrown.message.contains(part))
}

#[tokio::test]
async fn loops_end_by_processor_time() {
    let pool = pool().await;
    for source in [
        "for (;;) {}",
        "while (true) { try { for (;;) {} } catch {} }",
        "const f = async () => { for (;;) await null }; await f()",
        "await ctx.api.object('t').find(); for (;;) {}",
        "return { toJSON() { for (;;) {} } }",
        "throw { get message() { for (;;) {} } }",
        "/(a+)+$/.test('a'.repeat(50) + 'b')",
        "return { get then() { for (;;) {} } }",
        "new Promise(() => { for (;;) {} })",
    ] {
        let kind = ends(&pool, source).await;
        assert_eq!(kind, ScriptErrorKind::Timeout(TimeLimit::Cpu), "{source}");
    }
}

#[tokio::test]
async fn loops_within_the_engine_end_too() {
    let pool = pool().await;
    for source in [
        "return (new Array(1e9) + '').length",
        "return 'x'.repeat(1 << 24).split('').sort().length",
        "const a = new Array(5e8); a.indexOf(1); a.join(); return 1",
        "let s = 'ab'; for (let i = 0; i < 20; i++) s += s; return s.replaceAll('a', s).length",
    ] {
        let kind = ends(&pool, source).await;
        let ended = matches!(
            kind,
            ScriptErrorKind::Timeout(TimeLimit::Cpu) | ScriptErrorKind::OutOfMemory
        );
        assert!(ended || is_thrown(&kind, ""), "{source}: {kind:?}");
    }
}

#[tokio::test]
async fn memory_ends_with_the_limit() {
    let pool = pool().await;
    for source in [
        "return 'x'.repeat(2 ** 30 - 30).length",
        "let s = 'x'; for (let i = 0; i < 30; i++) s = s + s; return s.length",
        "const all = []; for (;;) all.push(new Array(1000).fill(1))",
        "return new ArrayBuffer(1e9).byteLength",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, {})",
    ] {
        let kind = ends(&pool, source).await;
        let ended = matches!(
            kind,
            ScriptErrorKind::OutOfMemory | ScriptErrorKind::Timeout(TimeLimit::Cpu)
        );
        // The engine refuses some lengths before it asks for memory.
        assert!(
            ended || is_thrown(&kind, "invalid") || is_thrown(&kind, "too long"),
            "{source}: {kind:?}"
        );
    }
    let kind = ends(
        &pool,
        "globalThis.leak = 1; const all = []; for (;;) all.push('y'.repeat(1e6) + all.length)",
    )
    .await;
    assert_eq!(kind, ScriptErrorKind::OutOfMemory);
}

#[tokio::test]
async fn recursion_ends_with_the_stack() {
    let pool = pool().await;
    for source in [
        "function f() { return f() + 1 } return f()",
        "const o = { get a() { return this.a } }; return o.a",
        "const a = []; a[0] = a; return a.toString.call({ join: () => a.toString.call({ join: null }) }) + (function f(n) { return [f(n + 1)] })(0)",
        "let o = {}; for (let i = 0; i < 1e5; i++) o = { o }; return o",
        "return JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))",
        "return eval('1')",
    ] {
        let kind = ends(&pool, source).await;
        assert!(
            !matches!(kind, ScriptErrorKind::Crashed(_)),
            "{source}: {kind:?}"
        );
    }
    assert!(is_thrown(
        &ends(&pool, "function f() { return f() + 1 } return f()").await,
        "stack"
    ));
    // Deep, but within the stack: refused when it is read.
    let kind = ends(
        &pool,
        "let o = {}; for (let i = 0; i < 500; i++) o = { o }; return o",
    )
    .await;
    assert_eq!(kind, ScriptErrorKind::Output("is nested too deep"));
}

#[tokio::test]
async fn nothing_of_a_run_is_left_in_the_next() {
    let pool = pool().await;
    for source in [
        "Object.prototype.leak = 1; Array.prototype.leak = 1; globalThis.leak = 1; throw 1",
        "JSON.stringify = () => 'leak'; JSON.parse = null; Promise.prototype.then = null; Object.freeze = null; throw 1",
        "Object.defineProperty(Object.prototype, 'then', { get() { return undefined }, set() {} }); globalThis.leak = 2; throw 1",
        "Error.prepareStackTrace = () => { throw 1 }; Array.prototype.push = () => { throw 1 }; String.prototype.trim = null; throw new Error('x')",
        "Object.setPrototypeOf(Object.getPrototypeOf(async function () {}), null); throw 1",
        "globalThis.undefined2 = 1; Symbol.iterator = 1; delete globalThis.Object; throw 1",
    ] {
        ends(&pool, source).await;
    }
    // And what a run does to the language is of no use to it.
    let source = "Object.prototype.id = 'evil'; JSON.stringify = () => '{}'; Object.prototype.toJSON = () => 'evil'; await ctx.api.object('t').find({}); return 1";
    let host = Desk::default();
    let _ = pool
        .run(&action(source), &input(json!({})), limits(), &host)
        .await;
    assert!(host.calls().len() <= 1);
}

#[tokio::test]
async fn code_is_not_made_of_text() {
    let pool = pool().await;
    for source in [
        "return Function('return 1')()",
        "return (() => 1).constructor('return 1')()",
        "return (async () => 1).constructor('return 1')()",
        "return (function* () {}).constructor('return 1')()",
        "return globalThis.eval('1')",
        "return ctx.api.object.constructor('return 1')()",
        "return await import('x')",
    ] {
        let kind = ends(&pool, source).await;
        assert!(
            matches!(kind, ScriptErrorKind::Thrown(_)),
            "{source}: {kind:?}"
        );
    }
}

#[tokio::test]
async fn waiting_for_nothing_ends_at_once() {
    let pool = pool().await;
    for source in [
        "await new Promise(() => {})",
        "return new Promise(() => {})",
        "return { then() {} }",
        "for await (const x of { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }) {}",
    ] {
        assert_eq!(
            ends(&pool, source).await,
            ScriptErrorKind::NeverResolved,
            "{source}"
        );
    }
}

#[tokio::test]
async fn results_and_calls_are_bounded() {
    let pool = pool().await;
    let small = Limits {
        output: 10_000,
        calls: 50,
        ..limits()
    };
    let host = Desk::default();
    let large = action("return 'x'.repeat(20000)");
    let kind = pool
        .run(&large, &input(json!({})), small, &host)
        .await
        .unwrap_err()
        .kind;
    assert_eq!(kind, ScriptErrorKind::Output("is too long"));
    let large = hook("input.x = 'x'.repeat(20000)");
    let kind = pool
        .run(&large, &input(json!({})), small, &host)
        .await
        .unwrap_err()
        .kind;
    assert_eq!(kind, ScriptErrorKind::Output("is too long"));
    let cyclic = thrown(run(&pool, "const a = {}; a.a = a; return a").await);
    assert_eq!(cyclic.name, "TypeError");
    let big = thrown(run(&pool, "return 1n").await);
    assert_eq!(big.name, "TypeError");

    for source in [
        "for (let i = 0; i < 100000; i++) await ctx.api.object('t').count()",
        "await Promise.all(Array.from({ length: 5000 }, () => ctx.api.object('t').count()))",
        "let n = 0; for (let i = 0; i < 5000; i++) try { await ctx.api.object('t').count(); n++ } catch (e) { if (e.code !== 'CALL_LIMIT') throw e } const e = new Error(n); e.code = 'CALL_LIMIT'; throw e",
    ] {
        let host = Desk::default();
        let outcome = pool
            .run(&action(source), &input(json!({})), small, &host)
            .await;
        assert_eq!(
            thrown(outcome).code.as_deref(),
            Some("CALL_LIMIT"),
            "{source}"
        );
        assert!(host.calls().len() <= 50, "{source}: {}", host.calls().len());
    }
    let huge = action("return await ctx.api.object('t').insert({ a: 'x'.repeat(20000) })");
    let outcome = pool
        .run(&huge, &input(json!({})), small, &Desk::default())
        .await;
    assert_eq!(thrown(outcome).code.as_deref(), Some("REQUEST_TOO_LARGE"));
    let heap = action(
        "const s = 'x'.repeat(5e5); const all = []; for (let i = 0; i < 20; i++) all.push(ctx.api.object('t').delete(s)); await Promise.all(all)",
    );
    let narrow = Limits {
        memory: 8 << 20,
        output: 1 << 20,
        ..limits()
    };
    let outcome = pool
        .run(&heap, &input(json!({})), narrow, &Desk::default())
        .await;
    assert_eq!(thrown(outcome).code.as_deref(), Some("REQUEST_TOO_LARGE"));
    let proxy = "ctx.input = new Proxy({}, { ownKeys() { throw new Error('mine') } })";
    assert_eq!(thrown(run(&pool, proxy).await).message, "mine");
    // Many calls at once are answered in order.
    let many = "return await Promise.all(Array.from({ length: 300 }, (_, i) => ctx.api.object('t').insert({ i }))).then(all => all.every((one, i) => one.i === i))";
    assert_eq!(value(run(&pool, many).await), json!(true));
}

#[tokio::test]
async fn a_host_that_does_not_answer_costs_the_wall_time() {
    let pool = pool().await;
    let short = Limits {
        wall: Duration::from_secs(2),
        ..limits()
    };
    let script = action("console.log('before'); await ctx.api.object('t').find()");
    let (context, host) = (input(json!({})), Silent::default());
    let failed = pool.run(&script, &context, short, &host).await.unwrap_err();
    assert_eq!(failed.kind, ScriptErrorKind::Timeout(TimeLimit::Wall));
    assert_eq!(failed.log.len(), 1);
    let endless = Limits {
        cpu: Duration::from_secs(3600),
        ..short
    };
    let outcome = pool
        .run(&action("for (;;) {}"), &context, endless, &host)
        .await;
    assert_eq!(
        outcome.unwrap_err().kind,
        ScriptErrorKind::Timeout(TimeLimit::Wall)
    );
    assert_eq!(value(run(&pool, "return 1").await), json!(1));
}

/// The processes that this one started and that are workers.
fn workers() -> Vec<i32> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        let mut fields = after.split(' ');
        let state = fields.next().unwrap_or("Z");
        if state != "Z" && fields.next() == Some(own.as_str()) {
            found.push(pid);
        }
    }
    found
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Counts its calls and answers none.
struct Silent(Semaphore);

impl Default for Silent {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Host for Silent {
    async fn call(&self, _call: Call) -> Result<Value, HostError> {
        self.0.add_permits(1);
        std::future::pending().await
    }
}

/// Tells when it is called.
#[derive(Default)]
struct Called(Notify);

impl Host for Called {
    async fn call(&self, _call: Call) -> Result<Value, HostError> {
        self.0.notify_one();
        Ok(Value::Null)
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_is_replaced() {
    let pool = pool().await;
    let warm = workers();
    assert_eq!(warm.len(), 1);
    // While it waits for work: the run goes to another, and nobody notices.
    kill(warm[0]);
    assert_eq!(value(run(&pool, "return 1").await), json!(1));
    // In mid-run: the run fails, the next does not.
    let host = Called::default();
    let busy = action("await ctx.api.object('t').count(); for (;;) {}");
    let context = input(json!({}));
    let endless = Limits {
        cpu: Duration::from_secs(3600),
        ..limits()
    };
    let running = pool.run(&busy, &context, endless, &host);
    let killer = async {
        host.0.notified().await;
        let victim = workers();
        assert_eq!(victim.len(), 1);
        kill(victim[0]);
    };
    let (outcome, ()) = tokio::join!(running, killer);
    let kind = outcome.unwrap_err().kind;
    assert!(
        matches!(&kind, ScriptErrorKind::Crashed(how) if how.contains('9')),
        "{kind:?}"
    );
    assert_eq!(value(run(&pool, "return 2").await), json!(2));
    // A run that its caller gives up takes its worker with it.
    let before = workers();
    let host = Silent::default();
    let waiting = action("await ctx.api.object('t').find()");
    tokio::select! {
        _ = pool.run(&waiting, &context, limits(), &host) => panic!("an answer"),
        called = host.0.acquire() => called.unwrap().forget(),
    }
    assert_eq!(value(run(&pool, "return 3").await), json!(3));
    assert!(!workers().iter().any(|pid| before.contains(pid)));
}

#[tokio::test]
async fn workers_are_replaced_after_their_number_of_runs() {
    let pool = Pool::start(Config {
        runs_per_worker: 2,
        ..config()
    })
    .await
    .unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..6 {
        seen.extend(workers());
        assert_eq!(value(run(&pool, "return 1").await), json!(1));
    }
    assert!(seen.len() >= 3, "{seen:?}");
}

#[tokio::test]
async fn runs_beyond_the_workers_wait_or_are_refused() {
    let pool = Pool::start(Config {
        queue: Duration::from_millis(100),
        workers: 2,
        ..config()
    });
    let pool = pool.await.unwrap();
    let host = Silent::default();
    let script = action("await ctx.api.object('t').find()");
    let context = input(json!({}));
    let third = async {
        host.0.acquire_many(2).await.unwrap().forget();
        run(&pool, "return 1").await
    };
    tokio::select! {
        _ = pool.run(&script, &context, limits(), &host) => panic!("an answer"),
        _ = pool.run(&script, &context, limits(), &host) => panic!("an answer"),
        third = third => assert_eq!(third.unwrap_err().kind, ScriptErrorKind::Busy),
    }
    // The two were given up: their workers are free again.
    assert_eq!(value(run(&pool, "return 1").await), json!(1));
}

#[tokio::test]
async fn a_program_that_is_no_worker_is_told() {
    for program in ["/bin/echo", "/bin/false", "/does/not/exist"] {
        let outcome = Pool::start(Config {
            program: Some(PathBuf::from(program)),
            ..config()
        })
        .await;
        assert!(outcome.is_err(), "{program}");
    }
}

#[tokio::test]
async fn a_worker_holds_no_environment_and_no_files() {
    let pool = pool().await;
    let pid = workers()[0];
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert_eq!(String::from_utf8_lossy(&environment), "TZ=UTC\0");
    let taken = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for name in [
        "Max open files",
        "Max processes",
        "Max file size",
        "Max core file size",
    ] {
        let line = taken.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(
            line.split_whitespace().nth(name.split(' ').count()),
            Some("0"),
            "{line}"
        );
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.map(|line| line.split_whitespace().nth(1).unwrap_or("").to_owned())
    };
    assert_eq!(of("NoNewPrivs:").as_deref(), Some("1"));
    assert_eq!(of("Seccomp:").as_deref(), Some("2"));
    let outcome = pool
        .run(&action("return 1"), &input(Value::Null), limits(), &NoHost)
        .await;
    assert_eq!(value(outcome), json!(1));
}
