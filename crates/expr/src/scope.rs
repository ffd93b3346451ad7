//! The data an expression is evaluated over.

use serde_json::Value;
use time::{Date, OffsetDateTime};

/// Names with a meaning of their own, which win over fields and variables of the same name.
pub(crate) const ROOTS: [&str; 9] = [
    "record",
    "previous",
    "input",
    "vars",
    "user",
    "current_user",
    "org",
    "env",
    "result",
];
/// Names that hold the roots: `os.user`, `ctx.record`.
pub(crate) const VIEWS: [&str; 2] = ["os", "ctx"];

/// What an expression can see. A root that is not given is null.
///
/// A bare name is looked for among the roots (`record`, `previous`, `input`, `vars`, `user` with its
/// alias `current_user`, `org`, `env`, `result`, and `os`/`ctx` that hold them all), then the names
/// given to [`Scope::bind`], then the keys of `vars`, then the fields of `record`.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    pub(crate) now: OffsetDateTime,
    roots: Vec<(&'a str, &'a Value)>,
    /// Whether a name that is nowhere is null instead of an error.
    lenient: bool,
}

impl<'a> Scope<'a> {
    /// A scope without data. `now` is what `now()` answers, however long the evaluation lasts.
    #[must_use]
    pub fn new(now: OffsetDateTime) -> Self {
        Self {
            now,
            roots: Vec::new(),
            lenient: false,
        }
    }

    /// The record: its fields are also bare names, and a bare name that nothing holds is then null,
    /// as is every field that the record lacks.
    #[must_use]
    pub fn record(mut self, record: &'a Value) -> Self {
        self.lenient = true;
        self.bind("record", record)
    }

    /// The record before the change.
    #[must_use]
    pub fn previous(self, previous: &'a Value) -> Self {
        self.bind("previous", previous)
    }

    /// What a caller handed in.
    #[must_use]
    pub fn input(self, input: &'a Value) -> Self {
        self.bind("input", input)
    }

    /// The variables of a flow: also bare names, and one that is not set is null.
    #[must_use]
    pub fn vars(mut self, vars: &'a Value) -> Self {
        self.lenient = true;
        self.bind("vars", vars)
    }

    /// The user `{id, email, roles, permissions, …}`, as `user`, `current_user`, `os.user` and
    /// `ctx.user`.
    #[must_use]
    pub fn user(self, user: &'a Value) -> Self {
        self.bind("user", user)
    }

    /// The organisation, as `org` and `os.org`.
    #[must_use]
    pub fn org(self, org: &'a Value) -> Self {
        self.bind("org", org)
    }

    /// The environment, as `env` and `os.env`.
    #[must_use]
    pub fn env(self, env: &'a Value) -> Self {
        self.bind("env", env)
    }

    /// Any other name. The last value given for a name counts.
    #[must_use]
    pub fn bind(mut self, name: &'a str, value: &'a Value) -> Self {
        self.roots.retain(|(known, _)| *known != name);
        self.roots.push((name, value));
        self
    }

    /// Today in UTC.
    pub(crate) fn today(&self) -> Date {
        self.now.to_offset(time::UtcOffset::UTC).date()
    }

    /// A root under its name; null where it is not given, nothing where there is no such root.
    pub(crate) fn root(&self, name: &str) -> Option<Option<&'a Value>> {
        let name = if name == "current_user" { "user" } else { name };
        let given = self.roots.iter().find(|(known, _)| *known == name);
        match given {
            Some((_, value)) => Some(Some(value)),
            None => ROOTS.contains(&name).then_some(None),
        }
    }

    /// What a bare name stands for: `Some(None)` is null.
    pub(crate) fn name(&self, name: &str) -> Option<Option<&'a Value>> {
        if let Some(found) = self.root(name) {
            return Some(found);
        }
        for holder in ["vars", "record"] {
            let holder = self.roots.iter().find(|(known, _)| *known == holder);
            if let Some(value) = holder.and_then(|(_, holder)| holder.get(name)) {
                return Some(Some(value));
            }
        }
        self.lenient.then_some(None)
    }
}
