//! Identity tokens: what they state, who gets one, and that no other token passes.

use std::{pin::pin, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mesh::{
    clock,
    error::Reason,
    identity::{AUDIENCE, Claims, Identity, Kind, Purpose, TOKEN_TYPE, Verifier, VerifyError},
};
use proto::auth::v1 as pb;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    on_each_database,
    world::{MESH_SECRET, World, error, refused, secret, with_bearer, words},
};

on_each_database! {
    a_token_states_who_and_with_which_rights,
    a36_forged_tokens_are_refused,
    services_get_tokens_by_a_fresh_proof_only,
    without_a_mesh_secret_no_service_gets_a_token,
    a_user_whose_rights_cannot_be_told_is_neither_let_in_nor_signed_out,
    replicas_that_start_together_share_one_key,
    signing_keys_rotate_and_old_tokens_stay_good,
    exchanges_at_once_ask_data_svc_twice,
}

fn header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn a_token_states_who_and_with_which_rights(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    world
        .data
        .grant(&ada.id, &["manage_users", "ai:chat", "manage_users"]);
    let token = world.exchange(&ada.token).await.unwrap();
    let stated = header(&token);
    assert_eq!(
        (&stated["alg"], &stated["typ"]),
        (&json!("EdDSA"), &json!(TOKEN_TYPE))
    );
    let claims = part(&token, 1);
    assert_eq!(claims["aud"], json!(AUDIENCE));
    let (from, to) = (
        claims["nbf"].as_i64().unwrap(),
        claims["exp"].as_i64().unwrap(),
    );
    assert!(to - from <= 60 && to > clock::unix_ms() / 1000, "{claims}");
    assert!(!claims.to_string().contains(&ada.token));

    let identity = world.verify(&token).await;
    assert_eq!((identity.kind, &identity.subject), (Kind::User, &ada.id));
    assert_eq!(
        (&*identity.name, &*identity.email),
        ("Ada", "ada@example.com")
    );
    assert_eq!(identity.positions, ["agent", "support"]);
    assert_eq!(
        identity.permission_sets,
        ["admin_full_access", "member_default"]
    );
    assert_eq!(identity.system_permissions, ["ai:chat", "manage_users"]);
    assert_eq!(
        (identity.organization_id, identity.key_id, identity.scopes),
        (None, None, None)
    );
    assert!(identity.session_id.is_some());

    let state = world.data.state();
    let (asked, caller) = state.resolved.last().unwrap();
    assert!(asked.platform_owner);
    assert_eq!(asked.profile.as_ref().unwrap().email, "ada@example.com");
    assert_eq!((caller.kind, &*caller.subject), (Kind::Service, "auth-svc"));
    assert_eq!(caller.purpose, Some(Purpose::ResolvePrincipal));
}

/// A token as written by somebody with a key of their own.
fn forge(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

async fn a36_forged_tokens_are_refused(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let real = world.exchange(&ada.token).await.unwrap();
    let keys = world
        .identity()
        .list_signing_keys(pb::ListSigningKeysRequest {})
        .await
        .unwrap()
        .into_inner()
        .keys;
    assert_eq!(keys.len(), 1);
    let (head, claims) = (header(&real), part(&real, 1));
    assert_eq!(head["kid"], json!(keys[0].kid));
    let own_key = SigningKey::from_bytes(&[7; 32]);
    let by_own_key = |text: &[u8]| own_key.sign(text).to_bytes().to_vec();
    let with = |of: &Value, name: &str, value: Value| {
        let mut of = of.clone();
        of[name] = value;
        of
    };
    let (body, signature) = real.rsplit_once('.').unwrap();
    let other_body = forge(&head, &with(&claims, "sub", json!("somebody")), |_| {
        Vec::new()
    });
    let forged = [
        forge(&head, &claims, by_own_key),
        forge(&with(&head, "kid", json!("unknown")), &claims, by_own_key),
        forge(
            &with(&head, "kid", json!("../../etc/passwd")),
            &claims,
            by_own_key,
        ),
        forge(&with(&head, "alg", json!("none")), &claims, |_| Vec::new()),
        forge(&with(&head, "alg", json!("HS256")), &claims, |text| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&keys[0].public_key).unwrap();
            mac.update(text);
            mac.finalize().into_bytes().to_vec()
        }),
        format!("{}{signature}", other_body),
        format!("{body}."),
        format!("{real}x"),
        format!("eyJ{}.x.y", "A".repeat(100_000)),
    ];
    for token in forged {
        let request = with_bearer(pb::ListSessionsRequest {}, &token);
        assert_eq!(
            refused(world.auth().list_sessions(request).await).0,
            "UNAUTHENTICATED",
            "{token}"
        );
        // On public RPCs it is as if nobody called.
        let request = with_bearer(pb::GetSessionRequest::default(), &token);
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
    assert!(
        world
            .auth()
            .list_sessions(with_bearer(pb::ListSessionsRequest {}, &real))
            .await
            .is_ok()
    );

    // Signed by the right key, but not what services take. (The key is only ours in this check.)
    let verifier = Verifier::default();
    verifier
        .set_keys([(
            "own".to_owned(),
            own_key.verifying_key().to_bytes().to_vec(),
        )])
        .unwrap();
    let head = with(&head, "kid", json!("own"));
    let mut fresh = serde_json::to_value(Claims::new(world.verify(&real).await)).unwrap();
    assert!(verifier.verify(&forge(&head, &fresh, by_own_key)).is_ok());
    let now = clock::unix_ms() / 1000;
    for (name, value) in [
        ("aud", json!("elsewhere")),
        ("iss", json!("somebody")),
        ("nbf", json!(now + 60)),
    ] {
        let token = forge(&head, &with(&fresh, name, value), by_own_key);
        assert!(
            matches!(verifier.verify(&token), Err(VerifyError::Invalid)),
            "{name}"
        );
    }
    let token = forge(&with(&head, "typ", json!("JWT")), &fresh, by_own_key);
    assert!(matches!(verifier.verify(&token), Err(VerifyError::Invalid)));
    fresh["exp"] = json!(now - 60);
    let token = forge(&head, &fresh, by_own_key);
    assert!(matches!(verifier.verify(&token), Err(VerifyError::Expired)));
}

