//! Signing up, in and out.

use std::{collections::HashSet, time::Instant};

use mesh::{error::Reason, session::State};
use proto::auth::v1 as pb;

use crate::{
    on_each_database,
    world::{PASSWORD, World, cookie_value, error, refused, set_cookie, with_bearer, words},
};

on_each_database! {
    sign_up_in_and_out,
    the_first_of_sixteen_sign_ups_at_once_is_the_owner,
    a_taken_address_is_refused_in_any_case_and_under_a_race,
    a38_nothing_at_rest_signs_in,
    a34_wrong_and_unknown_answer_alike_after_the_same_work,
    what_is_typed_is_checked,
    sign_up_can_be_switched_off,
    sign_in_can_be_switched_off,
    over_a_socket_it_is_the_same,
}

async fn sign_up_in_and_out(world: World) {
    let bootstrap = || async {
        let answer = world
            .auth()
            .get_bootstrap_status(pb::GetBootstrapStatusRequest {})
            .await;
        answer.unwrap().into_inner().has_owner
    };
    assert!(!bootstrap().await);
    let request = pb::SignUpEmailRequest {
        name: " Ada Lovelace ".into(),
        email: "Ada@Example.com".into(),
        password: PASSWORD.into(),
        image: Some("https://example.com/ada.png".into()),
        ..Default::default()
    };
    let answer = world.auth().sign_up_email(request).await.unwrap();
    let cookie = set_cookie(&answer).unwrap();
    let answer = answer.into_inner();
    let (token, user) = (answer.token.unwrap(), answer.user.unwrap());
    assert_eq!(answer.set_auth_token, token);
    assert!(
        cookie.starts_with(&format!("better-auth.session_token={token}.")),
        "{cookie}"
    );
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    assert_eq!(
        (
            &*user.name,
            &*user.email,
            user.email_verified,
            user.image.as_deref(),
            user.banned
        ),
        (
            "Ada Lovelace",
            "ada@example.com",
            false,
            Some("https://example.com/ada.png"),
            None
        )
    );
    assert!(bootstrap().await);

    // A gateway calls with an identity token: the server does not know the session token.
    let identity_token = world.exchange(&token).await.unwrap();
    let request = with_bearer(pb::GetSessionRequest::default(), &identity_token);
    let current = world
        .auth()
        .get_session(request)
        .await
        .unwrap()
        .into_inner()
        .current
        .unwrap();
    let (session, user) = (current.session.unwrap(), current.user.unwrap());
    assert_eq!((&session.token, &session.user_id), (&session.id, &user.id));
    assert_eq!(
        user.roles,
        ["admin_full_access", "agent", "member_default", "support"]
    );
    assert_eq!(
        user.role.unwrap(),
        "admin_full_access,agent,member_default,support"
    );
    // A client that calls directly sent it along.
    let request = with_bearer(pb::GetSessionRequest::default(), &token);
    let current = world
        .auth()
        .get_session(request)
        .await
        .unwrap()
        .into_inner()
        .current
        .unwrap();
    assert_eq!(current.session.unwrap().token, token);

    let again = world.sign_in("ADA@example.com").await;
    assert_ne!(again.token, token);
    assert_eq!(world.state(&token).await, State::Live);
    let answer = world
        .auth()
        .sign_out(with_bearer(pb::SignOutRequest {}, &identity_token))
        .await
        .unwrap();
    assert_eq!(
        set_cookie(&answer).unwrap(),
        "better-auth.session_token=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
    );
    assert!(answer.into_inner().success);
    world.assert_ended(&token).await;
    // The identity token lives on until the news of the end have come; its session does not.
    let request = with_bearer(pb::GetSessionRequest::default(), &identity_token);
    match world.auth().get_session(request).await {
        Ok(answer) => assert_eq!(answer.into_inner().current, None),
        Err(status) => assert_eq!(crate::world::refused::<()>(Err(status)).1, "REVOKED_TOKEN"),
    }
    let request = with_bearer(pb::ListSessionsRequest {}, &identity_token);
    assert_eq!(
        refused(world.auth().list_sessions(request).await).0,
        "UNAUTHENTICATED"
    );
    assert!(world.exchange(&again.token).await.is_ok());

    // Nobody, and somebody with a bad credential, are signed out already.
    for request in [
        tonic::Request::new(pb::SignOutRequest {}),
        with_bearer(pb::SignOutRequest {}, &token),
    ] {
        assert!(
            world
                .auth()
                .sign_out(request)
                .await
                .unwrap()
                .into_inner()
                .success
        );
    }
    let request = pb::GetSessionRequest::default();
    assert_eq!(
        world
            .auth()
            .get_session(request)
            .await
            .unwrap()
            .into_inner()
            .current,
        None
    );
    for (action, times) in [
        ("user_created", 1),
        ("owner_claimed", 1),
        ("sign_in", 1),
        ("sign_out", 1),
    ] {
        assert_eq!(world.audited(action).await, times, "{action}");
    }
}

