//! Bad input on every route: the right status, the envelope, a message that names the fault, and
//! nothing changed.

use std::time::Duration;

use crate::{
    process::eventually,
    support::{TestMesh, encode},
};
use reqwest::Method;
use serde_json::{Value, json};

/// How long a gateway may take to refuse a session that ended at another one.
const ENDED_WITHIN: Duration = Duration::from_secs(3);

/// One bad call: method, path, body, status, code, and a word that the message or details must hold.
type Case = (
    &'static str,
    &'static str,
    Option<&'static str>,
    u16,
    &'static str,
    &'static str,
);

#[rustfmt::skip] // A table: one case a line.
const CASES: &[Case] = &[
    // Routes and verbs.
    ("GET", "/nonsense", None, 404, "NOT_FOUND", "ROUTE_NOT_FOUND"),
    ("GET", "/data", None, 404, "NOT_FOUND", "ROUTE_NOT_FOUND"),
    ("POST", "/data/ticket/x/y/z", Some("{}"), 404, "NOT_FOUND", "ROUTE_NOT_FOUND"),
    ("DELETE", "/data/ticket", None, 405, "METHOD_NOT_ALLOWED", "POST"),
    ("POST", "/meta/object", Some("{}"), 405, "METHOD_NOT_ALLOWED", "GET"),
    ("GET", "/auth/sign-in", None, 405, "METHOD_NOT_ALLOWED", "POST"),
    // Objects.
    ("GET", "/data/nope", None, 404, "NOT_FOUND", "OBJECT_NOT_FOUND"),
    ("GET", "/data/Ticket", None, 404, "NOT_FOUND", "OBJECT_NOT_FOUND"),
    ("POST", "/data/nope", Some("{}"), 404, "NOT_FOUND", "OBJECT_NOT_FOUND"),
    ("POST", "/data/nope/query", Some("{}"), 404, "NOT_FOUND", "OBJECT_NOT_FOUND"),
    ("PATCH", "/data/nope/1", Some("{}"), 404, "NOT_FOUND", "OBJECT_NOT_FOUND"),
    ("DELETE", "/data/nope/1", None, 404, "NOT_FOUND", "OBJECT_NOT_FOUND"),
    ("GET", "/data/ticket%22%3B--", None, 404, "NOT_FOUND", "OBJECT_NOT_FOUND"),
    // Records.
    ("GET", "/data/ticket/none", None, 404, "NOT_FOUND", "RECORD_NOT_FOUND"),
    ("PATCH", "/data/ticket/none", Some("{\"subject\":\"x\"}"), 404, "NOT_FOUND", "RECORD_NOT_FOUND"),
    ("DELETE", "/data/ticket/none", None, 404, "NOT_FOUND", "RECORD_NOT_FOUND"),
    // Bodies.
    ("POST", "/data/ticket", Some(""), 400, "VALIDATION_ERROR", "MALFORMED_JSON"),
    ("POST", "/data/ticket", Some("{"), 400, "VALIDATION_ERROR", "MALFORMED_JSON"),
    ("POST", "/data/ticket", Some("{} x"), 400, "VALIDATION_ERROR", "MALFORMED_JSON"),
    ("POST", "/data/ticket", Some("\u{feff}{}"), 400, "VALIDATION_ERROR", "MALFORMED_JSON"),
    ("POST", "/data/ticket", Some("[]"), 400, "VALIDATION_ERROR", "object"),
    ("POST", "/data/ticket", Some("null"), 400, "VALIDATION_ERROR", "object"),
    ("POST", "/data/ticket", Some("{\"subject\":\"a\",\"subject\":\"b\"}"), 400, "VALIDATION_ERROR", "subject"),
    ("POST", "/data/ticket", Some("{\"subjekt\":\"a\"}"), 400, "VALIDATION_ERROR", "Did you mean `subject`"),
    ("POST", "/data/ticket", Some("{\"subject\":\"\\u0000\"}"), 400, "VALIDATION_ERROR", "subject"),
    ("POST", "/data/ticket", Some("{\"subject\":\"\\ud800\"}"), 400, "VALIDATION_ERROR", "subject"),
    ("POST", "/data/ticket", Some("{\"subject\":{}}"), 400, "VALIDATION_ERROR", "subject"),
    ("POST", "/data/ticket", Some("{\"subject\":\"x\",\"weight\":1e400}"), 400, "VALIDATION_ERROR", "weight"),
    ("POST", "/data/ticket", Some("{\"subject\":\"x\",\"priority\":9223372036854775808}"), 400, "VALIDATION_ERROR", "priority"),
    ("POST", "/data/ticket", Some("{\"subject\":\"x\",\"cost\":1e30}"), 400, "VALIDATION_ERROR", "cost"),
    ("POST", "/data/ticket", Some("{\"subject\":\"x\",\"id\":\"not ok!\"}"), 400, "VALIDATION_ERROR", "id"),
    ("POST", "/data/ticket", Some("{}"), 400, "VALIDATION_ERROR", "subject is required"),
    // Queries.
    ("GET", "/data/ticket?where={", None, 400, "VALIDATION_ERROR", "INVALID_FILTER"),
    ("GET", "/data/ticket?where=5", None, 400, "VALIDATION_ERROR", "INVALID_FILTER"),
    ("GET", "/data/ticket?where=%7B%22nope%22%3A1%7D", None, 400, "VALIDATION_ERROR", "nope"),
    ("GET", "/data/ticket?where=%7B%22subject%22%3A%7B%22%24bad%22%3A1%7D%7D", None, 400, "VALIDATION_ERROR", "$bad"),
    ("GET", "/data/ticket?where=%7B%22subject%22%3A%7B%7D%7D", None, 400, "VALIDATION_ERROR", "INVALID_FILTER"),
    ("GET", "/data/ticket?where=%7B%22priority%22%3A%7B%22%24gt%22%3A%22abc%22%7D%7D", None, 400, "VALIDATION_ERROR", "priority"),
    ("GET", "/data/ticket?where=%7B%22subject%22%3A%7B%22%24regex%22%3A%22a%22%7D%7D", None, 400, "VALIDATION_ERROR", "$regex"),
    ("GET", "/data/ticket?where=%7B%7D&where=%7B%7D", None, 400, "VALIDATION_ERROR", "where"),
    ("GET", "/data/ticket?where=%7B%22status%22%3A%22open%22%7D&filter=%7B%7D", None, 400, "VALIDATION_ERROR", "INVALID_FILTER"),
    ("GET", "/data/ticket?limit=-1", None, 400, "VALIDATION_ERROR", "limit"),
    ("GET", "/data/ticket?limit=many", None, 400, "VALIDATION_ERROR", "limit"),
    ("GET", "/data/ticket?offset=1.5", None, 400, "VALIDATION_ERROR", "offset"),
    ("GET", "/data/ticket?pageSize=5", None, 400, "VALIDATION_ERROR", "limit"),
    ("GET", "/data/ticket?nope=5", None, 400, "VALIDATION_ERROR", "INVALID_FIELD"),
    ("GET", "/data/ticket?orderBy=nope", None, 400, "VALIDATION_ERROR", "INVALID_SORT"),
    ("GET", "/data/ticket?orderBy=subject:desc", None, 400, "VALIDATION_ERROR", "INVALID_SORT"),
    ("GET", "/data/ticket?orderBy=subject;drop%20table%20ticket", None, 400, "VALIDATION_ERROR", "INVALID_SORT"),
    ("GET", "/data/ticket?select=nope", None, 400, "VALIDATION_ERROR", "INVALID_FIELD"),
    ("GET", "/data/ticket?expand=subject", None, 400, "VALIDATION_ERROR", "INVALID_FIELD"),
    ("GET", "/data/ticket?cursor=garbage", None, 400, "VALIDATION_ERROR", "INVALID_CURSOR"),
    ("GET", "/data/ticket?groupBy=status", None, 400, "VALIDATION_ERROR", "INVALID_QUERY"),
    ("GET", "/data/ticket/none?nonsense=1", None, 400, "VALIDATION_ERROR", "nonsense"),
    ("DELETE", "/data/ticket/none?nonsense=1", None, 400, "VALIDATION_ERROR", "nonsense"),
    ("POST", "/data/ticket/query", Some("{\"nonsense\":1}"), 400, "VALIDATION_ERROR", "INVALID_QUERY"),
    ("POST", "/data/ticket/query", Some("{\"object\":\"customer\"}"), 400, "VALIDATION_ERROR", "INVALID_QUERY"),
    ("POST", "/data/ticket/query", Some("{\"limit\":\"x\"}"), 400, "VALIDATION_ERROR", "limit"),
    ("POST", "/data/ticket/query", Some("[1]"), 400, "VALIDATION_ERROR", "object"),
    // Metadata.
    ("GET", "/meta/nonsense", None, 404, "NOT_FOUND", "UNKNOWN_TYPE"),
    ("GET", "/meta/object/nonsense", None, 404, "NOT_FOUND", "nonsense"),
    ("GET", "/meta/object?limit=x", None, 400, "VALIDATION_ERROR", "limit"),
    ("GET", "/meta/object?nonsense=x", None, 400, "VALIDATION_ERROR", "nonsense"),
    // Sign-in and users.
    ("POST", "/auth/sign-up/email", Some("{\"name\":\"x\",\"email\":\"x\",\"password\":\"long enough\"}"), 400, "INVALID_EMAIL", "mail"),
    ("POST", "/auth/sign-up/email", Some("{\"name\":\"x\",\"email\":\"x@example.org\",\"password\":\"short\"}"), 400, "PASSWORD_TOO_SHORT", "8"),
    ("POST", "/auth/sign-up/email", Some("{\"name\":\"x\",\"email\":\"admin@example.com\",\"password\":\"long enough\"}"), 422, "USER_ALREADY_EXISTS", "exist"),
    ("POST", "/auth/sign-up/email", Some( "{\"name\":\"x\",\"email\":\"x@example.org\",\"password\":\"long enough\",\"admin\":true}", ), 400, "VALIDATION_ERROR", "admin"),
    ("POST", "/auth/sign-up/email", Some("{\"name\":5}"), 400, "VALIDATION_ERROR", "name"),
    ("POST", "/auth/sign-in", Some("{\"email\":\"admin@example.com\",\"password\":\"wrong horse\"}"), 401, "INVALID_EMAIL_OR_PASSWORD", ""),
    ("POST", "/auth/sign-in", Some("{\"email\":\"nobody@example.com\",\"password\":\"wrong horse\"}"), 401, "INVALID_EMAIL_OR_PASSWORD", ""),
    ("POST", "/auth/sign-in", Some("{"), 400, "VALIDATION_ERROR", "MALFORMED_JSON"),
    ("POST", "/auth/change-password", Some("{\"currentPassword\":\"wrong horse\",\"newPassword\":\"long enough\"}"), 400, "INVALID_PASSWORD", ""),
    ("GET", "/auth/admin/list-users?limit=x", None, 400, "VALIDATION_ERROR", "limit"),
    ("POST", "/auth/admin/ban-user", Some("{\"userId\":\"nobody\"}"), 404, "NOT_FOUND", "USER_NOT_FOUND"),
];

