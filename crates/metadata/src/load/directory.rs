//! The authoring form: a directory of small files. See the module above for its layout.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{LoadError, Loaded, Raw, Stack, artifact, assemble, load_file, spread, text};
use crate::diagnostics::Diagnostic;
use crate::item_type::ItemType;
use crate::naming;

/// Deepest nesting of folders below a type's folder; a symbolic link may lead in a circle.
const DEPTH_MAX: usize = 8;

pub(super) fn load(root: &Path) -> Result<Loaded, LoadError> {
    let entries = list(root).map_err(|source| LoadError::Unreadable {
        path: root.to_path_buf(),
        source,
    })?;
    let has_manifest = entries
        .iter()
        .any(|path| stem(path) == "manifest" && is_data(path));
    let has_folder = entries
        .iter()
        .any(|path| path.is_dir() && folder_type(&file_name(path)).is_some());
    if !has_manifest {
        for compiled in ["objectstack.json", "dist/objectstack.json"] {
            if root.join(compiled).is_file() {
                return load_file(&root.join(compiled));
            }
        }
        if !has_folder {
            return Err(LoadError::NotAnApp {
                path: root.to_path_buf(),
            });
        }
    }
    let mut stack = Stack {
        manifest: json!({}),
        manifest_file: Some(root.to_path_buf()),
        ..Stack::default()
    };
    for path in &entries {
        if path.is_dir() {
            read_top_folder(path, &mut stack);
        } else {
            read_top_file(path, &mut stack);
        }
    }
    if !has_manifest {
        let name = naming::suggestion(&file_name(root));
        stack.manifest = json!({"id": format!("local.{name}"), "name": name});
        stack.diagnostics.push(
            Diagnostic::warning(
                "MANIFEST_MISSING",
                "manifest",
                format!("there is no manifest; the package is called \"local.{name}\""),
            )
            .with_hint("add manifest.yaml with `id`, `name` and `version`")
            .with_file(Some(root.to_path_buf())),
        );
    }
    Ok(assemble::assemble(stack))
}

/// What a top-level folder holds; `None` inside for extensions of objects.
fn folder_type(name: &str) -> Option<Option<ItemType>> {
    match name {
        "object_extensions" | "objectExtensions" | "extensions" => Some(None),
        "seeds" => Some(Some(ItemType::Seed)),
        _ => ItemType::from_collection_key(name).map(Some),
    }
}

fn read_top_folder(path: &Path, stack: &mut Stack) {
    let name = file_name(path);
    match folder_type(&name) {
        Some(item_type) => read_folder(path, &name, item_type, DEPTH_MAX, stack),
        None if matches!(
            name.as_str(),
            "src" | "dist" | "node_modules" | "target" | "assets"
        ) => {}
        None => {
            let folders = ItemType::ALL.into_iter().map(ItemType::plural);
            let hint = match naming::closest(&name, folders) {
                Some(near) => format!("did you mean {near}/?"),
                None => {
                    "name folders by the plural of a metadata type, such as objects/".to_owned()
                }
            };
            let message = format!("folder \"{name}\" is no metadata type; it is passed over");
            let warning = Diagnostic::warning("UNKNOWN_FOLDER", name, message).with_hint(hint);
            stack
                .diagnostics
                .push(warning.with_file(Some(path.to_path_buf())));
        }
    }
}

fn read_top_file(path: &Path, stack: &mut Stack) {
    if warn_about_code(path, stack) || !is_data(path) {
        return;
    }
    let stem = stem(path);
    match stem.as_str() {
        "manifest" => {
            let Some(value) = read_value(path, stack) else {
                return;
            };
            if value.get("manifest").is_some_and(Value::is_object) {
                artifact::read_stack(value, Some(path), stack);
            } else {
                stack.manifest = value;
            }
            stack.manifest_file = Some(path.to_path_buf());
        }
        "auth.config" => stack.auth = read_value(path, stack),
        // Files of the author's tools.
        "package" | "package-lock" | "tsconfig" | "pnpm-lock" | "pnpm-workspace" => {}
        "object_extensions" | "objectExtensions" => {
            if let Some(value) = read_value(path, stack) {
                artifact::read_extensions(value, Some(path), stack);
            }
        }
        _ => {
            let Some(value) = read_value(path, stack) else {
                return;
            };
            match ItemType::from_collection_key(&stem) {
                Some(item_type) => spread(item_type, &stem, value, Some(path), stack),
                None => {
                    stack.extra.insert(stem, value);
                }
            }
        }
    }
}

