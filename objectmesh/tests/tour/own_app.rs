//! The app that the README's tour wrote, served as the README says.

use std::path::Path;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::START;
use crate::process::Program;

const PASSWORD: &str = "correct horse";

/// Serves the app in `folder` and holds it to what the README says of it.
pub(crate) async fn serves(folder: &Path) {
    let (app, data) = (folder.join("my-app"), folder.join("my-data"));
    let arguments = [Path::new("--app"), &app, Path::new("--data-dir"), &data];
    let program = Program::dev(arguments, START);
    let client = Client {
        http: reqwest::Client::new(),
        base: program.base(),
    };
    let admin = program.value("token ");
    let email = "new@example.com";
    let person = json!({"name": "New", "email": email, "password": PASSWORD});
    let (status, answer) = client.post(admin, "/auth/admin/create-user", &person).await;
    assert_eq!(status, 200, "{answer}");
    let (token, id) = client.sign_in(email).await;
    let create = async |token: &str, title: &str| {
        let answer = client
            .post(token, "/data/note", &json!({"title": title}))
            .await;
        assert_eq!(answer.0, 201, "{}", answer.1);
        answer.1
    };
    let first = create(&token, "With member_default").await;
    assert_eq!(first["mood"], "good");
    create(admin, "Somebody else's").await;

    let assignment = json!({"user_id": id, "permission_set": "writer"});
    let (status, answer) = client
        .post(admin, "/data/sys_user_permission_set", &assignment)
        .await;
    assert_eq!(status, 201, "{answer}");
    let (token, _) = client.sign_in(email).await;
    let second = create(&token, "As a writer").await;
    let path = format!("/data/note/{}", second["id"].as_str().expect("an id"));
    let (status, refusal) = client.send(Method::DELETE, &token, &path).await;
    assert_eq!(status, 403, "from the next sign-in: {refusal}");
    let (_, mine) = client.send(Method::GET, &token, "/data/note").await;
    assert_eq!(mine["total"], 2, "a private note is its owner's: {mine}");
    let (_, all) = client.send(Method::GET, admin, "/data/note").await;
    assert_eq!(all["total"], 3, "{all}");
    program.stop();
}

struct Client<'a> {
    http: reqwest::Client,
    base: &'a str,
}

impl Client<'_> {
    async fn post(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base));
        answer(request.bearer_auth(token).json(body)).await
    }

    async fn send(&self, method: Method, token: &str, path: &str) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.base));
        answer(request.bearer_auth(token)).await
    }

    /// A session token and the user's id.
    async fn sign_in(&self, email: &str) -> (String, String) {
        let body = json!({"email": email, "password": PASSWORD});
        let request = self.http.post(format!("{}/auth/sign-in", self.base));
        let (status, session) = answer(request.json(&body)).await;
        assert_eq!(status, 200, "{session}");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&session["token"]), text(&session["user"]["id"]))
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}