sizes!(
    every_route_answers_bad_input_with_the_envelope,
    |mesh: TestMesh| async move {
        let before = mesh.get(&mesh.admin, "/data/ticket").await.ok(200);
        let mut failures = Vec::new();
        for (method, path, body, status, code, word) in CASES {
            let method: Method = method.parse().expect("a method");
            let answer = mesh
                .call(
                    &mesh.admin,
                    method.clone(),
                    path,
                    body.map(str::to_owned),
                    &[],
                )
                .await;
            let error = &answer.body["error"];
            let told = format!("{} {}", error["message"], error["details"]);
            let secret = ["SELECT", "sqlite", "postgres", "panicked", ".rs:"]
                .iter()
                .any(|leak| answer.body.to_string().contains(leak));
            let fits = answer.status.as_u16() == *status
                && error["code"] == *code
                && error["message"]
                    .as_str()
                    .is_some_and(|message| !message.is_empty())
                && error["details"].is_object()
                && told.replace("\\\"", "\"").contains(word)
                && answer.headers.contains_key("x-request-id")
                && !secret;
            if !fits {
                failures.push(format!(
                    "{method} {path} {body:?}\n  wanted {status} {code} «{word}»\n  got    {} {}",
                    answer.status.as_u16(),
                    answer.body
                ));
            }
        }
        assert!(
            failures.is_empty(),
            "{} of {}:\n{}",
            failures.len(),
            CASES.len(),
            failures.join("\n")
        );
        assert_eq!(mesh.get(&mesh.admin, "/data/ticket").await.ok(200), before);
    }
);

