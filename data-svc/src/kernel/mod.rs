//! The kernel: the one pipeline to records. Nothing outside of it names the table of an object.
//!
//! **The way in.** A request begins as [`Work`]: one snapshot of the metadata, one principal, one
//! moment. [`Work::open`] finds the object and decides ([`access`]): the [`access::Grant`] says which
//! rows and which fields. From there
//!
//! - a read goes through [`query`]: parse → resolve → plan, then `query/execute` runs the plan and
//!   shapes the answer ([`query::list`], [`query::get`], [`query::answer`], [`query::select`]);
//! - a write goes through [`write`]: prepare → hooks → rules → references → apply. What happens on a
//!   create is `write/create.rs`, from top to bottom; [`write::update`] and [`write::delete`] stand
//!   beside it, [`write::create_all`] takes several at once.
//!
//! Below are [`model`] (plain data), `store` (SQL, private) and [`compile`] (from packages to the
//! snapshot, once for a revision). [`tables`] keeps the objects' tables in step with the snapshot.
//!
//! **Where a room joins in**, and nowhere else: `access::visible` (what narrows or widens the rows
//! that somebody sees is a predicate there, and both its evaluators know it) and
//! [`write::AfterWrite`] (runs in the transaction of every change of a record, whoever makes it).
//!
//! Invariant: one grant decides for every door. One snapshot and one clock for each request.

pub mod access;
pub mod compile;
mod eval;
pub mod model;
pub mod query;
mod store;
pub mod tables;
#[cfg(test)]
mod tests;
mod work;
pub mod write;

use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh::{
    Ctx, Error, Result,
    cache::{Cache, Stay},
    db::Db,
};
use script::LazyPool;

pub use self::work::Work;
use self::{
    access::{Principal, System, SystemReason},
    model::registry::Registry,
    query::{CursorKey, Total},
    write::{AfterWrite, Groups},
};

/// The kernel over one database. Cheap to clone.
#[derive(Clone)]
pub struct Kernel {
    db: Db,
    registry: Arc<ArcSwap<Registry>>,
    cursor_key: Arc<CursorKey>,
    scripts: Arc<LazyPool>,
    after_write: Arc<dyn AfterWrite>,
    groups: Arc<Groups>,
    totals: Cache<Total>,
}

/// Totals that are remembered.
const TOTALS_MAX: u64 = 10_000;

impl Kernel {
    /// A kernel that works on whatever snapshot is in `registry`; `after_write` joins in every write,
    /// `scripts` is the sandbox in which hooks run.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn open(
        db: Db,
        registry: Arc<ArcSwap<Registry>>,
        scripts: Arc<LazyPool>,
        after_write: Arc<dyn AfterWrite>,
    ) -> anyhow::Result<Self> {
        let key = store::secret::cursor_key(&db, mesh::id::secret()).await?;
        Ok(Self {
            db,
            registry,
            cursor_key: Arc::new(CursorKey::new(key)),
            scripts,
            after_write,
            groups: Arc::default(),
            totals: Cache::new(TOTALS_MAX, Stay::Long),
        })
    }

    /// Begins the work of a call.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a caller; PERMISSION_DENIED for a service without a purpose for
    /// which records are touched.
    pub fn work(&self, ctx: &Ctx) -> Result<Work> {
        ctx.identity()?;
        let principal = match &ctx.caller {
            Some(caller) => Principal::of(&caller.identity)?,
            None => return Err(Error::unauthenticated("Authentication required")),
        };
        Ok(Work::of(ctx, self.registry.load_full(), principal))
    }

    /// Work of the platform itself.
    #[must_use]
    pub fn system_work(&self, reason: SystemReason) -> Work {
        let principal = Principal::System(System::because(reason));
        Work::outside(self.registry.load_full(), principal)
    }
}

/// A record as it goes out.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its version; 0 when the object keeps none.
    pub version: i64,
    /// The fields that the caller may read, as JSON.
    pub json: Vec<u8>,
}

/// Lets malformed JSON fail at once and keeps any other refusal of a body for later: JSON comes
/// before the object in the order of refusals, the rest of a body after it (docs/reference/errors.md §8).
///
/// # Errors
/// VALIDATION_ERROR `MALFORMED_JSON`.
pub fn malformed_first<T>(read: Result<T>) -> Result<Result<T>> {
    match read {
        Err(error)
            if error
                .detail("reason")
                .is_some_and(|reason| reason == "MALFORMED_JSON") =>
        {
            Err(error)
        }
        read => Ok(read),
    }
}
