//! Configuration: a commented TOML beside each crate holds the defaults and documents them; a file
//! and the environment (`OBJECTMESH__SECTION__KEY`) override it.

use std::{fmt, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

/// Reads a configuration: `defaults` (TOML), then `file`, then the environment given.
///
/// `…_FILE` names a file that holds the value, for secrets. Environment values are read as JSON
/// where they are a Boolean, a number or an array, else as text.
///
/// # Errors
/// Names the key that is unknown or has the wrong type.
pub fn load<T: DeserializeOwned>(
    defaults: &str,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<T> {
    let settings = merged(defaults, file, environment.into_iter().collect())?;
    T::deserialize(settings).map_err(|error| one_line(&error))
}

/// The settings of all sources; not yet looked at.
fn merged(
    defaults: &str,
    file: Option<&Path>,
    environment: Vec<(String, String)>,
) -> anyhow::Result<Value> {
    let mut settings: Table = defaults.parse().map_err(|error| one_line(&error))?;
    if let Some(file) = file {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| file.display().to_string())?;
        let table = text.parse().map_err(|error| one_line(&error));
        merge(
            &mut settings,
            table.with_context(|| file.display().to_string())?,
        );
    }
    merge(&mut settings, from_environment(environment)?);
    Ok(Value::Table(settings))
}

/// Puts `over` above `settings`, section by section.
fn merge(settings: &mut Table, over: Table) {
    for (key, value) in over {
        match (settings.get_mut(&key), value) {
            (Some(Value::Table(section)), Value::Table(over)) => merge(section, over),
            (_, value) => drop(settings.insert(key, value)),
        }
    }
}

/// TOML's errors point into the text, over several lines.
fn one_line(error: &toml::de::Error) -> anyhow::Error {
    let text = error.to_string();
    let parts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    anyhow::anyhow!("{}", parts.join(" "))
}

/// `OBJECTMESH__AUTH__SECRET=x` → `{"auth":{"secret":"x"}}`.
fn from_environment(environment: Vec<(String, String)>) -> anyhow::Result<Table> {
    let mut root = Table::new();
    for (name, text) in environment {
        let Some(path) = name.strip_prefix("OBJECTMESH__") else {
            continue;
        };
        let path = path.to_ascii_lowercase();
        let (path, text) = match path.strip_suffix("_file") {
            Some(path) => {
                let read = std::fs::read_to_string(&text)
                    .map_err(|error| anyhow::anyhow!("{name}: {text}: {error}"))?;
                (path.to_owned(), read.trim_end().to_owned())
            }
            None => (path, text),
        };
        let value = match serde_json::from_str(&text) {
            Ok(
                value @ (Value::Boolean(_) | Value::Integer(_) | Value::Float(_) | Value::Array(_)),
            ) => value,
            _ => Value::String(text),
        };
        let mut keys: Vec<&str> = path.split("__").collect();
        let Some(last) = keys.pop() else { continue };
        let mut section = &mut root;
        for key in keys {
            let entry = section
                .entry(key.to_owned())
                .or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else {
                anyhow::bail!("{name}: `{key}` is a value and a section at once");
            };
            section = inner;
        }
        section.insert(last.to_owned(), value);
    }
    Ok(root)
}

/// Section `mesh`: what the processes of a mesh share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct MeshSection {
    /// By which a service proves at auth-svc that it belongs to the mesh.
    pub secret: Secret,
}

/// A secret: its text never appears in logs or debug output.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A secret of that text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        auth: Section,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Section {
        secret: Secret,
        limit: u32,
    }

    fn sample(environment: &[(&str, &str)]) -> anyhow::Result<Sample> {
        let environment = environment
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        load("[auth]\nsecret = \"\"\nlimit = 3\n", None, environment)
    }

    #[test]
    fn the_environment_overrides_and_secrets_stay_hidden() {
        let sample = sample(&[("OBJECTMESH__AUTH__SECRET", "hush"), ("PATH", "/bin")]);
        let sample = sample.unwrap();
        assert_eq!(
            (sample.auth.secret.reveal(), sample.auth.limit),
            ("hush", 3)
        );
        assert!(!format!("{sample:?}").contains("hush"));
    }

    #[test]
    fn a_file_overrides_and_is_named_when_it_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("auth.toml");
        let load = || load::<Sample>("[auth]\nsecret = \"\"\nlimit = 3\n", Some(&file), []);
        let missing = format!("{:#}", load().unwrap_err());
        assert!(missing.contains("auth.toml"), "{missing}");
        std::fs::write(&file, "[auth]\nlimit = 5\n").unwrap();
        assert_eq!(load().unwrap().auth.limit, 5);
        std::fs::write(&file, "[auth\nlimit = 5\n").unwrap();
        let broken = format!("{:#}", load().unwrap_err());
        assert!(
            broken.contains("auth.toml") && broken.contains("line 1"),
            "{broken}"
        );
        assert_eq!(broken.lines().count(), 1);
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let unknown = sample(&[("OBJECTMESH__AUTH__LIMITT", "1")]).unwrap_err();
        assert!(unknown.to_string().contains("limitt"), "{unknown}");
        let wrong = sample(&[("OBJECTMESH__AUTH__LIMIT", "many")]).unwrap_err();
        assert!(wrong.to_string().contains("auth.limit"), "{wrong}");
    }
}
