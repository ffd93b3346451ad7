//! Which changes of data-svc's records change what identity tokens state: positions, permission
//! sets, system permissions, organisation. (Teams, departments and shares are looked up with each
//! call by data-svc itself.)

use std::collections::HashMap;

use proto::data::v1::Change;
use serde::Deserialize;

use super::revocation::Revocation;

/// The objects whose changes are followed: assignments of one user, and those of many.
pub(crate) const FOLLOWED: [&str; 5] = [
    "sys_user_permission_set",
    "sys_user_position",
    "sys_member",
    "sys_position_permission_set",
    "sys_permission_set",
];
/// How many of these name one user.
const OF_ONE_USER: usize = 3;

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
        let found = FOLLOWED.iter().position(|object| *object == change.object);
        let Some(kind) = found else { continue };
        let assignments = [&change.before, &change.after];
        let assignments = assignments.into_iter().filter(|json| !json.is_empty());
        let named: Result<Vec<Assignment>, _> = assignments
            .map(|json| serde_json::from_slice(json))
            .collect();
        match named {
            // Moved from one user to another, it is about both.
            Ok(named) if kind < OF_ONE_USER && !named.is_empty() => {
                let named = named.into_iter();
                users.extend(named.map(|assignment| (assignment.user_id, change.position)));
            }
            _ => everybody = Some(change.position),
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
