//! Sessions: listed, ended, prolonged, expired; changing the password; the cookie.

use mesh::{clock, db::Value, session::State};
use proto::auth::v1 as pb;
use time::Duration;

use crate::{
    on_each_database,
    world::{PASSWORD, Someone, World, cookie_value, refused, set_cookie, with_bearer, words},
};

on_each_database! {
    sessions_are_listed_and_ended_by_handle_token_or_all_at_once,
    a31_changing_the_password_ends_every_session_and_begins_one,
    a_sign_in_never_survives_a_password_change_it_raced_with,
    sessions_slide_once_a_day_up_to_the_absolute_limit,
    an_expired_session_is_told_from_an_unknown_one,
    a_session_that_is_not_remembered_does_not_slide,
    users_change_their_name_and_picture,
    an_end_that_was_not_announced_is_announced_by_whoever_is_there,
}

async fn list(world: &World, token: &str) -> Vec<pb::Session> {
    let request = with_bearer(pb::ListSessionsRequest {}, token);
    world
        .auth()
        .list_sessions(request)
        .await
        .unwrap()
        .into_inner()
        .sessions
}

async fn revoke(world: &World, by: &Someone, token: &str) {
    let message = pb::RevokeSessionRequest {
        token: token.to_owned(),
    };
    let answer = world
        .auth()
        .revoke_session(with_bearer(message, &by.token))
        .await;
    assert!(answer.unwrap().into_inner().status);
}

async fn sessions_are_listed_and_ended_by_handle_token_or_all_at_once(world: World) {
    let email = "ada@example.com";
    let [one, two, three] = [
        world.sign_up(email).await,
        world.sign_in(email).await,
        world.sign_in(email).await,
    ];
    let bob = world.sign_up("bob@example.com").await;
    for someone in [&one, &two, &three, &bob] {
        world.exchange(&someone.token).await.unwrap();
    }
    let listed = list(&world, &three.token).await;
    assert_eq!(listed.len(), 3);
    // Newest first; only the one that asks is known by its token.
    assert_eq!(listed[0].token, three.token);
    assert_eq!(
        (&listed[1].token, &listed[2].token),
        (&listed[1].id, &listed[2].id)
    );
    assert!(listed.iter().all(|session| session.user_id == one.id));

    // Nobody ends somebody else's, by handle or by token.
    let bobs = list(&world, &bob.token).await.remove(0);
    for of_bob in [&bobs.id, &bob.token, &cookie_value(&bob.cookie)] {
        revoke(&world, &three, of_bob).await;
    }
    for unknown in ["", "nothing", "x\0y", "a.b"] {
        revoke(&world, &three, unknown).await;
    }
    assert!(world.exchange(&bob.token).await.is_ok());
    assert_eq!(list(&world, &three.token).await.len(), 3);

    revoke(&world, &three, &listed[2].token).await;
    world.assert_ended(&one.token).await;
    revoke(&world, &three, &cookie_value(&two.cookie)).await;
    world.assert_ended(&two.token).await;

    let four = world.sign_in(email).await;
    world.exchange(&four.token).await.unwrap();
    let request = with_bearer(pb::RevokeOtherSessionsRequest {}, &three.token);
    world.auth().revoke_other_sessions(request).await.unwrap();
    world.assert_ended(&four.token).await;
    assert!(world.exchange(&three.token).await.is_ok());
    let request = with_bearer(pb::RevokeSessionsRequest {}, &three.token);
    world.auth().revoke_sessions(request).await.unwrap();
    world.assert_ended(&three.token).await;
    assert!(world.exchange(&bob.token).await.is_ok());

    let nobody = world.auth().list_sessions(pb::ListSessionsRequest {}).await;
    assert_eq!(refused(nobody).0, "UNAUTHENTICATED");
}

fn change_password(current: &str, new: &str) -> pb::ChangePasswordRequest {
    pb::ChangePasswordRequest {
        current_password: current.to_owned(),
        new_password: new.to_owned(),
        revoke_other_sessions: Some(false),
    }
}

