//! Positions and roles.

use serde_json::Value;

use crate::object::title_case;
use crate::position::Position;
use crate::reader::{Reader, Sink};

pub(crate) fn position(name: &str, value: &Value, path: String, sink: &Sink) -> Option<Position> {
    let reader = Reader::new(value, path, sink)?;
    Some(Position {
        name: name.to_owned(),
        label: reader
            .string(&["label"])
            .unwrap_or_else(|| title_case(name)),
        description: reader.string(&["description"]),
        parent: reader.string(&["parent", "parentPosition", "parentRole", "parent_role"]),
        permission_sets: reader
            .strings(&[
                "permissionSets",
                "permission_sets",
                "permissions",
                "profiles",
            ])
            .unwrap_or_default(),
        package_id: String::new(),
    })
}