sizes!(
    transport_faults_have_the_envelope_too,
    |mesh: TestMesh| async move {
        let admin = mesh.admin.clone();
        let post = async |body: String, content_type: &str| {
            mesh.call(
                &admin,
                Method::POST,
                "/data/ticket",
                Some(body),
                &[("content-type", content_type)],
            )
            .await
        };
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/xml",
        ] {
            post("{\"subject\":\"x\"}".to_owned(), content_type)
                .await
                .refused(415, "UNSUPPORTED_MEDIA_TYPE");
        }
        let deep = format!(
            "{{\"extra\":{}1{}}}",
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        let details = post(deep, "application/json")
            .await
            .refused(400, "VALIDATION_ERROR");
        assert_eq!(details["reason"], "MALFORMED_JSON");
        let many: serde_json::Map<String, Value> =
            (0..2_000).map(|n| (format!("k{n}"), json!(1))).collect();
        post(Value::Object(many).to_string(), "application/json")
            .await
            .refused(400, "VALIDATION_ERROR");
        let big = format!("{{\"subject\":\"{}\"}}", "x".repeat(11 << 20));
        post(big, "application/json")
            .await
            .refused(413, "PAYLOAD_TOO_LARGE");
        let query = format!("{{\"where\":{{\"subject\":\"{}\"}}}}", "x".repeat(2 << 20));
        mesh.call(&admin, Method::POST, "/data/ticket/query", Some(query), &[])
            .await
            .refused(413, "PAYLOAD_TOO_LARGE");
        let long = format!("/data/ticket?where={}", "x".repeat(9_000));
        let answer = mesh.get(&admin, &long).await;
        assert!(
            matches!(answer.status.as_u16(), 400 | 414),
            "{:?}",
            answer.status
        );
        assert_eq!(answer.body["error"]["code"], "VALIDATION_ERROR");
        // A request id is echoed, and made when it is malformed.
        let echoed = mesh
            .call(
                &admin,
                Method::GET,
                "/data/nope",
                None,
                &[("x-request-id", "my-id-1")],
            )
            .await;
        assert_eq!(echoed.header("x-request-id"), Some("my-id-1"));
        let answer = mesh
            .get("", &format!("{}/api/v7/data", mesh.origin()))
            .await;
        assert_eq!(answer.refused(404, "NOT_FOUND")["supported"], json!(["v1"]));
        let list = mesh
            .call(
                "",
                Method::GET,
                &format!("{}/health", mesh.origin()),
                None,
                &[],
            )
            .await;
        assert_eq!(list.ok(200)["status"], "ok");
        mesh.get("", &format!("{}/ready", mesh.origin()))
            .await
            .ok(200);
    }
);

