//! References that must exist.

use std::{collections::BTreeSet, sync::Arc};

use mesh::{FieldViolation, Result};

use super::prepare::{self, Cells, Writer};
use crate::kernel::{
    Kernel, Work,
    access::Grant,
    model::{predicate::Predicate, rights::Operation, schema::Schema},
    store::{select, write::Tie},
};

/// Notes references whose target is not there (or not readable to the writer), and answers which to
/// check again inside the transaction.
///
/// # Errors
/// Those of the database.
pub(super) async fn check(
    kernel: &Kernel,
    work: &Work,
    schema: &Arc<Schema>,
    cells: &Cells,
    writer: Writer,
    problems: &mut Vec<FieldViolation>,
) -> Result<Vec<Tie>> {
    let mut ties = Vec::new();
    // System writes and real apps may dangle.
    if writer == Writer::System {
        return Ok(ties);
    }
    for (name, target, ids) in prepare::references(schema, cells) {
        // Everybody may own their own records, also who may not read the list of users.
        let is_own =
            name == "owner_id" && ids.len() == 1 && work.principal.user_id() == Some(&ids[0]);
        if is_own {
            continue;
        }
        let Some(field) = schema.field(name) else {
            continue;
        };
        let Some(target_schema) = work.registry.schema(target) else {
            problems.push(prepare::reference_not_found(field, target, &ids[0]));
            continue;
        };
        let grant = work.grant(target_schema, Operation::Read);
        // The transaction looks again in any case. Where the writer sees all there is, no hook is to be
        // spared a record that is refused, and nothing else is wrong, it need not be looked for twice.
        let sees_all = matches!(&grant, Ok(grant) if grant.rows == Predicate::True);
        if let ([_], true, true, false) = (
            ids.as_slice(),
            sees_all,
            problems.is_empty(),
            work.registry.hooks.has(schema.name()),
        ) {
            ties.push(Tie {
                field: name.to_owned(),
                object: target.to_owned(),
                ids,
                was_there: false,
            });
            continue;
        }
        let mut visible = match grant {
            Ok(grant) => existing(kernel, &grant, &ids).await?,
            Err(_) => BTreeSet::new(),
        };
        let making = work.making.iter().filter(|(object, _)| object == target);
        visible.extend(making.map(|(_, id)| id.clone()));
        match ids.iter().find(|id| !visible.contains(*id)) {
            Some(id) => problems.push(prepare::reference_not_found(field, target, id)),
            None => ties.push(Tie {
                field: name.to_owned(),
                object: target.to_owned(),
                ids,
                was_there: true,
            }),
        }
    }
    Ok(ties)
}

async fn existing(kernel: &Kernel, grant: &Grant, ids: &[String]) -> Result<BTreeSet<String>> {
    let dialect = kernel.db.dialect();
    let (schema, rows) = (&grant.schema, &grant.rows);
    let statement = select::matching_ids(schema, rows, &Predicate::True, ids, dialect);
    let found = kernel
        .db
        .query(statement, |row| Ok(row.req_text(0)?.to_owned()))
        .await?;
    Ok(found.into_iter().collect())
}