pub(crate) fn proof(
    mesh_secret: &str,
    service: &str,
    reason: &str,
    at_ms: i64,
) -> pb::IssueServiceTokenRequest {
    let mut mac = Hmac::<Sha256>::new_from_slice(mesh_secret.as_bytes()).unwrap();
    mac.update(format!("{service}\n{reason}\n{at_ms}").as_bytes());
    let proof = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    pb::IssueServiceTokenRequest {
        service: service.to_owned(),
        proof,
        reason: reason.to_owned(),
        at_ms,
    }
}

async fn services_get_tokens_by_a_fresh_proof_only(world: World) {
    let now = clock::unix_ms();
    let answer = world
        .identity()
        .issue_service_token(proof(MESH_SECRET, "data-svc", "seed", now))
        .await
        .unwrap();
    let token = answer.into_inner().identity_token;
    let identity = world.verify(&token).await;
    let expected = Identity {
        purpose: Some(Purpose::Seed),
        ..identity.clone()
    };
    assert_eq!(
        (identity.kind, &*identity.subject),
        (Kind::Service, "data-svc")
    );
    assert_eq!(identity, expected);
    assert!(identity.system_permissions.is_empty() && identity.permission_sets.is_empty());

    let good = proof(MESH_SECRET, "data-svc", "seed", now);
    let mut other_reason = good.clone();
    other_reason.reason = "resolve_principal".into();
    let mut cut = good.clone();
    cut.proof.truncate(62);
    for bad in [
        proof(
            "another mesh secret that is long enough",
            "data-svc",
            "seed",
            now,
        ),
        proof(MESH_SECRET, "data-svc", "seed", now - 31_000),
        proof(MESH_SECRET, "data-svc", "seed", now + 60_000),
        proof(MESH_SECRET, "evil-svc", "seed", now),
        proof(MESH_SECRET, "data-svc", "because", now),
        proof(MESH_SECRET, "data-svc", "seed", i64::MIN),
        other_reason,
        cut,
        pb::IssueServiceTokenRequest::default(),
    ] {
        assert_eq!(
            refused(world.identity().issue_service_token(bad).await).0,
            "UNAUTHENTICATED"
        );
    }
    assert_eq!(world.audited("service_token_issued").await, 1);
    // A service has no sessions and no rights over users.
    let request = with_bearer(pb::ListSessionsRequest {}, &token);
    assert_eq!(
        refused(world.auth().list_sessions(request).await).0,
        "PERMISSION_DENIED"
    );
    let request = with_bearer(pb::ListUsersRequest::default(), &token);
    assert_eq!(
        refused(world.admin().list_users(request).await).0,
        "PERMISSION_DENIED"
    );
}

async fn without_a_mesh_secret_no_service_gets_a_token(mut world: World) {
    world.restart_with_secret("").await;
    for key in ["", MESH_SECRET] {
        let request = proof(key, "data-svc", "seed", clock::unix_ms());
        assert_eq!(
            refused(world.identity().issue_service_token(request).await).0,
            "UNAUTHENTICATED"
        );
    }
}

