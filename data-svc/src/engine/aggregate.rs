//! Aggregations: the same door as lists, with groups instead of records.

use std::sync::Arc;

use mesh::{Error, Result, db::DbError};
use metadata::ApiMethod;

use super::{Engine, Record, Work, read::Page};
use crate::{
    domain::{
        policy::{Grant, Operation},
        query::{self, Query},
    },
    store::{aggregate, bind},
};

/// Most groups of one query, before `having` and pages.
const GROUPS_MAX: u64 = 10_000;

impl Engine {
    /// Whether the caller may aggregate an object at all (spec/objectql.md §7): objects that offer
    /// either `aggregate` or `list`.
    ///
    /// # Errors
    /// NOT_FOUND, METHOD_NOT_ALLOWED, PERMISSION_DENIED.
    pub fn check_aggregable(&self, work: &Work, object: &str) -> Result<Arc<Grant>> {
        let grant = work
            .open(object, ApiMethod::Aggregate, Operation::Read)
            .or_else(|_| work.open(object, ApiMethod::List, Operation::Read));
        grant.map(Arc::new)
    }

    /// Answers a query with groups or aggregations: a row a group.
    ///
    /// # Errors
    /// As spec/objectql.md §11; VALIDATION_ERROR `INVALID_QUERY` for more than 10,000 groups.
    pub async fn aggregate(&self, work: &Work, grant: &Arc<Grant>, query: &Query) -> Result<Page> {
        let plan = query::aggregate::plan(query, grant, work)?;
        let dialect = self.db.dialect();
        let statement = aggregate::groups(&plan, GROUPS_MAX + 1, dialect);
        let keys = plan.keys.iter().map(query::aggregate::Key::storage);
        let measures = plan.measures.iter();
        let storages: Vec<_> = keys
            .chain(measures.map(query::aggregate::Measure::storage))
            .collect();
        let groups = self
            .db
            .query(statement, move |row| {
                let cells = storages.iter().enumerate();
                cells
                    .map(|(index, storage)| bind::read_cell(row, index, *storage, dialect))
                    .collect::<Result<Vec<_>, DbError>>()
            })
            .await?;
        if groups.len() as u64 > GROUPS_MAX {
            let message = format!("The query has more than {GROUPS_MAX} groups");
            return Err(Error::validation("INVALID_QUERY", message)
                .with("parameter", "groupBy")
                .with("limit", GROUPS_MAX)
                .with("hint", "group by less, or filter more"));
        }
        let (rows, total) = plan.page(groups);
        let items = rows.into_iter().map(|json| Record {
            id: String::new(),
            version: 0,
            json,
        });
        Ok(Page {
            items: items.collect(),
            total: plan.count.then(|| i64::try_from(total).unwrap_or(i64::MAX)),
            next_cursor: None,
        })
    }

    /// Answers any query: records, or groups of them.
    ///
    /// # Errors
    /// As [`Engine::list`] and [`Engine::aggregate`].
    pub async fn answer_query(&self, work: &Work, object: &str, query: Query) -> Result<Page> {
        if !query.is_aggregate() {
            return self.list(work, object, query).await;
        }
        let grant = self.check_aggregable(work, object)?;
        self.aggregate(work, &grant, &query).await
    }
}