async fn the_first_of_sixteen_sign_ups_at_once_is_the_owner(world: World) {
    let second = world.second_replica().await;
    let emails: Vec<String> = (0..16).map(|i| format!("u{i}@example.com")).collect();
    let sign_ups = emails.iter().enumerate().map(|(i, email)| {
        let auth = if i % 2 == 0 {
            &world.replica.auth
        } else {
            &second.auth
        };
        let mut auth = proto::auth::v1::auth_service_client::AuthServiceClient::new(auth.clone());
        async move {
            let request = pb::SignUpEmailRequest {
                name: "U".into(),
                email: email.clone(),
                password: PASSWORD.into(),
                ..Default::default()
            };
            auth.sign_up_email(request)
                .await
                .unwrap()
                .into_inner()
                .token
                .unwrap()
        }
    });
    for token in futures::future::join_all(sign_ups).await {
        world.exchange(&token).await.unwrap();
    }
    let owners: HashSet<String> = {
        let state = world.data.state();
        assert_eq!(state.resolved.len(), 16);
        let of_owner = state
            .resolved
            .iter()
            .filter(|(asked, _)| asked.platform_owner);
        of_owner
            .map(|(asked, _)| asked.profile.clone().unwrap().id)
            .collect()
    };
    assert_eq!(owners.len(), 1);
    assert_eq!(world.audited("owner_claimed").await, 1);
}

async fn a_taken_address_is_refused_in_any_case_and_under_a_race(world: World) {
    let race =
        futures::future::join_all((0..6).map(|_| world.try_sign_up("one@example.com"))).await;
    assert_eq!(race.iter().filter(|answer| answer.is_ok()).count(), 1);
    for lost in race.into_iter().filter_map(Result::err) {
        assert_eq!(lost.reason(), Reason::UserAlreadyExists);
        assert_eq!(lost.reason().http_status(), 422);
    }
    let again = world.try_sign_up("ONE@Example.COM").await.unwrap_err();
    assert_eq!(again.reason(), Reason::UserAlreadyExists);
    assert_eq!(world.count("SELECT count(*) FROM auth_user").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM auth_session").await, 1);
}

async fn a38_nothing_at_rest_signs_in(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    world.exchange(&ada.token).await.unwrap();
    world
        .try_sign_in("ada@example.com", "wrong password typed")
        .await
        .unwrap_err();
    world
        .try_sign_in("unknown@example.com", "wrong password typed")
        .await
        .unwrap_err();
    let hash = mesh::session::hash(&ada.token).to_vec();
    let sql = "UPDATE auth_session SET token_hash = $1 WHERE token_hash = $1";
    world.sql(sql, vec![hash.into()]).await;
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(world.dir.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let on_sqlite = !bytes.is_empty();
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert_eq!(holds("ada@example.com"), on_sqlite);
    let signature = cookie_value(&ada.cookie)
        .split_once('.')
        .unwrap()
        .1
        .to_owned();
    for secret in [
        &*ada.token,
        &signature,
        PASSWORD,
        "wrong password typed",
        "unknown@example.com",
        crate::world::SECRET,
    ] {
        assert!(!holds(secret), "{secret}");
    }
}

async fn a34_wrong_and_unknown_answer_alike_after_the_same_work(mut world: World) {
    world
        .restart_with(|config| config.throttle.misses = 1000)
        .await;
    world.sign_up("ada@example.com").await;
    let miss = |email: &'static str| {
        let world = &world;
        async move {
            let started = Instant::now();
            let error = world
                .try_sign_in(email, "not the password")
                .await
                .unwrap_err();
            let answer = format!("{}", error.envelope());
            (started.elapsed(), answer)
        }
    };
    let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        wrong.push(miss("ada@example.com").await);
        unknown.push(miss("nobody@example.com").await);
    }
    assert_eq!(wrong[0].1, unknown[0].1);
    assert!(
        wrong[0].1.contains("INVALID_EMAIL_OR_PASSWORD"),
        "{}",
        wrong[0].1
    );
    wrong.sort();
    unknown.sort();
    // Loose, since other tests share the processors; without the dummy hash it is a tenth.
    let (wrong, unknown) = (wrong[4].0, unknown[4].0);
    assert!(
        unknown * 2 > wrong && wrong * 2 > unknown,
        "{wrong:?} {unknown:?}"
    );
    assert_eq!(world.audited("sign_in_failed").await, 18);
}