async fn a_user_whose_rights_cannot_be_told_is_neither_let_in_nor_signed_out(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    world.data.state().broken = true;
    let refusal = world.exchange(&ada.token).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::ServiceUnavailable);
    let request = with_bearer(pb::GetSessionRequest::default(), &ada.token);
    let refusal = error(world.auth().get_session(request).await.unwrap_err());
    assert_eq!(refusal.reason(), Reason::ServiceUnavailable);
    world.data.state().broken = false;
    assert!(world.exchange(&ada.token).await.is_ok());
}

async fn replicas_that_start_together_share_one_key(world: World) {
    world.sql("DELETE FROM auth_signing_key", vec![]).await;
    let (one, two) = tokio::join!(world.second_replica(), world.second_replica());
    assert_eq!(
        world.count("SELECT count(*) FROM auth_signing_key").await,
        1
    );
    let ada = world.sign_up("ada@example.com").await;
    let request = |token: &str| pb::ExchangeCredentialRequest {
        credential: Some(pb::exchange_credential_request::Credential::Bearer(
            token.to_owned(),
        )),
    };
    let mut identity = pb::identity_service_client::IdentityServiceClient::new(one.auth.clone());
    let answer = identity
        .exchange_credential(request(&ada.token))
        .await
        .unwrap();
    let token = answer.into_inner().identity_token;
    let mut auth = pb::auth_service_client::AuthServiceClient::new(two.auth.clone());
    assert!(
        auth.list_sessions(with_bearer(pb::ListSessionsRequest {}, &token))
            .await
            .is_ok()
    );
}

async fn signing_keys_rotate_and_old_tokens_stay_good(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let old = world.exchange(&ada.token).await.unwrap();
    let long_ago = clock::now() - time::Duration::days(31);
    world
        .sql(
            "UPDATE auth_signing_key SET created_at = $1",
            vec![long_ago.into()],
        )
        .await;
    let keys = || async {
        let answer = world
            .identity()
            .list_signing_keys(pb::ListSigningKeysRequest {})
            .await;
        answer.unwrap().into_inner().keys
    };
    assert_eq!(keys().await.len(), 2);
    // The new key is known, but signs only when everybody has had the time to fetch it.
    let still = world.exchange(&ada.token).await.unwrap();
    assert_eq!(header(&old)["kid"], header(&still)["kid"]);
    let known = clock::now() - time::Duration::minutes(3);
    let sql = "UPDATE auth_signing_key SET created_at = $1 WHERE retired_at IS NULL";
    world.sql(sql, vec![known.into()]).await;
    assert_eq!(keys().await.len(), 2);
    let new = world.exchange(&ada.token).await.unwrap();
    assert_ne!(header(&old)["kid"], header(&new)["kid"]);
    for token in [&old, &new] {
        world.verify(token).await;
    }
    let retired = clock::now() - time::Duration::hours(2);
    let sql = "UPDATE auth_signing_key SET retired_at = $1 WHERE retired_at IS NOT NULL";
    world.sql(sql, vec![retired.into()]).await;
    let left = keys().await;
    assert_eq!(left.len(), 1);
    assert_eq!(header(&new)["kid"], json!(left[0].kid));
}

async fn exchanges_at_once_ask_data_svc_twice(world: World) {
    let ada = world.sign_up("ada@example.com").await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    world.data.state().gate = Some(gate.clone());
    let burst = futures::future::join_all((0..20).map(|_| world.exchange(&ada.token)));
    let mut burst = pin!(burst);
    // The first asks data-svc, which does not answer yet; meanwhile the others come.
    for _ in 0..200 {
        assert!(futures::poll!(&mut burst).is_pending());
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    assert!(burst.await.iter().all(Result::is_ok));
    // They came after the first had begun, so they share a second answer, not the first.
    assert_eq!(world.data.state().resolved.len(), 2);
    let refusals = futures::future::join_all((0..5).map(|_| world.exchange("unknown"))).await;
    assert!(
        refusals
            .iter()
            .all(|answer| words(answer.as_ref().unwrap_err()).0 == "UNAUTHENTICATED")
    );
}

#[tokio::test]
async fn a_node_with_a_wrong_configuration_does_not_start_and_tells_every_problem() {
    let world = World::sqlite().await;
    let mut config = world.config.clone();
    config.secret = secret("short");
    config.session.expires_in_s = 0;
    let peers = auth_svc::Peers {
        auth: mesh::Link::unbound(),
        data: mesh::Link::unbound(),
    };
    let runtime = mesh::process::Runtime::alone(secret(MESH_SECRET));
    let built = auth_svc::build(config, peers, runtime).await;
    let problems = built.err().unwrap().to_string();
    for named in ["auth.secret", "expires_in_s"] {
        assert!(problems.contains(named), "{problems}");
    }
    assert!(!problems.contains("short"), "{problems}");
}
