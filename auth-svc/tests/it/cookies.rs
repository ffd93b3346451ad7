//! The session cookie: how it is written, signed, renewed and refused.

use mesh::session::State;
use proto::auth::v1::{self as pb, exchange_credential_request::Credential};
use time::Duration;

use crate::{
    on_each_database,
    sessions::age,
    world::{
        PASSWORD, World, cookie_value, refused, secret, set_cookie, with_bearer, with_cookie, words,
    },
};

on_each_database! {
    cookies_follow_remember_me_and_the_public_url,
    callbacks_stay_on_trusted_origins,
    a_sent_cookie_is_renewed_with_its_session,
    tampered_and_unsigned_cookies_are_refused,
    secrets_can_be_changed_without_signing_out,
}

async fn cookies_follow_remember_me_and_the_public_url(mut world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let max_age = ada
        .cookie
        .split("Max-Age=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let max_age: u32 = max_age.parse().unwrap();
    assert!((604_790..=604_800).contains(&max_age), "{max_age}");
    world
        .restart_with(|config| config.public_url = Some("https://app.example.com".into()))
        .await;
    let request = pb::SignInEmailRequest {
        email: "ada@example.com".into(),
        password: PASSWORD.into(),
        remember_me: Some(false),
        callback_url: None,
    };
    let answer = world.auth().sign_in_email(request).await.unwrap();
    let cookie = set_cookie(&answer).unwrap();
    assert!(
        cookie.starts_with("__Secure-better-auth.session_token="),
        "{cookie}"
    );
    assert!(
        cookie.contains("; Secure;") && !cookie.contains("Max-Age"),
        "{cookie}"
    );
    let request = with_bearer(pb::GetSessionRequest::default(), &answer.into_inner().token);
    let session = world
        .auth()
        .get_session(request)
        .await
        .unwrap()
        .into_inner()
        .current
        .unwrap()
        .session
        .unwrap();
    let lives = session.expires_at.unwrap().seconds - session.created_at.unwrap().seconds;
    assert_eq!(lives, 24 * 3600);
}

async fn callbacks_stay_on_trusted_origins(mut world: World) {
    world
        .restart_with(|config| config.public_url = Some("https://app.example.com".into()))
        .await;
    world.sign_up("ada@example.com").await;
    let sign_in = |to: &str| {
        let request = pb::SignInEmailRequest {
            email: "ada@example.com".into(),
            password: PASSWORD.into(),
            remember_me: None,
            callback_url: Some(to.into()),
        };
        let mut auth = world.auth();
        async move { auth.sign_in_email(request).await }
    };
    let answer = sign_in("https://app.example.com/home")
        .await
        .unwrap()
        .into_inner();
    assert!(answer.redirect);
    assert_eq!(answer.url.unwrap(), "https://app.example.com/home");
    let before = world.count("SELECT count(*) FROM auth_session").await;
    for evil in ["https://evil.io", "//evil.io", "javascript:alert(1)"] {
        assert_eq!(refused(sign_in(evil).await).0, "INVALID_ORIGIN");
    }
    assert_eq!(
        world.count("SELECT count(*) FROM auth_session").await,
        before
    );
}

async fn a_sent_cookie_is_renewed_with_its_session(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    age(
        &world,
        -Duration::days(2),
        Duration::days(5),
        Duration::days(28),
    )
    .await;
    let request = with_cookie(pb::GetSessionRequest::default(), &ada.cookie);
    let answer = world.auth().get_session(request).await.unwrap();
    let renewed = set_cookie(&answer).unwrap();
    assert_eq!(cookie_value(&renewed), cookie_value(&ada.cookie));
    let max_age = renewed
        .split("Max-Age=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    assert!(max_age.parse::<u32>().unwrap() > 604_790, "{renewed}");
    let session = answer.into_inner().current.unwrap().session.unwrap();
    assert_eq!(session.token, ada.token);

    // A gateway sends the identity token, and may hand on the cookie beside it.
    let identity_token = world.exchange(&ada.token).await.unwrap();
    let mut request = with_cookie(pb::GetSessionRequest::default(), &ada.cookie);
    mesh::ctx::set_bearer(&mut request, &identity_token);
    let answer = world.auth().get_session(request).await.unwrap();
    assert!(set_cookie(&answer).is_some());
    // The cookie of another session renews nothing.
    let bob = world.sign_up("bob@example.com").await;
    let mut request = with_cookie(pb::GetSessionRequest::default(), &bob.cookie);
    mesh::ctx::set_bearer(&mut request, &identity_token);
    let answer = world.auth().get_session(request).await.unwrap();
    assert_eq!(set_cookie(&answer), None);
    let session = answer.into_inner().current.unwrap().session.unwrap();
    assert_eq!((&session.token, &session.user_id), (&session.id, &ada.id));
}

async fn tampered_and_unsigned_cookies_are_refused(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let bob = world.sign_up("bob@example.com").await;
    let value = cookie_value(&ada.cookie);
    let (token, signature) = value.split_once('.').unwrap();
    let (_, signature_of_bob) = (
        &*bob.token,
        cookie_value(&bob.cookie)
            .split_once('.')
            .unwrap()
            .1
            .to_owned(),
    );
    let cookie = |value: &str| world.exchange_any(Credential::Cookie(value.to_owned()));
    assert!(cookie(&value).await.is_ok());
    assert!(world.exchange(&value).await.is_ok());
    for bad in [
        token.to_owned(),
        format!("{token}."),
        format!("{token}.{signature_of_bob}"),
        format!("{}.{signature}", bob.token),
        format!("{token}.{signature}x"),
        format!("{token}.{}", signature.to_lowercase()),
        String::new(),
    ] {
        assert_eq!(
            words(&cookie(&bad).await.unwrap_err()).0,
            "UNAUTHENTICATED",
            "{bad}"
        );
        // The plain token alone is good as a bearer; with a signature, the signature counts.
        assert_eq!(world.exchange(&bad).await.is_ok(), bad == token, "{bad}");
    }
    let key = world
        .exchange_any(Credential::ApiKey("osk_x".into()))
        .await
        .unwrap_err();
    assert_eq!(
        words(&key),
        ("UNAUTHENTICATED", "INVALID_API_KEY".to_owned())
    );
}

async fn secrets_can_be_changed_without_signing_out(mut world: World) {
    let new = "another secret that is long enough too";
    let ada = world.sign_up("ada@example.com").await;
    let value = cookie_value(&ada.cookie);
    let old_identity_token = world.exchange(&ada.token).await.unwrap();
    world
        .restart_with(|config| config.secret = secret(&format!("{new},{}", crate::world::SECRET)))
        .await;
    world
        .exchange_any(Credential::Cookie(value.clone()))
        .await
        .unwrap();
    let request = with_bearer(pb::ListSessionsRequest {}, &old_identity_token);
    assert!(world.auth().list_sessions(request).await.is_ok());
    world
        .restart_with(|config| config.secret = secret(new))
        .await;
    assert!(world.exchange_any(Credential::Cookie(value)).await.is_err());
    let request = with_bearer(pb::ListSessionsRequest {}, &old_identity_token);
    assert_eq!(
        refused(world.auth().list_sessions(request).await).0,
        "UNAUTHENTICATED"
    );
    // The token itself is still good: it is no secret of ours that makes it so.
    assert!(world.exchange(&ada.token).await.is_ok());
    assert_eq!(world.state(&ada.token).await, State::Live);
}
