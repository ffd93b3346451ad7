//! Loading an application: the only part of this crate that reads files.
//!
//! Two forms are read, and both end in the same [`Package`]:
//!
//! * a **compiled artifact**, one JSON (or YAML) document, either bare or in an envelope with
//!   `schemaVersion` and `metadata`;
//! * a **directory**, our authoring form:
//!
//! ```text
//! <app>/
//!   manifest.yaml            id, version, name, namespace, label, ... (or manifest.json)
//!   auth.config.yaml         becomes `auth` (or auth.config.json)
//!   objects/ticket.yaml      one item per file; the file stem is the name unless one is written
//!   object_extensions/ views/ pages/ dashboards/ reports/ apps/ themes/
//!   actions/ flows/ workflows/ hooks/ approvals/ jobs/ webhooks/ email_templates/
//!   permissions/ profiles/ positions/ sharing_rules/ policies/
//!   agents/ skills/ tools/
//!   data/account.yaml        seeds: `{object, records}`, or just the list of records
//!   docs/guide.md            documentation pages
//!   translations/ datasets/ mappings/ datasources/ ...
//! ```
//!
//! A folder is named by the plural of a metadata type (old words such as `roles/` too) and may
//! have subfolders; a file may hold one item, a list of items, or several YAML documents. In
//! place of a folder, one file such as `positions.yaml` may hold the whole collection, as a list
//! or as a map keyed by name. `*.ts` and `*.js` files are not executed: each is warned about.
//! Hidden files and anything that is not metadata (`README.md`) are passed over.
//!
//! # Names
//! An item's key is its `name`, else the key or file stem it stands under, else its `id`. A view
//! without any takes `list.data.object`, then `form.data.object`, then the `data.object` of any
//! of its `listViews` or `formViews`, then the one object that declares every field it shows,
//! then `view_<index>`. Seeds take their object, translations their locale or index.

mod artifact;
mod assemble;
mod directory;
mod text;
mod view_name;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::diagnostics::Diagnostic;
use crate::item_type::ItemType;
use crate::package::Package;

/// A package and what was found wrong with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The package, without the parts that could not be used.
    pub package: Package,
    /// Findings, in the order of the items.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why nothing could be loaded at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file or directory.
    #[error("{path}: no such file or directory")]
    NotFound {
        /// What was asked for.
        path: PathBuf,
    },
    /// It is there but cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// What was asked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The artifact is no JSON or YAML.
    #[error("{path}:{line}:{column}: {message}")]
    Syntax {
        /// The artifact.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A directory with neither a manifest nor a folder of metadata.
    #[error(
        "{path}: no application here: expected manifest.yaml, manifest.json or objectstack.json"
    )]
    NotAnApp {
        /// The directory.
        path: PathBuf,
    },
}

/// Loads an application from a directory or an artifact file.
pub fn load_path(path: &Path) -> Result<Loaded, LoadError> {
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LoadError::NotFound {
            path: path.to_path_buf(),
        },
        _ => LoadError::Unreadable {
            path: path.to_path_buf(),
            source,
        },
    })?;
    if metadata.is_dir() {
        return directory::load(path);
    }
    load_file(path)
}

/// Loads an artifact that is in memory; `origin` is the file it came from, for diagnostics.
pub fn load_value(value: Value, origin: Option<&Path>) -> Loaded {
    assemble::assemble(artifact::stack(value, origin))
}

fn load_file(path: &Path) -> Result<Loaded, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|source| LoadError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    match text::parse(path, &text) {
        Ok(value) => Ok(load_value(value, Some(path))),
        Err(error) => Err(LoadError::Syntax {
            path: path.to_path_buf(),
            line: error.line,
            column: error.column,
            message: error.message,
        }),
    }
}

/// What both forms are read into before anything is understood.
#[derive(Default)]
struct Stack {
    manifest: Value,
    manifest_file: Option<PathBuf>,
    items: Vec<Raw>,
    extensions: Vec<Raw>,
    auth: Option<Value>,
    extra: Map<String, Value>,
    diagnostics: Vec<Diagnostic>,
}

/// An item as found.
struct Raw {
    /// For extensions, `Object`.
    item_type: ItemType,
    /// The map key or file stem it stands under.
    key: Option<String>,
    /// Its position among the entries of its collection.
    index: usize,
    value: Value,
    file: Option<PathBuf>,
    /// Path of the collection: `objects`.
    collection: String,
}

impl Raw {
    fn path(&self, name: Option<&str>) -> String {
        match name {
            Some(name) => format!("{}.{name}", self.collection),
            None => format!("{}[{}]", self.collection, self.index),
        }
    }
}

/// Spreads a collection, a list or a map keyed by name, into items.
fn spread(item_type: ItemType, key: &str, value: Value, file: Option<&Path>, stack: &mut Stack) {
    let raw = |index: usize, key_of_item: Option<String>, value: Value| Raw {
        item_type,
        key: key_of_item,
        index,
        value,
        file: file.map(Path::to_path_buf),
        collection: key.to_owned(),
    };
    match value {
        Value::Array(list) => {
            let items = list.into_iter().enumerate();
            stack.items.extend(items.map(|(i, v)| raw(i, None, v)));
        }
        Value::Object(map) => {
            let items = map.into_iter().enumerate();
            let items = items.map(|(i, (name, v))| raw(i, Some(name), v));
            stack.items.extend(items);
        }
        Value::Null => {}
        other => stack.diagnostics.push(
            Diagnostic::error(
                "INVALID_COLLECTION",
                key,
                format!("expected a list, found {}", crate::reader::kind(&other)),
            )
            .with_hint("write a list of items")
            .with_file(file.map(Path::to_path_buf)),
        ),
    }
}
