//! The demo users: created through the same doors as everybody.

use anyhow::Context as _;
use mesh::{Link, ctx::set_bearer};
use proto::{
    auth::v1::{
        CreateUserRequest, ListUsersRequest, SignInEmailRequest, SignUpEmailRequest,
        auth_service_client::AuthServiceClient, user_admin_service_client::UserAdminServiceClient,
    },
    data::v1::{CreateRecordRequest, record_service_client::RecordServiceClient},
};
use tonic::{Code, Request};

use crate::{compose::Mesh, demo};

/// Password of every demo user. Fine for a mesh on loopback with generated data.
pub const PASSWORD: &str = "objectmesh-demo";

/// Creates the demo users that are missing; answers their ids in the order of [`demo::users`].
///
/// # Errors
/// When a service refuses.
pub async fn ensure(mesh: &Mesh) -> anyhow::Result<Vec<String>> {
    let users = demo::users();
    let [admin, others @ ..] = &users;
    let mut auth = AuthServiceClient::new(mesh.auth_link.clone());
    let token = match sign_in(&mesh.auth_link, admin.email).await? {
        Some(token) => token,
        None => {
            let request = SignUpEmailRequest {
                name: admin.name.to_owned(),
                email: admin.email.to_owned(),
                password: PASSWORD.to_owned(),
                ..SignUpEmailRequest::default()
            };
            let answer = auth
                .sign_up_email(request)
                .await
                .context("creating the demo administrator")?;
            answer
                .into_inner()
                .token
                .context("sign-up gave no session")?
        }
    };
    let mut ids = vec![user_id(&mesh.auth_link, &token, admin.email).await?];
    for user in others {
        let request = CreateUserRequest {
            name: user.name.to_owned(),
            email: user.email.to_owned(),
            password: PASSWORD.to_owned(),
        };
        let mut admin_client = UserAdminServiceClient::new(mesh.auth_link.clone());
        match admin_client.create_user(bearer(request, &token)).await {
            Ok(answer) => ids.push(
                answer
                    .into_inner()
                    .user
                    .map(|user| user.id)
                    .unwrap_or_default(),
            ),
            Err(status) if status.code() == Code::AlreadyExists => {
                ids.push(user_id(&mesh.auth_link, &token, user.email).await?);
            }
            Err(status) => return Err(status).context("creating the demo users"),
        }
        let id = ids.last().cloned().unwrap_or_default();
        // The sets are the example's: another app may not have them.
        let registry = mesh.rooms.catalog.current();
        let permission_set = user
            .permission_set
            .filter(|name| registry.permission_set(name).is_some());
        let assignments = [
            ("sys_user_permission_set", "permission_set", permission_set),
            ("sys_user_position", "position", user.position),
        ];
        for (object, field, value) in assignments {
            if let Some(value) = value {
                assign(&mesh.data_link, &token, object, &id, field, value).await?;
            }
        }
    }
    data_svc::organization::add_members(&mesh.rooms.kernel, &ids).await?;
    Ok(ids)
}

async fn assign(
    data: &Link,
    token: &str,
    object: &str,
    user_id: &str,
    field: &str,
    value: &str,
) -> anyhow::Result<()> {
    let record = serde_json::json!({"user_id": user_id, field: value}).to_string();
    let request = CreateRecordRequest {
        object: object.to_owned(),
        record: record.into(),
        idempotency_key: String::new(),
    };
    match RecordServiceClient::new(data.clone())
        .create_record(bearer(request, token))
        .await
    {
        Ok(_) => Ok(()),
        // The unique index says that it is assigned already.
        Err(status) if status.code() == Code::AlreadyExists => Ok(()),
        Err(status) => Err(status).context("assigning rights to the demo users"),
    }
}

/// A new session; `None` when there is no such user.
///
/// # Errors
/// When auth-svc does not answer.
pub async fn sign_in(auth: &Link, email: &str) -> anyhow::Result<Option<String>> {
    let request = SignInEmailRequest {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        ..SignInEmailRequest::default()
    };
    match AuthServiceClient::new(auth.clone())
        .sign_in_email(request)
        .await
    {
        Ok(answer) => Ok(Some(answer.into_inner().token)),
        Err(status) if status.code() == Code::Unauthenticated => Ok(None),
        Err(status) => Err(status).context("signing in"),
    }
}

async fn user_id(auth: &Link, token: &str, email: &str) -> anyhow::Result<String> {
    let request = ListUsersRequest {
        search_value: email.to_owned(),
        search_field: "email".to_owned(),
        ..ListUsersRequest::default()
    };
    let users = UserAdminServiceClient::new(auth.clone())
        .list_users(bearer(request, token))
        .await?
        .into_inner()
        .users;
    let user = users.into_iter().find(|user| user.email == email);
    Ok(user
        .with_context(|| format!("there is no user {email}"))?
        .id)
}

fn bearer<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    set_bearer(&mut request, token);
    request
}
