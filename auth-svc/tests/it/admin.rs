//! User administration, called directly.

use mesh::{clock, error::Reason};
use proto::auth::v1 as pb;
use time::Duration;

use crate::{
    on_each_database,
    world::{PASSWORD, Someone, World, error, refused, with_bearer, words},
};

on_each_database! {
    a39_only_holders_of_manage_users_administer,
    an_administrator_whose_session_ended_administers_no_more,
    created_users_sign_in_and_are_listed,
    setting_a_password_ends_sessions_and_waits,
    nobody_sets_the_password_of_someone_with_more_rights,
    banning_ends_sessions_and_keeps_out_until_it_lapses,
    removing_ends_everything_but_the_audit,
    the_owner_and_oneself_cannot_be_banned_or_removed,
}

async fn a39_only_holders_of_manage_users_administer(world: World) {
    let owner = world.sign_up("owner@example.com").await;
    let member = world.sign_up("member@example.com").await;
    let member_token = world.exchange(&member.token).await.unwrap();
    macro_rules! check {
        ($($rpc:ident($message:expr)),* $(,)?) => {$(
            let nobody = error(world.admin().$rpc($message).await.unwrap_err());
            assert_eq!(nobody.reason(), Reason::Unauthenticated);
            for token in [&member.token, &member_token] {
                let refusal = error(world.admin().$rpc(with_bearer($message, token)).await.unwrap_err());
                assert_eq!(refusal.reason(), Reason::PermissionDenied);
                assert_eq!(refusal.detail("permission").unwrap(), "manage_users");
            }
            let bad = world.admin().$rpc(with_bearer($message, "not a token")).await;
            assert_eq!(refused(bad).0, "UNAUTHENTICATED");
        )*};
    }
    check! {
        create_user(pb::CreateUserRequest { name: "X".into(), email: "x@example.com".into(), password: PASSWORD.into() }),
        list_users(pb::ListUsersRequest::default()),
        set_user_password(pb::SetUserPasswordRequest { user_id: owner.id.clone(), new_password: PASSWORD.into() }),
        ban_user(pb::BanUserRequest { user_id: owner.id.clone(), ..Default::default() }),
        unban_user(pb::UnbanUserRequest { user_id: owner.id.clone() }),
        remove_user(pb::RemoveUserRequest { user_id: owner.id.clone() }),
    }
    assert_eq!(world.count("SELECT count(*) FROM auth_user").await, 2);
    assert!(world.exchange(&owner.token).await.is_ok());
    world.sign_in("owner@example.com").await;
}

async fn an_administrator_whose_session_ended_administers_no_more(world: World) {
    let owner = world.sign_up("owner@example.com").await;
    let identity_token = world.exchange(&owner.token).await.unwrap();
    let request = with_bearer(pb::ListUsersRequest::default(), &identity_token);
    assert!(world.admin().list_users(request).await.is_ok());
    world
        .auth()
        .sign_out(with_bearer(pb::SignOutRequest {}, &owner.token))
        .await
        .unwrap();
    let request = with_bearer(pb::ListUsersRequest::default(), &identity_token);
    assert_eq!(
        refused(world.admin().list_users(request).await).0,
        "UNAUTHENTICATED"
    );
}