sizes!(
    cookies_are_sessions_and_need_an_origin,
    |mesh: TestMesh| async move {
        let body = json!({"email": "admin@example.com", "password": "correct horse"});
        let signed_in = mesh.post("", "/auth/sign-in/email", body).await;
        let cookie = signed_in.header("set-cookie").expect("a cookie").to_owned();
        assert!(
            cookie.contains("HttpOnly")
                && cookie.contains("SameSite=Lax")
                && cookie.contains("Path=/"),
            "{cookie}"
        );
        assert_eq!(signed_in.header("set-auth-token").map(str::len), Some(43));
        let pair = cookie.split(';').next().expect("a pair").to_owned();
        let session = mesh
            .call(
                "",
                Method::GET,
                "/auth/get-session",
                None,
                &[("cookie", &pair)],
            )
            .await;
        // The cookie is renewed as the session is.
        let renewed = session.header("set-cookie").expect("a cookie");
        assert!(renewed.starts_with(&pair), "{renewed}");
        let session = session.ok(200);
        assert_eq!(
            session["session"]["token"].as_str(),
            signed_in.header("set-auth-token")
        );
        assert_eq!(session["user"]["email"], "admin@example.com");
        let create = async |headers: &[(&str, &str)]| {
            let body = json!({"subject": "x"}).to_string();
            mesh.call("", Method::POST, "/data/ticket", Some(body), headers)
                .await
        };
        let cookie = ("cookie", pair.as_str());
        for origin in [None, Some("null"), Some("https://evil.example")] {
            let mut headers = vec![cookie];
            headers.extend(origin.map(|origin| ("origin", origin)));
            let details = create(&headers).await.refused(403, "PERMISSION_DENIED");
            assert_eq!(details["reason"], "INVALID_ORIGIN");
        }
        create(&[cookie, ("sec-fetch-site", "cross-site")])
            .await
            .refused(403, "PERMISSION_DENIED");
        let own = mesh.origin().to_owned();
        create(&[cookie, ("origin", &own)]).await.ok(201);
        create(&[cookie, ("sec-fetch-site", "same-origin")])
            .await
            .ok(201);
        // A tampered signature is no session; with Authorization the cookie is not looked at.
        let tampered = format!("{}A", &pair[..pair.len() - 1]);
        mesh.call(
            "",
            Method::GET,
            "/data/ticket",
            None,
            &[("cookie", &tampered)],
        )
        .await
        .refused(401, "UNAUTHENTICATED");
        mesh.call("nonsense", Method::GET, "/data/ticket", None, &[cookie])
            .await
            .refused(401, "UNAUTHENTICATED");
        let out = mesh
            .call(
                "",
                Method::POST,
                "/auth/sign-out",
                None,
                &[cookie, ("origin", &own)],
            )
            .await
            .ok(200);
        assert_eq!(out, json!({"success": true}));
        // The gateway that was asked refuses it at once, others when they hear of it.
        eventually("the session has ended", ENDED_WITHIN, async || {
            let mut ended = true;
            // Each gateway in its turn.
            for _ in 0..4 {
                let headers = [cookie];
                let asked = mesh.call("", Method::GET, "/data/ticket", None, &headers);
                ended &= asked.await.status == 401;
            }
            ended
        })
        .await;
        let signed_out = mesh
            .call("", Method::GET, "/auth/get-session", None, &[cookie])
            .await
            .ok(200);
        assert_eq!(signed_out, Value::Null);
    }
);

