//! What ends or changes overtakes the identity tokens made before it, on every replica.

use std::time::Duration;

use mesh::{Error, Link, identity::Purpose, service_identity::ServiceIdentity};
use proto::auth::v1::{
    self as pb, RevocationKind, auth_service_client::AuthServiceClient,
    revocation_service_client::RevocationServiceClient,
};

use crate::{
    on_each_database,
    world::{MESH_SECRET, PASSWORD, Someone, World, error, refused, secret, with_bearer, words},
};

on_each_database! {
    what_ends_a_session_overtakes_its_tokens_on_every_replica,
    other_sessions_are_left_alone,
    a_change_of_rights_overtakes_the_users_tokens,
    a_change_counts_once_however_many_replicas_follow,
    missed_changes_overtake_everybody_once,
    a_revision_overtakes_those_whose_rights_it_changed,
    a_data_svc_that_cannot_tell_whose_rights_changed_overtakes_everybody,
    the_feed_tells_where_it_stands_at_once_and_then_what_is_new,
    only_services_that_follow_watch_the_feed,
}

/// The bound within one process is a second; the rest is for a busy machine.
const IN_PROCESS: Duration = Duration::from_secs(3);
/// The bound everywhere.
const EVERYWHERE: Duration = Duration::from_secs(5);

/// Calls as who holds the identity token.
async fn call(auth: &Link, identity_token: &str) -> Result<(), Error> {
    let request = with_bearer(pb::ListSessionsRequest {}, identity_token);
    let mut client = AuthServiceClient::new(auth.clone());
    client
        .list_sessions(request)
        .await
        .map(|_| ())
        .map_err(error)
}

async fn assert_overtaken(auth: &Link, identity_token: &str, within: Duration) {
    let until = tokio::time::Instant::now() + within;
    loop {
        match call(auth, identity_token).await {
            Err(refusal) if words(&refusal).1 == "REVOKED_TOKEN" => {
                assert_eq!(words(&refusal).0, "UNAUTHENTICATED");
                return;
            }
            // Before it is heard: the session is looked up as well.
            Ok(()) | Err(_) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("the token was not refused within {within:?}: {other:?}"),
        }
    }
}

async fn what_ends_a_session_overtakes_its_tokens_on_every_replica(world: World) {
    let other = world.second_replica().await;
    let admin = world.sign_up("admin@example.com").await;
    world.data.grant(&admin.id, &["manage_users"]);
    for end in ["sign-out", "revoke", "password", "ban", "remove"] {
        let email = format!("{end}@example.com");
        let user = world.sign_up(&email).await;
        let token = world.exchange(&user.token).await.unwrap();
        call(&other.auth, &token).await.unwrap();
        end_by(&world, end, &user, &admin).await;
        assert_overtaken(&world.replica.auth, &token, IN_PROCESS).await;
        assert_overtaken(&other.auth, &token, EVERYWHERE).await;
        // On a public RPC it is not taken for nobody: who is signed in must not look signed out.
        let request = with_bearer(pb::GetSessionRequest::default(), &token);
        let mut client = AuthServiceClient::new(other.auth.clone());
        let answer = client.get_session(request).await;
        assert_eq!(refused(answer).1, "REVOKED_TOKEN");
    }
}

async fn end_by(world: &World, how: &str, user: &Someone, admin: &Someone) {
    let (token, by_admin) = (&user.token, &admin.token);
    match how {
        "sign-out" => {
            let request = with_bearer(pb::SignOutRequest {}, token);
            world.auth().sign_out(request).await.map(drop).unwrap();
        }
        "revoke" => {
            let request = with_bearer(pb::RevokeSessionsRequest {}, token);
            world
                .auth()
                .revoke_sessions(request)
                .await
                .map(drop)
                .unwrap();
        }
        "password" => {
            let request = pb::ChangePasswordRequest {
                current_password: PASSWORD.into(),
                new_password: "another long password".into(),
                revoke_other_sessions: None,
            };
            let request = with_bearer(request, token);
            world
                .auth()
                .change_password(request)
                .await
                .map(drop)
                .unwrap();
        }
        "ban" => {
            let request = pb::BanUserRequest {
                user_id: user.id.clone(),
                ..Default::default()
            };
            world
                .admin()
                .ban_user(with_bearer(request, by_admin))
                .await
                .map(drop)
                .unwrap();
        }
        _ => {
            let request = pb::RemoveUserRequest {
                user_id: user.id.clone(),
            };
            world
                .admin()
                .remove_user(with_bearer(request, by_admin))
                .await
                .map(drop)
                .unwrap();
        }
    }
}

