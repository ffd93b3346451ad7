//! `/docs`: the page that explores the API, as a client of HTTP sees it and in a real browser.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{TestMesh, process::child::run, tools::node_packages};
use reqwest::{Client, Method, header};
use serde_json::{Value, json};

const PACKAGES: &str = include_str!("browser/package.json");

databases!(
    the_page_is_public_and_holds_nothing,
    |mesh: TestMesh| async move {
        let http = Client::new();
        let base = &mesh.at.rest[0];
        let get = async |path: &str| {
            let answer = http.get(format!("{base}{path}")).send().await;
            answer.expect("an answer")
        };
        let page = get("/docs").await;
        assert_eq!(page.status(), 200);
        let policy = page.headers()["content-security-policy"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        let tag = page.headers()[header::ETAG].clone();
        let text = page.text().await.expect("text");
        for word in ["ticket", "vault", "token\":", "admin@"] {
            assert!(!text.contains(word), "{word}");
        }
        let known = http
            .get(format!("{base}/docs"))
            .header(header::IF_NONE_MATCH, tag);
        assert_eq!(known.send().await.expect("an answer").status(), 304);

        // Every file that it names is there, and nothing else is asked for.
        let named: Vec<&str> = text
            .split('"')
            .filter(|one| one.starts_with("/docs/"))
            .collect();
        assert!(named.len() >= 4, "{named:?}");
        for path in named {
            let file = get(path).await;
            assert_eq!(file.status(), 200, "{path}");
            assert_eq!(
                file.headers()["x-content-type-options"],
                "nosniff",
                "{path}"
            );
            assert!(
                file.headers().contains_key(header::CONTENT_SECURITY_POLICY),
                "{path}"
            );
        }
        for path in ["/docs/nothing", "/docs/../health", "/docs/%2e%2e/health"] {
            let answer = get(path).await;
            assert!(matches!(answer.status().as_u16(), 200 | 404), "{path}");
        }
        assert_eq!(get("/docs/nothing").await.status(), 404);
        assert_eq!(get("/docs/").await.status(), 200);
        let head = http
            .head(format!("{base}/docs"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(head.status(), 200);
        assert_eq!(head.text().await.expect("text"), "");
        let url = format!("{base}/docs");
        let refused = mesh.call("", Method::POST, &url, None, &[]).await;
        refused.refused(405, "METHOD_NOT_ALLOWED");
    }
);

/// Sign in, run a list, see the answer; with screenshots in the build folder. Without Chromium or
/// Node the walk is left out, loudly; `deploy/test.sh` installs both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_signs_in_lists_and_sees_the_answer() {
    let (Some(chromium), Some(_node)) = (
        program(&["chromium", "chromium-browser"]),
        program(&["node"]),
    ) else {
        assert!(
            std::env::var_os("OBJECTMESH_TEST_BROWSER").is_none(),
            "chromium or node is missing"
        );
        eprintln!("LEFT OUT: chromium or node is missing; deploy/test.sh installs them");
        return;
    };
    let mesh = TestMesh::start(crate::support::Size::Sqlite).await;
    let subject = "A ticket that the browser is to see";
    mesh.post(&mesh.admin, "/data/ticket", json!({"subject": subject}))
        .await
        .ok(201);
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs-screenshots");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/docs.cjs");
    let (base, token) = (mesh.at.rest[0].clone(), mesh.admin.clone());
    let walked = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&shots).expect("a folder");
        let packages = node_packages("browser", PACKAGES).join("node_modules");
        let mut command = Command::new("node");
        command
            .env("NODE_PATH", packages)
            .arg(script)
            .args([&base, "admin@example.com", "correct horse", &token, subject])
            .arg(&shots)
            .arg(chromium);
        let printed = run(&mut command);
        for name in ["1-sign-in", "2-operations", "3-list", "4-narrow"] {
            let file = shots.join(format!("{name}.png"));
            let size = std::fs::metadata(&file)
                .map(|file| file.len())
                .unwrap_or_default();
            assert!(size > 5_000, "{} is no picture", file.display());
        }
        printed
    });
    let seen: Value = serde_json::from_str(&walked.await.expect("it walks")).expect("JSON");
    assert_eq!(seen["violations"], json!([]), "{seen:#}");
    assert_eq!(seen["errors"], json!([]), "{seen:#}");
    assert_eq!(seen["elsewhere"], json!([]), "{seen:#}");
    assert_eq!(seen["status"], json!(["200", "200"]), "{seen:#}");
    assert_eq!(seen["who"], "admin@example.com");
    assert_eq!(
        (&seen["listed"], &seen["listedByToken"]),
        (&json!(true), &json!(true)),
        "{seen:#}"
    );
    assert_eq!(
        seen["leftBehind"], 0,
        "the document is gone after signing out"
    );
    // The session is out of the reach of scripts, and nothing is stored.
    assert_eq!(
        (&seen["scriptSeesCookie"], &seen["kept"]),
        (&json!(""), &json!(0))
    );
    assert!(
        seen["problem"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{seen:#}"
    );
}

/// The first of these programs that is installed.
fn program(names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let mut found = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found.find(|path| path.is_file())
}
