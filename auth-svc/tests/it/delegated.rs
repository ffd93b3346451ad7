//! Tokens for work that outlives one: for whom, on whose behalf, and when they end.

use mesh::{clock, identity::Kind};
use proto::auth::v1 as pb;

use crate::{
    identity::proof,
    on_each_database,
    world::{MESH_SECRET, World, refused, with_bearer},
};

on_each_database! {
    a_service_goes_on_for_a_user_and_says_so,
    work_ends_with_the_user_and_while_waiting_with_the_session,
}

async fn service(world: &World, name: &str) -> String {
    let request = proof(MESH_SECRET, name, "delegate", clock::unix_ms());
    let answer = world.identity().issue_service_token(request).await;
    answer.unwrap().into_inner().identity_token
}

fn work(user_id: &str, session_id: &str, while_waiting: bool) -> pb::IssueDelegatedTokenRequest {
    pb::IssueDelegatedTokenRequest {
        user_id: user_id.to_owned(),
        session_id: session_id.to_owned(),
        while_waiting,
        run_id: "run-1".to_owned(),
        reason: "flow".to_owned(),
        ..pb::IssueDelegatedTokenRequest::default()
    }
}

async fn a_service_goes_on_for_a_user_and_says_so(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    world.data.grant(&ada.id, &["ai:chat"]);
    let flow = service(&world, "flow-svc").await;
    let request = with_bearer(work(&ada.id, "", false), &flow);
    let answer = world.identity().issue_delegated_token(request).await;
    let identity = world
        .verify(&answer.unwrap().into_inner().identity_token)
        .await;
    assert_eq!((identity.kind, &identity.subject), (Kind::User, &ada.id));
    assert!(identity.has_permission("ai:chat"));
    let actor = identity.actor.unwrap();
    assert_eq!(
        (&*actor.service, &*actor.run_id, &*actor.reason),
        ("flow-svc", "run-1", "flow")
    );

    // Neither a service without such work nor a user gets one, for whomever.
    let data = service(&world, "data-svc").await;
    let own = world.exchange(&ada.token).await.unwrap();
    for token in [&data, &own] {
        let request = with_bearer(work(&ada.id, "", false), token);
        let answer = world.identity().issue_delegated_token(request).await;
        assert_eq!(refused(answer).0, "PERMISSION_DENIED");
    }
}

async fn work_ends_with_the_user_and_while_waiting_with_the_session(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let own = world.exchange(&ada.token).await.unwrap();
    let session = world.verify(&own).await.session_id.unwrap();
    let flow = service(&world, "flow-svc").await;
    let ask = async |while_waiting| {
        let request = with_bearer(work(&ada.id, &session, while_waiting), &flow);
        world.identity().issue_delegated_token(request).await
    };
    ask(true).await.unwrap();
    let request = with_bearer(pb::SignOutRequest::default(), &ada.token);
    world.auth().sign_out(request).await.unwrap();
    assert_eq!(refused(ask(true).await).0, "PERMISSION_DENIED");
    ask(false).await.unwrap();

    let request = with_bearer(work("nobody", "", false), &flow);
    let answer = world.identity().issue_delegated_token(request).await;
    assert_eq!(refused(answer).0, "PERMISSION_DENIED");
}
