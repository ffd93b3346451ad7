//! What kind of change a model proposes.

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// A new record.
    CreateRecord,
    /// Other values in a record.
    UpdateRecord,
    /// The end of a record.
    DeleteRecord,
    /// What an action of the app does.
    Action,
    /// What a flow of the app does.
    Flow,
}

impl ChangeKind {
    const ALL: [Self; 5] = [
        Self::CreateRecord,
        Self::UpdateRecord,
        Self::DeleteRecord,
        Self::Action,
        Self::Flow,
    ];

    /// The word that is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CreateRecord => "create_record",
            Self::UpdateRecord => "update_record",
            Self::DeleteRecord => "delete_record",
            Self::Action => "action",
            Self::Flow => "flow",
        }
    }

    /// The kind of that word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The kind of a change that was stored before kinds were: the tools over records have fixed
    /// names, those of actions and flows begin with `action_` and `flow_`.
    pub(crate) fn of_tool(name: &str) -> Self {
        match name {
            "create_record" => Self::CreateRecord,
            "update_record" => Self::UpdateRecord,
            "delete_record" => Self::DeleteRecord,
            flow if flow.starts_with("flow_") => Self::Flow,
            _ => Self::Action,
        }
    }

    /// Whether it writes a record by itself: its input names the fields, and its result is the record.
    pub(crate) fn writes_record(self) -> bool {
        match self {
            Self::CreateRecord | Self::UpdateRecord | Self::DeleteRecord => true,
            Self::Action | Self::Flow => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for kind in ChangeKind::ALL {
            assert_eq!(ChangeKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(ChangeKind::parse("archive_record"), None);
    }

    #[test]
    fn old_rows_are_told_by_whole_names() {
        for (tool, kind) in [
            ("create_record", ChangeKind::CreateRecord),
            ("update_record", ChangeKind::UpdateRecord),
            ("delete_record", ChangeKind::DeleteRecord),
            ("action_archive_record", ChangeKind::Action),
            ("action_delete_record", ChangeKind::Action),
            ("action_flow_on", ChangeKind::Action),
            ("flow_create_record", ChangeKind::Flow),
        ] {
            assert_eq!(ChangeKind::of_tool(tool), kind, "{tool}");
        }
    }
}