async fn create(world: &World, by: &Someone, name: &str, email: &str) -> pb::User {
    let message = pb::CreateUserRequest {
        name: name.to_owned(),
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let answer = world
        .admin()
        .create_user(with_bearer(message, &by.token))
        .await;
    answer.unwrap().into_inner().user.unwrap()
}

async fn created_users_sign_in_and_are_listed(world: World) {
    let owner = world.sign_up("owner@example.com").await;
    let ada = create(&world, &owner, "Ada 100%", "Ada@Example.com").await;
    create(&world, &owner, "Bob_b", "bob@example.com").await;
    assert_eq!((&*ada.email, ada.banned), ("ada@example.com", Some(false)));
    // data-svc knows of them before they first sign in; they are not the owner.
    let told = world.data.state().resolved.last().unwrap().0.clone();
    assert_eq!(told.profile.unwrap().email, "bob@example.com");
    assert!(!told.platform_owner);
    assert_eq!(world.sign_in("ada@example.com").await.id, ada.id);

    let list = |limit, offset, value: &str, field: &str| {
        let message = pb::ListUsersRequest {
            limit,
            offset,
            search_value: value.to_owned(),
            search_field: field.to_owned(),
        };
        let request = with_bearer(message, &owner.token);
        let mut admin = world.admin();
        async move { admin.list_users(request).await }
    };
    let emails = |answer: pb::ListUsersResponse| {
        let emails: Vec<String> = answer.users.into_iter().map(|user| user.email).collect();
        (answer.total, emails.join(" "))
    };
    let everyone = list(None, None, "", "").await.unwrap().into_inner();
    assert_eq!((everyone.limit, everyone.offset), (Some(100), Some(0)));
    assert_eq!(
        emails(everyone),
        (
            3,
            "owner@example.com ada@example.com bob@example.com".to_owned()
        )
    );
    for (limit, offset, value, field, total, found) in [
        (Some(1), Some(1), "", "", 3, "ada@example.com"),
        (None, None, "ADA@", "", 1, "ada@example.com"),
        (None, None, "100%", "name", 1, "ada@example.com"),
        (None, None, "bob_B", "name", 1, "bob@example.com"),
        (None, None, "%", "email", 0, ""),
        (None, None, "_", "email", 0, ""),
        (None, None, "' OR 1=1 --", "email", 0, ""),
    ] {
        let answer = list(limit, offset, value, field)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(emails(answer), (total, found.to_owned()), "{value}");
    }
    for (limit, value, field) in [
        (Some(501), "", ""),
        (Some(0), "", ""),
        (None, "x", "password_hash"),
        (None, "\0", ""),
    ] {
        assert_eq!(
            refused(list(limit, None, value, field).await).0,
            "VALIDATION_ERROR"
        );
    }
    let message = pb::CreateUserRequest {
        name: "Again".into(),
        email: "ADA@example.com".into(),
        password: PASSWORD.into(),
    };
    let again = world
        .admin()
        .create_user(with_bearer(message, &owner.token))
        .await;
    assert_eq!(refused(again).0, "USER_ALREADY_EXISTS");
}

fn set_password(user_id: &str, by: &Someone) -> tonic::Request<pb::SetUserPasswordRequest> {
    let message = pb::SetUserPasswordRequest {
        user_id: user_id.to_owned(),
        new_password: "another password".to_owned(),
    };
    with_bearer(message, &by.token)
}

async fn setting_a_password_ends_sessions_and_waits(world: World) {
    let owner = world.sign_up("owner@example.com").await;
    let ada = world.sign_up("ada@example.com").await;
    world.exchange(&ada.token).await.unwrap();
    for _ in 0..6 {
        world
            .try_sign_in("ada@example.com", "not the password")
            .await
            .unwrap_err();
    }
    world
        .admin()
        .set_user_password(set_password(&ada.id, &owner))
        .await
        .unwrap();
    world.assert_ended(&ada.token).await;
    world
        .try_sign_in("ada@example.com", "another password")
        .await
        .unwrap();
    let old = world
        .try_sign_in("ada@example.com", PASSWORD)
        .await
        .unwrap_err();
    assert_eq!(old.reason(), Reason::InvalidEmailOrPassword);
    for missing in ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "", "x\0"] {
        let answer = world
            .admin()
            .set_user_password(set_password(missing, &owner))
            .await;
        assert_eq!(refused(answer), ("NOT_FOUND", "USER_NOT_FOUND".to_owned()));
    }
    let mut short = set_password(&ada.id, &owner);
    short.get_mut().new_password = "short".into();
    assert_eq!(
        refused(world.admin().set_user_password(short).await).0,
        "PASSWORD_TOO_SHORT"
    );
    assert_eq!(world.audited("password_set").await, 1);
}

async fn nobody_sets_the_password_of_someone_with_more_rights(world: World) {
    let owner = world.sign_up("owner@example.com").await;
    let helpdesk = world.sign_up("helpdesk@example.com").await;
    let builder = world.sign_up("builder@example.com").await;
    let member = world.sign_up("member@example.com").await;
    world.data.grant(&helpdesk.id, &["manage_users"]);
    world.data.grant(&builder.id, &["manage_metadata"]);
    for stronger in [&owner, &builder] {
        let answer = world
            .admin()
            .set_user_password(set_password(&stronger.id, &helpdesk))
            .await;
        assert_eq!(
            refused(answer),
            ("PERMISSION_DENIED", "ESCALATION".to_owned())
        );
        assert!(world.exchange(&stronger.token).await.is_ok());
    }
    world
        .admin()
        .set_user_password(set_password(&member.id, &helpdesk))
        .await
        .unwrap();
}

fn ban(user_id: &str, by: &Someone, expires_in: Option<u32>) -> tonic::Request<pb::BanUserRequest> {
    let message = pb::BanUserRequest {
        user_id: user_id.to_owned(),
        ban_reason: Some("spam".to_owned()),
        ban_expires_in: expires_in,
    };
    with_bearer(message, &by.token)
}

