//! A33: failed sign-ins slow an account down.

use mesh::{clock, error::Reason};
use proto::auth::v1 as pb;
use time::Duration;

use crate::{
    on_each_database,
    world::{PASSWORD, World, error, with_bearer},
};

on_each_database! {
    a33_a_burst_at_one_account_gets_five_answers,
    a33_the_wait_survives_a_restart_grows_and_ends_with_the_right_password,
    right_passwords_at_once_do_not_count_as_misses,
    a33_guessing_the_current_password_is_slowed_down_too,
}

async fn a33_a_burst_at_one_account_gets_five_answers(world: World) {
    world.sign_up("ada@example.com").await;
    world.sign_up("bob@example.com").await;
    for email in ["ada@example.com", "unknown@example.com"] {
        let spellings = [email.to_owned(), email.to_uppercase()];
        let burst = (0..40).map(|i| world.try_sign_in(&spellings[i % 2], "not the password"));
        let mut answers = std::collections::HashMap::new();
        for answer in futures::future::join_all(burst).await {
            let error = answer.unwrap_err();
            *answers.entry(error.reason().as_wire()).or_insert(0) += 1;
            if error.reason() == Reason::RateLimited {
                let seconds = error.detail("retryAfter").unwrap().as_i64().unwrap();
                // Counted from when the request came, which may be some time before the miss.
                assert!((1..=20).contains(&seconds), "{seconds}");
            }
        }
        assert_eq!(
            answers["INVALID_EMAIL_OR_PASSWORD"], 5,
            "{email}: {answers:?}"
        );
        assert_eq!(answers["RATE_LIMITED"], 35, "{email}: {answers:?}");
    }
    // Not even the right password is looked at now, and others do not notice.
    let refusal = world
        .try_sign_in("ada@example.com", PASSWORD)
        .await
        .unwrap_err();
    assert_eq!(refusal.reason(), Reason::RateLimited);
    world.sign_in("bob@example.com").await;
}

async fn a33_the_wait_survives_a_restart_grows_and_ends_with_the_right_password(mut world: World) {
    world.sign_up("ada@example.com").await;
    for _ in 0..5 {
        world
            .try_sign_in("ada@example.com", "not the password")
            .await
            .unwrap_err();
    }
    world.restart().await;
    let wait = |error: mesh::Error| {
        assert_eq!(error.reason(), Reason::RateLimited);
        error.detail("retryAfter").unwrap().as_i64().unwrap()
    };
    let first = wait(
        world
            .try_sign_in("ada@example.com", PASSWORD)
            .await
            .unwrap_err(),
    );
    assert!(first <= 10);
    let lapse = "UPDATE auth_failed_sign_in SET blocked_until = $1";
    let past = || vec![(clock::now() - Duration::SECOND).into()];
    world.sql(lapse, past()).await;
    let miss = world
        .try_sign_in("ada@example.com", "not the password")
        .await
        .unwrap_err();
    assert_eq!(miss.reason(), Reason::InvalidEmailOrPassword);
    let second = wait(
        world
            .try_sign_in("ada@example.com", PASSWORD)
            .await
            .unwrap_err(),
    );
    assert!((11..=20).contains(&second), "{second}");
    world.sql(lapse, past()).await;
    world.sign_in("ada@example.com").await;
    assert_eq!(
        world
            .count("SELECT count(*) FROM auth_failed_sign_in")
            .await,
        0
    );
    for _ in 0..4 {
        let miss = world
            .try_sign_in("ada@example.com", "not the password")
            .await
            .unwrap_err();
        assert_eq!(miss.reason(), Reason::InvalidEmailOrPassword);
    }
    // Misses of long ago are forgotten.
    world
        .sql(
            "UPDATE auth_failed_sign_in SET last_at = $1",
            vec![(clock::now() - Duration::days(2)).into()],
        )
        .await;
    for _ in 0..4 {
        world
            .try_sign_in("ada@example.com", "not the password")
            .await
            .unwrap_err();
    }
    world.sign_in("ada@example.com").await;
}

async fn right_passwords_at_once_do_not_count_as_misses(world: World) {
    world.sign_up("ada@example.com").await;
    let burst = (0..12).map(|_| world.try_sign_in("ada@example.com", PASSWORD));
    for answer in futures::future::join_all(burst).await {
        answer.unwrap();
    }
    assert_eq!(world.count("SELECT count(*) FROM auth_session").await, 13);
}

async fn a33_guessing_the_current_password_is_slowed_down_too(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let change = |current: &str| {
        let message = pb::ChangePasswordRequest {
            current_password: current.into(),
            new_password: "another password".into(),
            revoke_other_sessions: None,
        };
        let mut auth = world.auth();
        let request = with_bearer(message, &ada.token);
        async move { auth.change_password(request).await }
    };
    for _ in 0..5 {
        assert_eq!(
            error(change("a guess at it").await.unwrap_err()).reason(),
            Reason::InvalidPassword
        );
    }
    assert_eq!(
        error(change(PASSWORD).await.unwrap_err()).reason(),
        Reason::RateLimited
    );
    assert_eq!(world.audited("password_change_failed").await, 5);
    // It is a count of its own: nobody is locked out by it.
    world.sign_in("ada@example.com").await;
}