async fn other_sessions_are_left_alone(world: World) {
    let one = world.sign_up("ada@example.com").await;
    let two = world.sign_in("ada@example.com").await;
    let (first, second) = (
        world.exchange(&one.token).await.unwrap(),
        world.exchange(&two.token).await.unwrap(),
    );
    let request = with_bearer(pb::RevokeOtherSessionsRequest {}, &two.token);
    world.auth().revoke_other_sessions(request).await.unwrap();
    assert_overtaken(&world.replica.auth, &first, IN_PROCESS).await;
    call(&world.replica.auth, &second).await.unwrap();
}

/// Waits until the changes of data-svc are being followed.
async fn followed(world: &World) {
    let sql = "SELECT count(*) FROM auth_followed WHERE source = 'data-svc changes'";
    for _ in 0..500 {
        if world.count(sql).await == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the changes are not followed");
}

async fn a_change_of_rights_overtakes_the_users_tokens(world: World) {
    let (ada, bob) = (
        world.sign_up("ada@example.com").await,
        world.sign_up("bob@example.com").await,
    );
    followed(&world).await;
    let other = world.second_replica().await;
    let (adas, bobs) = (
        world.exchange(&ada.token).await.unwrap(),
        world.exchange(&bob.token).await.unwrap(),
    );
    let assignment = format!(r#"{{"user_id":"{}"}}"#, ada.id);
    world.data.change("account", &assignment);
    world.data.change("sys_user_permission_set", &assignment);
    assert_overtaken(&world.replica.auth, &adas, EVERYWHERE).await;
    assert_overtaken(&other.auth, &adas, EVERYWHERE).await;
    call(&other.auth, &bobs).await.unwrap();
    // The next token is made after the change, so it is good.
    let fresh = world.exchange(&ada.token).await.unwrap();
    call(&other.auth, &fresh).await.unwrap();

    world
        .data
        .change("sys_position_permission_set", r#"{"position":"x"}"#);
    assert_overtaken(&other.auth, &bobs, EVERYWHERE).await;
    assert_overtaken(&other.auth, &fresh, EVERYWHERE).await;
}

async fn a_change_counts_once_however_many_replicas_follow(world: World) {
    followed(&world).await;
    let _others = (world.second_replica().await, world.second_replica().await);
    for n in 0..20 {
        let assignment = format!(r#"{{"user_id":"u{n}"}}"#);
        world.data.change("sys_user_position", &assignment);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = "SELECT position FROM auth_followed WHERE source = 'data-svc changes'";
    let until = tokio::time::Instant::now() + EVERYWHERE;
    while world.count(told).await < 20 {
        assert!(tokio::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows = "SELECT count(*) FROM auth_revocation WHERE kind = 'user_rights'";
    assert_eq!(world.count(rows).await, 20);
    let distinct = "SELECT count(DISTINCT subject) FROM auth_revocation";
    assert_eq!(world.count(distinct).await, 20);
}

async fn missed_changes_overtake_everybody_once(mut world: World) {
    let ada = world.sign_up("ada@example.com").await;
    followed(&world).await;
    world.data.change("sys_user_position", r#"{"user_id":"x"}"#);
    let token = world.exchange(&ada.token).await.unwrap();
    // data-svc comes back with another database: our position means nothing there.
    {
        let mut state = world.data.state();
        state.changes.clear();
        state.forgotten = 1000;
    }
    world.restart().await;
    assert_overtaken(&world.replica.auth, &token, EVERYWHERE).await;
    let rows = "SELECT count(*) FROM auth_revocation WHERE kind = 'everybody'";
    assert_eq!(world.count(rows).await, 1);
    // And it goes on from there.
    let fresh = world.exchange(&ada.token).await.unwrap();
    let assignment = format!(r#"{{"user_id":"{}"}}"#, ada.id);
    world.data.change("sys_member", &assignment);
    assert_overtaken(&world.replica.auth, &fresh, EVERYWHERE).await;
    assert_eq!(world.count(rows).await, 1);
}

/// Waits until that revision of the metadata was taken in.
async fn taken_in(world: &World, revision: i64) {
    let sql =
        "SELECT coalesce(max(position), -1) FROM auth_followed WHERE source = 'data-svc metadata'";
    for _ in 0..500 {
        if world.count(sql).await == revision {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("revision {revision} was not taken in");
}

async fn a_revision_overtakes_those_whose_rights_it_changed(world: World) {
    let (ada, bob) = (
        world.sign_up("ada@example.com").await,
        world.sign_up("bob@example.com").await,
    );
    taken_in(&world, 0).await;
    let (adas, bobs) = (
        world.exchange(&ada.token).await.unwrap(),
        world.exchange(&bob.token).await.unwrap(),
    );
    let revoked = "SELECT count(*) FROM auth_revocation";
    world.data.revise(&[]);
    taken_in(&world, 1).await;
    assert_eq!(world.count(revoked).await, 0);

    world.data.revise(&[&ada.id]);
    assert_overtaken(&world.replica.auth, &adas, EVERYWHERE).await;
    call(&world.replica.auth, &bobs).await.unwrap();
    assert_eq!(world.count(revoked).await, 1);
    let fresh = world.exchange(&ada.token).await.unwrap();
    call(&world.replica.auth, &fresh).await.unwrap();

    world.data.revise_for_everybody();
    assert_overtaken(&world.replica.auth, &bobs, EVERYWHERE).await;
    assert_overtaken(&world.replica.auth, &fresh, EVERYWHERE).await;
    assert_eq!(world.count(revoked).await, 2);
}

async fn a_data_svc_that_cannot_tell_whose_rights_changed_overtakes_everybody(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    world.data.state().tells_whose_rights_changed = false;
    taken_in(&world, 0).await;
    let token = world.exchange(&ada.token).await.unwrap();
    world.data.revise(&[]);
    assert_overtaken(&world.replica.auth, &token, EVERYWHERE).await;
}

fn gateway(world: &World, mesh_secret: &str) -> ServiceIdentity {
    ServiceIdentity::new("gateway", world.replica.auth.clone(), secret(mesh_secret))
}

async fn the_feed_tells_where_it_stands_at_once_and_then_what_is_new(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let service = gateway(&world, MESH_SECRET);
    let watch = async |after_position| {
        let message = pb::WatchRevocationsRequest { after_position };
        let purpose = Purpose::FollowRevocations;
        let request = service.stream_request(purpose, message).await.unwrap();
        let mut client = RevocationServiceClient::new(world.replica.auth.clone());
        client
            .watch_revocations(request)
            .await
            .unwrap()
            .into_inner()
    };
    let mut feed = watch(0).await;
    let first = feed.message().await.unwrap().unwrap();
    assert_eq!((first.position, first.revocations.len()), (0, 0));
    // Without news it says that it lives.
    let beat = tokio::time::timeout(Duration::from_secs(3), feed.message()).await;
    assert_eq!(beat.unwrap().unwrap().unwrap().position, 0);

    let request = with_bearer(pb::SignOutRequest {}, &ada.token);
    world.auth().sign_out(request).await.unwrap();
    let news = loop {
        let message = feed.message().await.unwrap().unwrap();
        if message.position > 0 {
            break message;
        }
    };
    assert_eq!(news.position, 1);
    assert_eq!(news.revocations[0].kind(), RevocationKind::Session);
    // Whoever comes later hears the same, and who knows it does not.
    let again = watch(0).await.message().await.unwrap().unwrap();
    assert_eq!(again, news);
    let known = watch(1).await.message().await.unwrap().unwrap();
    assert_eq!((known.position, known.revocations.len()), (1, 0));
    // Another database than the follower knows: it is told where this one stands.
    let foreign = watch(99).await.message().await.unwrap().unwrap();
    assert_eq!((foreign.position, foreign.revocations.len()), (1, 0));
}

async fn only_services_that_follow_watch_the_feed(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let request = || pb::WatchRevocationsRequest { after_position: 0 };
    let mut client = RevocationServiceClient::new(world.replica.auth.clone());
    let answer = client
        .watch_revocations(with_bearer(request(), &ada.token))
        .await;
    assert_eq!(
        error(answer.map(drop).unwrap_err()).reason().as_wire(),
        "PERMISSION_DENIED"
    );
    let service = gateway(&world, MESH_SECRET);
    let seed = service
        .stream_request(Purpose::Seed, request())
        .await
        .unwrap();
    let answer = client.watch_revocations(seed).await;
    assert_eq!(
        error(answer.map(drop).unwrap_err()).reason().as_wire(),
        "PERMISSION_DENIED"
    );
    let stranger = gateway(&world, "another mesh secret that is long enough");
    let refusal = stranger
        .token(Purpose::FollowRevocations)
        .await
        .unwrap_err();
    assert_eq!(words(&refusal).0, "UNAUTHENTICATED");
    // A token is asked for once and used again.
    let (one, two) = tokio::join!(service.token(Purpose::Seed), service.token(Purpose::Seed));
    assert_eq!(one.unwrap(), two.unwrap());
    let issued = "SELECT count(*) FROM om_audit_log WHERE action = 'service_token_issued'";
    assert_eq!(world.count(issued).await, 1);
}
