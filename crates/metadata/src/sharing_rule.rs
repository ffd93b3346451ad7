//! Sharing rules: they open the records that meet criteria to more people (docs/reference/security.md, "Sharing
//! rules").

use serde_json::Value;

use crate::diagnostics::Diagnostic;
use crate::expression::{Dialect, Expression};
use crate::reader::{Reader, Sink};

/// Opens records to more people.
#[derive(Debug, Clone, PartialEq)]
pub struct SharingRule {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// One or two sentences.
    pub description: Option<String>,
    /// The object whose records they are.
    pub object: Option<String>,
    /// Which records.
    pub basis: SharingBasis,
    /// To whom. Empty grants nothing.
    pub recipients: Vec<Recipient>,
    /// What they may do then.
    pub access_level: AccessLevel,
    /// Whether it grants anything; true unless written. Nonsense counts as false.
    pub is_active: bool,
}

/// Which records a rule shares.
#[derive(Debug, Clone, PartialEq)]
pub enum SharingBasis {
    /// Those that meet criteria; without any, none.
    Criteria(Option<Criteria>),
    /// Those that somebody owns; without anybody, none.
    Owner(Option<Recipient>),
}

/// What a record must meet.
#[derive(Debug, Clone, PartialEq)]
pub enum Criteria {
    /// A where object.
    Where(Value),
    /// CEL.
    Expression(Expression),
}

/// People: a user, or a kind of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// What `id` names.
    pub kind: RecipientKind,
    /// Id or name.
    pub id: String,
}

/// What a recipient is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientKind {
    /// A user.
    User,
    /// Everybody in a team.
    Team,
    /// Everybody in a department.
    Department,
    /// Whoever holds a position; also where nothing is said.
    Position,
    /// Whoever holds a position, or one below it.
    PositionAndSubordinates,
    /// Everybody in a queue.
    Queue,
    /// A kind that is not known here: nobody is one.
    Other(String),
}

/// What a rule lets people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLevel {
    /// See it; also where nothing is said.
    Read,
    /// Change it too.
    Edit,
}

impl RecipientKind {
    fn parse(word: &str) -> Self {
        match word {
            "user" => RecipientKind::User,
            "team" | "group" => RecipientKind::Team,
            "department" => RecipientKind::Department,
            "position" | "role" => RecipientKind::Position,
            "role_and_subordinates" | "position_and_subordinates" => {
                RecipientKind::PositionAndSubordinates
            }
            "queue" => RecipientKind::Queue,
            other => RecipientKind::Other(other.to_owned()),
        }
    }
}

impl SharingRule {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("sharingRules.{name}"), &sink);
        let rule = reader.map(|reader| Self::read(name, &reader));
        (rule, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let by_owner = reader.string(&["type"]).as_deref() == Some("owner");
        let owner_kind = reader.string(&["ownedByType"]);
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            description: reader.string(&["description"]),
            object: reader.string(&["objectName", "object"]),
            basis: match by_owner {
                true => SharingBasis::Owner(
                    recipients(reader, "ownedBy", owner_kind.as_deref())
                        .into_iter()
                        .next(),
                ),
                false => SharingBasis::Criteria(criteria(reader)),
            },
            recipients: shared_with(reader),
            access_level: match reader.string(&["accessLevel"]).as_deref() {
                Some("edit" | "read_write" | "write" | "full") => AccessLevel::Edit,
                None | Some(_) => AccessLevel::Read,
            },
            is_active: reader.guard(&["active"], true, false),
        }
    }
}

fn criteria(reader: &Reader<'_>) -> Option<Criteria> {
    let keys = ["criteria", "condition"];
    match reader.raw(&keys)? {
        Value::Object(map) if !map.contains_key("source") => {
            let written = Value::Object(map.clone());
            (!map.is_empty()).then_some(Criteria::Where(written))
        }
        Value::Array(list) => {
            let written = Value::Array(list.clone());
            (!list.is_empty()).then_some(Criteria::Where(written))
        }
        _ => reader
            .expression(&keys, Dialect::Cel)
            .map(Criteria::Expression),
    }
}

/// `sharedWith: {type, value}`, a list of them, or `recipientType` and `recipientId`.
fn shared_with(reader: &Reader<'_>) -> Vec<Recipient> {
    let kind = reader.string(&["recipientType"]);
    let key = match reader.raw(&["sharedWith"]) {
        Some(_) => "sharedWith",
        None => "recipientId",
    };
    recipients(reader, key, kind.as_deref())
}

fn recipients(reader: &Reader<'_>, key: &str, kind: Option<&str>) -> Vec<Recipient> {
    let of = |kind: Option<&str>, id: &str| Recipient {
        kind: RecipientKind::parse(kind.unwrap_or("position")),
        id: id.to_owned(),
    };
    let one = |value: &Value| match value {
        Value::String(id) if !id.trim().is_empty() => Some(of(kind, id)),
        Value::Object(map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str);
            let id = text("value").or_else(|| text("id"));
            let id = id.or_else(|| text("name")).unwrap_or_default();
            (!map.is_empty()).then(|| of(text("type").or(kind), id))
        }
        _ => None,
    };
    match reader.raw(&[key]) {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> SharingRule {
        SharingRule::from_value("r", &value).0.unwrap()
    }

    #[test]
    fn criteria_are_an_expression_or_a_filter() {
        let of = |value: Value| match read(json!({"criteria": value})).basis {
            SharingBasis::Criteria(criteria) => criteria,
            SharingBasis::Owner(_) => None,
        };
        assert!(matches!(
            of(json!({"status": "open"})),
            Some(Criteria::Where(_))
        ));
        assert!(matches!(
            of(json!("status == 'open'")),
            Some(Criteria::Expression(_))
        ));
        assert!(matches!(
            of(json!({"dialect": "cel", "source": "a"})),
            Some(Criteria::Expression(_))
        ));
        for nothing in [
            json!({}),
            json!(" "),
            json!([]),
            json!(7),
            json!({"source": ""}),
        ] {
            assert_eq!(of(nothing.clone()), None, "{nothing}");
        }
    }

    #[test]
    fn recipients_in_both_spellings() {
        let agents = Recipient {
            kind: RecipientKind::Position,
            id: "agent".to_owned(),
        };
        for value in [
            json!({"sharedWith": {"type": "role", "value": "agent"}}),
            json!({"sharedWith": [{"type": "position", "value": "agent"}]}),
            json!({"recipientType": "position", "recipientId": "agent"}),
        ] {
            let expected = std::slice::from_ref(&agents);
            assert_eq!(read(value.clone()).recipients, expected, "{value}");
        }
        let owner = read(json!({"type": "owner", "ownedBy": "agent", "active": "perhaps"}));
        assert_eq!(owner.basis, SharingBasis::Owner(Some(agents)));
        assert!(!owner.is_active && owner.access_level == AccessLevel::Read);
    }
}