async fn a31_changing_the_password_ends_every_session_and_begins_one(world: World) {
    let (one, two) = (
        world.sign_up("ada@example.com").await,
        world.sign_in("ada@example.com").await,
    );
    world.exchange(&one.token).await.unwrap();
    for (message, code) in [
        (
            change_password("not the password", "another password"),
            "INVALID_PASSWORD",
        ),
        (change_password(PASSWORD, "short"), "PASSWORD_TOO_SHORT"),
    ] {
        let answer = world
            .auth()
            .change_password(with_bearer(message, &two.token))
            .await;
        assert_eq!(refused(answer).0, code);
    }
    assert!(world.exchange(&one.token).await.is_ok());

    let identity_token = world.exchange(&two.token).await.unwrap();
    let request = with_bearer(
        change_password(PASSWORD, "another password"),
        &identity_token,
    );
    let answer = world.auth().change_password(request).await.unwrap();
    let cookie = set_cookie(&answer).unwrap();
    let answer = answer.into_inner();
    let token = answer.token.unwrap();
    assert_eq!(
        (
            &answer.set_auth_token,
            cookie_value(&cookie).split('.').next()
        ),
        (&token, Some(&*token))
    );
    assert_eq!(answer.user.unwrap().id, one.id);
    world.assert_ended(&one.token).await;
    world.assert_ended(&two.token).await;
    assert!(world.exchange(&token).await.is_ok());
    let old = world
        .try_sign_in("ada@example.com", PASSWORD)
        .await
        .unwrap_err();
    assert_eq!(words(&old).0, "INVALID_EMAIL_OR_PASSWORD");
    world
        .try_sign_in("ada@example.com", "another password")
        .await
        .unwrap();
    assert_eq!(world.audited("password_change").await, 1);
}

async fn a_sign_in_never_survives_a_password_change_it_raced_with(mut world: World) {
    world
        .restart_with(|config| config.throttle.misses = 1000)
        .await;
    let ada = world.sign_up("ada@example.com").await;
    let second = world.second_replica().await;
    let sign_ins =
        futures::future::join_all((0..12).map(|_| world.try_sign_in("ada@example.com", PASSWORD)));
    let mut auth =
        proto::auth::v1::auth_service_client::AuthServiceClient::new(second.auth.clone());
    let request = with_bearer(change_password(PASSWORD, "another password"), &ada.token);
    let (answers, changed) = tokio::join!(sign_ins, auth.change_password(request));
    let changed = changed.unwrap().into_inner();
    for passed in answers.into_iter().filter_map(Result::ok) {
        assert!(world.exchange(&passed.token).await.is_err());
    }
    assert!(world.exchange(&changed.token.unwrap()).await.is_ok());
    assert_eq!(world.count("SELECT count(*) FROM auth_session").await, 1);
}

/// Moves a user's only session so that it looks as it would at another time.
pub(crate) async fn age(world: &World, updated: Duration, expires: Duration, absolute: Duration) {
    let at = |from_now: Duration| Value::from(clock::now() + from_now);
    let sql = "UPDATE auth_session SET updated_at = $1, expires_at = $2, absolute_expires_at = $3";
    world
        .sql(sql, vec![at(updated), at(expires), at(absolute)])
        .await;
}

/// Days until the session of this token ends, rounded.
async fn days_left(world: &World, token: &str) -> i64 {
    let session = list(world, token).await.remove(0);
    let left_s = session.expires_at.unwrap().seconds - clock::now().unix_timestamp();
    (left_s + 43_200).div_euclid(86_400)
}

async fn sessions_slide_once_a_day_up_to_the_absolute_limit(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let (day, hour) = (Duration::DAY, Duration::HOUR);
    age(&world, -hour * 23, day * 6, day * 29).await;
    world.exchange(&ada.token).await.unwrap();
    assert_eq!(days_left(&world, &ada.token).await, 6);

    // `get-session` slides as well, unless asked not to.
    age(&world, -hour * 25, day * 6, day * 29).await;
    let identity_token = world.exchange(&ada.token).await.unwrap();
    age(&world, -hour * 25, day * 6, day * 29).await;
    for (disable_refresh, days) in [(Some(true), 6), (None, 7)] {
        let message = pb::GetSessionRequest {
            disable_refresh,
            ..Default::default()
        };
        let request = with_bearer(message, &identity_token);
        let current = world
            .auth()
            .get_session(request)
            .await
            .unwrap()
            .into_inner()
            .current
            .unwrap();
        let left =
            current.session.unwrap().expires_at.unwrap().seconds - clock::now().unix_timestamp();
        assert_eq!((left + 43_200) / 86_400, days);
    }

    age(&world, -day * 3, day * 4, day * 5).await;
    world.exchange(&ada.token).await.unwrap();
    assert_eq!(days_left(&world, &ada.token).await, 5);
}

