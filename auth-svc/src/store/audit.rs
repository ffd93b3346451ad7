//! The audit log: rows are added, never changed.

use mesh::{
    Result,
    db::{DbError, Statement, Tx},
};

use super::Store;
use crate::domain::audit::Event;

impl Store {
    /// Adds an entry that belongs to no other change.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn note(&self, event: Event) -> Result<()> {
        self.db
            .write(move |tx: &mut Tx| {
                let event = event.clone();
                Box::pin(async move {
                    add(tx, &event).await?;
                    Ok::<_, mesh::Error>(())
                })
            })
            .await
    }
}

/// Adds an entry in the transaction of what it tells.
pub(super) async fn add(tx: &mut Tx, event: &Event) -> Result<(), DbError> {
    let statement = Statement::new(
        "INSERT INTO auth_audit_event (id, at, action, actor, subject, ip_address, user_agent, request_id, detail) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&event.id)
    .bind(event.at)
    .bind(event.action.as_str())
    .bind(event.actor.as_str())
    .bind(event.subject.clone())
    .bind(event.ip_address.clone())
    .bind(event.user_agent.clone())
    .bind(&event.request_id)
    .bind(event.detail.clone());
    tx.execute(statement).await?;
    Ok(())
}
