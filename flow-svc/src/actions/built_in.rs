//! What every object offers as an action (docs/reference/automation.md, "Actions"). An action of the app with the
//! same name comes first.

use data_client::records::{Records, WriteOptions};
use mesh::{Ctx, Error, FieldViolation, Result, error::Reason};
use serde_json::{Value, json};

use super::{Body, Invocation};

/// What a copy does not take over.
const NOT_COPIED: [&str; 8] = [
    "id",
    "version",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "deleted_at",
    "owner_id",
];

/// An action of every object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltIn {
    /// Creates a record.
    Create,
    /// Changes a record.
    Update,
    /// Deletes a record.
    Delete,
    /// Creates a record like another one.
    Clone,
    /// Brings a deleted record back; not built yet.
    Restore,
    /// Opens a record to somebody; not built yet.
    Share,
}

impl BuiltIn {
    /// The one of that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "create" => Some(Self::Create),
            "update" => Some(Self::Update),
            "delete" => Some(Self::Delete),
            "clone" => Some(Self::Clone),
            "restore" => Some(Self::Restore),
            "share" => Some(Self::Share),
            _ => None,
        }
    }
}

pub(super) async fn invoke(
    records: &Records,
    ctx: &Ctx,
    built_in: BuiltIn,
    invocation: Invocation,
) -> Result<Value> {
    let object = invocation.object.as_str();
    let body = Body::read(invocation.body, None, &invocation.record_id)?;
    let key = invocation.key.unwrap_or_default();
    let input = Value::Object(body.input);
    let id = || {
        body.record_id.as_deref().ok_or_else(|| {
            let message = "recordId says which record";
            Error::fields(vec![FieldViolation::new("recordId", "required", message)])
        })
    };
    let once = WriteOptions::once(&key);
    let written = match built_in {
        BuiltIn::Create => records.create(ctx, object, &input, &key).await?,
        BuiltIn::Update => records.update(ctx, object, id()?, &input, once).await?,
        BuiltIn::Delete => {
            let id = id()?;
            records.delete(ctx, object, id, once).await?;
            return Ok(json!({"object": object, "id": id, "success": true}));
        }
        BuiltIn::Clone => {
            let mut copy = records.get(ctx, object, id()?).await?.value;
            if let (Value::Object(copy), Value::Object(changes)) = (&mut copy, input) {
                copy.retain(|field, _| !NOT_COPIED.contains(&field.as_str()));
                copy.extend(changes);
            }
            records.create(ctx, object, &copy, &key).await?
        }
        BuiltIn::Restore => return Err(not_built("restore")),
        BuiltIn::Share => return Err(not_built("share")),
    };
    Ok(written.value)
}

fn not_built(name: &str) -> Error {
    let message = format!("The action `{name}` is not built yet");
    Error::new(Reason::NotImplemented, message).with("feature", name)
}