sizes!(
    a_cursor_belongs_to_its_query_and_its_user,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("grace", "agent").await;
        for n in 0..6 {
            mesh.post(
                &agent,
                "/data/ticket",
                json!({"subject": format!("t{n}"), "priority": n}),
            )
            .await
            .ok(201);
        }
        let filter = encode(r#"{"priority":{"$lt":5}}"#);
        let page = mesh
            .get(
                &agent,
                &format!("/data/ticket?where={filter}&limit=2&orderBy=priority"),
            )
            .await
            .ok(200);
        let cursor = page["nextCursor"].as_str().expect("a cursor").to_owned();
        assert!(
            cursor.starts_with("eyJpZCI6"),
            "the contract's sample begins so: {cursor}"
        );
        let reason = async |token: &str, path: String| {
            let details = mesh
                .get(token, &path)
                .await
                .refused(400, "VALIDATION_ERROR");
            details["reason"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(
            reason(&mesh.admin, format!("/data/ticket?cursor={cursor}")).await,
            "INVALID_CURSOR"
        );
        assert_eq!(
            reason(&agent, format!("/data/customer?cursor={cursor}")).await,
            "CURSOR_MISMATCH"
        );
        assert_eq!(
            reason(
                &agent,
                format!("/data/ticket?cursor={}", &cursor[..cursor.len() - 3])
            )
            .await,
            "INVALID_CURSOR"
        );
        let mut edited = cursor.clone().into_bytes();
        edited[30] = if edited[30] == b'A' { b'B' } else { b'A' };
        let edited = String::from_utf8(edited).expect("text");
        assert_eq!(
            reason(&agent, format!("/data/ticket?cursor={edited}")).await,
            "INVALID_CURSOR"
        );
        assert_eq!(
            reason(
                &agent,
                format!("/data/ticket?cursor={cursor}&orderBy=-priority")
            )
            .await,
            "CURSOR_MISMATCH"
        );
        let other = encode(r#"{"priority":{"$lt":9}}"#);
        assert_eq!(
            reason(
                &agent,
                format!("/data/ticket?cursor={cursor}&where={other}")
            )
            .await,
            "CURSOR_MISMATCH"
        );
        mesh.get(&agent, &format!("/data/ticket?cursor={cursor}&offset=1"))
            .await
            .refused(400, "VALIDATION_ERROR");
        let next = mesh
            .get(
                &agent,
                &format!("/data/ticket?cursor={cursor}&where={filter}&orderBy=priority&limit=2"),
            )
            .await;
        assert_eq!(next.ok(200)["items"][0]["priority"], 2);
    }
);