async fn an_expired_session_is_told_from_an_unknown_one(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let identity_token = world.exchange(&ada.token).await.unwrap();
    for (expires, absolute) in [
        (-Duration::SECOND, Duration::DAY),
        (Duration::DAY, -Duration::SECOND),
    ] {
        age(&world, -Duration::DAY, expires, absolute).await;
        let refusal = world.exchange(&ada.token).await.unwrap_err();
        assert_eq!(
            words(&refusal),
            ("UNAUTHENTICATED", "EXPIRED_TOKEN".to_owned())
        );
        let request = with_bearer(pb::GetSessionRequest::default(), &identity_token);
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
    }
    for unknown in ["", "unknown", &"x".repeat(100_000)] {
        let refusal = world.exchange(unknown).await.unwrap_err();
        assert_eq!(words(&refusal), ("UNAUTHENTICATED", String::new()));
        assert_eq!(refusal.message(), "The session is not valid or has ended");
    }
}

async fn a_session_that_is_not_remembered_does_not_slide(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    world
        .sql("UPDATE auth_session SET remember = $1", vec![false.into()])
        .await;
    age(
        &world,
        -Duration::hours(23),
        Duration::HOUR,
        Duration::days(29),
    )
    .await;
    world.exchange(&ada.token).await.unwrap();
    assert_eq!(days_left(&world, &ada.token).await, 0);
}

async fn users_change_their_name_and_picture(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let update = |name: Option<&str>, image: Option<&str>| {
        let message = pb::UpdateUserRequest {
            name: name.map(Into::into),
            image: image.map(Into::into),
        };
        let request = with_bearer(message, &ada.token);
        let mut auth = world.auth();
        async move { auth.update_user(request).await }
    };
    update(Some("Countess"), Some("https://example.com/a.png"))
        .await
        .unwrap();
    update(None, Some("")).await.unwrap();
    for (name, image) in [(None, None), (Some("  "), None), (None, Some("ftp://x"))] {
        assert_eq!(refused(update(name, image).await).0, "VALIDATION_ERROR");
    }
    let request = with_bearer(pb::GetSessionRequest::default(), &ada.token);
    let user = world
        .auth()
        .get_session(request)
        .await
        .unwrap()
        .into_inner()
        .current
        .unwrap()
        .user
        .unwrap();
    assert_eq!((&*user.name, user.image), ("Countess", None));
    // data-svc hears of it at once.
    let told = world
        .data
        .state()
        .resolved
        .last()
        .unwrap()
        .0
        .profile
        .clone()
        .unwrap();
    assert_eq!((&*told.name, &*told.image), ("Countess", ""));
    let nobody = world
        .auth()
        .update_user(pb::UpdateUserRequest::default())
        .await;
    assert_eq!(refused(nobody).0, "UNAUTHENTICATED");
}

async fn an_end_that_was_not_announced_is_announced_by_whoever_is_there(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let other = world.sign_in("ada@example.com").await;
    for token in [&ada.token, &other.token] {
        world.exchange(token).await.unwrap();
        assert_eq!(world.state(token).await, State::Live);
    }
    let announcements = "SELECT count(*) FROM om_queue WHERE kind = 'session_end'";
    revoke(&world, &ada, &other.token).await;
    assert_eq!(world.state(&other.token).await, State::Ended);
    assert_eq!(
        world.count(announcements).await,
        0,
        "nothing is left to be done"
    );

    // auth-svc was killed between the end of the session and its announcement.
    let hash = mesh::session::hash(&ada.token);
    let key: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let left = "INSERT INTO om_queue (id, kind, queue_key, payload, due_ms, attempt, fence, \
                created_at_ms) VALUES ('left', 'session_end', 'left', $1, 0, 0, 0, 0)";
    world.sql(left, vec![Value::from(key)]).await;
    let announced = async {
        while world.count(announcements).await > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let announced = tokio::time::timeout(std::time::Duration::from_secs(20), announced).await;
    assert!(announced.is_ok());
    assert_eq!(world.state(&ada.token).await, State::Ended);
}
