//! Password fields are stored as argon2id hashes (docs/reference/field-types.md §2).

use argon2::{Argon2, PasswordHasher as _};
use mesh::{Error, Result};
use metadata::FieldType;

use crate::kernel::model::{cell::Cell, schema::Schema};
use crate::kernel::write::prepare::Cells;

/// Replaces the text of password fields by its hash, on the blocking pool.
///
/// # Errors
/// INTERNAL when hashing fails.
pub(super) async fn hash(schema: &Schema, cells: &mut Cells) -> Result<()> {
    for (column, slot) in schema.columns.iter().zip(&mut cells.0) {
        if column.field.field_type != FieldType::Password {
            continue;
        }
        if let Some(Cell::Text(text)) = slot {
            let text = std::mem::take(text);
            let hashed = tokio::task::spawn_blocking(move || {
                Argon2::default()
                    .hash_password(text.as_bytes())
                    .map(|hash| hash.to_string())
            })
            .await
            .map_err(Error::internal)?
            .map_err(|error| Error::internal(anyhow::anyhow!("argon2: {error}")))?;
            *slot = Some(Cell::Text(hashed));
        }
    }
    Ok(())
}
