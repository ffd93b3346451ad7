//! Which changes of data-svc's records change what identity tokens state: positions, permission
//! sets, system permissions, organisation. (Teams, departments and shares are looked up with each
//! call by data-svc itself.)

use std::collections::HashMap;

use data_client::changes::Change;
use serde::Deserialize;

use super::revocation::Revocation;

/// Objects each of whose records is about one user.
const OF_ONE_USER: [&str; 3] = ["sys_user_permission_set", "sys_user_position", "sys_member"];
/// Objects whose records are about whoever holds something.
const OF_MANY_USERS: [&str; 2] = ["sys_position_permission_set", "sys_permission_set"];

/// The objects whose changes are followed.
pub(crate) fn followed() -> impl Iterator<Item = &'static str> {
    OF_ONE_USER.into_iter().chain(OF_MANY_USERS)
}

#[derive(Deserialize)]
struct Assignment {
    user_id: String,
}

/// What changes revoke, once for each user, at the position of the last change.
#[must_use]
pub(crate) fn revoked(changes: &[Change]) -> Vec<(i64, Revocation)> {
    let mut users: HashMap<String, i64> = HashMap::new();
    let mut everybody = None;
    for change in changes {
        if OF_ONE_USER.contains(&change.object.as_str()) {
            match named(change) {
                Some(named) => users.extend(named.map(|user_id| (user_id, change.position))),
                None => everybody = Some(change.position),
            }
        } else if OF_MANY_USERS.contains(&change.object.as_str()) {
            everybody = Some(change.position);
        }
    }
    let users = users
        .into_iter()
        // Whoever is among everybody needs no entry of their own.
        .filter(|(_, position)| everybody.is_none_or(|all| *position > all))
        .map(|(id, position)| (position, Revocation::UserRights(id)));
    let everybody = everybody.map(|position| (position, Revocation::Everybody));
    let mut all: Vec<_> = users.chain(everybody).collect();
    all.sort_by_key(|(position, _)| *position);
    all
}

/// The users that a change of an assignment is about: both, when it moved from one to another.
/// `None` when it does not say.
fn named(change: &Change) -> Option<impl Iterator<Item = String>> {
    let before: Option<Assignment> = change.before().ok()?;
    let after: Option<Assignment> = change.after().ok()?;
    let named: Vec<_> = before.into_iter().chain(after).collect();
    let is_told = !named.is_empty();
    is_told.then(|| named.into_iter().map(|assignment| assignment.user_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(position: i64, object: &str, before: &str, after: &str) -> Change {
        Change {
            position,
            object: object.to_owned(),
            before: before.to_owned().into(),
            after: after.to_owned().into(),
            ..Change::default()
        }
    }

    fn user(position: i64, id: &str) -> (i64, Revocation) {
        (position, Revocation::UserRights(id.to_owned()))
    }

    #[test]
    fn assignments_concern_their_user_and_a_moved_one_both() {
        let (ann, bob) = (
            r#"{"user_id":"ann"}"#,
            r#"{"user_id":"bob","position":"x"}"#,
        );
        let changes = [
            change(1, "sys_user_permission_set", "", ann),
            change(2, "sys_team_member", "", bob),
            change(3, "sys_member", ann, ann),
            change(4, "sys_user_position", ann, bob),
        ];
        let mut found = revoked(&changes);
        found.sort_by_key(|(_, revocation)| revocation.words().1.to_owned());
        assert_eq!(found, [user(4, "ann"), user(4, "bob")]);
    }

    #[test]
    fn what_names_no_user_concerns_everybody() {
        let ann = r#"{"user_id":"ann"}"#;
        let changes = [
            change(1, "sys_user_position", "", ann),
            change(2, "sys_position_permission_set", "", r#"{"position":"x"}"#),
            change(3, "sys_user_position", ann, ""),
        ];
        assert_eq!(
            revoked(&changes),
            [(2, Revocation::Everybody), user(3, "ann")]
        );
        let odd = [change(9, "sys_member", "", r#"{"user_id":null}"#)];
        assert_eq!(revoked(&odd), [(9, Revocation::Everybody)]);
        assert_eq!(revoked(&[change(1, "account", "", ann)]), []);
    }
}