async fn banning_ends_sessions_and_keeps_out_until_it_lapses(world: World) {
    let owner = world.sign_up("owner@example.com").await;
    let ada = world.sign_up("ada@example.com").await;
    world.exchange(&ada.token).await.unwrap();
    let user = world
        .admin()
        .ban_user(ban(&ada.id, &owner, None))
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!(
        (user.banned, user.ban_reason.as_deref()),
        (Some(true), Some("spam"))
    );
    world.assert_ended(&ada.token).await;
    assert!(
        world
            .data
            .state()
            .resolved
            .last()
            .unwrap()
            .0
            .profile
            .as_ref()
            .unwrap()
            .disabled
    );
    let refusal = world
        .try_sign_in("ada@example.com", PASSWORD)
        .await
        .unwrap_err();
    assert_eq!(
        (refusal.reason(), refusal.detail("until")),
        (Reason::BannedUser, None)
    );
    assert!(!refusal.envelope().to_string().contains("spam"));
    // Who does not know the password does not learn of the ban.
    let miss = world
        .try_sign_in("ada@example.com", "not the password")
        .await
        .unwrap_err();
    assert_eq!(miss.reason(), Reason::InvalidEmailOrPassword);

    let request = with_bearer(
        pb::UnbanUserRequest {
            user_id: ada.id.clone(),
        },
        &owner.token,
    );
    let user = world
        .admin()
        .unban_user(request)
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!((user.banned, user.ban_reason), (Some(false), None));
    let again = world.sign_in("ada@example.com").await;

    world
        .admin()
        .ban_user(ban(&ada.id, &owner, Some(3600)))
        .await
        .unwrap();
    world.exchange(&again.token).await.unwrap_err();
    let refusal = world
        .try_sign_in("ada@example.com", PASSWORD)
        .await
        .unwrap_err();
    assert!(refusal.detail("until").is_some());
    let past = clock::now() - Duration::SECOND;
    world
        .sql(
            "UPDATE auth_user SET ban_expires_at = $1 WHERE banned",
            vec![past.into()],
        )
        .await;
    world.sign_in("ada@example.com").await;
    assert_eq!(
        refused(world.admin().ban_user(ban(&ada.id, &owner, Some(0))).await).0,
        "VALIDATION_ERROR"
    );
    assert_eq!(
        refused(world.admin().ban_user(ban("nobody", &owner, None)).await).0,
        "NOT_FOUND"
    );
    assert_eq!(
        (
            world.audited("user_banned").await,
            world.audited("user_unbanned").await
        ),
        (2, 1)
    );
}

async fn removing_ends_everything_but_the_audit(world: World) {
    let owner = world.sign_up("owner@example.com").await;
    let ada = world.sign_up("ada@example.com").await;
    let identity_token = world.exchange(&ada.token).await.unwrap();
    let remove = || {
        with_bearer(
            pb::RemoveUserRequest {
                user_id: ada.id.clone(),
            },
            &owner.token,
        )
    };
    assert!(
        world
            .admin()
            .remove_user(remove())
            .await
            .unwrap()
            .into_inner()
            .success
    );
    world.assert_ended(&ada.token).await;
    let request = with_bearer(pb::ListSessionsRequest {}, &identity_token);
    assert_eq!(
        refused(world.auth().list_sessions(request).await).0,
        "UNAUTHENTICATED"
    );
    let gone = world
        .try_sign_in("ada@example.com", PASSWORD)
        .await
        .unwrap_err();
    assert_eq!(gone.reason(), Reason::InvalidEmailOrPassword);
    assert_eq!(world.data.state().removed, std::slice::from_ref(&ada.id));
    assert_eq!(world.count("SELECT count(*) FROM auth_account").await, 1);
    assert_eq!(
        refused(world.admin().remove_user(remove()).await).0,
        "NOT_FOUND"
    );
    assert_eq!(world.audited("user_removed").await, 1);
    // The address is free again, and a newcomer is not the owner.
    let newcomer = world.sign_up("ada@example.com").await;
    assert_ne!(newcomer.id, ada.id);
    assert_eq!(world.audited("owner_claimed").await, 1);
}

async fn the_owner_and_oneself_cannot_be_banned_or_removed(world: World) {
    let owner = world.sign_up("owner@example.com").await;
    let helpdesk = world.sign_up("helpdesk@example.com").await;
    world.data.grant(&helpdesk.id, &["manage_users"]);
    for (by, whom, reason) in [
        (&helpdesk, &owner, "LAST_ADMIN"),
        (&owner, &owner, "LAST_ADMIN"),
        (&helpdesk, &helpdesk, "SELF"),
    ] {
        let banned = error(
            world
                .admin()
                .ban_user(ban(&whom.id, by, None))
                .await
                .unwrap_err(),
        );
        let request = with_bearer(
            pb::RemoveUserRequest {
                user_id: whom.id.clone(),
            },
            &by.token,
        );
        let removed = error(world.admin().remove_user(request).await.unwrap_err());
        for refusal in [banned, removed] {
            assert_eq!(words(&refusal), ("INVALID_STATE", reason.to_owned()));
            assert_eq!(refusal.reason().http_status(), 409);
        }
        assert!(world.exchange(&whom.token).await.is_ok());
    }
}