fn read_folder(
    folder: &Path,
    collection: &str,
    item_type: Option<ItemType>,
    depth: usize,
    stack: &mut Stack,
) {
    let entries = match list(folder) {
        Ok(entries) if depth > 0 => entries,
        Ok(_) => return,
        Err(error) => {
            unreadable(folder, &error.to_string(), stack);
            return;
        }
    };
    for path in entries {
        if path.is_dir() {
            read_folder(&path, collection, item_type, depth - 1, stack);
            continue;
        }
        if warn_about_code(&path, stack) {
            continue;
        }
        if item_type == Some(ItemType::Doc) && has_extension(&path, &["md"]) {
            read_page(&path, collection, stack);
            continue;
        }
        if !is_data(&path) {
            continue;
        }
        let Some(value) = read_value(&path, stack) else {
            continue;
        };
        for raw in items_of_file(&path, collection, item_type, value) {
            match item_type {
                Some(_) => stack.items.push(raw),
                None => stack.extensions.push(raw),
            }
        }
    }
}

/// One item, or each of a list. Under `data/` a list without `records` is the records.
fn items_of_file(
    path: &Path,
    collection: &str,
    item_type: Option<ItemType>,
    value: Value,
) -> Vec<Raw> {
    let raw = |index: usize, key: Option<String>, value: Value| Raw {
        item_type: item_type.unwrap_or(ItemType::Object),
        key,
        index,
        value,
        file: Some(path.to_path_buf()),
        collection: collection.to_owned(),
    };
    match value {
        Value::Array(records)
            if item_type == Some(ItemType::Seed)
                && !records.iter().any(|r| r.get("records").is_some()) =>
        {
            let mut seed = Map::new();
            seed.insert("object".to_owned(), Value::from(stem(path)));
            seed.insert("records".to_owned(), Value::Array(records));
            vec![raw(0, Some(stem(path)), Value::Object(seed))]
        }
        Value::Array(list) => list
            .into_iter()
            .enumerate()
            .map(|(i, value)| raw(i, None, value))
            .collect(),
        value => vec![raw(0, Some(stem(path)), value)],
    }
}

fn read_page(path: &Path, collection: &str, stack: &mut Stack) {
    match fs::read_to_string(path) {
        Ok(content) => stack.items.push(Raw {
            item_type: ItemType::Doc,
            key: Some(stem(path)),
            index: 0,
            value: json!({"name": stem(path), "content": content}),
            file: Some(path.to_path_buf()),
            collection: collection.to_owned(),
        }),
        Err(error) => unreadable(path, &error.to_string(), stack),
    }
}

fn read_value(path: &Path, stack: &mut Stack) -> Option<Value> {
    let content = match fs::read_to_string(path) {
        Ok(content) => content,
        Err(error) => {
            unreadable(path, &error.to_string(), stack);
            return None;
        }
    };
    match text::parse(path, &content) {
        Ok(Value::Null) => {
            stack.diagnostics.push(
                Diagnostic::warning("EMPTY_FILE", "", "the file is empty; it is passed over")
                    .with_hint("fill it or delete it")
                    .with_file(Some(path.to_path_buf())),
            );
            None
        }
        Ok(value) => Some(value),
        Err(error) => {
            stack.diagnostics.push(
                Diagnostic::error(
                    "SYNTAX_ERROR",
                    format!("line {}, column {}", error.line, error.column),
                    format!("{}; the file is left out", error.message),
                )
                .with_hint("check indentation, quotes and brackets at that place")
                .with_file(Some(path.to_path_buf())),
            );
            None
        }
    }
}

fn unreadable(path: &Path, why: &str, stack: &mut Stack) {
    stack.diagnostics.push(
        Diagnostic::error("UNREADABLE_FILE", "", format!("cannot be read: {why}"))
            .with_hint("check its permissions, and that it is UTF-8 text")
            .with_file(Some(path.to_path_buf())),
    );
}

/// True for files of code, which nobody here runs.
fn warn_about_code(path: &Path, stack: &mut Stack) -> bool {
    if !has_extension(path, &["ts", "tsx", "js", "mjs", "cjs", "jsx"]) {
        return false;
    }
    let hint = if file_name(path).starts_with("auth.config") {
        "write the settings into auth.config.yaml".to_owned()
    } else {
        "write it as YAML or JSON; a script goes into `body.source`".to_owned()
    };
    stack.diagnostics.push(
        Diagnostic::warning(
            "NOT_EXECUTED",
            "",
            "code files are not executed; it is passed over",
        )
        .with_hint(hint)
        .with_file(Some(path.to_path_buf())),
    );
    true
}

/// The entries of a folder by name, without hidden ones, so that loading is repeatable.
fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !file_name(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_data(path: &Path) -> bool {
    has_extension(path, &["yaml", "yml", "json"])
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|extension| extensions.contains(&extension))
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
