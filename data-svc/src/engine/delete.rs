//! Deleting one record, and what hangs on it.

use std::sync::Arc;

use futures::FutureExt as _;
use mesh::{Error, Result};
use metadata::ApiMethod;

use super::{
    Engine, Work,
    apply::{Effect, apply_effects, moved},
    hooks::Moment,
    read::version_of,
    write::ATTEMPTS,
};
use crate::{
    domain::{cell::Cell, policy::Operation, record::prepare::Cells, schema::Schema},
    registry::hooks::HookEvent,
    store::write::{self, Change},
};

/// The outcome of a deletion.
#[derive(Debug, Clone)]
pub struct Deleted {
    /// The object.
    pub object: String,
    /// The record that is gone.
    pub id: String,
}

impl Engine {
    /// Makes a deletion ready that a hook asks for.
    ///
    /// # Errors
    /// Those of [`Engine::delete`].
    pub(super) async fn prepare_delete(
        &self,
        work: &Work,
        object: &str,
        id: &str,
    ) -> Result<Effect> {
        let grant = work.open(object, ApiMethod::Delete, Operation::Delete)?;
        let columns = &grant.schema.columns;
        let before = self
            .reach(work, &grant, Operation::Delete, id, columns)
            .await?;
        let effects = self
            .deletion_hooks(work, &grant.schema, id, &before)
            .await?;
        self.check_last_admin(work, &grant.schema, &before).await?;
        let job = write::Delete {
            version: version_of(columns, &before),
            schema: grant.schema,
            rows: grant.rows,
            id: id.to_owned(),
            before,
        };
        let change = Change::of(work, write::Action::Delete);
        let registry = Arc::clone(&work.registry);
        Ok(Effect::Delete(Box::new(job), effects, registry, change))
    }

    async fn deletion_hooks(
        &self,
        work: &Work,
        schema: &Arc<Schema>,
        id: &str,
        before: &[Cell],
    ) -> Result<Vec<Effect>> {
        let mut effects = Vec::new();
        for event in [HookEvent::BeforeDelete, HookEvent::AfterDelete] {
            let moment = Moment {
                schema,
                event,
                id,
                before: Some(before),
                after: None,
            };
            let input = Cells::none(schema);
            self.after_hooks(work, &moment, &input, &mut effects)
                .await?;
        }
        Ok(effects)
    }

    /// Deletes a record, and what hangs on it.
    ///
    /// # Errors
    /// As spec/data-api.md §5, §6.
    pub async fn delete(
        &self,
        work: &Work,
        object: &str,
        id: &str,
        token: &str,
    ) -> Result<Deleted> {
        let grant = work.open(object, ApiMethod::Delete, Operation::Delete)?;
        let schema = Arc::clone(&grant.schema);
        for _ in 0..ATTEMPTS {
            let before = self
                .reach(work, &grant, Operation::Delete, id, &schema.columns)
                .await?;
            self.check_version(work, &schema, &schema.columns, &before, id, token)
                .await?;
            self.check_last_admin(work, &schema, &before).await?;
            let effects = self.deletion_hooks(work, &schema, id, &before).await?;
            let effects = Arc::new(effects);
            let change = Arc::new(Change::of(work, write::Action::Delete));
            let registry = Arc::clone(&work.registry);
            let job = Arc::new(write::Delete {
                schema: Arc::clone(&schema),
                rows: grant.rows.clone(),
                id: id.to_owned(),
                version: version_of(&schema.columns, &before),
                before,
            });
            let once = work.once.clone();
            let deleted = self
                .db
                .write(move |tx| {
                    let (job, change, registry) =
                        (Arc::clone(&job), Arc::clone(&change), Arc::clone(&registry));
                    let (effects, once) = (Arc::clone(&effects), once.clone());
                    async move {
                        let deleted =
                            super::references::delete(tx, &registry, &job, &change).await?;
                        if deleted {
                            apply_effects(tx, &effects).await?;
                            if let Some(once) = &once {
                                once.claim_or_undo(tx).await?;
                            }
                        }
                        Ok::<_, Error>(deleted)
                    }
                    .boxed()
                })
                .await?;
            if deleted {
                self.changes.wake();
                return Ok(Deleted {
                    object: object.to_owned(),
                    id: id.to_owned(),
                });
            }
        }
        Err(moved(&schema, id))
    }
}