async fn what_is_typed_is_checked(world: World) {
    let request = |name: &str, email: &str, password: &str| pb::SignUpEmailRequest {
        name: name.into(),
        email: email.into(),
        password: password.into(),
        ..Default::default()
    };
    let long = "x".repeat(129);
    for (message, code) in [
        (request(" ", "a@b.co", PASSWORD), "VALIDATION_ERROR"),
        (request("A", "a@b", PASSWORD), "INVALID_EMAIL"),
        (request("A", "a\0@b.co", PASSWORD), "INVALID_EMAIL"),
        (request("A", "a@b.co", "1234567"), "PASSWORD_TOO_SHORT"),
        (request("A", "a@b.co", &long), "PASSWORD_TOO_LONG"),
    ] {
        assert_eq!(refused(world.auth().sign_up_email(message).await).0, code);
    }
    let mut scripted = request("A", "a@b.co", PASSWORD);
    scripted.image = Some("javascript:alert(1)".into());
    let refusal = error(world.auth().sign_up_email(scripted).await.unwrap_err());
    assert_eq!(refusal.field_violations()[0].field, "image");
    assert_eq!(
        words(&world.try_sign_in("no address", PASSWORD).await.unwrap_err()).0,
        "INVALID_EMAIL"
    );
    assert_eq!(world.count("SELECT count(*) FROM auth_user").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM auth_owner").await, 0);
    let exact = "é".repeat(128);
    world
        .auth()
        .sign_up_email(request("A", "a@b.co", &exact))
        .await
        .unwrap();
    world.try_sign_in("a@b.co", &exact).await.unwrap();
    world
        .try_sign_in("a@b.co", &format!("{exact}é"))
        .await
        .unwrap_err();
}

async fn sign_up_can_be_switched_off(mut world: World) {
    world
        .restart_with(|config| config.email_and_password.disable_sign_up = true)
        .await;
    let refusal = world.try_sign_up("ada@example.com").await.unwrap_err();
    assert_eq!(
        (refusal.reason().as_wire(), refusal.reason().http_status()),
        ("EMAIL_PASSWORD_SIGN_UP_DISABLED", 403)
    );
    let config = world
        .auth()
        .get_auth_config(pb::GetAuthConfigRequest {})
        .await
        .unwrap()
        .into_inner();
    let config = config.email_and_password.unwrap();
    assert!(config.enabled && config.disable_sign_up && !config.require_email_verification);
    assert_eq!(config.min_password_length, 8);
    assert!(
        world
            .auth()
            .get_auth_status(pb::GetAuthStatusRequest {})
            .await
            .unwrap()
            .into_inner()
            .ok
    );
}

async fn sign_in_can_be_switched_off(mut world: World) {
    let ada = world.sign_up("ada@example.com").await;
    world
        .restart_with(|config| config.email_and_password.enabled = false)
        .await;
    assert_eq!(
        world
            .try_sign_in("ada@example.com", PASSWORD)
            .await
            .unwrap_err()
            .reason(),
        Reason::PermissionDenied
    );
    assert_eq!(
        world
            .try_sign_up("bob@example.com")
            .await
            .unwrap_err()
            .reason(),
        Reason::EmailPasswordSignUpDisabled
    );
    assert!(world.exchange(&ada.token).await.is_ok());
}

async fn over_a_socket_it_is_the_same(world: World) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = world
        .replica
        .node
        .serve(listener, async move { drop(stopped.await) });
    let client = async {
        let link = mesh::Link::connect(&uri).unwrap();
        let mut auth = pb::auth_service_client::AuthServiceClient::new(link);
        let request = pb::SignUpEmailRequest {
            name: "Ada".into(),
            email: "ada@example.com".into(),
            password: PASSWORD.into(),
            ..Default::default()
        };
        let answer = auth.sign_up_email(request.clone()).await.unwrap();
        assert!(set_cookie(&answer).is_some());
        let token = answer.into_inner().token.unwrap();
        let asking = with_bearer(pb::GetSessionRequest::default(), &token);
        let current = auth.get_session(asking).await.unwrap().into_inner().current;
        assert_eq!(current.unwrap().session.unwrap().token, token);
        assert_eq!(
            refused(auth.sign_up_email(request).await).0,
            "USER_ALREADY_EXISTS"
        );
        stop.send(()).unwrap();
    };
    let (served, ()) = tokio::join!(serving, client);
    served.unwrap();
}
