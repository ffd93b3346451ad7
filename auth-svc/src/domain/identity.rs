//! What identity tokens state.

use mesh::identity::{ADMIN_PERMISSION_SET, Actor, Identity, Kind, Purpose};

use super::{api_key::ApiKey, session::Session, user::User};

/// A user's rights, as data-svc resolved them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// The organisation in which the user acts.
    pub organization_id: Option<String>,
    /// Positions held.
    pub positions: Vec<String>,
    /// Permission sets that apply.
    pub permission_sets: Vec<String>,
    /// System permission keys.
    pub system_permissions: Vec<String>,
}

/// The identity of a user's session.
#[must_use]
pub(crate) fn session_identity(user: &User, session: &Session, rights: Rights) -> Identity {
    Identity {
        session_id: Some(session.id.clone()),
        ..user_identity(user, rights)
    }
}

/// The identity of an API key: its owner's, narrowed to the key's scopes.
#[must_use]
pub(crate) fn key_identity(user: &User, key: &ApiKey, rights: Rights) -> Identity {
    Identity {
        key_id: Some(key.id.clone()),
        scopes: key.scopes.clone(),
        ..user_identity(user, rights)
    }
}

/// The identity of a user for whom a service works.
#[must_use]
pub(crate) fn delegated_identity(user: &User, actor: Actor, rights: Rights) -> Identity {
    Identity {
        actor: Some(actor),
        ..user_identity(user, rights)
    }
}

fn user_identity(user: &User, rights: Rights) -> Identity {
    Identity {
        subject: user.id.clone(),
        name: user.name.clone(),
        email: user.email.clone(),
        organization_id: rights.organization_id,
        positions: sorted(rights.positions),
        permission_sets: sorted(rights.permission_sets),
        system_permissions: sorted(rights.system_permissions),
        ..Identity::nobody(Kind::User)
    }
}

/// The identity of a service that acts for nobody.
#[must_use]
pub(crate) fn service_identity(service: &str, purpose: Purpose) -> Identity {
    Identity {
        subject: service.to_owned(),
        purpose: Some(purpose),
        ..Identity::nobody(Kind::Service)
    }
}

/// Positions and permission sets together: what Better Auth's clients know as roles.
#[must_use]
pub(crate) fn roles(identity: &Identity) -> Vec<String> {
    sorted([identity.positions.as_slice(), &identity.permission_sets].concat())
}

/// Whether someone with `own` rights may take over an account with `other` rights without gaining
/// any system permission.
#[must_use]
pub(crate) fn covers(own: &Identity, other: &Rights) -> bool {
    let other_is_admin = other
        .permission_sets
        .iter()
        .any(|set| set == ADMIN_PERMISSION_SET);
    own.is_admin()
        || (!other_is_admin
            && other
                .system_permissions
                .iter()
                .all(|key| own.has_permission(key)))
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(sets: &[&str], keys: &[&str]) -> Rights {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Rights {
            organization_id: None,
            positions: vec!["sales".into(), "rep".into()],
            permission_sets: names(sets),
            system_permissions: names(keys),
        }
    }

    fn identity(rights: Rights) -> Identity {
        Identity {
            kind: Kind::User,
            positions: rights.positions,
            permission_sets: rights.permission_sets,
            system_permissions: rights.system_permissions,
            ..service_identity("u", Purpose::Seed)
        }
    }

    #[test]
    fn roles_are_positions_and_sets_once_each() {
        assert_eq!(
            roles(&identity(rights(&["sales", "a"], &[]))),
            ["a", "rep", "sales"]
        );
    }

    #[test]
    fn nobody_takes_over_more_rights_than_they_hold() {
        let admin = || rights(&["admin_full_access"], &[]);
        let helpdesk = || rights(&["helpdesk"], &["manage_users", "ai:admin"]);
        assert!(covers(&identity(admin()), &helpdesk()) && covers(&identity(admin()), &admin()));
        let own = identity(helpdesk());
        assert!(!covers(&own, &admin()));
        assert!(covers(&own, &rights(&["x"], &["ai:chat"])));
        assert!(!covers(&own, &rights(&["x"], &["manage_metadata"])));
    }
}
